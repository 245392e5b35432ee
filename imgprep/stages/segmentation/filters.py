"""Filters of pictures and masks by OpenCV, and the watershed that parts objects."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

OF_MASKS_ONLY = ("opening", "closing")
# What OpenCV's filters take; its median takes less.
CV_TYPES = ("uint8", "uint16", "int16", "float32", "float64")
CV_MEDIAN_TYPES = ("uint8", "uint16", "int16", "float32")
# A larger window is for 8 bits only.
CV_MEDIAN_SIZE = 5
CV_MEDIAN_BANDS = (1, 3, 4)


@dataclass(frozen=True)
class Filter:
    """A median or a Gaussian, of a picture or a mask; opening or closing, of a mask.

    OpenCV's, and of types that it does not take the same by SciPy. size: of the (square) window
    in pixels, odd; of the Gaussian its sigma. What lies beyond the picture's edge is, for the
    median, as the edge.
    """

    name: str
    size: float
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        is_even = self.name != "gaussian" and self.size % 2 == 0
        if self.size <= 0 or is_even:
            raise ValueError(f"{self.name} takes an odd number of pixels, not {self.size}")

    @property
    def __name__(self) -> str:
        return f"{self.name} {self.size:g}"

    @property
    def radius(self) -> int:
        if self.name == "gaussian":
            return round(3 * self.size + 0.5)
        half = int(self.size) // 2
        # Opening and closing are an erosion and a dilation, one after the other.
        return half if self.name == "median" else half * 2

    def __call__(self, tile: np.ndarray) -> np.ndarray:
        if tile.dtype == bool:
            tile = tile.astype(np.uint8)
        if self.name == "median":
            return _median(tile, int(self.size))
        if str(tile.dtype) in CV_TYPES:
            return self._by_opencv(tile)
        found = self._by_opencv(tile.astype(np.float64))
        if tile.dtype.kind in "iu":
            found = np.rint(found)
        return found.astype(tile.dtype)

    def _by_opencv(self, tile: np.ndarray) -> np.ndarray:
        if self.name == "gaussian":
            side = 2 * self.radius + 1
            return cv2.GaussianBlur(tile, (side, side), self.size)
        square = np.ones((int(self.size), int(self.size)), np.uint8)
        how = cv2.MORPH_OPEN if self.name == "opening" else cv2.MORPH_CLOSE
        return cv2.morphologyEx(tile, how, square)


def _median(tile: np.ndarray, size: int) -> np.ndarray:
    if tile.dtype == np.float16:
        # A float32 holds all of its numbers.
        return _median(tile.astype(np.float32), size).astype(np.float16)
    bands = tile.shape[2] if tile.ndim == 3 else 1
    if bands not in CV_MEDIAN_BANDS:
        # Band by band: OpenCV takes three or four, and
        # a median of one does not depend on the others.
        return np.dstack([_median(tile[..., n], size) for n in range(bands)])
    is_small = size <= CV_MEDIAN_SIZE and str(tile.dtype) in CV_MEDIAN_TYPES
    if is_small or tile.dtype == np.uint8:
        return cv2.medianBlur(np.ascontiguousarray(tile), size)
    from scipy import ndimage

    window = (size, size) if tile.ndim == 2 else (size, size, 1)
    return ndimage.median_filter(tile, window, mode="nearest")


@dataclass(frozen=True)
class Watershed:
    """Parts a mask into objects at the valleys of its distance map.

    Meyer's flooding, as scikit-image has it. distance: between the centres of two objects, in
    pixels, at least. A basin has no bound, so tiled it is approximate: exact for objects that lie
    within the halo.
    """

    distance: int
    radius: ClassVar[None] = None
    instances: ClassVar[bool] = True
    version: ClassVar[int] = 1

    @property
    def __name__(self) -> str:
        return f"watershed {self.distance}"

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        from skimage import feature, segmentation

        inside = (mask != 0).astype(np.uint8)
        far = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # exclude_border=False: an object at the edge has its centre there.
        peaks = feature.peak_local_max(far, min_distance=self.distance, exclude_border=False)
        seeds = np.zeros(mask.shape, np.int32)
        seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        return segmentation.watershed(-far, seeds, mask=mask != 0).astype(np.int32)


# Words of a step: name -> what its one number makes.
STEPS = {
    "median": lambda size: Filter("median", int(size)),
    "gaussian": lambda sigma: Filter("gaussian", sigma),
    "opening": lambda size: Filter("opening", int(size)),
    "closing": lambda size: Filter("closing", int(size)),
    "watershed": lambda distance: Watershed(int(distance)),
}
