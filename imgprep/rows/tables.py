"""Files that are tables, as Arrow: a reader per file ending. What is said of endings anywhere
follows from TABLE_FORMS.

The cells of a CSV are read as text: "NA" and "007" are what they are, an empty cell is "".
"""

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, NamedTuple

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from imgprep.rows import column_types, csv_text
from imgprep.words import line, missing, say

TOP_BYTES = 1 << 20  # of a CSV: enough to hold its header
JSON_BLOCK = 32 << 20  # the longest row of a JSONL file that can be read
LARGE_NUMBER = re.compile(rb"[:\[,]\s*-?\d{19,}\s*[,\]}]")  # may be one that 64 bits do not hold
INT64 = range(-(2**63), 2**63)
# What a spreadsheet takes for a formula, also in full-width signs and behind spaces; -5 is none.
FORMULA = r"^\s*[=@+\-＝＠＋－]|^[\t\r]"
PLAIN_NUMBER = r"^\s*[+\-]?[0-9.,]+([eE][+\-]?[0-9]+)?\s*$"


class Form(NamedTuple):
    """What a file ending means. Sentences about the content are appended to `notes`."""

    read: Callable[
        ..., pa.Table
    ]  # (data: bytes, notes: list[str]); of text also sep= and encoding=
    names: Callable[[IO[bytes]], list[str]] | None = (
        None  # the columns from its top; None: it is read for them
    )
    is_text: bool = False  # its cells are text without types


def read_table(
    where: str, *, sep: str | None = None, encoding: str | None = None, quiet: bool = False
) -> pa.Table:
    """All rows of a table file (a path or an fsspec URI; .gz too). The cells of a CSV or TSV are
    strings, never null.

    sep, encoding: of a CSV or TSV; None finds out, and says so where it is not the usual (quiet:
        does not say).
    Raises ValueError, one sentence with the file and where known the line, for a file that is
    missing, damaged …
    """
    form, is_packed = form_of(where)
    if form is None:
        raise ValueError(unknown(where))
    options = {"sep": sep, "encoding": encoding} if form.is_text else {}
    notes: list[str] = []
    try:
        with fsspec.open(where, "rb", compression="gzip" if is_packed else None) as file:
            data = file.read()
        table, more = column_types.plain(form.read(data, notes, **options))
    except FileNotFoundError as e:
        raise ValueError(missing(where)) from e
    except Exception as e:  # every store, pandas and pyarrow have errors of their own
        kind = "" if type(e) is ValueError else f"{type(e).__name__}: "
        raise ValueError(f"{where} cannot be read: {kind}{line(e)}") from e
    for note in () if quiet else (*notes, *more):
        say(f"{where}: {note}")
    return table


def known_columns(where: str) -> list[str]:
    """The column names of a table file on this machine, where they can be known without reading it
    all; else [].
    """
    form, is_packed = form_of(where)
    if form is None or not os.path.isfile(where):
        return []
    # What is wrong with it is said by `read_table`.
    with (
        suppress(Exception),
        fsspec.open(where, "rb", compression="gzip" if is_packed else None) as file,
    ):
        return form.names(file) if form.names else form.read(file.read(), []).column_names
    return []


def form_of(where: str) -> tuple[Form | None, bool]:
    """(what the ending of a name means, whether .gz stands behind it); (None, …) where it is no
    table's.
    """
    name = where.lower()
    is_packed = name.endswith(".gz")
    ending = os.path.splitext(name.removesuffix(".gz"))[1]
    return TABLE_FORMS.get(ending), is_packed


def is_table(where: str) -> bool:
    """Does this name a file that `read_table` reads?"""
    return form_of(where)[0] is not None


def is_text(where: str) -> bool:
    """Does this name a file whose cells are text without types?"""
    form, _ = form_of(where)
    return form is not None and form.is_text


def endings() -> str:
    """The file endings as people list them: ".csv, .tsv, .parquet or .jsonl"."""
    *most, last = TABLE_FORMS
    return f"{', '.join(most)} or {last}"


def unknown(where: str) -> str:
    """The sentence for a file whose name does not say what it is."""
    return f"{where} is no table that can be read; give a {endings()} file (also .gz), or a folder"


def to_csv(table: pa.Table, *, escape_formulas: bool = False) -> bytes:
    """The table as CSV: UTF-8, text in quotes, null is an empty cell, lists and dicts are JSON. No
    columns of bytes.

    escape_formulas: put ' before text that a spreadsheet would run. Numbers such as -5 stay.
    """
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if "binary" in str(column.type):
            continue
        if pa.types.is_nested(column.type):
            column = column_types.as_json(column)
        if escape_formulas and column_types.is_text_type(column.type):
            column = _escaped(column)
        columns[name] = column
    out = pa.BufferOutputStream()
    pa.csv.write_csv(pa.table(columns), out)
    return bytes(out.getvalue())


def _escaped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    is_formula = pc.match_substring_regex(column, FORMULA)
    is_number = pc.match_substring_regex(column, PLAIN_NUMBER)
    quoted = pc.binary_join_element_wise("'", column, "")
    return pc.if_else(pc.and_not(is_formula, is_number), quoted, column)


# Readers ------------------------------------------------------------------------------------------


def read_csv(
    data: bytes,
    notes: list[str],
    *,
    usual: str = ",",
    sep: str | None = None,
    encoding: str | None = None,
) -> pa.Table:
    """The cells of a CSV as text. usual: what parts its columns where nothing speaks against it."""
    made = csv_text.dialect(data, usual, sep=sep, encoding=encoding)
    table = csv_text.text_cells(made)
    notes += made.notes
    return table


def read_tsv(data: bytes, notes: list[str], **options: Any) -> pa.Table:
    """As `read_csv`, of columns that are parted by tabs."""
    return read_csv(data, notes, usual="\t", **options)


def read_parquet(data: bytes, notes: list[str]) -> pa.Table:
    """A Parquet file."""
    return pq.read_table(pa.BufferReader(data))


def read_jsonl(data: bytes, notes: list[str]) -> pa.Table:
    """One JSON object per line. Dates stay text; so do the numbers of a column where one needs more
    than 64 bits.
    """
    if data.startswith(tuple(csv_text.BYTE_ORDER_MARKS)):
        data = csv_text.decoded(data)[0].encode()
    options = pa.json.ReadOptions(block_size=JSON_BLOCK)
    table = pa.json.read_json(pa.BufferReader(data), options)
    dates = [pa.field(f.name, pa.string()) for f in table.schema if pa.types.is_timestamp(f.type)]
    if dates:
        # pyarrow takes "2026-01-31" for a time; the user wrote text.
        as_text = pa.json.ParseOptions(explicit_schema=pa.schema(dates))
        table = pa.json.read_json(pa.BufferReader(data), options, as_text)
    if LARGE_NUMBER.search(data):
        table = _with_large_numbers(table, data, notes)
    return table


def _with_large_numbers(table: pa.Table, data: bytes, notes: list[str]) -> pa.Table:
    """The table; where numbers lost digits as floats, the column is the text that was written."""
    lines = [one for one in data.splitlines() if one.strip()]
    # As text: parse_int would already have turned them
    # into Python's numbers, and floats lose digits.
    rows = [json.loads(one, parse_int=_Digits, parse_float=_Digits) for one in lines]
    for place, name in enumerate(table.column_names):
        cells = [row.get(name) for row in rows]
        if not any(map(_is_large, cells)):
            continue
        column = pa.array([None if cell is None else _written(cell) for cell in cells], pa.string())
        table = table.set_column(place, name, column)
        notes.append(
            f"column {name!r} has numbers of more than 64 bits: it stays text, as it is written"
        )
    return table


class _Digits(str):
    """A number as it stands in the file."""


def _is_large(cell: Any) -> bool:
    """Is there a whole number in this cell, however deep, that 64 bits do not hold?"""
    if isinstance(cell, dict):
        return any(map(_is_large, cell.values()))
    if isinstance(cell, list):
        return any(map(_is_large, cell))
    is_whole = isinstance(cell, _Digits) and cell.removeprefix("-").isdecimal()
    return is_whole and int(cell) not in INT64


def _written(cell: Any) -> str:
    return str(cell) if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


def csv_names(file: IO[bytes], usual: str = ",") -> list[str]:
    """The column names of a CSV."""
    top = file.read(TOP_BYTES)
    if len(top) == TOP_BYTES:
        # No letter is cut in two.
        top = top[: top.rfind(b"\n") + 1]
    return csv_text.column_names(csv_text.dialect(top, usual))


def tsv_names(file: IO[bytes]) -> list[str]:
    """The column names of a TSV."""
    return csv_names(file, "\t")


def parquet_names(file: IO[bytes]) -> list[str]:
    """The column names of a Parquet file."""
    return list(pq.read_schema(file).names)


def no_names(file: IO[bytes]) -> list[str]:
    """Of a JSONL file: a column may begin in its last line."""
    return []


# To add a type of table, add a line: its columns are checked before a run, and the sentences name
# it.
TABLE_FORMS = {
    ".csv": Form(read_csv, csv_names, is_text=True),
    ".tsv": Form(read_tsv, tsv_names, is_text=True),
    ".parquet": Form(read_parquet, parquet_names),
    ".jsonl": Form(read_jsonl, no_names),
}
