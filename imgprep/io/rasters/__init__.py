"""Pictures that do not fit in memory, read window by window: GDAL's formats by rasterio, slides by openslide.

GDAL speaks to servers itself. Only a raster that cannot be read by windows cheaply (strips, a PNG, a JPEG, a server
without range requests) is converted once, streamed, to a tiled TIFF.
"""

import contextlib
import functools
import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from imgprep import hashing
from imgprep.io import uris
from imgprep.io.uris import SourceError
from imgprep.io.web.addresses import redact
from imgprep.words import line

DRIVERS = ["GTiff", "JP2OpenJPEG", "PNG", "JPEG", "WEBP", "Zarr", "GIF", "BMP"]  # and VRT, where it is a local file
SLIDES = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif")  # openslide's, where it is installed
VSI = {"s3": "/vsis3/", "s3a": "/vsis3/", "az": "/vsiaz/", "abfs": "/vsiaz/", "abfss": "/vsiaz/", "gs": "/vsigs/"}
VSI |= {"gcs": "/vsigs/", "http": "/vsicurl/http://", "https": "/vsicurl/https://"}
# Not GDAL's default for its cache, which is 5 % of the machine's memory and reads like a leak.
OPTIONS = {"GDAL_CACHEMAX": 16 << 20, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_HTTP_MAX_RETRY": 3}
# A mosaic keeps the parts of a row of blocks open, not 450, and reads them in one thread: memory stays flat.
OPTIONS |= {"GDAL_MAX_DATASET_POOL_SIZE": 32, "VRT_NUM_THREADS": 1}
OPTIONS |= {"GDAL_HTTP_RETRY_DELAY": 1, "GDAL_HTTP_CONNECTTIMEOUT": 20, "GDAL_HTTP_LOW_SPEED_TIME": 30}
OPTIONS |= {"GDAL_HTTP_LOW_SPEED_LIMIT": 1000, "CPL_LOG": os.devnull}  # warnings would go to stderr past Python
WHOLE_PX = 2048 * 2048  # what has fewer pixels may as well be decoded whole


@contextlib.contextmanager
def gdal(**more: Any) -> Iterator[Any]:
    """rasterio with the options above, in this thread. ValueError where it is not installed."""
    rasterio = _rasterio()
    options, endpoint = OPTIONS | more, urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    if endpoint.netloc:  # boto's name for it; GDAL has others
        options |= {"AWS_S3_ENDPOINT": endpoint.netloc, "AWS_VIRTUAL_HOSTING": "FALSE"}
        options["AWS_HTTPS"] = "YES" if endpoint.scheme == "https" else "NO"
    with rasterio.Env(**options):
        yield rasterio


@functools.cache
def _rasterio() -> Any:
    try:
        import rasterio.shutil
    except ImportError:
        raise ValueError("rasters need `pip install imgprep[tiles]`") from None
    # Most pictures have no place on earth. (catch_warnings is not for threads.)
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    return rasterio


def open(uri: str) -> "Raster":  # noqa: A001 - reads as rasters.open(uri)
    """A raster by path or URI (s3:// az:// gs:// https://). Reads its header only; close it, or use `with`.

    Raises SourceError (a ValueError) with .reason missing_file, no_permission, empty, not_an_image or error.
    """
    if urlsplit(uri).path.lower().endswith(SLIDES):
        with contextlib.suppress(ImportError):  # GDAL reads some of them, too
            from imgprep.io.rasters import slide

            return slide.open(uri)
    return Raster(uri)


class Raster:
    """One raster, open. Not for two threads at once: each opens its own.

    width, height, bands: without an alpha band; a palette counts as 3 (it is read as RGB). dtype: numpy's name.
    blocks: (width, height) of the file's own tiles or strips. levels: (width, height) of each, the whole first.
    crs: WKT, or "". transform: the six numbers of GDAL's geotransform, or None. nodata: a number, or None.
    """

    def __init__(self, uri: str):
        self.uri, path = uri, vsi_path(uri)
        local = uris.scheme(uri) == "path"
        if local and not os.path.exists(uri):
            raise SourceError("missing_file", f"there is no {uri!r}")
        if local and os.path.isfile(uri) and not os.path.getsize(uri):
            raise SourceError("empty", f"{uri!r} has no bytes")
        with gdal() as rasterio:
            try:
                top = rasterio.open(path)
            except rasterio.errors.RasterioError as e:
                raise _unreadable(uri, str(e).replace(path, "it").replace(uri, "it")) from None
            # A VRT names other files, so none is taken from a server.
            is_known = top.driver in (*DRIVERS, "VRT" if local else "")
            if not top.count or not is_known or top.dtypes[0].startswith("complex"):
                raise SourceError("not_an_image", f"{redact(uri)!r}, as {top.driver}, has no pixels to read here")
            kinds = [c.name for c in top.colorinterp]
            self._palette = _palette(top) if kinds == ["palette"] else None
        self._opened = {0: top}
        self._bands = [n + 1 for n, kind in enumerate(kinds) if kind != "alpha"] or [1]
        self._masked = len(self._bands) < top.count or any(
            flag.name != "all_valid" for flags in top.mask_flag_enums for flag in flags
        )
        self.width, self.height, self.dtype = top.width, top.height, top.dtypes[self._bands[0] - 1]
        self.bands = 3 if self._palette is not None else len(self._bands)
        self.blocks = top.block_shapes[0][::-1]
        self.crs = top.crs.to_wkt() if top.crs else ""
        self.transform = None if top.transform.is_identity else top.transform.to_gdal()
        self.nodata, self.driver = top.nodata, top.driver

    @property
    def identity(self) -> str:
        return identity(self.uri)

    @functools.cached_property
    def levels(self) -> list[tuple[int, int]]:
        overviews = range(1, len(self._opened[0].overviews(1)) + 1)
        return [(self.width, self.height), *((d.width, d.height) for d in map(self._level, overviews))]

    def _level(self, level: int) -> Any:
        if level not in self._opened:
            with gdal() as rasterio:
                self._opened[level] = rasterio.open(vsi_path(self.uri), overview_level=level - 1)
        return self._opened[level]

    def read(self, window: tuple[int, int, int, int] | None = None, level: int = 0) -> np.ndarray:
        """(h, w, bands) of the window (x, y, w, h) in pixels of that level; all of it without one.

        SourceError with .reason corrupt where the file is damaged there.
        """
        dataset = self._level(level)
        x, y, w, h = _inside(window, dataset.width, dataset.height)
        with gdal() as rasterio:
            place = rasterio.windows.Window(x, y, w, h)
            try:
                planes = dataset.read(self._bands, window=place)
            except rasterio.errors.RasterioError as e:
                at = f"pixels {x}, {y} to {x + w}, {y + h}"
                raise SourceError("corrupt", f"{at} cannot be read: {_said(e)}") from None
        if self._palette is not None:
            return self._palette[planes[0]]
        # OpenCV lays pixels together faster than GDAL or numpy do.
        is_known = planes.dtype in (np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64)
        return cv2.merge(list(planes)).reshape(h, w, -1) if is_known else planes.transpose(1, 2, 0).copy()

    def valid(self, window: tuple[int, int, int, int]) -> np.ndarray | None:
        """(h, w) bool: False where there is nodata, a zero alpha or a masked pixel. None: every pixel is valid."""
        if not self._masked:
            return None
        with gdal() as rasterio:
            try:
                return self._opened[0].dataset_mask(window=rasterio.windows.Window(*window)) > 0
            except rasterio.errors.RasterioError as e:
                raise SourceError("corrupt", f"the mask cannot be read: {_said(e)}") from None

    def close(self) -> None:
        for dataset in self._opened.values():
            dataset.close()

    def __enter__(self) -> "Raster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _inside(window: tuple | None, width: int, height: int) -> tuple[int, int, int, int]:
    x, y, w, h = window or (0, 0, width, height)
    if min(x, y, w - 1, h - 1) < 0 or x + w > width or y + h > height:
        raise ValueError(f"window {x, y, w, h} is not inside {width} x {height} pixels")
    return x, y, w, h


def vsi_path(uri: str) -> str:
    """What GDAL calls it.

    >>> vsi_path("s3://bucket/a.tif"), vsi_path("https://example.org/a.tif"), vsi_path("a.tif")
    ('/vsis3/bucket/a.tif', '/vsicurl/https://example.org/a.tif', 'a.tif')
    """
    scheme, colon, rest = uri.partition("://")
    if not colon:
        return uri
    if scheme not in VSI:
        raise SourceError("unsupported_scheme", f"{redact(uri)!r}: rasters are read from paths and {', '.join(VSI)}")
    return VSI[scheme] + rest


def identity(uri: str) -> str:
    """What changes when the content does: size, time and the ends of a file; size and ETag of an object or a URL."""
    if uris.scheme(uri) != "path":
        fs, path = _fs(uri)
        info = fs.info(path)
        marks = ("etag", "last-modified", "last_modified", "lastmodified", "mtime", "updated")
        known = {k.lower(): str(v) for k, v in info.items()}
        return hashing.digest(info.get("size"), *(known.get(m, "") for m in marks))
    if os.path.isdir(uri):  # Zarr
        files = sorted(p for p in Path(uri).rglob("*") if p.is_file())
        return hashing.digest([[str(p.relative_to(uri)), p.stat().st_size, p.stat().st_mtime_ns] for p in files])
    info = os.stat(uri)
    return hashing.digest(info.st_size, info.st_mtime_ns, _ends(uri))


def content(uri: str) -> str:
    """What the picture is, wherever it lies and whenever it was written: size and ends of a file; `identity` elsewhere.

    Of a folder (Zarr) it is the names and sizes of its files.
    """
    if uris.scheme(uri) != "path":
        return identity(uri)
    if os.path.isdir(uri):
        files = sorted(p for p in Path(uri).rglob("*") if p.is_file())
        return hashing.digest([[str(p.relative_to(uri)), p.stat().st_size] for p in files])
    return hashing.digest(os.stat(uri).st_size, _ends(uri))


def _ends(path: str) -> str:
    """Hash of a file's first and last MiB."""
    with Path(path).open("rb") as file:
        ends = hashlib.blake2b(file.read(1 << 20), digest_size=16)
        file.seek(max(0, os.fstat(file.fileno()).st_size - (1 << 20)))
        ends.update(file.read(1 << 20))
    return ends.hexdigest()


def needs_copy(raster: Raster) -> bool:
    """Would tiles of it be decoded again and again? So with strips, PNG and JPEG of more than WHOLE_PX pixels."""
    untiled = raster.blocks[0] >= raster.width or raster.blocks[0] * raster.blocks[1] > WHOLE_PX
    return untiled and raster.width * raster.height > WHOLE_PX


def copy(uri: str, target: str) -> None:
    """Write a file beside `target` and rename it: a local, tiled TIFF of the same pixels. Memory: a row of tiles.

    A URL or an object is downloaded, in one request; what has strips is converted, streamed.
    """
    part, made = f"{target}.{os.getpid()}.part", f"{target}.{os.getpid()}.tif"
    try:
        if uris.scheme(uri) != "path":
            fs, path = _fs(uri)
            fs.get_file(path, part)
            uri = part
        with Raster(uri) as raster:
            top = raster._opened[0]
            # By whole rows of tiles: narrower pieces would decode the strips, or a PNG from its top, again and again.
            swath = raster.width * 512 * top.count * np.dtype(top.dtypes[0]).itemsize
            if needs_copy(raster):
                options = {"TILED": "YES", "BLOCKXSIZE": 512, "BLOCKYSIZE": 512, "BIGTIFF": "IF_SAFER"}
                options |= {"COMPRESS": "ZSTD", "ZSTD_LEVEL": 1, "PREDICTOR": _predictor(top.dtypes[0])}
                with gdal(GDAL_SWATH_SIZE=swath) as rasterio:
                    rasterio.shutil.copy(top, made, driver="GTiff", **options)
                os.replace(made, part)
        os.replace(part, target)
    finally:
        for left in (part, made):
            Path(left).unlink(missing_ok=True)


def _predictor(dtype: str) -> int:
    return 3 if dtype.startswith("float") else 2 if dtype in ("uint8", "uint16", "int16", "uint32", "int32") else 1


def _fs(uri: str) -> tuple[Any, str]:
    import fsspec

    return fsspec.core.url_to_fs(uri, use_listings_cache=False)


def _palette(dataset: Any) -> np.ndarray:
    """(256 or 65536, 3) uint8."""
    colours = dataset.colormap(1)
    table = np.zeros((1 << 8 * np.dtype(dataset.dtypes[0]).itemsize, 3), np.uint8)
    for value, colour in colours.items():
        table[value] = colour[:3]
    return table


def _said(error: BaseException) -> str:
    return line(error.__cause__ or error)[:200]


def _unreadable(uri: str, message: str) -> SourceError:
    shown, low = redact(uri), message.lower()
    if "404" in low or "does not exist" in low or "no such" in low:
        return SourceError("missing_file", f"there is no {shown!r}")
    if "403" in low or "401" in low or "permission" in low or "credential" in low or "access denied" in low:
        return SourceError("no_permission", f"{shown!r} may not be read")
    if "resolve host" in low or "connect" in low:
        return SourceError("dns" if "resolve" in low else "refused", f"{shown!r} cannot be reached: {message}")
    if code := re.search(r"http[^0-9]*(5\d\d)", low):
        return SourceError("error", f"the server of {shown!r} answers {code[1]}: try again later")
    if "range" in low:
        return SourceError("error", f"the server of {shown!r} does not answer range requests: download it first")
    return SourceError("not_an_image", f"{shown!r} is not a raster that can be read here")
