"""The files that are published: those of the dataset folder as they are; written anew only where something must go."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep import hashing
from imgprep.dataset import Dataset, Reader, Writer
from imgprep.dataset.files import PRIVATE, Folder, Sink
from imgprep.display.pictures import spread
from imgprep.picture import codec, geometry
from imgprep.picture.location import without_gps

PLACE = f"{PRIVATE}/publish"  # files written anew, kept for the next time
PICTURES = ("image", "original")
LOCAL = r"^(?:hf\+row://|file://)?/"  # what a source that lies on this machine begins with
SAMPLE, TILE = "assets/samples.jpg", 160
CLASSES = 1000
METADATA_ROWS = 1_000_000  # of one file without pictures; its row groups have about a tenth
VERSION = 3  # of what a rewritten file holds


@dataclass(frozen=True)
class Rules:
    """What of a dataset folder is not published as it stands.

    class_column: text that becomes a ClassLabel of `names`. drop_columns: left out. root: what the absolute paths of
    `source` begin with; they lose it, there and in `error`. keep_gps: the place in a picture stays. keep_placeholders:
    they are in the first config, among the ok rows.
    """

    class_column: str | None = None
    names: tuple[str, ...] = ()
    drop_columns: tuple[str, ...] = ()
    root: str = ""
    keep_gps: bool = False
    keep_placeholders: bool = False

    def features(self, schema: pa.Schema) -> pa.Schema:
        from datasets import ClassLabel, Features

        features = {k: v for k, v in Features.from_arrow_schema(schema).items() if k not in self.drop_columns}
        if self.names and self.class_column in features:
            features[self.class_column] = ClassLabel(names=list(self.names))
        return Features(features).arrow_schema


def remembered(folder: Folder, what: Any, make: Callable[[], Any]) -> Any:
    """The JSON value of `make()`, kept under a hash of what it depends on."""
    name = f"{PLACE}/{hashing.digest(VERSION, what)}.json"
    known = folder.get(name)
    if known:
        value = json.loads(known)
        if not isinstance(value, dict) or "at" not in value or folder.size(value["at"]) == value["bytes"]:
            return value
    value = make()
    folder.put(name, json.dumps(value).encode())
    return value


def sweep(folder: Folder, used: list[str]) -> None:
    """Remove files that were written anew for an earlier version."""
    for place in (f"{PLACE}/{name}" for name in ("data", "failures", "metadata")):
        for name in {f"{place}/{name}" for name in folder.list(place)} - {*used}:
            folder.delete(name)


def columns(ds: Dataset) -> list[str]:
    """The columns of the files with pictures."""
    first = next(f for f in ds.files if f["config"] != "index" and f["rows"])
    return pq.read_schema(Folder(ds.folder).open(first["file"])).names


def class_names(ds: Dataset, column: str) -> tuple[str, ...]:
    """The different values of a column, sorted; () where they are a ClassLabel already. ValueError for no classes."""
    from datasets import ClassLabel, Features

    folder, found = Folder(ds.folder), set()
    files = [f for f in ds.files if f["config"] != "index" and f["rows"]]
    schema = pq.read_schema(folder.open(files[0]["file"]))
    if column not in schema.names:
        raise ValueError(f"no column {column!r}; {ds.folder} has {', '.join(schema.names)}")
    if isinstance(Features.from_arrow_schema(schema)[column], ClassLabel):
        return ()
    kind = schema.field(column).type
    if not pa.types.is_string(kind) and not pa.types.is_integer(kind):
        raise ValueError(f"class_column {column!r} holds {kind}: classes are text or whole numbers")
    for file in files:
        values = pq.ParquetFile(folder.open(file["file"])).read(columns=[column])[column]
        found |= {v for v in values.unique().to_pylist() if v is not None}
        if len(found) > CLASSES:
            raise ValueError(f"class_column {column!r} has more than {CLASSES} values: that is no column of classes")
    if not found:
        raise ValueError(f"class_column {column!r} has no value in any row")
    return tuple(str(v) for v in sorted(found))


def groups(folder: Folder, file: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """A file's row groups, one at a time."""
    parquet = pq.ParquetFile(folder.open(file))
    for group in range(parquet.num_row_groups):
        yield parquet.read_row_group(group, columns=columns)
        pa.default_memory_pool().release_unused()  # else Arrow keeps what several groups took


def prepare(ds: Dataset, rules: Rules, dirty: set[str]) -> tuple[list[dict], dict[str, pa.Schema]]:
    """The files to publish, as entries of a manifest with `at` (where in the folder the bytes are), and their schemas.

    dirty: files with something in them that must not be published. Writes what is written anew, once.
    """
    folder, files = Folder(ds.folder), [f for f in ds.files if f["config"] != "index" and f["rows"]]
    schemas: dict[str, pa.Schema] = {}
    for config in ds.configs:
        mine = [f for f in files if f["config"] == config]
        if mine:
            schemas[config] = rules.features(pq.read_schema(folder.open(mine[0]["file"])))
    out = []
    for file in files:
        moves = rules.keep_placeholders and file["config"] == "failures"
        if not (moves or rules.names or rules.drop_columns or file["file"] in dirty):
            out.append({**file, "at": file["file"]})
            continue
        wanted = [("failures", ("failed",)), (ds.configs[0], ("placeholder",))] if moves else [(file["config"], ())]
        for config, statuses in wanted:
            schema = schemas.get(config, schemas[file["config"]])
            what = [file["file"], file["sha256"], asdict(rules), config, schema.to_string()]
            entry = remembered(folder, what, lambda a=(file, config, statuses, schema): _rewrite(folder, rules, *a))
            out += [entry] if entry["rows"] else []
    used = {f["config"] for f in out}
    return out, {config: schema for config, schema in schemas.items() if config in used}


def _rewrite(folder: Folder, rules: Rules, file: dict, config: str, statuses: tuple, schema: pa.Schema) -> dict:
    stem = file["file"].rsplit("-", 1)[0]
    if config != file["config"]:
        stem = f"data/{file['split']}-placeholders-{file['batch']:05d}"
    with folder.create(lambda sha: f"{PLACE}/{stem}-{sha[:12]}.parquet") as sink:
        writer = Writer(sink, schema)
        for table in groups(folder, file["file"]):
            if statuses:
                table = table.filter(pc.is_in(table["status"], pa.array(statuses)))
            if table.num_rows:
                writer.write(_fixed(table, rules).select(schema.names))
        writer.close()
    return {"config": config, "split": file["split"], "batch": file["batch"], **_entry(sink, writer)}


def _fixed(table: pa.Table, rules: Rules) -> pa.Table:
    def put(name: str, values: Any) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, values)

    if rules.names and rules.class_column in table.column_names:
        text = table[rules.class_column].cast(pa.string())
        table = put(rules.class_column, pc.index_in(text, pa.array(rules.names)).cast(pa.int64()))
    if rules.root:
        pairs = zip(table["source"].to_pylist(), table["error"].to_pylist(), strict=True)
        short = [_shortened(source or "", error or "", rules.root) for source, error in pairs]
        table = put("source", pa.array([s for s, _ in short], pa.string()))
        table = put("error", pa.array([e for _, e in short], pa.string()))
    if rules.keep_gps:
        return table
    for name in set(PICTURES) & set(table.column_names):
        column = table[name].combine_chunks()
        data = column.field("bytes").to_pylist() if name == "image" else column.to_pylist()
        clean = [d and without_gps(d) for d in data]
        if all(a is b for a, b in zip(data, clean, strict=True)):
            continue
        if name == "image":
            sha = [hashlib.sha256(d).hexdigest() if d is not None else None for d in clean]
            table = put("sha256", pa.array(sha, pa.string()))
            fields = [pa.array(clean, pa.binary()), column.field("path")]
            column = pa.StructArray.from_arrays(fields, fields=list(column.type), mask=column.is_null())
        else:
            column = pa.array(clean, pa.binary())
        table = put(name, column)
    return table


def sample(ds: Dataset, files: list[dict]) -> dict[str, Any]:
    """A small picture of twelve, evenly spread over the first config, for the card."""
    folder = Folder(ds.folder)
    first = [f for f in files if f["config"] == ds.configs[0]]
    ends = np.cumsum([f["rows"] for f in first])

    def make() -> dict[str, Any]:
        sheet, reader = np.full((2 * TILE, 6 * TILE, 3), 255, np.uint8), Reader(folder, keep=1)
        for place, row in enumerate(spread(int(ends[-1]), 12)):
            n = int(np.searchsorted(ends, row, side="right"))
            at = row - int(ends[n]) + first[n]["rows"]
            y, x = place // 6 * TILE + 4, place % 6 * TILE + 4
            with contextlib.suppress(codec.DecodeError):  # kept although it is truncated, or kept elsewhere
                image = codec.decode(reader.picture(first[n]["at"], at) or b"", min_wh=(TILE, TILE))
                sheet[y : y + TILE - 8, x : x + TILE - 8] = geometry.fit_pad(image, (TILE - 8, TILE - 8), fill=255)
        with folder.create(lambda _: f"{PLACE}/{SAMPLE}") as sink:
            sink.write(codec.encode(sheet[: -(-min(int(ends[-1]), 12) // 6) * TILE], "JPEG", quality=85))
        return {"file": SAMPLE, "at": sink.name, "bytes": sink.bytes, "sha256": sink.sha256}

    return remembered(folder, ["sample", [f["sha256"] for f in first]], make)


def _shortened(source: str, error: str, root: str) -> tuple[str, str]:
    """A path without what says how this machine is arranged: from root on; its last two names, where root is only /.

    >>> _shortened("/home/me/pics/cats/1.png", "there is no '/home/me/pics/cats/1.png'", "/home/me/pics/")
    ('cats/1.png', "there is no 'cats/1.png'")
    """
    if not re.match(LOCAL, source):
        return source, error
    path = re.sub(LOCAL, "/", source)
    short = path[len(root) :] if root.count("/") > 1 else "/".join(path.split("/")[-2:]).lstrip("/")
    return short, error.replace(source, short)


def metadata(ds: Dataset, files: list[dict], schemas: dict[str, pa.Schema]) -> tuple[list[dict], pa.Schema]:
    """Files without pictures, of the rows of the first config and of `failures`, and where each row stands."""
    from datasets import Features, Value

    folder = Folder(ds.folder)
    features = {k: v for k, v in Features.from_arrow_schema(next(iter(schemas.values()))).items() if k not in PICTURES}
    schema = Features({**features, "file": Value("string"), "row": Value("int64")}).arrow_schema
    entries = []
    for split in ds.splits:
        mine = [f for f in files if f["split"] == split and f["config"] in (next(iter(schemas)), "failures")]
        parts: list[list[dict]] = [[]]
        for file in mine:
            if sum(f["rows"] for f in parts[-1]) + file["rows"] > METADATA_ROWS and parts[-1]:
                parts.append([])
            parts[-1].append(file)
        for number, part in enumerate(filter(None, parts)):
            what = ["metadata", number, schema.to_string(), [(f["file"], f["sha256"]) for f in part]]
            make = lambda a=(f"metadata/{split}-{number:05d}", part): _write_metadata(folder, schema, *a)  # noqa: E731
            entries.append({"config": "metadata", "split": split, "batch": number, **remembered(folder, what, make)})
    return entries, schema


def _write_metadata(folder: Folder, schema: pa.Schema, stem: str, files: list[dict]) -> dict[str, Any]:
    with folder.create(lambda sha: f"{PLACE}/{stem}-{sha[:12]}.parquet") as sink:
        writer = Writer(sink, schema)
        for file in files:
            start = 0
            for table in groups(folder, file["at"], [n for n in schema.names if n not in ("file", "row")]):
                here = {"file": [file["file"]] * len(table), "row": range(start, start + len(table))}
                for name, values in here.items():
                    table = table.append_column(name, pa.array(values, schema.field(name).type))
                writer.write(table.select(schema.names))
                start += table.num_rows
        writer.close()
    return _entry(sink, writer)


def _entry(sink: Sink, writer: Writer) -> dict[str, Any]:
    name = sink.name.removeprefix(f"{PLACE}/")
    return {"file": name, "at": sink.name, "rows": writer.rows, "bytes": sink.bytes, "sha256": sink.sha256}
