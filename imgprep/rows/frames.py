"""Tables that are in memory already: pandas, Polars, Arrow, `datasets.Dataset`."""

import os
import sys
from typing import Any

import pyarrow as pa

from imgprep import words
from imgprep.rows import column_types, huggingface
from imgprep.rows.opened import Opened, features_of, filled


def is_frame(value: Any) -> bool:
    """Is this a table in memory that `open_frame` opens?"""
    return (
        is_pandas(value)
        or hasattr(value, "__arrow_c_stream__")
        or is_lazy(value)
        or is_hf(value)
    )


def is_pandas(value: Any) -> bool:
    """Is this a pandas frame? Where nobody has imported pandas there is none."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_hf(value: Any) -> bool:
    """Is this a `datasets.Dataset`? Asked by its name: `datasets` takes seconds to import."""
    return type(value).__name__ == "Dataset" and type(value).__module__.startswith("datasets.")


def is_lazy(value: Any) -> bool:
    """Is this a Polars LazyFrame?"""
    return type(value).__name__ == "LazyFrame" and type(value).__module__.startswith("polars")


def open_frame(value: Any, split: str, url_column: str | None) -> Opened:
    """The rows of a table in memory; paths in it count from the working directory.

    ValueError for a column that Arrow has no type for.
    """
    where = f"the {type(value).__name__} of {split!r}"
    if is_hf(value):
        return huggingface.open_in_memory(value, where, split, url_column)
    table, notes = column_types.plain(_as_arrow(value, where))
    for note in notes:
        words.say(f"{where}: {note}")
    features = features_of(table)
    return Opened(where, filled(where, table), root=os.getcwd(), features=features)


def _as_arrow(value: Any, where: str) -> pa.Table:
    if is_lazy(value):
        value = value.collect()
    if not is_pandas(value):
        return pa.table(value)
    # An index with a name is a column; one without is the number of the row.
    if all(name is not None for name in value.index.names):
        value = value.reset_index()
    try:
        # columns=str: pandas allows numbers as names, Parquet does not.
        table = pa.Table.from_pandas(value.rename(columns=str), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as e:
        raise ValueError(f"{where} has a column of mixed types: {words.line(e)}") from e
    return table.replace_schema_metadata(None)
