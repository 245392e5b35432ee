"""CSV, TSV, Parquet and JSONL files as Arrow tables, and the types of their columns.

The cells of a CSV are read as text: "NA" and "007" are what they are, an empty cell is "".
"""

import io
import json
import os
import re
from contextlib import suppress

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from imgprep.words import line, missing, unknown

NAME = re.compile(r"\.(csv|tsv|parquet|jsonl)(\.gz)?$", re.IGNORECASE)


def is_text(where: str) -> bool:
    """Does this name a file whose cells are text without types?"""
    match = NAME.search(where)
    return bool(match) and match[1].lower() in ("csv", "tsv")


def read(where: str) -> pa.Table:
    """All rows of a table file (a path or an fsspec URI; .gz too). The cells of a CSV or TSV are strings, never null.

    Raises ValueError, one sentence with the file and where known the line, for a file that is missing, not UTF-8 …
    """
    match = NAME.search(where)
    if not match:
        raise ValueError(unknown(where))
    kind = match[1].lower()
    try:
        with fsspec.open(where, "rb", compression="gzip" if match[2] else None) as file:
            data = file.read()
        if kind in ("csv", "tsv"):
            return _text_cells(data, "\t" if kind == "tsv" else ",")
        return pq.read_table(pa.BufferReader(data)) if kind == "parquet" else _jsonl(data)
    except FileNotFoundError as e:
        raise ValueError(missing(where)) from e
    except Exception as e:  # every store, pandas and pyarrow have errors of their own
        raise ValueError(f"{where} cannot be read: {type(e).__name__}: {line(e)}") from e


def header(where: str) -> list[str]:
    """The column names of a CSV, TSV or Parquet file on this machine, read from its top; else []."""
    match = NAME.search(where)
    if not match or match[1].lower() == "jsonl" or not os.path.isfile(where):
        return []
    with suppress(Exception), fsspec.open(where, "rb", compression="gzip" if match[2] else None) as file:
        if match[1].lower() == "parquet":
            return pq.read_schema(file).names
        rows = pd.read_csv(file, sep="\t" if match[1].lower() == "tsv" else ",", header=None, nrows=1, dtype=str,
                           na_filter=False)  # fmt: skip
        return rows.iloc[0].tolist()
    return []  # what is wrong with it is said by `read`


def to_csv(table: pa.Table) -> bytes:
    """The table as CSV: UTF-8, text in quotes, null is an empty cell, lists and dicts are JSON. No columns of bytes."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if "binary" in str(column.type):
            continue
        if pa.types.is_nested(column.type):
            values = column.to_pylist()
            column = [None if v is None else json.dumps(v, ensure_ascii=False, default=str) for v in values]
        columns[name] = column
    out = pa.BufferOutputStream()
    pa.csv.write_csv(pa.table(columns), out)
    return out.getvalue().to_pybytes()


def unified(name: str, columns: list[pa.ChunkedArray], text: list[bool]) -> pa.DataType:
    """The one type for a column that comes from several files. text[i]: columns[i] are cells of a CSV.

    Raises ValueError when a list or a struct would have to become text.
    """
    cells = [c for c, is_cells in zip(columns, text, strict=True) if is_cells]
    types = [c.type for c, is_cells in zip(columns, text, strict=True) if not is_cells]
    types = [t.value_type if pa.types.is_dictionary(t) else t for t in types] + ([_number(cells)] if cells else [])
    try:
        found = pa.unify_schemas([pa.schema([(name, t)]) for t in types], promote_options="permissive").field(0).type
    except pa.ArrowTypeError as e:
        if any(pa.types.is_nested(t) for t in types):
            raise ValueError(line(e)) from e
        found = pa.string()
    return pa.string() if pa.types.is_null(found) else found


def typed(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """The column as this type; an empty cell of text becomes null where the type is a number."""
    if pa.types.is_string(column.type) and pa.types.is_primitive(type_):
        column = pc.if_else(pc.equal(column, ""), None, column)
    return column if column.type == type_ else column.cast(type_)


def _number(cells: list[pa.ChunkedArray]) -> pa.DataType:
    """A number is only what prints back as it was written: "007", "+1", "1_000" and "1.50" stay text."""
    column = pa.chunked_array([chunk for c in cells for chunk in c.chunks], pa.string())
    column = column.filter(pc.not_equal(column, ""))
    if len(column):
        with suppress(pa.ArrowInvalid):
            if column.cast(pa.int64()).cast(pa.string()).equals(column):
                return pa.int64()
        with suppress(pa.ArrowInvalid):
            numbers = column.cast(pa.float64())
            written = zip(numbers.to_pylist(), column.to_pylist(), strict=True)
            is_exact = all(repr(n).removesuffix(".0") == text.removesuffix(".0") for n, text in written)
            if is_exact and pc.all(pc.is_finite(numbers)).as_py():  # "nan" and "inf" are words
                return pa.float64()
    return pa.string()


def _text_cells(data: bytes, delimiter: str) -> pa.Table:
    # The header is read as a row, so that names come as they are, also twice.
    cells = pd.ArrowDtype(pa.string())
    frame = pd.read_csv(io.BytesIO(data), sep=delimiter, header=None, dtype=cells, na_filter=False)
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    return table.slice(1).rename_columns([column[0].as_py() for column in table.columns])


def _jsonl(data: bytes) -> pa.Table:
    options = pa.json.ReadOptions(block_size=32 << 20)  # the longest row that can be read
    table = pa.json.read_json(pa.BufferReader(data), options)
    dates = [pa.field(f.name, pa.string()) for f in table.schema if pa.types.is_timestamp(f.type)]
    if not dates:
        return table
    # pyarrow takes "2026-01-31" for a time; the user wrote text.
    as_text = pa.json.ParseOptions(explicit_schema=pa.schema(dates))
    return pa.json.read_json(pa.BufferReader(data), options, as_text)
