"""One raster, open: its header, and its pixels by windows. GDAL's formats by rasterio."""

import contextlib
import functools
import os
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import cv2
import numpy as np

from imgprep.io import uris
from imgprep.io.rasters.formats import (
    FORMAT_HEAD_BYTES,
    OTHER_FILE,
    PICTURES_BESIDE,
    Readable,
    driver_of,
    readable,
)
from imgprep.io.rasters.links import Spelled, spelled
from imgprep.io.rasters.marks import scene_identity
from imgprep.io.rasters.remote import RASTER_NAME, Remote
from imgprep.io.rasters.settings import gdal
from imgprep.io.rasters.white import from_black, highest_of
from imgprep.io.uris import SourceError
from imgprep.redaction import redact_url
from imgprep.words import line

# And no other: see `formats`.
DRIVERS = ["GTiff", "JP2OpenJPEG", "PNG", "JPEG", "WEBP", "Zarr", "GIF", "BMP"]
# openslide's, where it is installed.
SLIDES = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif")
MERGED = (np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64)  # types OpenCV knows

Window = tuple[int, int, int, int]  # x, y, width, height in pixels


def open_raster(uri: str, *, allow_hosts: Sequence[str] = ()) -> "Raster":
    """A raster by path or URI (s3:// az:// gs:// https://). Reads its header only.

    allow_hosts: hosts with private addresses that a URL may name. Close it, or use `with`. Raises
    SourceError (a ValueError) with .reason missing_file, no_permission, empty, not_an_image, the
    reasons of a download, or error.
    """
    # By its ending, as these formats are TIFFs for all that their first bytes say.
    if urlsplit(uri).path.lower().endswith(SLIDES):
        with contextlib.suppress(ImportError):  # GDAL reads some of them, too
            from imgprep.io.rasters import slide

            return slide.open_slide(uri, allow_hosts=allow_hosts)
    return Raster(uri, allow_hosts=allow_hosts)


class Raster:
    """One raster, open. Not for two threads at once: each opens its own.

    width, height, bands: without an alpha band; a palette counts as 3 (it is read as RGB). Where
    a TIFF says that 0 is white, the numbers are turned round.
    dtype: numpy's name. blocks: (width, height) of the file's own tiles or strips.
    levels: (width, height) of each, the whole first. crs: WKT, or "".
    transform: the six numbers of GDAL's geotransform, or None. nodata: a number, or None.
    It is opened by the one driver that its first bytes name; a VRT, which names other files, by
    none. Of what lies beside it only the sidecars of `formats` are read, and only here.
    """

    _highest: float | None = None
    _spelled: Spelled | None = None

    def __init__(self, uri: str, *, allow_hosts: Sequence[str] = ()):
        self.uri = uri
        self._remote: Remote | None = None
        if uris.scheme(uri) == "path":
            self._spelled = spelled(uris.path_of(uri), _local(uri))
            self._path = self._spelled.path
            found = self._spelled.found
        else:
            self._remote = Remote(uri, allow_hosts)
            found = Readable(driver_of(self._remote.read_span(0, FORMAT_HEAD_BYTES)))
            self._path = RASTER_NAME
        try:
            self._open_top(found)
        except BaseException:
            self.close()
            raise

    def _open_top(self, found: Readable) -> None:
        shown = redact_url(self.uri)
        if self._remote is not None and not self._remote.size:
            raise SourceError("empty", f"{shown!r} has no bytes")
        if not found.driver:
            what = "is not a raster that can be read here"
            raise SourceError("not_an_image", f"{shown!r} {what}")
        self._driver = found.driver
        # GDAL looks for sidecars only where there are such.
        self._options = {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"} if found.beside else {}
        for name in found.beside:
            if name.endswith(PICTURES_BESIDE):
                self._check_beside(name)
        opener = {} if self._remote is None else {"opener": self._remote.opener}
        top = self.open_part(self._path, self._driver, **opener)
        self._opened = {0: top}
        if self._remote is not None:
            self._path = top.name  # where rasterio serves it, while this one is open
            self._keeper = top
        refuse_other_files(top, shown)
        if not top.count or top.dtypes[0].startswith("complex"):
            what = f"{shown!r}, as {top.driver}, has no pixels to read here"
            raise SourceError("not_an_image", what)
        self._describe(top)

    def _check_beside(self, name: str) -> None:
        with gdal() as rasterio:
            try:
                with rasterio.open(name, driver="GTiff") as beside:
                    refuse_other_files(beside, os.path.basename(name))
            except rasterio.errors.RasterioError:
                told = f"{os.path.basename(name)!r}, which lies beside it, is damaged: take it away"
                raise SourceError("corrupt", told) from None

    def open_part(self, path: str, driver: str = "", **how: Any) -> Any:
        """rasterio's dataset of the file, a page or a level of it, by the file's own driver."""
        with gdal(**self._options) as rasterio:
            try:
                return rasterio.open(path, driver=driver or self._driver, **how)
            except rasterio.errors.RasterioError:
                self._raise_remote()
                what = "is not a raster that can be read here"
                raise SourceError("not_an_image", f"{redact_url(self.uri)!r} {what}") from None

    def _raise_remote(self) -> None:
        """What became of the bytes, which GDAL does not know."""
        if self._remote is not None and self._remote.failure is not None:
            failure, self._remote.failure = self._remote.failure, None
            raise failure

    def page(self, number: int) -> Any:
        """rasterio's dataset of a page of a TIFF, from 0."""
        return self.open_part(f"GTIFF_DIR:{number + 1}:{self._path}")

    @property
    def path(self) -> str:
        """What GDAL calls it, while it is open."""
        return self._path

    def _describe(self, top: Any) -> None:
        # GDAL has the frames of a GIF as bands: they are planes, see `planes`.
        count = 1 if top.driver == "GIF" else top.count
        kinds = [c.name for c in top.colorinterp[:count]]
        self._highest = highest_of(top)
        is_palette = kinds == ["palette"] and self._highest is None
        self._palette = _palette(top) if is_palette else None
        self._bands = [n for n, kind in enumerate(kinds, 1) if kind != "alpha"] or [1]
        self._masked = _is_masked(top, len(self._bands), count)
        self.width = top.width
        self.height = top.height
        self.dtype = top.dtypes[self._bands[0] - 1] if self._palette is None else "uint8"
        self.bands = len(self._bands) if self._palette is None else 3
        self.blocks = top.block_shapes[0][::-1]
        self.crs = top.crs.to_wkt() if top.crs else ""
        self.transform = None if top.transform.is_identity else top.transform.to_gdal()
        self.nodata = top.nodata
        if self._highest is not None and self.nodata is not None:
            self.nodata = float(self._highest - self.nodata)
        self.driver = top.driver

    @property
    def dataset(self) -> Any:
        """rasterio's, of the whole picture."""
        return self._opened[0]

    @property
    def identity(self) -> str:
        if self._remote is not None:
            return self._remote.identity
        return scene_identity(self.uri)

    @property
    def is_turned(self) -> bool:
        """Does the file count from white? Its numbers are read from black."""
        return self._highest is not None

    @functools.cached_property
    def levels(self) -> list[tuple[int, int]]:
        smaller = [self._level(n) for n, _ in enumerate(self.dataset.overviews(1), 1)]
        return [(self.width, self.height), *((d.width, d.height) for d in smaller)]

    def _level(self, level: int) -> Any:
        if level not in self._opened:
            self._opened[level] = self.open_part(self._path, overview_level=level - 1)
        return self._opened[level]

    def read(self, window: Window | None = None, level: int = 0) -> np.ndarray:
        """(h, w, bands) of the window (x, y, w, h) in pixels of that level; all of it without one.

        SourceError with .reason corrupt where the file is damaged there.
        """
        dataset = self._level(level)
        x, y, w, h = checked_window(window, dataset.width, dataset.height)
        with gdal(**self._options) as rasterio:
            place = rasterio.windows.Window(x, y, w, h)
            try:
                planes = dataset.read(self._bands, window=place)
            except rasterio.errors.RasterioError as e:
                self._raise_remote()
                at = f"pixels {x}, {y} to {x + w}, {y + h}"
                raise SourceError("corrupt", f"{at} cannot be read: {_gdal_says(e)}") from None
        if self._palette is not None:
            return self._palette[planes[0]]
        if self._highest is not None:
            planes = from_black(planes, self._highest)
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
        with gdal(**self._options) as rasterio:
            place = rasterio.windows.Window(*window)
            try:
                if self.driver == "GIF":  # the other bands are other frames
                    return self.dataset.read_masks(self._bands[0], window=place) > 0
                return self.dataset.dataset_mask(window=place) > 0
            except rasterio.errors.RasterioError as e:
                self._raise_remote()
                raise SourceError("corrupt", f"the mask cannot be read: {_gdal_says(e)}") from None

    def close(self) -> None:
        for dataset in getattr(self, "_opened", {}).values():
            dataset.close()
        for held in (self._remote, self._spelled):
            if held is not None:
                held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def checked_window(window: Window | None, width: int, height: int) -> Window:
    """The window, or all of it. ValueError where it is not inside."""
    # w - 1 and h - 1: a window without pixels is outside as well.
    x, y, w, h = window or (0, 0, width, height)
    if min(x, y, w - 1, h - 1) < 0 or x + w > width or y + h > height:
        raise ValueError(f"window {x, y, w, h} is not inside {width} x {height} pixels")
    return x, y, w, h


def refuse_other_files(dataset: Any, shown: str) -> None:
    """SourceError where the metadata name another file to be read as its smaller levels."""
    named = dataset.tags(ns="OVERVIEWS")
    if any(name.upper() == OTHER_FILE for name in named):
        raise SourceError("no_permission", f"{shown!r} names another file to be read with it")


def _local(uri: str) -> Readable:
    path = uris.path_of(uri)
    shown = uris.printable(path)
    try:
        if os.path.isfile(path) and not os.path.getsize(path):
            raise SourceError("empty", f"{shown!r} has no bytes")
        return readable(path)
    except FileNotFoundError:
        raise SourceError("missing_file", f"there is no {shown!r}") from None
    except PermissionError:
        raise SourceError("no_permission", f"{shown!r} may not be read") from None


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
        # Without the fourth: transparency is asked for by `valid`.
        table[value] = colour[:3]
    return table


# rasterio's own sentence says "Read failed"; GDAL's reason stands behind it.
def _gdal_says(error: BaseException) -> str:
    return line(error.__cause__ or error)[:200]
