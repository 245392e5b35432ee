"""Slides of microscopes (SVS, NDPI, MRXS …) by openslide, read by windows as `raster.Raster` is."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import openslide

from imgprep.io import uris
from imgprep.io.rasters.raster import Raster, Window, checked_window
from imgprep.io.uris import SourceError

# What openslide calls the numbers of a scan, and what we do.
MAGNIFICATION = {
    "mpp_x": "openslide.mpp-x",
    "mpp_y": "openslide.mpp-y",
    "objective": "openslide.objective-power",
    "vendor": "openslide.vendor",
}


def open_slide(uri: str, *, allow_hosts: Sequence[str] = ()) -> Raster:
    """A slide by its path.

    openslide reads local files only: a slide at a URL is GDAL's, where GDAL can.
    """
    is_file = uris.scheme(uri) == "path" and os.path.exists(uri)
    if not is_file or openslide.OpenSlide.detect_format(uri) is None:
        return Raster(uri, allow_hosts=allow_hosts)
    return Slide(uri)


class Slide(Raster):
    """One slide, open: RGB, uint8, transparent pixels white.

    magnification: {"mpp_x", "mpp_y", "objective", "vendor"}. mpp: micrometres per pixel of level 0;
    a value that the scanner did not write is missing.
    """

    def __init__(self, uri: str):
        self.uri = uri
        self._remote = None
        self.bands = 3
        self.dtype = "uint8"
        self.crs = ""
        self.transform = None
        self.nodata = None
        try:
            self._slide = openslide.OpenSlide(uri)
        except openslide.OpenSlideError as e:
            raise SourceError("corrupt", f"{uri!r} cannot be read: {e}") from None
        self.width, self.height = self._slide.dimensions
        self.levels = list(self._slide.level_dimensions)
        said = self._slide.properties
        tile_w = said.get("openslide.level[0].tile-width", 256)
        tile_h = said.get("openslide.level[0].tile-height", 256)
        self.blocks = int(tile_w), int(tile_h)
        self.magnification = {k: said[name] for k, name in MAGNIFICATION.items() if name in said}
        self.driver = f"openslide {self.magnification.get('vendor', '')}".strip()

    def read(self, window: Window | None = None, level: int = 0) -> np.ndarray:
        """(h, w, 3) uint8 of the window (x, y, w, h) in pixels of that level."""
        x, y, w, h = checked_window(window, *self.levels[level])
        # openslide wants the place in pixels of level 0, and the size in those of the level.
        scale = self._slide.level_downsamples[level]
        place = round(x * scale), round(y * scale)
        try:
            rgba = np.asarray(self._slide.read_region(place, level, (w, h)))
        except openslide.OpenSlideError as e:  # it gives no other answer after this one
            at = f"pixels {x}, {y} to {x + w}, {y + h}"
            raise SourceError("corrupt", f"{at} cannot be read: {e}") from None
        return _on_white(rgba)

    def valid(self, window: Window) -> None:
        return None

    def close(self) -> None:
        self._slide.close()

    @property
    def dataset(self) -> Any:
        raise ValueError(f"{self.uri!r} is openslide's, not GDAL's")


def _on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:].astype(np.uint16)
    if (alpha == 255).all():
        return rgba[..., :3].copy()
    blended = rgba[..., :3] * alpha + 255 * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)
