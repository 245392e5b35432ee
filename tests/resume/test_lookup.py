"""Keys are found where they stand, however many there are and however few are asked for."""

import numpy as np
import pyarrow as pa
import pytest

from imgprep.dataset import KEY
from imgprep.resume.lookup import Lookup


def keys(*numbers: int | None) -> pa.Array:
    return pa.array([None if n is None else n.to_bytes(16, "little") for n in numbers], KEY)


@pytest.mark.parametrize("count", [1, 40, 4000])
def test_every_key_has_its_place(count):
    rng = np.random.default_rng(count)
    known = [int(n) << 64 | int(m) for n, m in rng.integers(0, 2**63, (count, 2), np.uint64)]
    lookup = Lookup(pa.chunked_array([keys(*known[: count // 2]), keys(*known[count // 2 :])], KEY))
    for asked in (known[:3], known):
        assert lookup.find(keys(*asked)).tolist() == list(range(len(asked)))


def test_what_is_not_there_and_null_is_not_found():
    lookup = Lookup(keys(*range(100)))
    assert lookup.find(keys(7, None, 1000, 2**127)).tolist() == [7, -1, -1, -1]
    assert Lookup(keys()).find(keys(1, None)).tolist() == [-1, -1]


def test_of_equal_keys_the_first_counts_and_a_common_half_does_not():
    twins = [5 << 64 | 1, 9 << 64 | 1, 2 << 64 | 1, 9 << 64 | 1]
    lookup = Lookup(keys(*twins, *range(100, 200)))
    assert lookup.find(keys(9 << 64 | 1, 2 << 64 | 1, 3 << 64 | 1)).tolist() == [1, 2, -1]


def test_a_slice_is_looked_up_by_its_own_keys():
    known = keys(*range(100))
    assert Lookup(known.slice(10)).find(known.slice(20, 2)).tolist() == [10, 11]
