"""The id of every row: what the id column says, else a hash of what its picture is called."""

import hashlib
import json

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.rows.opened import Opened


def image_ids(one: Opened, id_column: str | None) -> pa.Array | pa.ChunkedArray:
    """An id for each row, no two alike.

    Of a source that appears again the rows are numbered "-2", "-3" by the order of their cells, not
    of their places: a table that was shuffled has the same ids.
    """
    if id_column in one.table.column_names:
        return _from_column(one, str(id_column))
    if one.ids is not None:
        return one.ids
    names = one.name.to_pandas()
    ids = names.map(lambda name: hashlib.sha256(name.encode()).hexdigest()[:16])
    again = _rank_among_equals(one, names)
    ids[again > 0] += "-" + (again[again > 0] + 1).astype(str)
    return pa.array(ids, pa.string())


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


def _rank_among_equals(one: Opened, names: pd.Series) -> pd.Series:
    """0 for a name that appears once; else the row's place among those of its name, ordered by
    their cells.
    """
    rank = pd.Series(0, names.index)
    repeated = names[names.duplicated(keep=False)]
    if repeated.empty:
        return rank
    columns = sorted(one.table.column_names)
    rows = one.table.select(columns).take(pa.array(repeated.index)).to_pylist()
    cells = [json.dumps(row, default=str, sort_keys=True) for row in rows]
    frame = pd.DataFrame({"name": repeated, "cells": cells}, index=repeated.index)
    # A stable sort: rows that are equal in everything are told apart by their place only.
    frame = frame.sort_values(["name", "cells"], kind="stable")
    rank[frame.index] = frame.groupby("name").cumcount()
    return rank
