import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgprep.tiles import windows

SIZES, SIDES = st.integers(1, 150), st.integers(1, 60)


def sahi(size, tile, overlap):
    """The rule of sahi.slicing.get_slice_bboxes on one axis, as a loop."""
    low = high = 0
    found = []
    while high < size:
        high = low + tile
        found.append(max(0, min(size, high) - tile))
        low = high - overlap
    return found


def monai(size, tile, overlap):
    """The rule of monai.data.utils.dense_patch_slices on one axis (which pads pictures smaller than a tile)."""
    size, interval = max(size, tile), tile - overlap
    count = next(d for d in range(size) if d * interval + tile >= size) + 1
    return [d * interval - max(d * interval + tile - size, 0) for d in range(count)]


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 400), tile=SIDES, share=st.floats(0, 0.99))
def test_the_grid_is_that_of_sahi_and_monai(size, tile, share):
    overlap = int(tile * share)
    assert windows.starts(size, tile, overlap) == sahi(size, tile, overlap) == monai(size, tile, overlap)


def probability(box, seed=0, channels=2):
    """What a model says of a tile: another answer for the same pixel in each tile."""
    x, y, w, h = box
    return np.random.default_rng([seed, x, y]).random((h, w, channels), np.float32)


def whole(size_wh, tile_wh, overlap, blend):
    """MONAI's sliding_window_inference, re-stated: two accumulators as large as the picture, tiles in raster order."""
    (width, height), (w, h) = size_wh, map(min, size_wh, tile_wh)
    total, share = np.zeros((height, width, 2), np.float32), np.zeros((height, width, 1), np.float32)
    weight = np.outer(windows.weights(h, blend), windows.weights(w, blend))
    if blend == "gaussian":
        weight = weight.clip(min=max(weight.min(), np.float32(1e-3)))
    for y in windows.starts(height, h, min(overlap, h - 1)):
        for x in windows.starts(width, w, min(overlap, w - 1)):
            total[y : y + h, x : x + w] += weight[..., None] * probability((x, y, w, h))
            share[y : y + h, x : x + w] += weight[..., None]
    return total / share


def stitched(size_wh, tile_wh, overlap, blend, batch=3, box=None):
    strips = list(
        windows.stitch_windows(
            size_wh,
            tile_wh,
            lambda bs: [probability(b) for b in bs],
            overlap=overlap,
            blend=blend,
            batch=batch,
            box=box,
        )
    )
    tops = [y for y, _ in strips]
    assert tops == [tops[0] + sum(len(s) for _, s in strips[:i]) for i in range(len(strips))]
    return np.concatenate([s for _, s in strips])


@pytest.mark.parametrize("blend", ["gaussian", "hann"])
@settings(max_examples=30, deadline=None)
@given(size_wh=st.tuples(SIZES, SIZES), tile_wh=st.tuples(SIDES, SIDES), share=st.floats(0, 0.9))
def test_rows_of_tiles_give_bit_for_bit_what_whole_accumulators_give(blend, size_wh, tile_wh, share):
    overlap = int(min(tile_wh) * share)
    assert np.array_equal(stitched(size_wh, tile_wh, overlap, blend), whole(size_wh, tile_wh, overlap, blend))


@pytest.mark.parametrize("blend", windows.BLENDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), share=st.floats(0, 0.9), batch=st.integers(1, 9))
def test_a_part_of_the_picture_is_that_part_of_the_whole(blend, data, share, batch):
    size_wh, tile_wh = (130, 90), data.draw(st.tuples(SIDES, SIDES))
    x, y = data.draw(st.integers(0, 129)), data.draw(st.integers(0, 89))
    w, h = data.draw(st.integers(1, 130 - x)), data.draw(st.integers(1, 90 - y))
    overlap = int(min(tile_wh) * share)
    part = stitched(size_wh, tile_wh, overlap, blend, batch, (x, y, w, h))
    assert np.array_equal(part, stitched(size_wh, tile_wh, overlap, blend)[y : y + h, x : x + w])


def test_crop_takes_each_pixel_from_the_tile_whose_border_is_farthest():
    size, tile, overlap = 100, 32, 12
    found = stitched((size, size), (tile, tile), overlap, "crop")

    def owner(at):
        """Start of the tile that has this coordinate deepest inside; the picture's own edge is no border."""
        begins = [b for b in windows.starts(size, tile, overlap) if b <= at < b + tile]
        depth = {b: (at - b + 0.5 if b else size, b + tile - at - 0.5 if b + tile < size else size) for b in begins}
        return max(begins, key=lambda b: min(depth[b]))

    for px, py in [(0, 0), (25, 3), (26, 40), (99, 63), (67, 31), (50, 50), (77, 95)]:
        x, y = owner(px), owner(py)
        assert np.array_equal(found[py, px], probability((x, y, tile, tile))[py - y, px - x])


def test_blends_differ_and_the_last_tile_does_not_win():
    size_wh, tile_wh, overlap = (100, 70), (40, 40), 16
    found = {b: stitched(size_wh, tile_wh, overlap, b) for b in windows.BLENDS}
    last = np.zeros_like(found["crop"])
    for y in windows.starts(70, 40, overlap):
        for x in windows.starts(100, 40, overlap):
            last[y : y + 40, x : x + 40] = probability((x, y, 40, 40))
    for a, b in (("crop", "gaussian"), ("gaussian", "hann"), ("crop", "hann")):
        assert not np.allclose(found[a], found[b])
    assert all(not np.allclose(last, one) for one in found.values())


@pytest.mark.parametrize("blend", windows.BLENDS)
def test_tiles_that_agree_are_given_back(blend):
    picture = np.random.default_rng(1).random((90, 130), np.float32)
    strips = windows.stitch_windows(
        (130, 90),
        (32, 48),
        lambda bs: [picture[y : y + h, x : x + w] for x, y, w, h in bs],
        overlap=9,
        blend=blend,
        batch=4,
    )
    found = np.concatenate([s for _, s in strips])[..., 0]
    assert np.array_equal(found, picture) if blend == "crop" else np.allclose(found, picture, atol=1e-6)


def test_one_row_of_tiles_is_held():
    held = []
    empty = np.zeros((64, 64))
    strips = windows.stitch_windows((64, 100_000), (64, 64), lambda boxes: [empty] * len(boxes), overlap=16)
    for _, strip in strips:
        held.append(len(strip))
    assert max(held) <= 64 and sum(held) == 100_000


def test_wrong_options_are_told():
    cases = [({"overlap": 64}, "64 x 64 cannot overlap by 64 pixels")]
    for options, told in [*cases, ({"overlap": 8, "blend": "mean"}, "'hann', not 'mean'")]:
        with pytest.raises(ValueError, match=told):
            next(windows.stitch_windows((100, 100), (64, 64), lambda bs: [], **options))


def test_gaussian_is_what_monai_computed():
    """sliding_window_inference of MONAI 1.6.1: roi 32, overlap 0.25, mode "gaussian", a 75 x 60 picture."""
    at = np.arange(32)
    tile = ((at[:, None] * 7 + at * 13) % 32 / 32).astype(np.float32)
    strips = windows.stitch_windows((75, 60), (32, 32), lambda bs: [tile] * len(bs), overlap=8, blend="gaussian")
    found = np.concatenate([s for _, s in strips])[..., 0]
    theirs = {(27, 5): 0.1875, (30, 28): 0.3125, (44, 31): 0.6558043360710144, (50, 40): 0.32893675565719604}
    assert {p: found[p[1], p[0]] for p in theirs} == pytest.approx(theirs, abs=2e-7)
    assert abs(found[31, 44] - 0.5885416865348816) > 0.05  # what its mode "constant" gives
