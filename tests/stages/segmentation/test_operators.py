"""The built-in operators against scikit-image and OpenCV, and what their words mean."""

import cv2
import numpy as np
import pytest
from skimage import data, filters

from imgprep.stages.segmentation import Chain, Filter, Threshold, operator_of
from imgprep.tiles import grid

SLIDE = data.immunohistochemistry()
CELLS = grid.cut((0, 0, 512, 512), (100, 100))


def chosen(operator, image, cells=CELLS, valid=None):
    """What a two-pass operator decides, from cells in any order."""
    found = [operator.stats(image, grid.inside(c, (0, 0, 512, 512)), valid) for c in cells]
    stats = None
    for more in reversed([f for f in found if f is not None]):
        stats = more if stats is None else operator.merge(stats, more)
    return operator.choose(stats)


def test_merged_histograms_give_the_threshold_of_the_whole():
    grey = cv2.cvtColor(SLIDE, cv2.COLOR_RGB2GRAY)
    whole, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    assert chosen(Threshold("otsu"), SLIDE) == whole == filters.threshold_otsu(grey)
    each = {filters.threshold_otsu(grey[grid.inside(c, (0, 0, 512, 512))]) for c in CELLS}
    assert len(each) > 5  # which is what a threshold per tile would have been
    assert chosen(Threshold("multiotsu"), SLIDE) == filters.threshold_multiotsu(grey, 3)[0]
    assert chosen(Threshold("multiotsu", "bright"), SLIDE) == filters.threshold_multiotsu(grey, 3)[-1]


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int8"])
def test_whole_numbers_of_any_width_count_exactly(dtype):
    grey = cv2.cvtColor(SLIDE, cv2.COLOR_RGB2GRAY).astype(int) * (1 if dtype == "int8" else 200) // 2
    grey = (grey - (0 if dtype[0] == "u" else 60)).astype(dtype)
    assert chosen(Threshold("otsu"), grey[..., None]) == filters.threshold_otsu(grey)


def test_floats_count_to_one_part_in_256():
    grey = cv2.cvtColor(SLIDE, cv2.COLOR_RGB2GRAY) / np.float32(255) - 0.5
    grey[0, 0] = np.nan
    want = filters.threshold_otsu(np.nan_to_num(grey, nan=0))
    for image in (grey[..., None], grey.astype(np.float64)[..., None]):
        assert chosen(Threshold("otsu"), image) == pytest.approx(want, abs=0.01)


def glass(dtype, scale):
    """Cells on tissue, and three times as much bare glass."""
    rng = np.random.default_rng(0)
    grey = rng.normal(245, 0.5, (512, 512))
    grey[:256, :256] = rng.normal(150, 5, (256, 256))
    for x, y in rng.integers(20, 230, (40, 2)):
        cv2.circle(grey, (int(x), int(y)), 6, 70.0, -1)
    return (grey * scale).astype(dtype)[..., None]


@pytest.mark.parametrize("dtype, scale", [("uint8", 1), ("uint16", 60), ("float32", 0.01)])
def test_tissue_decides_and_not_the_glass(dtype, scale):
    image = glass(dtype, scale)
    cells = grid.cut((0, 0, 512, 512), (64, 64))
    assert 70 <= chosen(Threshold("otsu-tissue"), image, cells) / scale < 130
    assert 150 < chosen(Threshold("otsu"), image, cells) / scale < 244


def test_invalid_pixels_do_not_count():
    image = SLIDE.copy()
    image[:300] = 0
    valid = np.ones((512, 512), bool)
    valid[:300] = False
    want = filters.threshold_otsu(cv2.cvtColor(SLIDE[300:], cv2.COLOR_RGB2GRAY))
    assert chosen(Threshold("otsu"), image, valid=valid) == want != chosen(Threshold("otsu"), image)


def test_nothing_stands_out_of_one_grey():
    blank = np.full((512, 512, 3), 244, np.uint8)
    assert chosen(Threshold("otsu"), blank) is None and not Threshold("otsu")(blank, None).any()


def test_dark_and_bright_share_the_pixels():
    dark, bright = (operator_of(f"128 {side}")(SLIDE) for side in ("dark", "bright"))
    assert np.array_equal(dark, 1 - bright)
    assert np.array_equal(bright > 0, cv2.cvtColor(SLIDE, cv2.COLOR_RGB2GRAY) > 128)


def test_words_mean_operators():
    assert operator_of("otsu") == Threshold("otsu", "dark") and operator_of(70) == Threshold(70.0)
    assert operator_of(["median 5", "otsu bright"]) == Chain((Filter("median", 5), Threshold("otsu", "bright")))
    assert operator_of(len) is len
    for wrong in ("ostu", "median", "median x", "opening 5 5", True, None, {}):
        with pytest.raises(ValueError, match="no operator .*; there are: NUMBER, otsu-tissue"):
            operator_of(wrong)
    with pytest.raises(ValueError, match="an odd number of pixels, not 4"):
        operator_of("median 4")
    with pytest.raises(ValueError, match="only one step can decide"):
        operator_of(["otsu", "otsu-tissue"])
    with pytest.raises(ValueError, match="<lambda> does not state its radius"):
        operator_of([lambda tile: tile, "otsu"])


def test_a_chain_reaches_as_far_as_all_its_steps():
    chain = operator_of(["median 5", "gaussian 2", "otsu", "opening 5"])
    assert chain.radius == 2 + 6 + 4 and chain.stats_radius == 8 and chain.two_pass
    assert operator_of(["128", "watershed 9"]).radius is None


@pytest.mark.parametrize("words", ["median 9", "gaussian 3", "opening 7", "closing 7"])
def test_a_radius_is_as_far_as_a_pixel_reaches(words):
    operator = operator_of(words)
    image = np.random.default_rng(1).integers(0, 2, (200, 200), np.uint8) * 255
    before = operator(image)
    reach = np.zeros(200, bool)
    for x in range(100):  # all that lies left of x changes: how far is that seen?
        other = image.copy()
        other[:, :x] = 255 - other[:, :x]
        changed = np.flatnonzero((operator(other) != before).any(0))
        reach[max(0, changed.max(initial=0) - x + 1)] = True
    assert np.flatnonzero(reach).max() <= operator.radius
