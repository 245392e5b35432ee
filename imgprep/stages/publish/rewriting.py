"""Files are published as they are; written anew only where classes, columns, paths or places
change."""

import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep.dataset import Dataset, Writer
from imgprep.dataset.files import Folder
from imgprep.picture.location import without_gps
from imgprep.stages.publish.shards import (
    LOCAL,
    PICTURES,
    PLACE,
    data_files,
    entry_of,
    groups,
    remembered,
)


@dataclass(frozen=True)
class Rules:
    """What of a dataset folder is not published as it stands.

    class_column: text that becomes a ClassLabel of `names`. drop_columns: left out.
    root: what the absolute paths of `source` begin with; they lose it, there and in `error`.
    keep_gps: the place in a picture stays. keep_placeholders: they are in the first config, among
        the ok rows.
    """

    class_column: str | None = None
    names: tuple[str, ...] = ()
    drop_columns: tuple[str, ...] = ()
    root: str = ""
    keep_gps: bool = False
    keep_placeholders: bool = False

    def features(self, schema: pa.Schema) -> pa.Schema:
        """The columns that are published of such a file."""
        from datasets import ClassLabel, Features

        declared = Features.from_arrow_schema(schema)
        features = {n: kind for n, kind in declared.items() if n not in self.drop_columns}
        if self.names and self.class_column in features:
            features[self.class_column] = ClassLabel(names=list(self.names))
        return Features(features).arrow_schema


def prepare_shards(
    ds: Dataset, rules: Rules, dirty: set[str]
) -> tuple[list[dict], dict[str, pa.Schema]]:
    """The files to publish, as entries of a manifest with `at` (where in the folder the bytes are),
    and their schemas.

    dirty: files with something in them that must not be published. Writes what is written anew,
        once.
    """
    folder = Folder(ds.folder)
    files = data_files(ds)
    schemas: dict[str, pa.Schema] = {}
    for config in ds.configs:
        mine = [f for f in files if f["config"] == config]
        if mine:
            stored = pq.read_schema(folder.open(mine[0]["file"]))
            schemas[config] = rules.features(stored)
    out: list[dict] = []
    for file in files:
        is_dirty = file["file"] in dirty
        for change in changes_of(file, rules, schemas, ds.configs[0], is_dirty=is_dirty):
            entry = change.made(folder)
            # Without rows there is nothing to publish: the card may not list it.
            if entry["rows"]:
                out.append(entry)
    used = {f["config"] for f in out}
    return out, {config: schema for config, schema in schemas.items() if config in used}


def changes_of(
    file: dict, rules: Rules, schemas: dict[str, pa.Schema], first: str, *, is_dirty: bool
) -> list["Change"]:
    """The files that one is published as. first: where placeholders go that are kept."""
    if rules.keep_placeholders and file["config"] == "failures":
        failed = schemas["failures"]
        kept = schemas.get(first, failed)
        return [
            Change(rules, file, "failures", failed, ("failed",)),
            Change(rules, file, first, kept, ("placeholder",)),
        ]
    is_changed = bool(rules.names or rules.drop_columns or is_dirty)
    schema = schemas[file["config"]]
    return [Change(rules, file, file["config"], schema, is_changed=is_changed)]


@dataclass(frozen=True)
class Change:
    """A file as it is published. statuses: which of its rows, () for all; config: where they go.

    is_changed: it is written anew.
    """

    rules: Rules
    file: dict
    config: str
    schema: pa.Schema
    statuses: tuple[str, ...] = ()
    is_changed: bool = True

    def made(self, folder: Folder) -> dict:
        """Its entry. A file that was written anew once is not written again."""
        if not self.is_changed:
            return {**self.file, "at": self.file["file"]}
        return remembered(folder, self.about(), lambda: self.write(folder))

    def about(self) -> list[Any]:
        """What it depends on."""
        return [
            self.file["file"],
            self.file["sha256"],
            asdict(self.rules),
            self.config,
            self.schema.to_string(),
        ]

    def write(self, folder: Folder) -> dict:
        """Write it, and its entry."""
        split, batch = self.file["split"], self.file["batch"]
        # Without its hash: the new file has one of its own.
        stem = self.file["file"].rsplit("-", 1)[0]
        if self.config != self.file["config"]:
            stem = f"data/{split}-placeholders-{batch:05d}"
        with folder.create(lambda sha: f"{PLACE}/{stem}-{sha[:12]}.parquet") as sink:
            writer = Writer(sink, self.schema)
            for table in groups(folder, self.file["file"]):
                if self.statuses:
                    table = table.filter(pc.is_in(table["status"], pa.array(self.statuses)))
                if table.num_rows:
                    # The order of the schema, which the first file of the config decides.
                    writer.write(fixed(table, self.rules).select(self.schema.names))
            writer.close()
        return {"config": self.config, "split": split, "batch": batch, **entry_of(sink, writer)}


def fixed(table: pa.Table, rules: Rules) -> pa.Table:
    """The rows as the rules want them."""
    if rules.names and rules.class_column in table.column_names:
        text = table[rules.class_column].cast(pa.string())
        # Text of numbers, too: a class "3" is a name.
        numbers = pc.index_in(text, pa.array(rules.names)).cast(pa.int64())
        table = _put(table, rules.class_column, numbers)
    if rules.root:
        table = _without_root(table, rules.root)
    if rules.keep_gps:
        return table
    for name in PICTURES:
        if name in table.column_names:
            table = _without_places(table, name)
    return table


def _put(
    table: pa.Table,
    name: str | None,
    values: Any,
) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def _without_root(table: pa.Table, root: str) -> pa.Table:
    sources, errors = [], []
    rows = zip(table["source"].to_pylist(), table["error"].to_pylist(), strict=True)
    for source, error in rows:
        short, said = shortened(source or "", error or "", root)
        sources.append(short)
        errors.append(said)
    table = _put(table, "source", pa.array(sources, pa.string()))
    return _put(table, "error", pa.array(errors, pa.string()))


def shortened(
    source: str,
    error: str,
    root: str,
) -> tuple[str, str]:
    """A path without what says how this machine is arranged: from root on; its last two names,
    where root is only /.

    >>> shortened("/home/me/cats/1.png", "there is no '/home/me/cats/1.png'", "/home/me/")
    ('cats/1.png', "there is no 'cats/1.png'")
    """
    if not re.match(LOCAL, source):
        return source, error
    path = re.sub(LOCAL, "/", source)
    short = "/".join(path.split("/")[-2:]).lstrip("/")
    # More than "/": else the last two names say which picture, and nothing of the machine.
    if root.count("/") > 1:
        short = path[len(root) :]
    return short, error.replace(source, short)


def _without_places(table: pa.Table, name: str) -> pa.Table:
    """The pictures of a column without the places where they were taken; `sha256` follows."""
    column = table[name].combine_chunks()
    bytes_of = column.field("bytes") if name == "image" else column
    data = bytes_of.to_pylist()
    clean = [one and without_gps(one) for one in data]
    # By identity: nothing was cut out, and the table is as it was.
    if all(a is b for a, b in zip(data, clean, strict=True)):
        return table
    if name != "image":
        return _put(table, name, pa.array(clean, pa.binary()))
    hashes = [None if one is None else hashlib.sha256(one).hexdigest() for one in clean]
    table = _put(table, "sha256", pa.array(hashes, pa.string()))
    parts = [pa.array(clean, pa.binary()), column.field("path")]
    image = pa.StructArray.from_arrays(parts, fields=list(column.type), mask=column.is_null())
    return _put(table, name, image)
