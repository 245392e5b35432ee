"""Which rows have to be computed: those without a result, and failures that are tried again."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset import KEY
from imgprep.resume.known import Known


@dataclass
class Missing:
    """Numbers of the rows to compute, of each split.

    again: the reasons of those that failed and are tried again; stay: of the failures that are
    taken as they are.
    """

    rows: dict[str, np.ndarray] = field(default_factory=dict)
    again: Counter[str] = field(default_factory=Counter)
    stay: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return sum(map(len, self.rows.values()))


def missing_rows(
    keys: dict[str, pa.Array],
    rows: dict[str, pa.Table],
    known: Known,
    circumstances: dict[str, Any],
    *,
    refresh: bool,
) -> Missing:
    """What is missing of these rows. Equal keys are computed once, where they stand first."""
    missing = Missing()
    seen = pa.array([], KEY)
    for split, column in keys.items():
        found = known.found(column, refresh=refresh)
        reasons = known.reasons(column)
        # Of a row that failed in an earlier stage only that one's reason is known.
        own = (reasons != "") & ~_failed_before(rows[split])
        again = own & known.again(column, circumstances)
        missing.again.update(reasons[again].tolist())
        missing.stay.update(reasons[own & ~again & found].tolist())
        has_none = pc.or_(column.is_null(), pc.is_in(column, seen))
        is_there = (found & ~again) | has_none.to_numpy(zero_copy_only=False)
        numbers = np.flatnonzero(~is_there)
        wanted = column.take(pa.array(numbers))
        # dictionary_encode keeps the order of first appearance;
        # numpy would make objects of the keys first.
        codes = wanted.dictionary_encode().indices.to_numpy()
        _, first = np.unique(codes, return_index=True)
        missing.rows[split] = numbers[np.sort(first)]
        seen = pa.concat_arrays([seen, wanted])
    return missing


def _failed_before(rows: pa.Table) -> np.ndarray:
    if "status" not in rows.column_names:
        return np.zeros(rows.num_rows, bool)
    fine = pc.is_in(rows["status"], pa.array(["ok", "", None]))
    return ~np.asarray(fine.to_numpy(zero_copy_only=False), bool)
