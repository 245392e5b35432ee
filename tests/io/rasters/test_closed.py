"""A picture is read, and nothing else: no other file, no host that may not be asked."""

import http.server
import os
import shutil
import threading

import numpy as np
import pytest
import rasterio
from test_rasters import save

from imgprep.io import rasters
from imgprep.io.uris import SourceError

SECRET = np.full((64, 64), 77, np.uint8)
VRT = """<VRTDataset rasterXSize="64" rasterYSize="64"><Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>
<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="0">{}</SourceFilename>
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""
PAM = "<PAMDataset><Metadata domain=\"OVERVIEWS\"><MDI key=\"OVERVIEW_FILE\">{}</MDI></Metadata></PAMDataset>"
WMS = """<GDAL_WMS><Service name="TMS"><ServerUrl>{}/${{z}}</ServerUrl></Service><DataWindow><UpperLeftX>0</UpperLeftX>
<UpperLeftY>0</UpperLeftY><LowerRightX>9</LowerRightX><LowerRightY>9</LowerRightY><SizeX>64</SizeX><SizeY>64</SizeY>
</DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"""


class Asked(http.server.BaseHTTPRequestHandler):
    """Redirects to where it is told; counts."""

    paths: list = []
    to = ""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.paths.append(self.path)
        self.send_response(302 if self.to else 404)
        if self.to:
            self.send_header("Location", self.to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET


@pytest.fixture
def asked():
    """A server on loopback, and what it was asked for."""
    Asked.paths, Asked.to = [], ""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "private").mkdir()
    return save(tmp_path / "private" / "secret.tif", SECRET)


def refused(path, reason):
    with pytest.raises(SourceError) as caught:
        with rasters.open(str(path)) as raster:
            for level in range(len(raster.levels)):
                raster.read(level=level)
            raster.valid((0, 0, raster.width, raster.height))
    assert caught.value.reason == reason
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.tif", "a.vrt", "a.png"])
def test_a_picture_that_is_a_list_of_other_files_reads_none(tmp_path, secret, asked, name):
    url, handler = asked
    for text in (VRT.format(secret), VRT.format(f"/vsicurl/{url}/x.tif"), WMS.format(url)):
        (tmp_path / name).write_text(text)
        refused(tmp_path / name, "not_an_image")
    assert not handler.paths


def test_metadata_do_not_lead_to_another_file(tmp_path, secret, asked):
    url, handler = asked
    path = save(tmp_path / "a.tif", np.zeros((128, 128), np.uint8))
    for other in (secret, VRT.format(secret), f"/vsicurl/{url}/x.tif"):
        with rasters.gdal(), rasterio.open(path, "r+") as out:
            out.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=other)
        assert "names another file" in refused(path, "no_permission")
    assert not handler.paths


@pytest.mark.parametrize("end", [".ovr", ".msk", ".aux.xml"])
def test_what_lies_beside_a_picture_does_not_lead_elsewhere(tmp_path, secret, end):
    path = save(tmp_path / "a.tif", np.zeros((128, 128), np.uint8))
    beside = tmp_path / f"a.tif{end}"
    beside.write_text((PAM if end == ".aux.xml" else VRT).format(secret))
    assert f"'a.tif{end}', which lies beside it" in refused(path, "no_permission")
    beside.unlink()
    beside.symlink_to(secret)
    assert "leads to another folder" in refused(path, "no_permission")
    beside.unlink()
    os.mkfifo(beside)
    assert "is a pipe" in refused(path, "no_permission")
    if end != ".aux.xml":
        beside.unlink()
        shutil.copy(secret, beside)
        with rasters.gdal(), rasterio.open(beside, "r+", driver="GTiff") as out:
            out.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=secret)
        assert "names another file" in refused(path, "no_permission")


def test_sidecars_count_and_are_part_of_what_a_picture_is(tmp_path):
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    path = save(tmp_path / "a.tif", image, tiled=False)
    before = rasters.scene_identity(path), rasters.content(path)
    nodata = "<PAMRasterBand band=\"1\"><NoDataValue>5</NoDataValue></PAMRasterBand>"
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{nodata}</PAMDataset>")
    (tmp_path / "a.tfw").write_text("0.5\n0\n0\n-0.5\n1000.25\n1999.75\n")
    with rasters.open(path) as raster:
        assert raster.nodata == 5 and raster.transform == (1000, 0.5, 0, 2000, 0, -0.5)
        assert np.array_equal(raster.valid((0, 0, 64, 64)), image != 5)
    after = rasters.scene_identity(path), rasters.content(path)
    assert before[0] != after[0] and before[1] != after[1]


def test_a_mask_beside_a_picture_says_what_is_valid_in_it(tmp_path):
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    valid = image % 3 > 0
    path = save(tmp_path / "a.tif", image, tiled=False)
    before = rasters.scene_identity(path)
    with rasters.gdal(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as out:
        out.write_mask(valid)
    assert (tmp_path / "a.tif.msk").exists()
    with rasters.open(path) as raster:
        assert np.array_equal(raster.valid((0, 0, 64, 64)), valid)
    assert rasters.scene_identity(path) != before


def test_a_folder_that_is_no_zarr_of_its_own_is_refused(tmp_path, secret):
    (tmp_path / "z.zarr").mkdir()
    (tmp_path / "z.zarr" / ".zgroup").write_text("{}")
    (tmp_path / "z.zarr" / "link").symlink_to(secret)
    assert "leads to another folder" in refused(tmp_path / "z.zarr", "no_permission")
    (tmp_path / "z.zarr" / "link").unlink()
    (tmp_path / "z.zarr" / ".zmetadata").write_text('{"record_size": 10, "metadata": {}}')
    assert "names pieces of other files" in refused(tmp_path / "z.zarr", "no_permission")
    (tmp_path / "plain").mkdir()
    refused(tmp_path / "plain", "not_an_image")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tif")
    assert "is a pipe: only regular files are read" in refused(tmp_path / "a.tif", "no_permission")


def test_a_redirect_to_a_private_host_is_not_followed(asked, tmp_path):
    url, handler = asked
    handler.to = "http://127.0.0.2:1/secret.tif"
    copied = [str(tmp_path / "b.tif")]
    for read, more in ((rasters.open, []), (rasters.scene_identity, []), (rasters.copy_tiled, copied)):
        with pytest.raises(SourceError) as caught:
            read(f"{url}/a.tif", *more, allow_hosts=["127.0.0.1"])
        assert caught.value.reason == "blocked_address"
    assert not list(tmp_path.iterdir())


def test_gdal_itself_asks_no_server(asked):
    url, handler = asked
    with rasters.gdal() as rasterio, pytest.raises(rasterio.errors.RasterioError):
        rasterio.open(f"/vsicurl/{url}/a.tif")
    assert not handler.paths
