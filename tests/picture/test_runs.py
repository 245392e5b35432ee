import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgprep.picture import runs

cells = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))


@settings(max_examples=80, deadline=None)
@given(cells)
def test_run_lengths_are_those_of_pycocotools_and_give_the_mask_back(cell):
    height, width, seed = cell
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    made = runs.encode_mask(mask)
    coco = pytest.importorskip("pycocotools.mask")
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert (
        made["size"] == theirs["size"] and runs.to_text(made["counts"]) == theirs["counts"].decode()
    )
    assert np.array_equal(runs.decode_mask(made), mask) and np.array_equal(runs.decode_mask(theirs), mask)
    assert runs.mask_area(made) == coco.area(theirs) == mask.sum()
    assert runs.mask_bounds(made) == coco.toBbox(theirs).tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**31), max_size=8))
def test_the_text_form_gives_the_counts_back(counts):
    assert runs.from_text(runs.to_text(counts)) == counts


@pytest.mark.parametrize(
    "mask",
    [
        {"size": [2, 2], "counts": [1]},
        {"size": [2, 2], "counts": [9, -5]},
        {"size": [1, 1], "counts": "\x7f"},
    ],
)
def test_runs_that_are_no_mask_are_one_sentence(mask):
    with pytest.raises(ValueError, match="run lengths"):
        runs.decode_mask(mask)
