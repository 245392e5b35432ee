"""TIFFs that count from white are read from black, as `images.transform` sees them."""

import numpy as np
import pytest
import rasterio
from PIL import Image
from test_rasters import save

from imgprep.io import rasters
from imgprep.io.rasters import tiled

WHOLE = (0, 0, 90, 70)


def white(path, image, **more):
    return save(path, image, tiled=False, photometric="MINISWHITE", **more)


@pytest.mark.parametrize("dtype, bits", [("uint16", 16), ("uint16", 12), ("uint32", 32)])
def test_white_is_zero_is_turned_by_its_own_bits(tmp_path, dtype, bits):
    stored = (np.arange(70 * 90).reshape(70, 90) % 4096).astype(dtype)
    more = {"nbits": bits} if bits == 12 else {}
    with rasters.open(white(tmp_path / "a.tif", stored, **more)) as raster:
        assert (raster.bands, raster.dtype, raster.is_turned) == (1, dtype, True)
        assert np.array_equal(raster.read()[..., 0], (2**bits - 1) - stored)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
def test_signed_numbers_are_counted_from_their_other_end(tmp_path, dtype):
    stored = (np.arange(70 * 90).reshape(70, 90) % 200 - 100).astype(dtype)
    with rasters.open(white(tmp_path / "a.tif", stored)) as raster:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        assert np.array_equal(raster.read()[..., 0].astype(int), low + high - stored.astype(int))


def test_eight_bits_are_turned_whoever_wrote_them(tmp_path):
    stored = (np.arange(70 * 90).reshape(70, 90) % 256).astype(np.uint8)
    white(tmp_path / "gdal.tif", stored)
    Image.fromarray(255 - stored).save(tmp_path / "plain.tif", tiffinfo={262: 0})
    for name in ("gdal.tif", "plain.tif"):
        with rasters.open(str(tmp_path / name)) as raster:
            assert raster.dtype == "uint8" and np.array_equal(raster.read()[..., 0], 255 - stored)


def test_floats_change_their_sign(tmp_path):
    stored = np.linspace(0, 1, 70 * 90, dtype=np.float32).reshape(70, 90)
    with rasters.open(white(tmp_path / "a.tif", stored)) as raster:
        assert np.array_equal(raster.read()[..., 0], -stored)


def test_nodata_is_the_same_pixels(tmp_path):
    stored = (np.arange(70 * 90).reshape(70, 90) % 300).astype(np.uint16)
    with rasters.open(white(tmp_path / "a.tif", stored, nodata=7)) as raster:
        assert raster.nodata == 65535 - 7
        assert np.array_equal(raster.valid(WHOLE), stored != 7)
        assert np.array_equal(raster.read()[..., 0] == raster.nodata, stored == 7)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
def test_a_tiled_copy_is_turned_too(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(tiled, "WHOLE_PX", 100)
    stored = (np.arange(700 * 90).reshape(700, 90) % 120).astype(dtype)
    path = white(tmp_path / "a.tif", stored)
    rasters.copy_tiled(path, str(tmp_path / "copy.tif"))
    with rasters.open(path) as before, rasters.open(str(tmp_path / "copy.tif")) as after:
        assert after.blocks == (512, 512) and np.array_equal(before.read(), after.read())


def test_a_palette_of_many_colours_says_that_it_is_read_in_eight_bits(tmp_path):
    index = (np.arange(70 * 90).reshape(70, 90) % 3).astype(np.uint16)
    colours = {0: (255, 0, 0, 255), 1: (0, 9, 200, 255), 2: (7, 7, 7, 255)}
    with rasters.gdal(), rasterio.open(tmp_path / "a.tif", "w", "GTiff", 90, 70, 1, dtype="uint16") as out:
        out.write(index, 1)
        out.write_colormap(1, colours)
    with rasters.open(str(tmp_path / "a.tif")) as raster:
        assert raster.dtype == raster.read().dtype == "uint8" and raster.bands == 3
