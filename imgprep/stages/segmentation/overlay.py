"""A huge picture in small, put together from its blocks, and its mask drawn on it."""

from collections.abc import Iterable

import cv2
import numpy as np

from imgprep.io import rasters
from imgprep.picture import codec
from imgprep.tiles.windows import Box

CLASS_COLOURS = np.array(
    [(230, 25, 110), (0, 150, 230), (250, 170, 0), (40, 180, 60), (140, 60, 220)], np.uint8
)
# Nodata.
HATCH = (150, 150, 150)


class Overview:
    """The picture in small: each pixel the mean of 2 x 2 of those that it stands for.

    It stands for `factor` x `factor`; which of them count is a matter of the picture alone, so
    blocks add up to the same overview however they are cut.
    """

    def __init__(self, block: Box, factor: int, bands: int):
        x, y, w, h = block
        self.factor = factor
        self.x = x // factor
        self.y = y // factor
        columns = -(-(x + w) // factor) - self.x
        rows = -(-(y + h) // factor) - self.y
        self.total = np.zeros((rows, columns, bands), np.float32)

    @staticmethod
    def offsets(factor: int) -> list[int]:
        """Which of `factor` neighbours count."""
        side = min(factor, 2)
        return [(2 * k + 1) * factor // (2 * side) for k in range(side)]

    def add(self, tile: Box, pixels: np.ndarray | None, valid: np.ndarray | None) -> None:
        """NaN where there is no pixel."""
        for dy in self.offsets(self.factor):
            row, rows = self._sampled(tile[1], tile[3], dy)
            for dx in self.offsets(self.factor):
                column, columns = self._sampled(tile[0], tile[2], dx)
                into = self.total[row - self.y :, column - self.x :]
                into = into[: _sampled_count(rows), : _sampled_count(columns)]
                if pixels is None:
                    # NaN stays NaN whatever is added to it: one
                    # missing sample makes the pixel one without data.
                    into += np.float32(np.nan)
                else:
                    into += pixels[rows, columns][..., : self.total.shape[2]]
                if valid is not None:
                    into[~valid[rows, columns]] = np.nan

    def _sampled(self, start: int, length: int, offset: int) -> tuple[int, slice]:
        """The first overview pixel whose sample lies in a tile's side, and the samples in it."""
        first = -(-(start - offset) // self.factor)
        return first, slice(first * self.factor + offset - start, length, self.factor)


def _sampled_count(some: slice) -> int:
    return len(range(some.start, some.stop, some.step))


def overview(
    size_wh: tuple[int, int], factor: int, parts: Iterable[tuple[Box, np.ndarray]]
) -> np.ndarray:
    """(h, w, 1 or 3) float32 of the picture, in its own grey levels; NaN where there are none."""
    width, height = (-(-size // factor) for size in size_wh)
    total = np.zeros((height, width, 0), np.float32)
    for (x, y, _, _), part in parts:
        if not total.size:
            total = np.zeros((height, width, part.shape[2]), np.float32)
        rows, columns = part.shape[:2]
        total[y // factor :, x // factor :][:rows, :columns] += part
    across = _samples(width, factor, size_wh[0])
    down = _samples(height, factor, size_wh[1])
    counts = np.maximum(1, np.outer(down, across))
    total /= counts[..., None].astype(np.float32)
    # Rounded down: the last column would stand for less than the others.
    width, height = (max(1, size // factor) for size in size_wh)
    return total[:height, :width]


def _samples(n: int, factor: int, size: int) -> np.ndarray:
    """How many samples each of n overview pixels has, along a side of `size`."""
    found = np.zeros(n, int)
    for offset in Overview.offsets(factor):
        found += np.arange(n) * factor + offset < size
    return found


def rgb(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 of (h, w, bands) float32.

    0 to 255 stays; else the 1st and the 99th percentile are the ends.
    """
    pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., [0, 0, 0]]
    # Every fourth: the ends of all pixels are those of a sixteenth of them.
    some = pixels[::4, ::4]
    known = some[np.isfinite(some)]
    low = 0.0
    high = 255.0
    # "1 <": a picture of 0 and 1 is stretched, too.
    if known.size and not (known.min() >= 0 and 1 < known.max() <= 255):
        low, high = np.percentile(known, (1, 99))
    scale = np.float32(255 / max(high - low, 1e-9))
    scaled = (pixels - np.float32(low)) * scale + np.float32(0.5)
    np.clip(scaled, 0, 255, out=scaled)
    return np.nan_to_num(scaled, copy=False, nan=0).astype(np.uint8)


def draw_mask(image: np.ndarray, mask: np.ndarray, nodata: np.ndarray | None = None) -> np.ndarray:
    """The mask (h, w) as a tint on the picture, its outline in full; nodata hatched.

    Each class has a colour of COLOURS.
    """
    is_set = mask > 0
    eroded = cv2.erode(is_set.view(np.uint8), np.ones((3, 3), np.uint8))
    edge = is_set & (eroded == 0)
    tint = CLASS_COLOURS[(mask - 1) % len(CLASS_COLOURS)]
    mixed = cv2.addWeighted(image, 0.6, tint, 0.4, 0)
    out = np.where(is_set[..., None], mixed, image)
    out[edge] = tint[edge]
    if nodata is not None:
        rows, columns = (np.arange(n, dtype=np.int32) for n in mask.shape)
        stripes = np.add.outer(rows, columns) % 8 < 2
        out[nodata & stripes] = HATCH
    return out


def of_mask(small: np.ndarray, path: str) -> bytes:
    """The overview (h, w, bands) with the mask of a file on it, as a JPEG."""
    height, width = small.shape[:2]
    with rasters.Raster(path) as raster:
        level = 0
        # The smallest that still has a pixel for each of the overview's.
        for n, (w, h) in enumerate(raster.levels):
            if w >= width and h >= height:
                level = n
        mask = raster.read(level=level)[..., 0]
        nodata = raster.nodata
    # INTER_NEAREST: classes have no mean.
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    is_nodata = mask == nodata
    drawn = draw_mask(rgb(small), np.where(is_nodata, 0, mask), is_nodata)
    return codec.encode(drawn, "JPEG", quality=90)
