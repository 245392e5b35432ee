"""The index: for each input row, where its output rows stand, and what their computation gave."""

import numpy as np
import pyarrow as pa

KEY = pa.binary(16)
# In input order, one line per run of rows in one file with one outcome. `lines` is the number of an input row's lines
# on its first, 0 on the others.
INDEX = pa.schema(
    [
        ("key", KEY),
        ("file", pa.string()),
        ("start", pa.int64()),
        ("count", pa.int32()),
        ("done", pa.bool_()),
        ("nbytes", pa.int64()),
        ("etag", pa.string()),
        ("lines", pa.int32()),
    ]
)


def expand(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start+1, ... start+count-1 of every pair, one after another.

    >>> expand(np.array([5, 0]), np.array([2, 1])).tolist()
    [5, 6, 0]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total)
