"""A mask drawn on its picture, in small."""

import cv2
import numpy as np

from imgprep import codec, rasters

COLOURS = [(230, 25, 110), (0, 150, 230), (250, 170, 0), (40, 180, 60), (140, 60, 220), (0, 190, 180)]  # of classes
SEALED = (150, 150, 150)  # nodata


def rgb(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 of (h, w, bands) float32: 0 to 255 stays, else the 1st and 99th percentile are the ends."""
    pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., [0, 0, 0]]
    known = pixels[np.isfinite(pixels)]
    low, high = 0.0, 255.0
    if known.size and not (known.min() >= 0 and 1 < known.max() <= 255):
        low, high = np.percentile(known, (1, 99))
    scaled = (np.nan_to_num(pixels, nan=low) - low) * (255 / max(high - low, 1e-9))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def draw(image: np.ndarray, mask: np.ndarray, nodata: np.ndarray | None = None) -> np.ndarray:
    """The mask (h, w) as a tint on the picture, one colour per class, its outline in full; nodata hatched."""
    out = image.astype(np.float32)
    is_set = mask > 0
    edge = is_set & (cv2.erode(is_set.view(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    tint = np.array(COLOURS, np.float32)[(mask.astype(np.int64) - 1) % len(COLOURS)]
    out[is_set] = 0.6 * out[is_set] + 0.4 * tint[is_set]
    out[edge] = tint[edge]
    out = np.rint(out).astype(np.uint8)
    if nodata is not None:
        y, x = np.indices(mask.shape)
        out[nodata & ((x + y) % 8 < 2)] = SEALED
    return out


def of_mask(small: np.ndarray, path: str) -> bytes:
    """The overview (h, w, bands) with the mask of a file on it, as a JPEG."""
    height, width = small.shape[:2]
    with rasters.Raster(path) as raster:
        level = max(n for n, (w, h) in enumerate(raster.levels) if n == 0 or (w >= width and h >= height))
        mask, nodata = raster.read(level=level)[..., 0], raster.nodata
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return codec.encode(draw(rgb(small), np.where(mask == nodata, 0, mask), mask == nodata), "JPEG", quality=90)
