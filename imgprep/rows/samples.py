"""A few rows of a table: the first, or some of every class, the same every time."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa


def check_count(name: str, value: Any) -> None:
    """ValueError where an option is no number of rows."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is a number of rows, at least 1, not {value!r}")


def chosen_rows(
    table: pa.Table, limit: int | None, sample: int | None, stratify: str | None
) -> pa.Table:
    """The first `limit` rows, then `sample` of them spread over the classes of `stratify`, in their
    order.
    """
    table = table.slice(0, limit)
    if sample is None or sample >= table.num_rows:
        return table
    import pandas as pd  # slow to import, and no worker draws samples

    # By a hash of its id, so that a row stays in the sample when others come and go.
    ids = table["image_id"].to_pylist()
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=8).digest() for one in ids)
    drawn = pd.Series(np.frombuffer(digests, np.uint64))
    classes = table[stratify].to_pandas().astype(str) if stratify else np.zeros(table.num_rows)
    by_class = drawn.groupby(classes, dropna=False)
    place = by_class.rank("first")
    size = by_class.transform("size")
    # The first of each class, of large classes first; then the same share of all.
    share = np.where(place == 1, 0, place / size)
    order = np.lexsort((-size, share))
    # Sorted: which rows are taken is drawn, their order is the input's.
    return table.take(np.sort(order[:sample]))
