"""The column `tags` of a table, in Arrow and as a feature of `datasets`."""

from typing import Any

import pyarrow as pa

from imgprep.rows.tag_entries import FIELDS, TagEntry

_ARROW = {"string": pa.string(), "float32": pa.float32(), "bool": pa.bool_()}
TAGS = pa.list_(pa.struct([(name, _ARROW[kind]) for name, kind in FIELDS.items()]))


def tags_feature() -> Any:
    """The column as a `datasets` feature."""
    from datasets import List, Value

    return List({name: Value(kind) for name, kind in FIELDS.items()})


def tags_of_table(table: pa.Table) -> list[list[TagEntry] | None]:
    """The column `tags`, a list a row; None for all where the table has no such column."""
    if "tags" in table.column_names:
        found: list[list[TagEntry] | None] = table["tags"].to_pylist()
        return found
    return [None] * table.num_rows


def with_tags(table: pa.Table, entries: list[Any]) -> pa.Table:
    """The table with this column `tags`."""
    column = pa.array(entries, TAGS)
    if "tags" in table.column_names:
        return table.set_column(table.column_names.index("tags"), "tags", column)
    return table.append_column("tags", column)
