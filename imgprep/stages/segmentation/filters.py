"""Filters of pictures and masks by OpenCV, and the watershed that parts objects."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np


@dataclass(frozen=True)
class Filter:
    """OpenCV's median or Gaussian, on a picture or a mask; opening or closing, on a mask.

    size: of the (square) window in pixels, odd; of the Gaussian its sigma.
    """

    name: str
    size: float
    version: ClassVar[int] = 1

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
        if self.name == "gaussian":
            side = 2 * self.radius + 1
            return cv2.GaussianBlur(tile, (side, side), self.size)
        size = int(self.size)
        if self.name == "median":
            return cv2.medianBlur(tile, size)
        how = cv2.MORPH_OPEN if self.name == "opening" else cv2.MORPH_CLOSE
        return cv2.morphologyEx(tile, how, np.ones((size, size), np.uint8))


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
