"""A huge picture in small, put together from its blocks, and its mask drawn on it."""

from collections.abc import Iterable

import cv2
import numpy as np

from imgprep.io import rasters
from imgprep.picture import codec
from imgprep.tiles.components import Block

COLOURS = np.array([(230, 25, 110), (0, 150, 230), (250, 170, 0), (40, 180, 60), (140, 60, 220)], np.uint8)
HATCH = (150, 150, 150)  # nodata


class Overview:
    """The picture in small: each pixel the mean of 2 x 2 of the `factor` x `factor` pixels that it stands for.

    Which of them is a matter of the picture alone, so blocks add up to the same overview however they are cut.
    """

    def __init__(self, block: Block, factor: int, bands: int):
        self.factor, (x, y, w, h) = factor, block
        self.x, self.y = x // factor, y // factor
        columns, rows = -(-(x + w) // factor) - self.x, -(-(y + h) // factor) - self.y
        self.total = np.zeros((rows, columns, bands), np.float32)

    @staticmethod
    def offsets(factor: int) -> list[int]:
        side = min(factor, 2)
        return [(2 * k + 1) * factor // (2 * side) for k in range(side)]

    def add(self, tile: Block, pixels: np.ndarray | None, valid: np.ndarray | None) -> None:
        """NaN where there is no pixel."""
        x, y, w, h = tile
        f = self.factor
        for dy in self.offsets(f):
            row = -(-(y - dy) // f)
            for dx in self.offsets(f):
                column = -(-(x - dx) // f)
                at = slice(row * f + dy - y, h, f), slice(column * f + dx - x, w, f)
                n, m = (len(range(*s.indices(s.stop))) for s in at)
                into = self.total[row - self.y :, column - self.x :][:n, :m]
                into += np.float32(np.nan) if pixels is None else pixels[at][..., : self.total.shape[2]]
                if valid is not None:
                    into[~valid[at]] = np.nan


def overview(size_wh: tuple[int, int], factor: int, parts: Iterable[tuple[Block, np.ndarray]]) -> np.ndarray:
    """(h, w, 1 or 3) float32 of the picture, in its own grey levels; NaN where there are none."""
    width, height = (-(-s // factor) for s in size_wh)
    total = np.zeros((height, width, 0), np.float32)
    for (x, y, _, _), part in parts:
        if not total.size:
            total = np.zeros((height, width, part.shape[2]), np.float32)
        total[y // factor :, x // factor :][: part.shape[0], : part.shape[1]] += part
    counts = [
        sum((np.arange(n) * factor + d < size).astype(int) for d in Overview.offsets(factor))
        for n, size in ((height, size_wh[1]), (width, size_wh[0]))
    ]
    total /= np.maximum(1, np.outer(*counts))[..., None].astype(np.float32)
    width, height = (max(1, s // factor) for s in size_wh)
    return total[:height, :width]


def rgb(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 of (h, w, bands) float32: 0 to 255 stays, else the 1st and 99th percentile are the ends."""
    pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., [0, 0, 0]]
    known, low, high = pixels[::4, ::4][np.isfinite(pixels[::4, ::4])], 0.0, 255.0
    if known.size and not (known.min() >= 0 and 1 < known.max() <= 255):
        low, high = np.percentile(known, (1, 99))
    scaled = (pixels - np.float32(low)) * np.float32(255 / max(high - low, 1e-9)) + np.float32(0.5)
    return np.nan_to_num(np.clip(scaled, 0, 255, out=scaled), copy=False, nan=0).astype(np.uint8)


def draw(image: np.ndarray, mask: np.ndarray, nodata: np.ndarray | None = None) -> np.ndarray:
    """The mask (h, w) as a tint on the picture, a colour of COLOURS per class, its outline in full; nodata hatched."""
    is_set = mask > 0
    edge = is_set & (cv2.erode(is_set.view(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    tint = COLOURS[(mask - 1) % len(COLOURS)]
    out = np.where(is_set[..., None], cv2.addWeighted(image, 0.6, tint, 0.4, 0), image)
    out[edge] = tint[edge]
    if nodata is not None:
        rows, columns = (np.arange(n, dtype=np.int32) for n in mask.shape)
        out[nodata & (np.add.outer(rows, columns) % 8 < 2)] = HATCH
    return out


def of_mask(small: np.ndarray, path: str) -> bytes:
    """The overview (h, w, bands) with the mask of a file on it, as a JPEG."""
    height, width = small.shape[:2]
    with rasters.Raster(path) as raster:
        level = max(n for n, (w, h) in enumerate(raster.levels) if n == 0 or (w >= width and h >= height))
        mask, nodata = raster.read(level=level)[..., 0], raster.nodata
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return codec.encode(draw(rgb(small), np.where(mask == nodata, 0, mask), mask == nodata), "JPEG", quality=90)
