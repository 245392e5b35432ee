"""A mask drawn on its picture, in small."""

import cv2
import numpy as np

from imgprep import codec, rasters

COLOURS = np.array([(230, 25, 110), (0, 150, 230), (250, 170, 0), (40, 180, 60), (140, 60, 220)], np.uint8)
HATCH = (150, 150, 150)  # nodata


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
