"""The built-in operators against scikit-image and OpenCV, and what their words mean."""

import pickle

import cv2
import numpy as np
import pytest
from skimage import data, filters

from imgprep.resume import fingerprint
from imgprep.stages.segmentation import Chain, Filter, Threshold, operator_of
from imgprep.stages.segmentation.chain import check_steps, is_of_package
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


@pytest.mark.parametrize("low, high", [(0.1, 0.9), (-0.9, -0.1), (-0.2, 0.3), (0, 1), (1e-30, 1e30)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_values_are_parted_wherever_in_their_bins_they_lie(low, high, dtype):
    image = np.full((512, 512, 1), low, dtype)
    image[100:200] = high
    for method in ("otsu", "multiotsu"):
        cut = chosen(Threshold(method), image)
        assert np.array_equal(Threshold(method)(image, cut), image[..., 0] == image.min())


def test_long_integers_are_parted():
    image = np.full((512, 512, 1), 400_000_001, np.uint32)
    image[100:200] = 2_000_000_003
    assert np.array_equal(Threshold("otsu")(image, chosen(Threshold("otsu"), image)), image[..., 0] < 1e9)


def test_what_counts_below_the_cut_is_below_it():
    """A bin of the histogram is either dark or bright: so many pixels as it says."""
    rng = np.random.default_rng(3)
    for image in (rng.normal(0, 1, (512, 512, 1)), np.exp(rng.normal(0, 9, (512, 512, 1)))):
        image = image.astype(np.float64)
        for method in ("otsu", "multiotsu"):
            operator = Threshold(method)
            stats = operator.stats(image, (slice(None), slice(None)), None)
            cut = operator.choose(stats)
            counts, levels = operator.histogram(stats)
            assert counts[levels <= cut].sum() == operator(image, cut).sum()


def test_classes_of_sixteen_bits_are_cut_at_the_end_of_a_bin():
    rng = np.random.default_rng(4)
    grey = np.concatenate([rng.normal(m, 300, 90_000) for m in (5_000, 20_000, 60_000)])[:262_144]
    image = grey.clip(0, 65_535).astype(np.uint16).reshape(512, 512, 1)
    cut = chosen(Threshold("multiotsu"), image)
    assert cut == int(cut) and 5_900 < cut < 18_500
    assert 20_900 < chosen(Threshold("multiotsu", "bright"), image) < 58_500


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int32", "uint32", "float16", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 2, 3, 5])
def test_a_median_is_the_median_whatever_the_type(dtype, bands):
    image = (np.random.default_rng(7).random((40, 50, bands)) * 100).astype(dtype)
    for size in (3, 7):
        found = operator_of(f"median {size}")(image).reshape(image.shape)
        padded = np.pad(image, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)), "edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (0, 1))
        assert np.array_equal(found, np.median(windows, (3, 4)))


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "uint64"])
@pytest.mark.parametrize("words", ["gaussian 2", "opening 3", "closing 3"])
def test_filters_take_types_that_opencv_does_not(dtype, words):
    image = np.random.default_rng(8).integers(0, 2 if dtype == "bool" else 100, (60, 60)).astype(dtype)
    want = operator_of(words)(image.astype(np.float64))
    assert np.abs(operator_of(words)(image) - want).max() <= (0.51 if words == "gaussian 2" else 0)


def test_steps_on_what_they_are_not_made_for_are_refused():
    for steps, told in [
        ("opening 5", "opening 5 is for masks, and this is a picture: put a threshold before it"),
        (["median 3", "watershed 9"], "watershed 9 is for masks, and median 3 gives a picture"),
        (["opening 5", "otsu"], "opening 5 is for masks"),
        (["otsu", "watershed 9", "opening 3"], "watershed 9 gives objects: no step can follow it, opening 3 does"),
        ("median 5", r"gives a picture and no mask: put a threshold behind it, as in \['median 5', 'otsu'\]"),
    ]:
        with pytest.raises(ValueError, match=told):
            check_steps(operator_of(steps))
    anything = len
    for good in (anything, "otsu", ["median 3", "otsu", "opening 3", "median 3", "watershed 9"]):
        check_steps(operator_of(good))


class Bright:
    """Marks what is above a level that it looks up when it is built."""

    radius = 0

    def __init__(self):
        self.level = 200

    def __call__(self, tile):
        return tile[..., 0] > self.level


def test_a_class_is_built_once_where_it_is_used():
    operator = operator_of(Bright)
    assert operator.radius == 0 and operator.__name__ == "Bright" and not hasattr(operator, "choose")
    assert np.array_equal(operator(SLIDE), SLIDE[..., 0] > 200)
    assert not is_of_package(operator)  # it may write into its tile
    assert len(pickle.dumps(operator)) < 300  # the class, not what it has loaded
    assert fingerprint.function(operator) == fingerprint.function(operator_of(Bright))

    class Taking:
        def __init__(self, level):
            pass

    with pytest.raises(ValueError, match=r"Taking cannot be built .*'level'.*: give Taking\(…\) instead of Taking"):
        operator_of(Taking)
    with pytest.raises(ValueError, match="object objects cannot be called"):
        operator_of(object)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("cut", [-1e9, -129.5, -0.5, 0, 127.4, 127, 255.5, 65535.2, np.inf])
def test_a_number_cuts_whole_grey_levels_as_it_cuts_their_floats(dtype, cut):
    ends = np.iinfo(dtype)
    levels = np.linspace(ends.min, ends.max, 4096).astype(dtype).reshape(64, 64)
    assert np.array_equal(Threshold(cut)(levels), levels.astype(float) <= cut)
    assert np.array_equal(Threshold(cut, "bright")(levels), levels.astype(float) > cut)
