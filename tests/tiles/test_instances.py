import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgprep.tiles import instances
from imgprep.tiles import windows as blending
from imgprep.tiles.instances import cropped


def discs(n=60, size=400, seed=0):
    """Discs that do not touch: (size, size) int32, numbered in no order."""
    rng, labels = np.random.default_rng(seed), np.zeros((size, size), np.int32)
    ys, xs = np.mgrid[:size, :size]
    for i in range(1, 1000):
        r, (x, y) = rng.integers(4, 14), rng.integers(0, size, 2)
        disc = (xs - x) ** 2 + (ys - y) ** 2 <= r**2
        around = (xs - x) ** 2 + (ys - y) ** 2 <= (r + 2) ** 2
        if not labels[around].any():
            labels[disc] = i
        if len(np.unique(labels)) > n:
            return labels
    raise AssertionError("no room")


def seen(labels, window):
    """What a perfect model finds in a window, in the picture's pixels."""
    x, y, w, h = window
    part = labels[y : y + h, x : x + w]
    return [cropped(part == i, "disc", 0.9, x, y) for i in np.unique(part) if i]


def raster_order(labels):
    ids = [i for i in dict.fromkeys(labels.ravel().tolist()) if i]
    table = np.zeros(labels.max() + 1, np.int32)
    table[ids] = np.arange(1, len(ids) + 1)
    return table[labels]


@pytest.mark.parametrize(("side", "overlap"), [(96, 32), (150, 40), (64, 24), (400, 0), (1000, 100)])
def test_objects_cut_by_windows_are_whole_and_counted_once(side, overlap):
    labels = discs()
    windows = blending.windows((400, 400), (side, side), overlap)
    found = instances.merge_windows([(w, seen(labels, w)) for w in windows])
    assert np.array_equal(instances.paint_labels(found, (0, 0, 400, 400)), raster_order(labels))
    without = [o for w in windows for o in seen(labels, w)]
    assert len(found) == len(np.unique(labels)) - 1 and (len(without) > len(found)) == (len(windows) > 1)


def test_the_order_of_windows_is_nothing_to_the_result():
    labels, windows = discs(seed=1), blending.windows((400, 400), (96, 96), 32)
    one = instances.merge_windows([(w, seen(labels, w)) for w in windows])
    other = instances.merge_windows([(w, seen(labels, w)[::-1]) for w in windows[::-1]])
    box = (37, 11, 200, 300)
    assert np.array_equal(instances.paint_labels(one, box), instances.paint_labels(other, box))
    whole = instances.paint_labels(one, (0, 0, 400, 400))
    assert np.array_equal(instances.paint_labels(one, box), whole[11:311, 37:237])


def test_windows_that_disagree_or_name_it_otherwise_keep_two():
    left, right = (0, 0, 60, 40), (40, 0, 60, 40)
    mask = np.zeros((40, 100), bool)
    mask[10:20, 30:70] = True

    def pair(rows, label="a"):
        low = np.zeros_like(mask)
        low[rows, 30:70] = True
        return [(left, [cropped(mask[:, :60], "a", 0.9)]), (right, [cropped(low[:, 40:], label, 0.8, 40)])]

    (whole,) = instances.merge_windows(pair(slice(10, 20)))
    assert whole.box == (30, 10, 40, 10) and whole.mask.all() and whole.score == 0.9
    assert len(instances.merge_windows(pair(slice(13, 23)))) == 1  # 7 rows of 13: 0.54
    assert len(instances.merge_windows(pair(slice(14, 24)))) == 2  # 6 rows of 14: 0.43
    assert len(instances.merge_windows(pair(slice(10, 20), "b"))) == 2
    (at_half,) = instances.merge_windows(
        [
            (left, [cropped(mask[:, :60], "a", 0.9)]),
            (right, [cropped(np.pad(mask[10:15, 40:], ((10, 25), (0, 0))), "a", 0.8, 40)]),
        ]
    )
    assert at_half.box == (30, 10, 40, 10)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_run_lengths_are_those_of_coco(data):
    h, w, x, y = (data.draw(st.integers(1, 9)) for _ in range(4))
    size_wh = (x + w + data.draw(st.integers(0, 3)), y + h + data.draw(st.integers(0, 3)))
    whole = np.zeros(size_wh[::-1], bool)
    whole[y : y + h, x : x + w] = np.random.default_rng(data.draw(st.integers(0, 99))).random((h, w)) < 0.6
    one = cropped(whole, "a", 1)
    if one is None:
        return
    counts = instances.counts(one, size_wh)
    decoded = np.repeat(np.arange(len(counts)) % 2, counts).reshape(size_wh).T
    assert np.array_equal(decoded, whole) and all(n > 0 for n in counts[1:-1])
