"""Finds keys among many, again and again:
a batch of a large dataset must not cost a look at all of it.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FEW = 8  # times fewer keys than there are: then the sorted ones are asked


class Lookup:
    """Where keys stand among others.

    Keys: of KEY, none of them null; of equal ones the first counts.
    """

    def __init__(self, keys: pa.ChunkedArray):
        whole = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
        self._keys = whole
        self._order: np.ndarray | None = None
        self._firsts = np.zeros(0, np.uint64)  # halves of the keys, sorted
        self._seconds = np.zeros(0, np.uint64)

    def find(self, keys: pa.Array) -> np.ndarray:
        """For each key its place, or -1. Null keys are not found."""
        # Arrow builds a hash table of all keys in each call: right for many keys, wasted on a few.
        if len(keys) * FEW < len(self._keys):
            return self._find_few(keys)
        hit = pc.index_in(keys, self._keys, skip_nulls=True).fill_null(-1)
        return np.asarray(hit.to_numpy(zero_copy_only=False), np.int64)

    def _find_few(self, keys: pa.Array) -> np.ndarray:
        if self._order is None:
            firsts, seconds = _halves(self._keys)
            self._order = np.argsort(firsts, kind="stable")
            self._firsts, self._seconds = firsts[self._order], seconds[self._order]
        firsts, seconds = _halves(keys)
        found = np.full(len(keys), -1, np.int64)
        left = np.flatnonzero(keys.is_valid().to_numpy(zero_copy_only=False))
        at = np.searchsorted(self._firsts, firsts[left])
        while len(left):  # more than once only where two keys have one half in common
            is_there = at < len(self._firsts)
            left, at = left[is_there], at[is_there]
            is_alike = self._firsts[at] == firsts[left]
            left, at = left[is_alike], at[is_alike]
            is_same = self._seconds[at] == seconds[left]
            found[left[is_same]] = self._order[at[is_same]]
            left, at = left[~is_same], at[~is_same] + 1
        return found


def _halves(keys: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last eight bytes of each key, as numbers."""
    data = keys.buffers()[1]
    if data is None or not len(keys):
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    raw = np.frombuffer(data, np.uint64)[2 * keys.offset : 2 * (keys.offset + len(keys))]
    return raw[0::2], raw[1::2]
