"""Living with datasets: which there are, and what may be thrown away."""

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import filelock
import fsspec
import pyarrow as pa

from imgprep.dataset import MANIFEST, Dataset
from imgprep.dataset.files import PRIVATE, STARTED, TMP, Folder
from imgprep.project import project_root, short
from imgprep.resume.kept import forget_kept
from imgprep.resume.located import Located
from imgprep.resume.parts import PARTS
from imgprep.words import bytes_text, line

# The name of a run's folder under reports/; sorts by time.
RUN_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}(-\d+)?")
AGES = {"d": 86400, "h": 3600, "min": 60, "s": 1}


def find_datasets(root: str) -> list[str]:
    """The dataset folders at and below a folder or fsspec URI."""
    if "://" not in root:
        # parents[1]: the manifest lies in .imgprep, one below the folder.
        return sorted(str(path.parents[1]) for path in Path(root).rglob(MANIFEST))
    try:
        fs, path = fsspec.core.url_to_fs(root.rstrip("/"), use_listings_cache=False)
        manifests = fs.glob(f"{path}/**/{MANIFEST}")
    except Exception as e:  # every store has errors of its own
        raise ValueError(f"{root} cannot be opened: {type(e).__name__}: {line(e)}") from e
    folders = [name.removesuffix(f"/{MANIFEST}") for name in manifests]
    return sorted(map(fs.unstrip_protocol, folders))


def listing(roots: Sequence[str]) -> str:
    """A line for each dataset folder: rows, those that are ok, bytes of its files, its age."""
    lines = [["folder", "rows", "ok", "size", "age"]]
    for folder in [folder for root in roots for folder in find_datasets(root)]:
        lines.append(_listed(Dataset(folder)))
    if len(lines) == 1:
        raise ValueError(f"no dataset folder in {', '.join(map(short, roots))}")
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    text = []
    for name, *numbers in lines:
        right = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)]
        text.append("  ".join([name.ljust(widths[0]), *right]))
    return "\n".join(text)


def _listed(ds: Dataset) -> list[str]:
    runs = ds.runs()
    counts = ds.counts()
    size = sum(file["bytes"] for file in ds.files)
    age = ""
    if runs:
        age = age_text(datetime.now(UTC) - datetime.fromisoformat(runs[-1]["started"]))
    numbers = [f"{counts['rows']:,}", f"{counts['ok']:,}", bytes_text(size)]
    return [short(ds.folder), *numbers, age]


def sweep(roots: Sequence[str], *, keep: int, dry_run: bool = False) -> list[tuple[str, int]]:
    """Delete what nobody needs any more; (path, bytes) of each, in a dry run of what would go.

    Of each pipeline's runs under reports/ the newest `keep` stay, and the one that `latest` names.
    In the dataset folders at and below `roots` what killed runs left goes: files half written,
    marks, and parts whose results are all committed. So does what is kept of rows that left. A
    folder in which a run is at work is left alone, and so are those on object stores.
    """
    if keep < 1:
        raise ValueError(f"keep is how many runs of a pipeline stay, at least 1, not {keep}")
    gone = []
    for run in _old_runs(keep):
        size = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
        gone.append((str(run), size))
    if not dry_run:
        for path, _ in gone:
            shutil.rmtree(path)
    for root in roots:
        if "://" not in root:
            for folder in find_datasets(root):
                gone += _swept(Folder(folder), dry_run)
    return gone


def _swept(folder: Folder, dry_run: bool) -> list[tuple[str, int]]:
    gone = []
    lock = filelock.FileLock(folder.full(f"{PRIVATE}/lock"))
    # timeout=0: where a run is at work nothing is litter yet.
    with contextlib.suppress(filelock.Timeout), lock.acquire(timeout=0):
        for name in _litter(folder):
            gone.append((folder.full(name), folder.size(name) or 0))
            if not dry_run:
                folder.delete(name)
        gone += [(folder.full(name), size) for name, size in forget_kept(folder, dry_run=dry_run)]
    return gone


def _old_runs(keep: int) -> Iterator[Path]:
    for pipeline in sorted((project_root() / "reports").glob("*/")):
        runs = []
        for path in pipeline.iterdir():
            if RUN_NAME.fullmatch(path.name) and not path.is_symlink():
                runs.append(path)
        latest = (Folder(pipeline).get("latest") or b"").decode().strip()
        for path in sorted(runs)[:-keep]:
            if path.name != latest:
                yield path


def _litter(folder: Folder) -> Iterator[str]:
    """What killed runs left in a dataset folder."""
    for place in (TMP, STARTED):
        yield from (f"{place}/{name}" for name in folder.list(place))
    parts = folder.list(PARTS)
    committed = _committed(Dataset(folder)) if parts else set()
    for name in parts:
        part = Located()
        with contextlib.suppress(pa.ArrowInvalid, OSError, KeyError):  # damaged: of no use
            part.add_part(folder, f"{PARTS}/{name}")
        if _facts(part.table) <= committed:
            yield f"{PARTS}/{name}"


def _committed(ds: Dataset) -> set[tuple]:
    found = set()
    for split in ds.splits:
        found |= _facts(ds.index(split))
    return found


def _facts(index: pa.Table) -> set[tuple]:
    """Of each result its key, and what tells a newer one from it."""
    rows = index.select(["key", "done", "nbytes", "etag"]).to_pylist()
    return {tuple(row.values()) for row in rows}


def age_text(age: timedelta) -> str:
    """How long ago, in its largest unit.

    >>> age_text(timedelta(seconds=50)), age_text(timedelta(days=3, hours=9))
    ('50 s', '3 d')
    """
    seconds = age.total_seconds()
    unit = next((unit for unit, size in AGES.items() if seconds >= size), "s")
    return f"{seconds // AGES[unit]:.0f} {unit}"
