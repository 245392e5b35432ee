"""Rasters whose pixels are numbers, of classes or of objects, and no colours: truths and masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from imgprep.io.rasters.raster import Raster, Window
from imgprep.io.uris import SourceError
from imgprep.redaction import redact_url
from imgprep.tiles import grid

# A window's side.
CHECKED_PX = 1024


def open_numbers(uri: str, *, allow_hosts: Sequence[str] = ()) -> "Numbered":
    """A mask or a truth by path or URI, as `open_raster`: one number for each pixel."""
    return Numbered(uri, allow_hosts=allow_hosts)


class Numbered(Raster):
    """A raster of numbers as they are stored: of a palette its indices, whatever white is.

    Several bands must be equal, as where a grey mask was saved in colour. SourceError with .reason
    unsupported_format where they are not, and for numbers that are not whole.
    """

    def _describe(self, top: Any) -> None:
        super()._describe(top)
        # The bands as they are stored: of a palette the base class would make colours.
        self.dtype = top.dtypes[self._bands[0] - 1]
        self.nodata = top.nodata
        self._highest = None
        if self._palette is not None:
            self._palette = None
            self.bands = 1
        if np.dtype(self.dtype).kind not in "iub":
            told = f"{redact_url(self.uri)!r} holds {self.dtype}"
            raise SourceError("unsupported_format", f"{told}: a mask holds whole numbers")

    def read(self, window: Window | None = None, level: int = 0) -> np.ndarray:
        """(h, w, 1) of the window."""
        pixels = super().read(window, level)
        first = pixels[..., :1]
        if pixels.shape[2] > 1 and (pixels != first).any():
            told = f"{redact_url(self.uri)!r} has colours ({self.bands} bands that differ)"
            fix = "a mask has one number for each pixel: save it with a palette, or as one band"
            raise SourceError("unsupported_format", f"{told}: {fix}")
        return first

    def check(self) -> None:
        """Read it once where that may fail. SourceError as `read`."""
        if self.bands == 1:
            return
        side = CHECKED_PX, CHECKED_PX
        for box in grid.cut((0, 0, self.width, self.height), side):
            self.read(box)
