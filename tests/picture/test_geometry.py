"""geometry: the aspect is kept, the size is exact, nothing is cropped."""

import numpy as np
import pytest

from imgprep.picture.geometry import fit, fit_pad, fitted_wh


def test_fit_pad_keeps_the_aspect_ratio():
    wide = np.full((50, 100, 3), 7, np.uint8)
    out = fit_pad(wide, (128, 128), fill=0)
    assert (out[:, :, 0] == 7).sum() == 128 * 64


def test_the_picture_is_in_the_centre_and_an_odd_pixel_goes_right_and_down():
    rows = np.flatnonzero((fit_pad(np.zeros((10, 20, 3), np.uint8), (20, 15)) == 0).any((1, 2)))
    assert (rows[0], rows[-1]) == (2, 11)  # 2 above, 3 below
    columns = np.flatnonzero((fit_pad(np.zeros((20, 10, 3), np.uint8), (15, 20)) == 0).any((0, 2)))
    assert (columns[0], columns[-1]) == (2, 11)


@pytest.mark.parametrize(
    ("fill", "corner"), [(255, [255] * 3), (0, [0] * 3), ([10, 20, 30], [10, 20, 30]), ((9, 9, 9), [9] * 3)]
)
def test_the_padding_has_the_colour_asked_for(fill, corner):
    assert fit_pad(np.full((50, 100, 3), 7, np.uint8), (128, 128), fill=fill)[0, 0].tolist() == corner


@pytest.mark.parametrize("wh", [(1, 1), (1, 5000), (5000, 1), (70000, 2), (3, 2), (127, 129), (128, 128), (2000, 1999)])
@pytest.mark.parametrize("size_wh", [(128, 128), [1, 1], (300, 17), (640, 480)])
def test_every_picture_gets_exactly_the_size(wh, size_wh):
    out = fit_pad(np.full((wh[1], wh[0], 3), 7, np.uint8), size_wh, fill=0)
    assert out.shape == (size_wh[1], size_wh[0], 3) and out.dtype == np.uint8
    assert out.max() == 7 and set(np.unique(out)) <= {0, 7}  # a flat picture stays flat at its edges


def test_fitted_wh_touches_the_box_and_never_leaves_it():
    rng = np.random.default_rng(0)
    for w, h, box_w, box_h in rng.integers(1, 3000, (2000, 4)).tolist():
        width, height = fitted_wh((w, h), (box_w, box_h))
        assert 1 <= width <= box_w and 1 <= height <= box_h
        assert width == box_w or height == box_h
        assert width == 1 or height == 1 or abs(width / height / (w / h) - 1) <= 0.51 / min(width, height) * 2


def test_shrinking_averages_instead_of_picking_pixels():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.array_equal(fit(stripes, (128, 128)), np.full((128, 128, 3), 100, np.uint8))


def test_enlarging_keeps_an_edge_sharp_and_in_its_place():
    edge = np.zeros((16, 16, 3), np.uint8)
    edge[:, 8:] = 200
    out = fit(edge, (128, 128))
    assert out[:, :60].max() == 0 and out[:, 68:].min() == 200 and 90 <= out[64, 63:65].mean() <= 110


def test_a_picture_that_fits_already_is_not_touched():
    image = np.random.default_rng(0).integers(0, 256, (128, 100, 3), dtype=np.uint8)
    assert np.array_equal(fit(image, (128, 128)), image)
    assert np.array_equal(fit_pad(image, (128, 128))[:, 14:114], image)


def test_grey_pictures_work_too():
    assert fit_pad(np.full((50, 100), 7, np.uint8), (128, 128), fill=0).sum() == 7 * 128 * 64


@pytest.mark.parametrize("size_wh", [128, (128,), (0, 128), (128, -1), (12.5, 3), "ab", None, (1, 2, 3), ("1", "2")])
def test_a_wrong_size_is_said(size_wh):
    with pytest.raises(ValueError, match=r"size_wh must be two whole numbers above 0, \[width, height\], not"):
        fit_pad(np.zeros((5, 5, 3), np.uint8), size_wh)


@pytest.mark.parametrize("fill", [256, -1, "white", None, (1, 2), (1, 2, 300), 1.5])
def test_a_wrong_fill_is_said(fill):
    with pytest.raises(ValueError, match="fill must be a number from 0 to 255 or three of them"):
        fit_pad(np.zeros((5, 5, 3), np.uint8), (8, 8), fill=fill)
