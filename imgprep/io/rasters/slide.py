"""Slides of microscopes (SVS, NDPI, MRXS …) by openslide, read window by window as `rasters.Raster` is."""

import os
from typing import Any

import numpy as np
import openslide

from imgprep.io import rasters, uris
from imgprep.io.uris import SourceError


def open(uri: str) -> Any:  # noqa: A001 - reads as slides.open(uri)
    """A slide by its path. openslide reads local files only: a slide at a URL is GDAL's, where GDAL can."""
    if uris.scheme(uri) != "path" or not os.path.exists(uri) or openslide.OpenSlide.detect_format(uri) is None:
        return rasters.Raster(uri)
    return Slide(uri)


class Slide(rasters.Raster):
    """One slide, open: RGB, uint8, transparent pixels white. magnification: {"mpp_x", "mpp_y", "objective", "vendor"}.

    mpp: micrometres per pixel of level 0; a value that the scanner did not write is missing.
    """

    def __init__(self, uri: str):
        self.uri, self.bands, self.dtype, self.crs, self.transform, self.nodata = uri, 3, "uint8", "", None, None
        try:
            self._slide = openslide.OpenSlide(uri)
        except openslide.OpenSlideError as e:
            raise SourceError("corrupt", f"{uri!r} cannot be read: {e}") from None
        self.width, self.height = self._slide.dimensions
        self.levels, said = list(self._slide.level_dimensions), self._slide.properties
        self.blocks = tuple(int(said.get(f"openslide.level[0].tile-{side}", 256)) for side in ("width", "height"))
        names = {"mpp_x": "mpp-x", "mpp_y": "mpp-y", "objective": "objective-power", "vendor": "vendor"}
        self.magnification = {k: said[f"openslide.{n}"] for k, n in names.items() if f"openslide.{n}" in said}
        self.driver = f"openslide {self.magnification.get('vendor', '')}".strip()

    def read(self, window: tuple[int, int, int, int] | None = None, level: int = 0) -> np.ndarray:
        """(h, w, 3) uint8 of the window (x, y, w, h) in pixels of that level; all of it without one."""
        x, y, w, h = rasters._inside(window, *self.levels[level])
        scale = self._slide.level_downsamples[level]
        try:
            rgba = np.asarray(self._slide.read_region((round(x * scale), round(y * scale)), level, (w, h)))
        except openslide.OpenSlideError as e:  # it gives no other answer after this one
            raise SourceError("corrupt", f"pixels {x}, {y} to {x + w}, {y + h} cannot be read: {e}") from None
        alpha = rgba[..., 3:].astype(np.uint16)
        if (alpha == 255).all():
            return rgba[..., :3].copy()
        return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

    def valid(self, window: tuple[int, int, int, int]) -> None:
        return None

    def close(self) -> None:
        self._slide.close()
