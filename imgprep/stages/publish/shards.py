"""The files that are published, and what is remembered of them between two times."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imgprep import hashing
from imgprep.dataset import Dataset, Writer
from imgprep.dataset.files import PRIVATE, Folder, Sink

PLACE = f"{PRIVATE}/publish"  # files written anew, kept for the next time
PICTURES = ("image", "original")
LOCAL = r"^(?:hf\+row://|file://)?/"  # what a source that lies on this machine begins with
CLASSES = 1000
SHARDS_VERSION = 3  # of what a rewritten file holds


def remembered(
    folder: Folder,
    what: Any,
    make: Callable[[], Any],
) -> Any:
    """The JSON value of `make()`, kept under a hash of what it depends on."""
    name = f"{PLACE}/{hashing.digest(SHARDS_VERSION, what)}.json"
    known = folder.get(name)
    if known:
        value = json.loads(known)
        is_file = isinstance(value, dict) and "at" in value
        # A file that was deleted since is made anew.
        if not is_file or folder.size(value["at"]) == value["bytes"]:
            return value
    value = make()
    folder.put(name, json.dumps(value).encode())
    return value


def sweep_shards(folder: Folder, used: list[str]) -> None:
    """Remove files that were written anew for an earlier version."""
    for kind in ("data", "failures", "metadata"):
        for name in folder.list(f"{PLACE}/{kind}"):
            if f"{PLACE}/{kind}/{name}" not in used:
                folder.delete(f"{PLACE}/{kind}/{name}")


def data_files(ds: Dataset) -> list[dict]:
    """The files that hold rows."""
    return [f for f in ds.files if f["config"] != "index" and f["rows"]]


def columns(ds: Dataset) -> list[str]:
    """The columns of the files with pictures."""
    first = data_files(ds)[0]
    return pq.read_schema(Folder(ds.folder).open(first["file"])).names


def class_names(ds: Dataset, column: str) -> tuple[str, ...]:
    """The different values of a column, sorted; () where they are a ClassLabel already. ValueError
    for no classes."""
    from datasets import ClassLabel, Features

    folder = Folder(ds.folder)
    files = data_files(ds)
    schema = pq.read_schema(folder.open(files[0]["file"]))
    if column not in schema.names:
        raise ValueError(f"no column {column!r}; {ds.folder} has {', '.join(schema.names)}")
    if isinstance(Features.from_arrow_schema(schema)[column], ClassLabel):
        return ()
    kind = schema.field(column).type
    if not pa.types.is_string(kind) and not pa.types.is_integer(kind):
        told = f"class_column {column!r} holds {kind}"
        raise ValueError(f"{told}: classes are text or whole numbers")
    found: set[Any] = set()
    for file in files:
        values = pq.ParquetFile(folder.open(file["file"])).read(columns=[column])[column]
        found |= {*values.drop_null().unique().to_pylist()}
        if len(found) > CLASSES:
            told = f"class_column {column!r} has more than {CLASSES} values"
            raise ValueError(f"{told}: that is no column of classes")
    if not found:
        raise ValueError(f"class_column {column!r} has no value in any row")
    # Sorted by value, then as text: 2 comes before 10.
    return tuple(str(value) for value in sorted(found))


def groups(
    folder: Folder,
    file: str,
    columns: list[str] | None = None,
) -> Iterator[pa.Table]:
    """A file's row groups, one at a time."""
    parquet = pq.ParquetFile(folder.open(file))
    for group in range(parquet.num_row_groups):
        yield parquet.read_row_group(group, columns=columns)
        # Else Arrow keeps what several groups took.
        pa.default_memory_pool().release_unused()


def entry_of(sink: Sink, writer: Writer) -> dict[str, Any]:
    """What a manifest says of a file that was written anew."""
    return {
        "file": sink.name.removeprefix(f"{PLACE}/"),
        "at": sink.name,
        "rows": writer.rows,
        "bytes": sink.bytes,
        "sha256": sink.sha256,
    }
