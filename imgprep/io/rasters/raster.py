"""One raster, open: its header, and its pixels by windows. GDAL's formats by rasterio."""

import contextlib
import functools
import os
import re
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from imgprep.io import uris
from imgprep.io.rasters.marks import identity
from imgprep.io.rasters.settings import gdal
from imgprep.io.uris import SourceError
from imgprep.redaction import redact_url
from imgprep.words import line

# And VRT, where it is a local file.
DRIVERS = ["GTiff", "JP2OpenJPEG", "PNG", "JPEG", "WEBP", "Zarr", "GIF", "BMP"]
# openslide's, where it is installed.
SLIDES = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif")
VSI = {
    "s3": "/vsis3/",
    "s3a": "/vsis3/",
    "az": "/vsiaz/",
    "abfs": "/vsiaz/",
    "abfss": "/vsiaz/",
    "gs": "/vsigs/",
    "gcs": "/vsigs/",
    "http": "/vsicurl/http://",
    "https": "/vsicurl/https://",
}
MERGED = (np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64)  # types OpenCV knows

Window = tuple[int, int, int, int]  # x, y, width, height in pixels


def open_raster(uri: str) -> "Raster":
    """A raster by path or URI (s3:// az:// gs:// https://). Reads its header only.

    Close it, or use `with`. Raises SourceError (a ValueError) with .reason missing_file,
    no_permission, empty, not_an_image or error.
    """
    if urlsplit(uri).path.lower().endswith(SLIDES):
        with contextlib.suppress(ImportError):  # GDAL reads some of them, too
            from imgprep.io.rasters import slide

            return slide.open_slide(uri)
    return Raster(uri)


class Raster:
    """One raster, open. Not for two threads at once: each opens its own.

    width, height, bands: without an alpha band; a palette counts as 3 (it is read as RGB).
    dtype: numpy's name. blocks: (width, height) of the file's own tiles or strips.
    levels: (width, height) of each, the whole first. crs: WKT, or "".
    transform: the six numbers of GDAL's geotransform, or None. nodata: a number, or None.
    """

    def __init__(self, uri: str):
        self.uri = uri
        path = vsi_path(uri)
        is_local = uris.scheme(uri) == "path"
        if is_local and not os.path.exists(uri):
            raise SourceError("missing_file", f"there is no {uri!r}")
        if is_local and os.path.isfile(uri) and not os.path.getsize(uri):
            raise SourceError("empty", f"{uri!r} has no bytes")
        with gdal() as rasterio:
            try:
                top = rasterio.open(path)
            except rasterio.errors.RasterioError as e:
                raise _unreadable(uri, str(e).replace(path, "it").replace(uri, "it")) from None
            # A VRT names other files, so none is taken from a server.
            is_known = top.driver in DRIVERS or (is_local and top.driver == "VRT")
            if not top.count or not is_known or top.dtypes[0].startswith("complex"):
                what = f"{redact_url(uri)!r}, as {top.driver}, has no pixels to read here"
                raise SourceError("not_an_image", what)
            self._describe(top)
        self._opened = {0: top}

    def _describe(self, top: Any) -> None:
        # GDAL has the frames of a GIF as bands: they are planes, see `planes`.
        count = 1 if top.driver == "GIF" else top.count
        kinds = [c.name for c in top.colorinterp[:count]]
        self._palette = _palette(top) if kinds == ["palette"] else None
        self._bands = [n for n, kind in enumerate(kinds, 1) if kind != "alpha"] or [1]
        self._masked = _is_masked(top, len(self._bands), count)
        self.width = top.width
        self.height = top.height
        self.dtype = top.dtypes[self._bands[0] - 1]
        self.bands = len(self._bands) if self._palette is None else 3
        self.blocks = top.block_shapes[0][::-1]
        self.crs = top.crs.to_wkt() if top.crs else ""
        self.transform = None if top.transform.is_identity else top.transform.to_gdal()
        self.nodata = top.nodata
        self.driver = top.driver

    @property
    def dataset(self) -> Any:
        """rasterio's, of the whole picture."""
        return self._opened[0]

    @property
    def identity(self) -> str:
        return identity(self.uri)

    @functools.cached_property
    def levels(self) -> list[tuple[int, int]]:
        count = len(self.dataset.overviews(1))
        smaller = [self._level(n) for n in range(1, count + 1)]
        return [(self.width, self.height), *((d.width, d.height) for d in smaller)]

    def _level(self, level: int) -> Any:
        if level not in self._opened:
            with gdal() as rasterio:
                path = vsi_path(self.uri)
                self._opened[level] = rasterio.open(path, overview_level=level - 1)
        return self._opened[level]

    def read(self, window: Window | None = None, level: int = 0) -> np.ndarray:
        """(h, w, bands) of the window (x, y, w, h) in pixels of that level; all of it without one.

        SourceError with .reason corrupt where the file is damaged there.
        """
        dataset = self._level(level)
        x, y, w, h = checked_window(window, dataset.width, dataset.height)
        with gdal() as rasterio:
            place = rasterio.windows.Window(x, y, w, h)
            try:
                planes = dataset.read(self._bands, window=place)
            except rasterio.errors.RasterioError as e:
                at = f"pixels {x}, {y} to {x + w}, {y + h}"
                raise SourceError("corrupt", f"{at} cannot be read: {_said(e)}") from None
        if self._palette is not None:
            return self._palette[planes[0]]
        if planes.dtype not in MERGED:
            return planes.transpose(1, 2, 0).copy()
        # OpenCV lays pixels together faster than GDAL or numpy do.
        return cv2.merge(list(planes)).reshape(h, w, -1)

    def valid(self, window: Window) -> np.ndarray | None:
        """(h, w) bool: False where there is nodata, a zero alpha or a masked pixel.

        None: every pixel is valid.
        """
        if not self._masked:
            return None
        with gdal() as rasterio:
            place = rasterio.windows.Window(*window)
            try:
                if self.driver == "GIF":  # the other bands are other frames
                    return self.dataset.read_masks(self._bands[0], window=place) > 0
                return self.dataset.dataset_mask(window=place) > 0
            except rasterio.errors.RasterioError as e:
                raise SourceError("corrupt", f"the mask cannot be read: {_said(e)}") from None

    def close(self) -> None:
        for dataset in self._opened.values():
            dataset.close()

    def __enter__(self) -> "Raster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def checked_window(window: Window | None, width: int, height: int) -> Window:
    """The window, or all of it. ValueError where it is not inside."""
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
        what = f"{redact_url(uri)!r}: rasters are read from paths and {', '.join(VSI)}"
        raise SourceError("unsupported_scheme", what)
    return VSI[scheme] + rest


def _is_masked(dataset: Any, bands: int, count: int) -> bool:
    """Whether some pixels of the first `count` bands may not be valid."""
    if bands < count:  # there is an alpha band
        return True
    flags = [flag.name for flags in dataset.mask_flag_enums[:count] for flag in flags]
    return any(name != "all_valid" for name in flags)


def _palette(dataset: Any) -> np.ndarray:
    """(256 or 65536, 3) uint8."""
    bits = 8 * np.dtype(dataset.dtypes[0]).itemsize
    table = np.zeros((1 << bits, 3), np.uint8)
    for value, colour in dataset.colormap(1).items():
        table[value] = colour[:3]
    return table


def _said(error: BaseException) -> str:
    return line(error.__cause__ or error)[:200]


def _unreadable(uri: str, message: str) -> SourceError:
    """What GDAL's words mean."""
    shown = redact_url(uri)
    low = message.lower()

    def speaks_of(*words: str) -> bool:
        return any(word in low for word in words)

    if speaks_of("404", "does not exist", "no such"):
        return SourceError("missing_file", f"there is no {shown!r}")
    if speaks_of("403", "401", "permission", "credential", "access denied"):
        return SourceError("no_permission", f"{shown!r} may not be read")
    if speaks_of("resolve host"):
        return SourceError("dns", f"{shown!r} cannot be reached: {message}")
    if speaks_of("connect"):
        return SourceError("refused", f"{shown!r} cannot be reached: {message}")
    if code := re.search(r"http[^0-9]*(5\d\d)", low):
        return SourceError("error", f"the server of {shown!r} answers {code[1]}: try again later")
    if speaks_of("range"):
        what = "does not answer range requests: download it first"
        return SourceError("error", f"the server of {shown!r} {what}")
    return SourceError("not_an_image", f"{shown!r} is not a raster that can be read here")
