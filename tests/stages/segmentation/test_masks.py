"""What an operator may return, and what is not taken for a mask in silence; NaN is nodata."""

import numpy as np
import pytest
from test_rasters import save

import imgprep
from imgprep.io import rasters
from imgprep.stages import segmentation
from imgprep.stages.segmentation.masks import as_mask


@pytest.fixture(autouse=True, scope="module")
def inline():
    imgprep.session("local", workers=0)
    yield
    imgprep.close()


def test_a_float_mask_of_0_to_255_is_refused():
    mask = np.zeros((4, 4), np.float32)
    mask[1] = 255
    for wrong in (mask, mask - 1, mask.astype(np.float64)):
        with pytest.raises(ValueError, match="probabilities are 0 to 1, and a mask of 0 and 255 is uint8"):
            as_mask(wrong, (4, 4))
    assert np.array_equal(as_mask(mask / 255 * 1.005, (4, 4)).mask, mask > 0)  # rounding
    assert np.array_equal(as_mask(mask.astype(np.uint8), (4, 4)).mask, mask > 0)


def test_a_probability_that_is_no_number_is_no_answer():
    odds = np.array([[0.2, 0.7, np.nan]], np.float32)
    answer = as_mask(odds, (1, 3))
    assert answer.mask.tolist() == [[0, 1, 0]] and answer.known.tolist() == [[True, True, False]]


def mask_of(found):
    with rasters.open(f"{found.folder}/{found.table('train')['mask'][0]}") as made:
        return made.read()[..., 0]


def scene(path, bands=1):
    """Noise, in which some pixels are NaN, without a word about nodata."""
    image = np.random.default_rng(0).random((300, 400, bands)).astype(np.float32)
    image[100:120, 50:90] = np.nan
    image[250, 128, -1] = np.nan  # at a tile's border
    return save(path, image if bands > 1 else image[..., 0]), image


@pytest.mark.parametrize("bands", [1, 3])
def test_a_pixel_without_a_number_is_nodata(tmp_path, bands):
    source, image = scene(tmp_path / "a.tif", bands)
    is_nan = np.isnan(image).any(2)
    found = segmentation.segment(source, str(tmp_path / "out"), "0.5 bright", tile_wh=[128, 128], objects=False)
    mask = mask_of(found)
    assert np.array_equal(mask == 255, is_nan)
    grey = image[..., 0] if bands == 1 else image @ np.float32([0.299, 0.587, 0.114])
    assert (mask != (grey > 0.5))[~is_nan].mean() < 1e-4
    row = found.table("train").to_pylist()[0]
    assert row["foreground"] == pytest.approx((mask == 1).sum() / (~is_nan).sum())


def test_so_far_as_a_filter_looks_a_nan_spoils_its_answer(tmp_path):
    source, image = scene(tmp_path / "a.tif")
    is_nan = np.isnan(image[..., 0])
    near = np.zeros_like(is_nan)
    for y, x in np.argwhere(is_nan):
        near[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = True
    steps = ["median 5", "otsu"]
    masks = [
        mask_of(segmentation.segment(source, str(tmp_path / str(side)), steps, tile_wh=[side, side], objects=False))
        for side in (128, 1024)
    ]
    assert np.array_equal(masks[0], masks[1]) and np.array_equal(masks[0] == 255, near)


def test_an_operator_that_knows_what_a_nan_is_may_say_so(tmp_path):
    source, image = scene(tmp_path / "a.tif")

    def odds(tile):
        return tile[..., 0]

    odds.radius = 0
    found = segmentation.segment(source, str(tmp_path / "out"), odds, objects=False)
    assert np.array_equal(mask_of(found) == 255, np.isnan(image[..., 0]))


def test_a_preview_takes_what_segment_takes(tmp_path):
    source, _ = scene(tmp_path / "a.tif")

    class Half:
        radius = 0

        def __call__(self, tile):
            return tile[..., 0] * 255

    with pytest.raises(ValueError, match="probabilities are 0 to 1"):
        segmentation.preview(source, Half)
    with pytest.raises(ValueError, match="opening 5 is for masks"):
        segmentation.preview(source, "opening 5")
    shown, overlay = segmentation.preview(source, "0.5 bright")
    assert (shown != overlay).any()
