"""The config without pictures: every row's columns, and where its picture stands."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from imgprep.dataset import Dataset, Writer
from imgprep.dataset.files import Folder
from imgprep.stages.publish.shards import PICTURES, PLACE, entry_of, groups, remembered

METADATA_ROWS = 1_000_000  # of one file; its row groups have about a tenth
PLACES = ("file", "row")


def prepare_metadata(
    ds: Dataset, files: list[dict], schemas: dict[str, pa.Schema]
) -> tuple[list[dict], pa.Schema]:
    """Entries of the files without pictures, of the rows of the first config and of `failures`."""
    folder = Folder(ds.folder)
    first = next(iter(schemas))
    schema = _features_of(schemas[first])
    entries = []
    for split in ds.splits:
        # Every row stands in one of the two: sizes and copies repeat them.
        mine = [f for f in files if f["split"] == split and f["config"] in (first, "failures")]
        for number, part in enumerate(_metadata_parts(mine)):
            hashes = [(f["file"], f["sha256"]) for f in part]
            what = ["metadata", number, schema.to_string(), hashes]
            make = _maker(folder, schema, f"metadata/{split}-{number:05d}", part)
            head = {"config": "metadata", "split": split, "batch": number}
            entries.append(head | remembered(folder, what, make))
    return entries, schema


def _features_of(schema: pa.Schema) -> pa.Schema:
    from datasets import Features, Value

    declared = Features.from_arrow_schema(schema)
    features = {name: kind for name, kind in declared.items() if name not in PICTURES}
    features |= {"file": Value("string"), "row": Value("int64")}
    return Features(features).arrow_schema


def _metadata_parts(files: list[dict]) -> list[list[dict]]:
    """The files of each file without pictures: at most METADATA_ROWS, but at least one."""
    parts: list[list[dict]] = []
    rows = 0
    for file in files:
        rows += file["rows"]
        if not parts or rows > METADATA_ROWS:
            parts.append([])
            rows = file["rows"]
        parts[-1].append(file)
    return parts


def _maker(
    folder: Folder, schema: pa.Schema, stem: str, files: list[dict]
) -> Callable[[], dict[str, Any]]:
    """Writes one file, when it is called."""
    columns = [name for name in schema.names if name not in PLACES]

    def make() -> dict[str, Any]:
        with folder.create(lambda sha: f"{PLACE}/{stem}-{sha[:12]}.parquet") as sink:
            writer = Writer(sink, schema)
            for file in files:
                start = 0
                for table in groups(folder, file["at"], columns):
                    writer.write(_with_places(table, file["file"], start, schema))
                    start += table.num_rows
            writer.close()
        return entry_of(sink, writer)

    return make


def _with_places(
    table: pa.Table,
    file: str,
    start: int,
    schema: pa.Schema,
) -> pa.Table:
    here = {"file": [file] * len(table), "row": range(start, start + len(table))}
    for name, values in here.items():
        table = table.append_column(name, pa.array(values, schema.field(name).type))
    return table.select(schema.names)
