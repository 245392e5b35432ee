"""CSV, TSV, Parquet and JSONL files as Arrow tables, and the types of their columns.

The cells of a CSV are read as text: "NA" and "007" are what they are, an empty cell is "".
"""

import codecs
import csv
import difflib
import io
import json
import os
import re
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

NAME = re.compile(r"\.(csv|tsv|parquet|jsonl)(\.gz)?$", re.IGNORECASE)
BLOCK_BYTES = 32 << 20  # the longest row that can be read
# A number is only what prints back as it was written: "007", "+1", "1_000", "1.50" and "1e5" stay text.
INTEGER = r"^(-?[1-9][0-9]{0,17}|0)?$"
DECIMAL = r"^(-?(0|[1-9][0-9]{0,14})\.(0|[0-9]*[1-9])|-?[1-9][0-9]{0,14}|0)?$"


def is_text(where: str) -> bool:
    """Does this name a file whose cells are text without types?"""
    match = NAME.search(where)
    return bool(match) and match[1].lower() in ("csv", "tsv")


def read(where: str) -> pa.Table:
    """All rows of a table file (a path or an fsspec URI; .gz too). The cells of a CSV or TSV are strings, never null.

    Raises ValueError, one sentence with the file and the line, for a file that is missing, ragged, not UTF-8 …
    """
    match = NAME.search(where)
    if not match:
        raise ValueError(unknown(where))
    try:
        with fsspec.open(where, "rb", compression="gzip" if match[2] else None) as file:
            data = file.read()
    except FileNotFoundError as e:
        raise ValueError(missing(where)) from e
    except Exception as e:  # every store has errors of its own
        raise ValueError(f"{where} cannot be read: {type(e).__name__}: {line(e)}") from e
    kind = match[1].lower()
    if kind in ("csv", "tsv"):
        return _text_cells(where, data, "\t" if kind == "tsv" else ",")
    try:
        return pq.read_table(pa.BufferReader(data)) if kind == "parquet" else _jsonl(data)
    except pa.ArrowException as e:
        raise ValueError(f"{where} cannot be read: {line(e)}") from e


def unknown(where: str) -> str:
    """The sentence for a file whose name does not say what it is."""
    return f"{where} is no table that can be read; give a .csv, .tsv, .parquet or .jsonl file (also .gz), or a folder"


def missing(where: str) -> str:
    """The sentence for a file or folder that does not exist, with the near match beside it."""
    folder, name = os.path.split(where.rstrip("/"))
    try:
        beside = os.listdir(folder or ".")
    except OSError:
        return f"there is no {where}" if "://" in where else f"there is no {where}: its folder does not exist either"
    near = difflib.get_close_matches(name, beside, 1)
    return f"there is no {where}" + (f"; did you mean {near[0]!r}?" if near else "")


def line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def to_csv(table: pa.Table) -> Iterator[bytes]:
    """The table as CSV in chunks: UTF-8, lines end with \\n, null is an empty cell, lists and dicts are JSON.

    Columns of bytes are left out. Cells are not altered.
    """
    table = table.select([f.name for f in table.schema if "binary" not in str(f.type)])
    text = io.StringIO(newline="")
    # Only with its own \r\n does the module quote a cell with a lone \r; what goes out is \n.
    out = csv.writer(SimpleNamespace(write=lambda row: text.write(row[:-2] + "\n")))
    out.writerow(table.column_names)
    for batch in table.to_batches(10_000):
        out.writerows(zip(*(map(_cell, column.to_pylist()) for column in batch.columns), strict=True))
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def unified(columns: list[pa.ChunkedArray], text: list[bool]) -> pa.DataType:
    """The one type for a column that comes from several files. text[i]: columns[i] are cells of a CSV.

    Raises ValueError when a list or a struct would have to become text.
    """
    cells = [c for c, is_cells in zip(columns, text, strict=True) if is_cells]
    types = [c.type for c, is_cells in zip(columns, text, strict=True) if not is_cells]
    types = [t.value_type if pa.types.is_dictionary(t) else t for t in types] + ([_number(cells)] if cells else [])
    try:
        schemas = [pa.schema([("column", t)]) for t in types]
        found = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError as e:
        if any(pa.types.is_nested(t) for t in types):
            raise ValueError(f"it is {' here and '.join(map(str, dict.fromkeys(types)))} there") from e
        found = pa.string()
    return pa.string() if pa.types.is_null(found) else found


def typed(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """The column as this type; an empty cell of text becomes null where the type is a number."""
    if pa.types.is_string(column.type) and pa.types.is_primitive(type_):
        column = pc.if_else(pc.equal(column, ""), None, column)
    return column if column.type == type_ else column.cast(type_)


def _number(cells: list[pa.ChunkedArray]) -> pa.DataType:
    def all_match(pattern: str) -> bool:
        return all(pc.all(pc.match_substring_regex(c, pattern)).as_py() is not False for c in cells)

    def is_exact(column: pa.ChunkedArray) -> bool:  # 16 digits and more may be too many for a float64
        long = column.filter(pc.greater(pc.binary_length(column), 15)).to_pylist()
        return all(Decimal(x) == Decimal(repr(float(x))) for x in long)

    if not any(pc.any(pc.not_equal(c, "")).as_py() for c in cells):
        return pa.string()
    if all_match(INTEGER):
        return pa.int64()
    return pa.float64() if all_match(DECIMAL) and all(map(is_exact, cells)) else pa.string()


def _text_cells(where: str, data: bytes, delimiter: str) -> pa.Table:
    if not data.strip():
        raise ValueError(f"{where} is empty")
    header = csv.reader(io.StringIO(data[:BLOCK_BYTES].decode("utf-8-sig", "replace"), newline=""), delimiter=delimiter)
    try:
        width = len(next(filter(None, header), []))
        # The header is read as a row, because pyarrow wants names before it takes every column as text.
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(autogenerate_column_names=True, block_size=BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(column_types={f"f{i}": pa.string() for i in range(width)}),
        )
    except (pa.ArrowInvalid, csv.Error) as e:
        raise ValueError(_why(where, data, delimiter) or f"{where} cannot be read: {line(e)}") from e
    # A quote that is never closed swallows the rows behind it, without an error.
    if data.count(b'"') % 2 and (why := _why(where, data, delimiter)):
        raise ValueError(why)
    return table.slice(1).rename_columns([str(column[0]) for column in table.columns])


def _why(where: str, data: bytes, delimiter: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        utf16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        guess = "UTF-16" if utf16 else "Latin-1 (Windows-1252)"
        number = data.count(b"\n", 0, e.start) + 1
        return f"{where} is not UTF-8 (line {number}); it looks like {guess}, so save it as UTF-8"
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    width, start, limit = 0, 1, csv.field_size_limit(len(text) + 1)
    try:
        for cells in rows:
            width = width or len(cells)
            if cells and len(cells) != width:
                return f"line {start} of {where} has {len(cells)} cells, its header has {width}"
            start = rows.line_num + 1
    except csv.Error as e:
        return f"a quote that opens on line {start} of {where} is never closed" if "end of data" in str(e) else ""
    finally:
        csv.field_size_limit(limit)
    return ""


def _jsonl(data: bytes) -> pa.Table:
    def parse(**options) -> pa.Table:
        return pa.json.read_json(
            pa.BufferReader(data.removeprefix(codecs.BOM_UTF8)),
            read_options=pa.json.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pa.json.ParseOptions(**options),
        )

    table = parse()
    dates = [pa.field(f.name, pa.string()) for f in table.schema if pa.types.is_timestamp(f.type)]
    # pyarrow takes "2026-01-31" for a time; the user wrote text.
    return parse(explicit_schema=pa.schema(dates)) if dates else table
