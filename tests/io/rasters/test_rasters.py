"""Is a window of a raster what the whole file has there? And what does a person read who names something else?"""

import http.server
import os
import threading

import numpy as np
import pytest
import rasterio
from PIL import Image

from imgprep.io import rasters
from imgprep.io.uris import SourceError
from imgprep.io.web import politeness

RNG = np.random.default_rng(0)
HERE = ["127.0.0.1"]
BOX = (130, 60, 150, 200)  # x, y, w, h: across the tiles of 64


def noise(*shape, dtype="uint8"):
    if np.dtype(dtype).kind == "f":
        return RNG.normal(0, 1000, shape).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


def save(path, array, *, tiled=True, **more):
    """(h, w) or (h, w, bands) as a TIFF."""
    bands = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    options = {"driver": "GTiff", "width": array.shape[1], "height": array.shape[0], "count": len(bands)}
    options |= {"tiled": True, "blockxsize": 64, "blockysize": 64} if tiled else {"blockysize": 16}
    colormap = more.pop("colormap", None)
    with rasters.gdal(), rasterio.open(path, "w", **{**options, "dtype": array.dtype, **more}) as out:
        out.write(bands)
        if colormap:
            out.write_colormap(1, colormap)
    return str(path)


def inside(array, box=BOX):
    x, y, w, h = box
    return array[y : y + h, x : x + w]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 7])
def test_a_window_is_what_the_file_has_there(tmp_path, dtype, bands):
    image = noise(300, 400, bands, dtype=dtype)
    with rasters.open(save(tmp_path / "a.tif", image, photometric="MINISBLACK")) as raster:
        assert (raster.width, raster.height, raster.bands, raster.dtype) == (400, 300, bands, dtype)
        assert raster.crs == "" and raster.transform is None and raster.blocks == (64, 64)
        assert np.array_equal(raster.read(BOX), inside(image)) and raster.valid(BOX) is None
        assert raster.read(BOX).flags.c_contiguous  # as OpenCV wants it
        with pytest.raises(ValueError, match="window .* is not inside 400 x 300"):
            raster.read((300, 0, 101, 10))


def test_a_palette_is_read_as_its_colours(tmp_path):
    index = noise(300, 400) % 3
    colours = {0: (255, 0, 0, 255), 1: (0, 9, 200, 255), 2: (7, 7, 7, 255)}
    with rasters.open(save(tmp_path / "a.tif", index, colormap=colours)) as raster:
        table = np.array([c[:3] for c in colours.values()], np.uint8)
        assert raster.bands == 3 and np.array_equal(raster.read(BOX), table[inside(index)])


def test_what_is_no_pixel_is_not_valid(tmp_path):
    image = noise(300, 400, 3)
    image[:, :200] = 0
    with rasters.open(save(tmp_path / "nodata.tif", image, nodata=0)) as raster:
        assert np.array_equal(raster.valid(BOX), inside((image != 0).any(2)))
    with_nan = noise(300, 400, dtype="float32")
    with_nan[50:90] = np.nan
    with rasters.open(save(tmp_path / "nan.tif", with_nan, nodata=np.nan)) as raster:
        assert np.array_equal(raster.valid(BOX), ~inside(np.isnan(with_nan)))
    alpha = np.where(np.arange(400) < 200, 0, 255).astype(np.uint8)
    rgba = np.dstack([noise(300, 400, 3), np.broadcast_to(alpha, (300, 400))])
    with rasters.open(save(tmp_path / "rgba.tif", rgba, photometric="RGB", alpha="YES")) as raster:
        assert raster.bands == 3 and np.array_equal(raster.read(BOX), inside(rgba[..., :3]))
        assert np.array_equal(raster.valid(BOX), inside(rgba[..., 3] > 0))


def test_place_on_earth_and_levels(tmp_path):
    transform = rasterio.Affine(10, 0, 5e5, 0, -10, 6e6)
    path = save(tmp_path / "a.tif", noise(300, 400), crs="EPSG:32631", transform=transform)
    with rasters.gdal(), rasterio.open(path, "r+") as out:
        out.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    with rasters.open(path) as raster:
        assert "UTM zone 31N" in raster.crs and raster.transform == (5e5, 10, 0, 6e6, 0, -10)
        assert raster.levels == [(400, 300), (200, 150), (100, 75)]
        assert raster.read(level=2).shape == (75, 100, 1)


def test_what_is_no_raster_is_told_in_words(tmp_path):
    (tmp_path / "text.tif").write_text("hello")
    (tmp_path / "none.tif").touch()
    for name in ("orange.tif", "connectome.tif", "404.tif"):  # no words of a server's
        (tmp_path / name).write_text("hello")
        with pytest.raises(SourceError, match="is not a raster that can be read here"):
            rasters.open(str(tmp_path / name))
    with rasterio.open(tmp_path / "c.tif", "w", "GTiff", 9, 9, 1, dtype="complex64"):
        pass
    with pytest.raises(SourceError, match="has no pixels to read here"):
        rasters.open(str(tmp_path / "c.tif"))
    for name, reason in {"text.tif": "not_an_image", "none.tif": "empty", "gone.tif": "missing_file"}.items():
        with pytest.raises(SourceError) as e:
            rasters.open(str(tmp_path / name))
        assert e.value.reason == reason
    with pytest.raises(SourceError, match="cannot be reached") as e:
        rasters.open("http://127.0.0.1:9/a.tif", allow_hosts=HERE)
    assert e.value.reason == "refused"
    with pytest.raises(SourceError, match="not public") as e:
        rasters.open("http://127.0.0.1:9/a.tif")
    assert e.value.reason == "blocked_address"
    with pytest.raises(SourceError, match="rasters are read from paths and s3"):
        rasters.open("ftp://example.org/a.tif")


def test_damage_is_where_it_is_and_nowhere_else(tmp_path):
    image = noise(300, 400)
    path = save(tmp_path / "a.tif", image, compress="deflate")
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        file.write(bytes(3000))
    with rasters.open(path) as raster:
        assert np.array_equal(raster.read((0, 0, 64, 64)), image[:64, :64, None])
        with pytest.raises(SourceError, match="cannot be read") as e:
            raster.read()
        assert e.value.reason == "corrupt"


def test_identity_follows_the_content(tmp_path):
    path = save(tmp_path / "a.tif", noise(300, 400))
    before = rasters.scene_identity(path)
    assert rasters.scene_identity(path) == before
    save(path, noise(300, 400))
    assert rasters.scene_identity(path) != before


@pytest.mark.parametrize("name", ["strips.tif", "a.png", "a.jpg", "palette.tif", "nodata.tif", "rgba.png"])
def test_what_is_not_tiled_is_converted_once(tmp_path, monkeypatch, name):
    monkeypatch.setattr(rasters.tiled, "WHOLE_PX", 300_000)
    image = noise(700, 600, 3)
    path = str(tmp_path / name)
    if name.endswith(".tif"):
        more = {"colormap": {i: (i, 255 - i, 7, 255) for i in range(256)}} if name == "palette.tif" else {}
        save(path, image[..., 0] if more else image, tiled=False, **more, nodata=0 if name == "nodata.tif" else None)
    else:
        Image.fromarray(np.dstack([image, image[..., 0] // 128 * 255]) if name == "rgba.png" else image).save(path)
    rasters.copy_tiled(path, str(tmp_path / "copy.tif"))
    with rasters.open(path) as before, rasters.open(str(tmp_path / "copy.tif")) as after:
        assert rasters.needs_copy(before) and not rasters.needs_copy(after) and after.blocks == (512, 512)
        assert np.array_equal(after.read(), before.read())
        box = (0, 0, 600, 700)
        assert np.array_equal(after.valid(box), before.valid(box)) if before.valid(box) is not None else True
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["copy.tif", name])


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Answers like most web servers; without range requests, as Python's own does, unless `ranges` is set."""

    ranges, asked = False, 0

    def log_message(self, *_):
        pass

    def do_GET(self):
        span = self.headers.get("Range")
        if not (self.ranges and span):
            return super().do_GET()
        if not os.path.exists(self.translate_path(self.path)):
            return self.send_error(404)
        with open(self.translate_path(self.path), "rb") as file:
            data = file.read()
        first, _, last = span.removeprefix("bytes=").partition("-")
        if int(first) >= len(data):
            return self.send_error(416)
        part = data[int(first) : int(last) + 1 if last else None]
        type(self).asked += len(part)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


@pytest.fixture
def web(tmp_path):
    """A folder and the URL under which it is served."""

    class Handler(Quiet):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}", Handler
    server.shutdown()
    server.server_close()


def test_a_url_is_read_by_windows_where_the_server_gives_ranges(web, monkeypatch):
    folder, url, handler = web
    image = noise(2000, 3000)
    save(folder / "a.tif", image)
    handler.ranges = True
    with rasters.open(f"{url}/a.tif", allow_hosts=HERE) as raster:
        assert np.array_equal(raster.read(BOX), inside(image)[..., None])
    assert 0 < handler.asked < image.nbytes / 4
    with pytest.raises(SourceError) as e:
        rasters.open(f"{url}/none.tif", allow_hosts=HERE)
    assert e.value.reason == "missing_file"
    handler.do_GET = lambda self: self.send_error(501)
    monkeypatch.setattr(politeness, "BACKOFF_S", 0.01)
    with pytest.raises(SourceError, match="answers 501: try again later"):
        rasters.open(f"{url}/a.tif?again", allow_hosts=HERE)


def test_a_url_without_ranges_is_downloaded(web):
    folder, url, _ = web
    image = noise(2000, 3000)
    save(folder / "a.tif", image)
    with pytest.raises(SourceError, match="does not answer range requests: download it first"):
        rasters.open(f"{url}/a.tif", allow_hosts=HERE)
    rasters.copy_tiled(f"{url}/a.tif", str(folder / "copy.tif"), allow_hosts=HERE)
    with rasters.open(str(folder / "copy.tif")) as raster:
        assert np.array_equal(raster.read(BOX), inside(image)[..., None])


@pytest.mark.store
def test_an_object_of_a_store_is_read_by_windows_and_copied(tmp_path, s3):
    image = noise(300, 400)
    s3.mkdirs("rasters", exist_ok=True)
    s3.put_file(save(tmp_path / "a.tif", image), "rasters/a.tif")
    with rasters.open("s3://rasters/a.tif") as raster:
        assert np.array_equal(raster.read(BOX), inside(image)[..., None]) and raster.identity
    rasters.copy_tiled("s3://rasters/a.tif", str(tmp_path / "copy.tif"))
    assert (tmp_path / "copy.tif").read_bytes() == (tmp_path / "a.tif").read_bytes()
    with pytest.raises(SourceError) as e:
        rasters.open("s3://rasters/none.tif")
    assert e.value.reason == "missing_file"


@pytest.mark.corpus
def test_every_raster_of_the_corpus_is_read(corpus):
    for path in sorted((corpus / "large").iterdir()):
        with rasters.open(str(path)) as raster:
            w, h = min(raster.width, 300), min(raster.height, 200)
            assert raster.read((0, 0, w, h)).shape == (h, w, raster.bands), path.name
