"""Pairs, previews and truths read what they are named, and nothing else: no other file or host."""

import http.server
import shutil
import threading

import numpy as np
import pyarrow as pa
import pytest
import rasterio
from PIL import Image

import imgprep
from imgprep.io import rasters
from imgprep.io.uris import SourceError
from imgprep.stages import pairs, segmentation

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (300, 400, 3), np.uint8)
MASK = np.zeros((300, 400), np.uint8)
MASK[100:200, 150:320] = 1
HERE = ["127.0.0.1"]
VRT = """<VRTDataset rasterXSize="400" rasterYSize="300"><VRTRasterBand dataType="Byte" band="1">
<SimpleSource><SourceFilename relativeToVRT="0">{}</SourceFilename><SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""


class Ranged(http.server.SimpleHTTPRequestHandler):
    """Serves a folder by ranges; /away/… redirects to 127.0.0.2, which nobody may ask."""

    asked: list[str] = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        type(self).asked.append(self.headers["Host"])
        if self.path.startswith("/away/"):
            self.send_response(302)
            port = self.server.server_port
            self.send_header("Location", f"http://127.0.0.2:{port}/{self.path.removeprefix('/away/')}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        with open(self.translate_path(self.path), "rb") as file:
            data = file.read()
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


@pytest.fixture
def web(tmp_path):
    """A folder with a.tif and its mask.tif, the URL under which it is served, who was asked."""

    class Handler(Ranged):
        asked: list[str] = []

        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "web"))

    (tmp_path / "web").mkdir()
    save(tmp_path / "web" / "a.tif", PICTURE)
    save(tmp_path / "web" / "mask.tif", MASK)
    server = http.server.ThreadingHTTPServer(("", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "web", f"http://127.0.0.1:{server.server_port}", Handler
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _here():
    with imgprep.session("local", workers=0):
        yield


def save(path, array):
    bands = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    about = {"count": len(bands), "height": array.shape[0], "width": array.shape[1], "dtype": array.dtype}
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    with rasters.gdal(), rasterio.open(path, "w", "GTiff", **about, **tiles) as out:
        out.write(bands)
    return str(path)


def pair_of(picture, mask, out, **more):
    return pairs.write({picture: mask}, str(out), tile=40, block=2, margin=10, **more)


def of_pictures(home, uri, out, **more):
    return pair_of(uri, str(home / "mask.tif"), out, **more)


def of_masks(home, uri, out, **more):
    return pair_of(str(home / "a.tif"), uri, out, **more)


def of_previews(home, uri, out, **more):
    return segmentation.preview(uri, "128", window=[0, 0, 50, 50], **more)


def of_truths(home, uri, out, **more):
    truth = {"image_id": ["a"], "source": [str(home / "a.tif")], "true": [uri]}
    return segmentation.segment({"train": pa.table(truth)}, str(out), "128", truth="true", **more)


READERS = [of_pictures, of_masks, of_previews, of_truths]


@pytest.mark.parametrize("read", READERS)
def test_a_private_address_is_asked_only_where_it_is_named(web, tmp_path, read):
    home, url, handler = web
    name = "a.tif" if read in (of_pictures, of_previews) else "mask.tif"
    with pytest.raises(SourceError, match="not public") as caught:
        read(home, f"{url}/{name}", tmp_path / "out")
    assert caught.value.reason == "blocked_address" and not handler.asked
    assert read(home, f"{url}/{name}", tmp_path / "named", allow_hosts=HERE) is not None
    assert handler.asked
    with pytest.raises(ValueError, match="allow_hosts is a list of hosts"):
        read(home, f"{url}/{name}", tmp_path / "out", allow_hosts="127.0.0.1")


@pytest.mark.parametrize("read", READERS)
def test_a_redirect_does_not_lead_to_another_private_address(web, tmp_path, read):
    home, url, handler = web
    with pytest.raises(SourceError, match="127.0.0.2 is not public") as caught:
        read(home, f"{url}/away/a.tif", tmp_path / "out", allow_hosts=HERE)
    assert caught.value.reason == "blocked_address"
    assert not [host for host in handler.asked if host.startswith("127.0.0.2")]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("is_far", [False, True])
def test_a_list_of_other_files_is_no_raster(web, tmp_path, read, is_far):
    home, url, handler = web
    (home / "list.tif").write_text(VRT.format(home / "mask.tif"))
    uri = f"{url}/list.tif" if is_far else str(home / "list.tif")
    with pytest.raises(SourceError, match="is not a raster that can be read here") as caught:
        read(home, uri, tmp_path / "out", allow_hosts=HERE)
    assert caught.value.reason == "not_an_image"


def test_pairs_of_urls_are_those_of_the_files(web, tmp_path):
    home, url, _ = web
    far = pair_of(f"{url}/a.tif", f"{url}/mask.tif", tmp_path / "far", allow_hosts=HERE)
    near = pair_of(str(home / "a.tif"), str(home / "mask.tif"), tmp_path / "near")
    # Names differ, and with them who goes to which split.
    tiles = [sorted(_tiles(ds)) for ds in (far, near)]
    assert tiles[0] == tiles[1] and len(tiles[0]) > 20


def _tiles(ds):
    for split in ds.splits:
        for row in ds.table(split, ["x", "y", "sha256", "mask"]).to_pylist():
            yield row["x"], row["y"], row["sha256"], row["mask"]["bytes"]


def test_a_dataset_names_masks_of_its_own_only(web, tmp_path):
    home, _, _ = web
    made = segmentation.segment(str(home / "a.tif"), str(tmp_path / "masks"), "128")
    path = tmp_path / "masks" / made.table("train")["mask"][0].as_py()
    shutil.copy(path, tmp_path / "private.tif")
    path.unlink()
    path.symlink_to(tmp_path / "private.tif")
    with pytest.raises(SourceError, match="is outside of the dataset that names it") as caught:
        pairs.write(made, str(tmp_path / "out"), tile=40, block=2, margin=10)
    assert caught.value.reason == "no_permission"


def test_a_mask_with_a_palette_is_its_numbers(web, tmp_path):
    home, _, _ = web
    painted = Image.fromarray(MASK)
    painted.putpalette([200, 10, 10, 0, 0, 7])
    painted.save(home / "painted.png")
    ds = pair_of(str(home / "a.tif"), str(home / "painted.png"), tmp_path / "out")
    shares = {(x, y): share for x, y, share in _shares(ds)}
    assert shares and all(share == (MASK[y : y + 40, x : x + 40] > 0).mean() for (x, y), share in shares.items())


def _shares(ds):
    for split in ds.splits:
        for row in ds.table(split, ["x", "y", "foreground"]).to_pylist():
            yield row["x"], row["y"], pytest.approx(row["foreground"])
