import cv2
import numpy as np
import pytest
import rasterio

from imgprep.io import rasters
from imgprep.io.rasters import slide as slides

RNG = np.random.default_rng(0)


def slide(path, image, *, levels=(), alpha=None):
    """A file as scanners by Aperio write it, but without loss: tiles of 64, and a page for each level."""
    bands = [*image.transpose(2, 0, 1), *([alpha] if alpha is not None else [])]
    options = {"driver": "GTiff", "dtype": "uint8", "tiled": True, "blockxsize": 64, "blockysize": 64}
    options |= {"height": image.shape[0], "width": image.shape[1], "count": len(bands), "interleave": "pixel"}
    options |= {"photometric": "RGB", "compress": "lzw"} | ({"alpha": "NON-PREMULTIPLIED"} if alpha is not None else {})
    about = "Aperio Image Library v11.2.1 \r\n1x1|AppMag = 40|MPP = 0.2525"
    with rasters.gdal(), rasterio.open(path, "w", **options) as out:
        out.update_tags(TIFFTAG_IMAGEDESCRIPTION=about)
        out.write(np.stack(bands))
        out.build_overviews(list(levels), rasterio.enums.Resampling.average)
    return str(path)


def test_a_slide_is_read_by_windows_and_levels_and_says_its_magnification(tmp_path):
    image = cv2.resize(RNG.integers(0, 256, (30, 40, 3), np.uint8), (400, 300), interpolation=cv2.INTER_CUBIC)
    with rasters.open(slide(tmp_path / "a.svs", image, levels=(2, 4))) as raster:
        assert isinstance(raster, slides.Slide) and raster.driver == "openslide aperio"
        assert raster.magnification == {"mpp_x": "0.2525", "mpp_y": "0.2525", "objective": "40", "vendor": "aperio"}
        assert (raster.width, raster.height, raster.bands, raster.dtype) == (400, 300, 3, "uint8")
        assert raster.levels == [(400, 300), (200, 150), (100, 75)] and raster.blocks == (64, 64)
        assert np.array_equal(raster.read(), image)
        assert np.array_equal(raster.read((33, 17, 250, 200)), image[17:217, 33:283])
        half = image.reshape(150, 2, 200, 2, 3).mean((1, 3))
        assert np.abs(raster.read((10, 20, 100, 90), level=1) - half[20:110, 10:110]).max() <= 0.5
        with pytest.raises(ValueError, match="is not inside"):
            raster.read((390, 0, 20, 20))


def test_transparent_pixels_are_white(tmp_path):
    image, alpha = RNG.integers(0, 256, (128, 128, 3), np.uint8), np.zeros((128, 128), np.uint8)
    alpha[:64], alpha[:64, :64] = 255, 128
    with rasters.open(slide(tmp_path / "a.svs", image, alpha=alpha)) as raster:
        found = raster.read()
    assert (found[64:] == 255).all() and np.array_equal(found[:64, 64:], image[:64, 64:])
    assert np.abs(found[:64, :64] - (image[:64, :64] * (128 / 255) + 255 * (127 / 255))).max() <= 3


def test_what_only_has_a_slides_name_is_left_to_gdal(tmp_path):
    (tmp_path / "text.svs").write_text("no slide")
    with pytest.raises(rasters.SourceError, match="not a raster that can be read"):
        rasters.open(str(tmp_path / "text.svs"))
    with pytest.raises(rasters.SourceError, match="there is no"):
        rasters.open(str(tmp_path / "none.svs"))


@pytest.mark.corpus
def test_a_real_slide_is_the_same_for_openslide_and_gdal(corpus):
    path = str(corpus / "large" / "CMU-1-Small-Region.svs")
    with rasters.open(path) as one, rasters.Raster(path) as other:
        assert isinstance(one, slides.Slide) and (one.width, one.height) == (2220, 2967) == (other.width, other.height)
        assert one.magnification["objective"] == "20" and one.blocks == other.blocks == (240, 240)
        for window in ((0, 0, 500, 400), (1800, 2700, 420, 267)):
            assert np.array_equal(one.read(window), other.read(window))
