"""The types of columns: one for all files that a column comes from, and only what Parquet holds."""

import json
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from imgprep.words import line

TOP_ROWS = 1000


def unified(name: str, columns: list[pa.ChunkedArray], text: list[bool]) -> pa.DataType:
    """The one type for a column that comes from several files.

    text: for each, whether it is the cells of a CSV. Raises ValueError when a list or a struct
    would have to become text.
    """
    cells = []
    types = []
    for column, is_cells in zip(columns, text, strict=True):
        if is_cells:
            cells.append(column)
        else:
            types.append(_plain_type(column.type))
    if cells:
        types.append(_cells_type(cells))
    schemas = [pa.schema([(name, type_)]) for type_ in types]
    try:
        # permissive: int and float become float; what
        # does not go together raises, and becomes text.
        found = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError as e:
        if any(pa.types.is_nested(type_) for type_ in types):
            raise ValueError(line(e)) from e
        found = pa.string()
    return pa.string() if pa.types.is_null(found) else found


def typed(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """The column as this type; an empty cell of text becomes null where the type is a number."""
    # Only where it becomes a number: of text an empty cell is text.
    if pa.types.is_string(column.type) and pa.types.is_primitive(type_):
        column = pc.if_else(pc.equal(column, ""), None, column)
    return column if column.type == type_ else column.cast(type_)


def _cells_type(cells: list[pa.ChunkedArray]) -> pa.DataType:
    """int64, float64 or text: "007", "+1", "1_000" and "1.50" stay text.

    A number is only what prints back as it was written.
    """
    chunks = [chunk for column in cells for chunk in column.chunks]
    column = pa.chunked_array(chunks, pa.string())
    # Of a thousand cells one usually says no: the rest need not be looked at.
    top = column.slice(0, TOP_ROWS)
    top = top.filter(pc.not_equal(top, ""))
    # What the first cells are not, all of them are not: most columns are text.
    if len(top) and _number_type(top) == pa.string():
        return pa.string()
    column = column.filter(pc.not_equal(column, ""))
    return _number_type(column) if len(column) else pa.string()


def _number_type(column: pa.ChunkedArray) -> pa.DataType:
    """The type of number that every cell is; text where there is none. No cell is empty."""
    with suppress(pa.ArrowInvalid):
        # Through text and back: "007" and "+1" come back as other words, so they were no numbers.
        if column.cast(pa.int64()).cast(pa.string()).equals(column):
            return pa.int64()
    with suppress(pa.ArrowInvalid):
        numbers = column.cast(pa.float64())
        # "nan" and "inf" are words.
        if pc.all(pc.is_finite(numbers)).as_py() and _prints_back(numbers, column):
            return pa.float64()
    return pa.string()


def _prints_back(numbers: pa.ChunkedArray, column: pa.ChunkedArray) -> bool:
    for number, text in zip(numbers.to_pylist(), column.to_pylist(), strict=True):
        # ".0" apart: 5 and 5.0 are written by programs for the same number.
        if repr(number).removesuffix(".0") != text.removesuffix(".0"):
            return False
    return True


def plain(table: pa.Table) -> tuple[pa.Table, list[str]]:
    """The table with types that every reader knows, and sentences on what had to become text.

    Views and run-ends, as Polars writes them, become what they stand for. A struct without fields,
    which no Parquet file can hold, becomes its JSON.
    """
    notes = []
    for place, field in enumerate(table.schema):
        column = table.column(place)
        type_ = _plain_type(field.type)
        if _has_empty_struct(field.type):
            column = as_json(column)
            notes.append(f"column {field.name!r} has objects without a field: it is JSON text")
        elif type_ != field.type:
            column = _cast(column, type_)
        else:
            continue
        table = table.set_column(place, field.name, column)
    return table, notes


def _cast(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(type_)
    except pa.ArrowNotImplementedError:
        # Such as a dictionary of views, which is what Polars makes of a Categorical.
        return pa.chunked_array([pa.array(column.to_pylist(), type_)])


def as_json(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each value as JSON text; null stays null."""
    texts = []
    for value in column.to_pylist():
        text = json.dumps(value, ensure_ascii=False, default=str)
        texts.append(None if value is None else text)
    return pa.chunked_array([pa.array(texts, pa.string())])


def is_text_type(type_: pa.DataType) -> bool:
    """Does a column of this type hold text, of whatever length?"""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _fields(type_: pa.DataType) -> list[pa.Field]:
    """The parts of a list or a struct."""
    if not pa.types.is_nested(type_):
        return []
    return [type_.field(place) for place in range(type_.num_fields)]


def _has_empty_struct(type_: pa.DataType) -> bool:
    """Is this a struct without a field, or has it one somewhere inside?"""
    if pa.types.is_struct(type_) and not type_.num_fields:
        return True
    return any(_has_empty_struct(field.type) for field in _fields(type_))


def _plain_type(type_: pa.DataType) -> pa.DataType:
    if type_ == pa.string_view():
        return pa.string()
    if type_ == pa.binary_view():
        return pa.binary()
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return _plain_type(type_.value_type)
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(_plain_type(type_.value_type), type_.list_size)
    if pa.types.is_list(type_) or pa.types.is_list_view(type_):
        return pa.list_(_plain_type(type_.value_type))
    if pa.types.is_large_list(type_) or pa.types.is_large_list_view(type_):
        return pa.large_list(_plain_type(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _plain_type(field.type)) for field in _fields(type_)])
    return type_
