"""Living with datasets: which there are, in what two of them differ, and what may be thrown away."""

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import filelock
import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset import COLUMNS, MANIFEST, Dataset
from imgprep.dataset.files import PRIVATE, STARTED, TMP, Folder
from imgprep.project import project_root, short
from imgprep.resume.parts import PARTS, Located
from imgprep.words import bytes_text, line

RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}(-\d+)?")  # the name of a run's folder under reports/; sorts by time


def find(root: str) -> list[str]:
    """The dataset folders at and below a folder or fsspec URI."""
    if "://" in root:
        try:
            fs, path = fsspec.core.url_to_fs(root.rstrip("/"), use_listings_cache=False)
            books = fs.glob(f"{path}/**/{MANIFEST}")
        except Exception as e:  # every store has errors of its own
            raise ValueError(f"{root} cannot be opened: {type(e).__name__}: {line(e)}") from e
        return sorted(fs.unstrip_protocol(name.removesuffix(f"/{MANIFEST}")) for name in books)
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
    return "\n".join(f"{cells[0]:<{wide[0]}}  " + "  ".join(map(str.rjust, cells[1:], wide[1:])) for cells in lines)


def diff(a: str, b: str) -> dict[str, list[str]]:
    """In what dataset folder b differs from a: a sentence's beginning -> the image_ids it is true of; {} when equal.

    Rows are the same by image_id (the second of one name is compared with the second), pictures by sha256. "split",
    the user's and the stages' columns are compared by value; `source`, and where a row's picture stands, are not.
    """
    old, new = _rows(Dataset(a)), _rows(Dataset(b)).sort_by("image_id")
    at = pc.index_in(new[".key"], value_set=old[".key"])
    gone = pc.invert(pc.is_in(old[".key"], value_set=new[".key"]))
    found = {"added": new.filter(at.is_null())["image_id"], "removed": old.filter(gone)["image_id"]}
    found = {what: sorted(ids.to_pylist()) for what, ids in found.items()}
    new, old = new.filter(at.is_valid()), old.take(at.drop_null())
    ids = new["image_id"].to_pylist()
    for column in sorted({*old.column_names} ^ {*new.column_names}):
        found[f"column {column!r} {'added' if column in new.column_names else 'removed'}"] = ids
    for column in sorted({*old.column_names} & {*new.column_names} - {".key", "image_id", "sha256", ".outcome"}):
        found[f"{column.lstrip('.')} changed"] = [i for i, x, y in _pairs(ids, old, new, column) if x != y]
    moved = _pairs(ids, old, new, ".outcome")
    for name, then, now in moved:
        if then != now:
            found.setdefault(f"outcome {then} -> {now}", []).append(name)
    pictures = zip(_pairs(ids, old, new, "sha256"), moved, strict=True)
    found["picture changed"] = [i for (i, x, y), (_, then, now) in pictures if x != y and then == now]
    return {what: ids for what, ids in found.items() if ids}


def _pairs(ids: list[str], old: pa.Table, new: pa.Table, column: str) -> list[tuple[str, Any, Any]]:
    """image_id with the value before and after. NaN is None here: it is equal to itself."""
    values = ([None if v != v else v for v in table[column].to_pylist()] for table in (old, new))
    return list(zip(ids, *values, strict=True))


def _rows(ds: Dataset) -> pa.Table:
    """All rows with what is compared, `.split`, `.outcome` (the reason, or ok), and a `.key` that no other row has."""
    tables = []
    for split in ds.splits:
        table = ds.table(split)
        outcome = pc.if_else(pc.equal(table["reason"], ""), table["status"], table["reason"])
        kept = [c for c in table.column_names if c not in (*COLUMNS, "file", "row") or c == "sha256"]
        table = table.select(kept).append_column(".outcome", outcome)
        tables.append(table.append_column(".split", pa.array([split] * len(table), pa.string())))
    whole = pa.concat_tables(tables, promote_options="default").combine_chunks()
    names = whole["image_id"].to_pandas()
    again = names.groupby(names).cumcount().astype(str)
    return whole.append_column(".key", pa.array(again + " " + names, pa.string()))


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
