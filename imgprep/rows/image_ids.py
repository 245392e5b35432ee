"""The id of every row: what the id column says, else a hash of what its picture is called."""

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.rows.opened import Opened

if TYPE_CHECKING:
    import pandas as pd

ID_DIGITS = 16
NAMES_AT_ONCE = 100_000  # are held as Python's own


def image_ids(one: Opened, id_column: str | None) -> pa.Array | pa.ChunkedArray:
    """An id for each row, no two alike.

    Of a source that appears again the rows are numbered "-2", "-3" by the order of their cells, not
    of their places: a table that was shuffled has the same ids.
    """
    if id_column in one.table.column_names:
        return _from_column(one, str(id_column))
    if one.ids is not None:
        return one.ids
    ids = _hashed(one.name)
    if len(one.name.unique()) == len(one.name):
        return ids
    again = _rank_among_equals(one, one.name.to_pandas())
    numbered = ids.to_pandas()
    numbered[again > 0] += "-" + (again[again > 0] + 1).astype(str)
    return pa.array(numbered, pa.string())


def _hashed(names: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The first 16 digits of each name's sha256."""
    # In pieces: a million names as Python's own are a gigabyte.
    pieces = []
    for start in range(0, len(names), NAMES_AT_ONCE):
        some = names.slice(start, NAMES_AT_ONCE).cast(pa.binary()).to_pylist()
        digests = b"".join(hashlib.sha256(name).digest()[: ID_DIGITS // 2] for name in some)
        # The digits as one buffer and their ends: to make
        # a million strings takes longer than to hash.
        ends = np.arange(0, ID_DIGITS * (len(some) + 1), ID_DIGITS, dtype=np.int32)
        digits = pa.py_buffer(digests.hex().encode())
        pieces.append(pa.StringArray.from_buffers(len(some), pa.py_buffer(ends), digits))
    return pa.chunked_array(pieces, pa.string()).combine_chunks()


def _from_column(one: Opened, id_column: str) -> pa.ChunkedArray:
    ids = pc.fill_null(one.table[id_column].cast(pa.string()), "")
    empty = pc.index(ids, "").as_py()
    if empty >= 0:
        raise ValueError(
            f"row {empty + 1} of {one.where} has no {id_column!r}, which id_column names"
        )
    series = ids.to_pandas()
    again = series[series.duplicated()].unique()
    if len(again):
        some = ", ".join(map(repr, again[:3]))
        raise ValueError(
            f"{len(again)} ids of {one.where} appear more than once in {id_column!r}: {some} …"
        )
    return ids


def _rank_among_equals(one: Opened, names: "pd.Series") -> "pd.Series":
    """0 for a name that appears once; else the row's place among those of its name, ordered by
    their cells.
    """
    import pandas as pd  # slow to import, and no worker makes ids

    rank = pd.Series(0, names.index)
    repeated = names[names.duplicated(keep=False)]
    if repeated.empty:
        return rank
    # Sorted: the order of columns is not a row's content.
    columns = sorted(one.table.column_names)
    rows = one.table.select(columns).take(pa.array(repeated.index)).to_pylist()
    cells = [json.dumps(row, default=str, sort_keys=True) for row in rows]
    frame = pd.DataFrame({"name": repeated, "cells": cells}, index=repeated.index)
    # A stable sort: rows that are equal in everything are told apart by their place only.
    frame = frame.sort_values(["name", "cells"], kind="stable")
    rank[frame.index] = frame.groupby("name").cumcount()
    return rank
