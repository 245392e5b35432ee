"""Living with datasets: which there are, in what two of them differ, and what may be thrown away."""

import contextlib
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import filelock
import fsspec
import pyarrow as pa

from imgprep.dataset import COLUMNS, MANIFEST, Dataset
from imgprep.folder import PRIVATE, STARTED, TMP, Folder
from imgprep.parts import PARTS, Located
from imgprep.project import project_root, short
from imgprep.thumbnails import bytes_text

RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}(-\d+)?")  # the name of a run's folder under reports/; sorts by time


def find(root: str) -> list[str]:
    """The dataset folders at and below a folder or fsspec URI."""
    if "://" in root:
        fs, path = fsspec.core.url_to_fs(root.rstrip("/"), use_listings_cache=False)
        return sorted(
            fs.unstrip_protocol(name.removesuffix(f"/{MANIFEST}")) for name in fs.glob(f"{path}/**/{MANIFEST}")
        )
    return sorted(str(path.parents[1]) for path in Path(root).rglob(MANIFEST))


def listing(roots: Sequence[str]) -> str:
    """A line for each dataset folder: its rows, those that are ok, bytes of its files, and how long ago it changed."""
    lines = [["folder", "rows", "ok", "size", "age"]]
    for ds in [Dataset(folder) for root in roots for folder in find(root)]:
        runs, counts, size = ds.runs(), ds.counts(), sum(file["bytes"] for file in ds.files)
        age = _age(datetime.now(UTC) - datetime.fromisoformat(runs[-1]["started"])) if runs else ""
        lines.append([short(ds.folder), f"{counts['rows']:,}", f"{counts['ok']:,}", bytes_text(size), age])
    if len(lines) == 1:
        raise ValueError(f"no dataset folder in {', '.join(map(short, roots))}")
    wide = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(f"{line[0]:<{wide[0]}}  " + "  ".join(map(str.rjust, line[1:], wide[1:])) for line in lines)


def diff(a: str, b: str) -> dict[str, list[str]]:
    """In what dataset folder b differs from a: a sentence's beginning -> the image_ids it is true of; {} when equal.

    Rows are the same by image_id (the second of one name is compared with the second), pictures by sha256. "split",
    the user's and the stages' columns are compared by value; `source`, and where a row's picture stands, are not.
    """
    rows_a, columns_a = _rows(Dataset(a))
    rows_b, columns_b = _rows(Dataset(b))
    found: dict[str, list[str]] = defaultdict(list)
    found["added"] = [i for i, _ in rows_b.keys() - rows_a.keys()]
    found["removed"] = [i for i, _ in rows_a.keys() - rows_b.keys()]
    for column in sorted(columns_a ^ columns_b):
        found[f"column {column!r} {'added' if column in columns_b else 'removed'}"] = [i for i, _ in rows_b]
    for key in rows_a.keys() & rows_b.keys():
        old, new = rows_a[key], rows_b[key]
        for column in columns_a & columns_b:
            if old[column] != new[column]:
                found[f"{column} changed"].append(key[0])
        then, now = (row["reason"] or row["status"] for row in (old, new))
        if then != now:
            found[f"outcome {then} -> {now}"].append(key[0])
        elif old["sha256"] != new["sha256"]:
            found["picture changed"].append(key[0])
    return {what: sorted(ids) for what, ids in sorted(found.items()) if ids}


def _rows(ds: Dataset) -> tuple[dict[tuple[str, int], dict[str, Any]], set[str]]:
    """(image_id, how many before it have that name) -> its cells; and the names of the columns that are compared."""
    rows, seen = {}, defaultdict(int)
    columns: list[str] = []
    for split in ds.splits:
        table = ds.table(split)
        columns = [c for c in table.column_names if c not in (*COLUMNS, "image_id", "file", "row")]
        for row in table.drop_columns(["source", "file", "row"]).to_pylist():
            cells = {n: None if v != v else v for n, v in row.items()}  # NaN is equal to itself here
            rows[row["image_id"], seen[row["image_id"]]] = {**cells, "split": split}
            seen[row["image_id"]] += 1
    return rows, {*columns, "split"}


def clean(roots: Sequence[str], *, keep: int, dry_run: bool = False) -> list[tuple[str, int]]:
    """Delete what nobody needs any more; returns (path, bytes) of each, in a dry run of what it would delete.

    Of each pipeline under reports/ all runs but the `keep` newest and the one that `latest` names; in local dataset
    folders what killed runs left half written, and parts whose rows are committed. Never data, never results of a run
    that was stopped: running it again goes on from them. A folder in which a run is at work is left alone.
    """
    if keep < 1:
        raise ValueError(f"keep is how many runs of a pipeline stay, at least 1, not {keep}")
    gone = [(str(path), sum(f.stat().st_size for f in path.rglob("*") if f.is_file())) for path in _old_runs(keep)]
    for path, _ in gone if not dry_run else []:
        shutil.rmtree(path)
    for folder in [Folder(found) for root in roots if "://" not in root for found in find(root)]:
        lock = filelock.FileLock(folder.full(f"{PRIVATE}/lock"))
        with contextlib.suppress(filelock.Timeout), lock.acquire(timeout=0):
            for name in _litter(folder):
                gone.append((folder.full(name), folder.size(name) or 0))
                if not dry_run:
                    folder.delete(name)
    return gone


def _old_runs(keep: int) -> Iterator[Path]:
    for pipeline in sorted((project_root() / "reports").glob("*/")):
        runs = sorted(path for path in pipeline.iterdir() if RUN.fullmatch(path.name) and not path.is_symlink())
        latest = (Folder(pipeline).get("latest") or b"").decode().strip()
        yield from (path for path in runs[:-keep] if path.name != latest)


def _litter(folder: Folder) -> Iterator[str]:
    yield from (f"{place}/{name}" for place in (TMP, STARTED) for name in folder.list(place))
    facts, ds = ["key", "done", "nbytes", "etag"], Dataset(folder)
    names = folder.list(PARTS)
    index = [ds.index(split).select(facts).to_pylist() for split in ds.splits] if names else []
    committed = {tuple(row.values()) for rows in index for row in rows}
    for name in names:
        part = Located()
        with contextlib.suppress(pa.ArrowInvalid, OSError, KeyError):  # damaged, and so of no use
            part.add_part(folder, f"{PARTS}/{name}")
        if {tuple(row.values()) for row in part.table.select(facts).to_pylist()} <= committed:
            yield f"{PARTS}/{name}"


def _age(age: timedelta) -> str:
    """
    >>> _age(timedelta(seconds=50)), _age(timedelta(hours=2, minutes=5)), _age(timedelta(days=3, hours=9))
    ('50 s', '2 h', '3 d')
    """
    seconds = age.total_seconds()
    sizes = {"d": 86400, "h": 3600, "min": 60, "s": 1}
    unit = next((unit for unit, size in sizes.items() if seconds >= size), "s")
    return f"{seconds // sizes[unit]:.0f} {unit}"
