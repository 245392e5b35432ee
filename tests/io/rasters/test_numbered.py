"""Masks and truths: their pixels are numbers, however they are painted."""

import numpy as np
import pytest
from PIL import Image
from test_rasters import save

from imgprep.io import rasters
from imgprep.io.uris import SourceError

CLASSES = (np.arange(70 * 90).reshape(70, 90) % 4).astype(np.uint8)
BOX = (10, 5, 30, 20)


def painted(path):
    im = Image.fromarray(CLASSES)
    im.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    im.save(path)
    return str(path)


@pytest.mark.parametrize("ending", ["png", "tif", "gif"])
def test_of_a_palette_the_indices_are_the_numbers(tmp_path, ending):
    with rasters.open_numbers(painted(tmp_path / f"a.{ending}")) as truth:
        assert (truth.bands, truth.dtype) == (1, "uint8")
        assert np.array_equal(truth.read()[..., 0], CLASSES)
        assert np.array_equal(truth.read(BOX)[..., 0], CLASSES[5:25, 10:40])


def test_numbers_do_not_depend_on_what_is_white(tmp_path):
    for dtype in ("uint8", "uint16", "int32"):
        path = save(tmp_path / "a.tif", CLASSES.astype(dtype), photometric="MINISWHITE", nodata=3)
        with rasters.open_numbers(path) as truth:
            assert truth.nodata == 3 and np.array_equal(truth.read()[..., 0], CLASSES)


def test_bands_that_are_equal_are_one(tmp_path):
    Image.fromarray(CLASSES).convert("RGB").save(tmp_path / "a.png")
    with rasters.open_numbers(str(tmp_path / "a.png")) as truth:
        truth.check()
        assert np.array_equal(truth.read(), CLASSES[..., None])


@pytest.mark.parametrize("kind", ["colours", "floats"])
def test_colours_and_floats_are_no_numbers(tmp_path, kind):
    colours = np.stack([CLASSES, CLASSES * 2, CLASSES], -1)
    image = colours if kind == "colours" else CLASSES.astype(np.float32)
    with pytest.raises(SourceError, match="a mask (has one number|holds whole numbers)") as caught:
        with rasters.open_numbers(save(tmp_path / "a.tif", image)) as truth:
            truth.check()
    assert caught.value.reason == "unsupported_format"
