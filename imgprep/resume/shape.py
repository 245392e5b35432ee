"""What the rows of a stage look like: its own columns, its configs, and the schema of each."""

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from imgprep.dataset import COLUMNS, schema_of, with_original
from imgprep.redaction import redact_column
from imgprep.resume.inputs import Inputs
from imgprep.resume.parts import OF_PICTURE

TAKEN = (*OF_PICTURE, "original", "file", "row")  # names that no column of the user may have


@dataclass(frozen=True)
class Shape:
    """What the rows of a stage look like beside COLUMNS.

    extra: the stage's own columns. children: a picture may become many rows. placeholder: the
    RESULT columns that stand in for a failed picture. keep_original: `failures` and `original` have
    bytes that Pillow cannot open.
    configs: of the ok rows; where there are several, the column `variant` of `extra` says which is
    a row's.
    """

    extra: pa.Schema
    children: bool = False
    placeholder: dict[str, Any] | None = None
    keep_original: bool = False
    configs: tuple[str, ...] = ("default",)

    def schemas(self, inputs: dict[str, Inputs]) -> dict[str, pa.Schema]:
        """The schema of each config.

        Raises ValueError for names and types that no dataset can have.
        """
        tables = [one.rows for one in inputs.values()]
        _check_names(list(inputs), tables)
        try:
            # Without their metadata, since each table has
            # its own and pyarrow would keep the first one's.
            user = pa.unify_schemas([t.schema.remove_metadata() for t in tables])
        except (pa.ArrowTypeError, pa.ArrowInvalid) as e:
            raise ValueError(f"the columns do not go together: {e}") from None
        meta = next((t.schema.metadata for t in tables if t.schema.metadata), None)
        ours = {"image_id", *COLUMNS, *self.extra.names}
        own = pa.schema([f for f in user if f.name not in ours], meta)
        plain = schema_of(own, self.extra, children=self.children)
        whole = with_original(plain) if self.keep_original else plain
        found = {config: plain for config in self.configs}
        if "original" in found:
            found["original"] = whole
        return {**found, "failures": whole}


def _check_names(splits: list[str], tables: list[pa.Table]) -> None:
    for split in splits:
        # `datasets` takes the name of a split apart at other
        # signs, and "all" is its word for all of them.
        if not re.fullmatch(r"\w+(\.\w+)*", split) or split.lower() == "all":
            told = "is no name for `datasets`: use letters, digits and _"
            raise ValueError(f"split {split!r} {told}")
    for table in tables:
        for name in table.column_names:
            if name in TAKEN:
                told = "a name that imgprep needs: rename it"
                raise ValueError(f"there is a column {name!r}, {told}")


def carried(inputs: dict[str, Inputs], schema: pa.Schema) -> dict[str, pa.Table]:
    """The rows as they are written: without passwords,
    null where a split lacks a column of another.

    schema: of a config, which has the columns' types.
    """
    names = dict.fromkeys(n for one in inputs.values() for n in one.rows.column_names)
    typed = pa.schema([schema.field(name) for name in names])
    return {split: _carried(one.rows, typed) for split, one in inputs.items()}


def _carried(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = {}
    for f in schema:
        has = f.name in rows.column_names
        columns[f.name] = rows[f.name] if has else pa.nulls(len(rows), f.type)
    table = pa.table(columns).cast(schema)
    for i, f in enumerate(schema):
        # A dataset is made to be passed on.
        table = table.set_column(i, f, redact_column(table[f.name]))
    return table
