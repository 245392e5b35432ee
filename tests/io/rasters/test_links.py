"""A raster whose name is no UTF-8 is read as any other, with what lies beside it."""

import os
import tempfile

import numpy as np
import pytest
import rasterio

from imgprep.io import rasters, uris

PIXELS = np.arange(100 * 80, dtype=np.uint8).reshape(80, 100)


@pytest.fixture
def source(tmp_path):
    with rasters.gdal(), rasterio.open(tmp_path / "a.tif", "w", "GTiff", 100, 80, 1, dtype="uint8") as out:
        out.write(PIXELS, 1)
    (tmp_path / "a.tfw").write_text("2\n0\n0\n-2\n10\n20\n")  # a place on earth
    latin = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    for ending in ("tif", "tfw"):
        os.rename(tmp_path / f"a.{ending}", latin + f".{ending}".encode())
    return uris.source_of(os.fsdecode(latin + b".tif"))


def test_its_pixels_and_its_sidecar_are_read_and_no_link_is_left(source, tmp_path, monkeypatch):
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(links))
    with rasters.open(source) as raster:
        assert np.array_equal(raster.read()[..., 0], PIXELS)
        assert raster.transform[1] == 2 and raster.transform[5] == -2
        assert len(os.listdir(links)) == 1
    assert os.listdir(links) == []


def test_one_that_is_gone_is_missing(tmp_path):
    gone = uris.source_of(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"f\xe9.tif")))
    with pytest.raises(rasters.SourceError, match="there is no .*f.*xe9.tif") as told:
        rasters.open(gone)
    assert told.value.reason == "missing_file"
