"""Operators: what makes a mask of a tile. Any function is one; these are built in.

An operator is a callable `fn(tile)`, or `fn(tile, chosen)` where it has two passes. tile: (h, w, bands) as the raster
stores it. It returns (h, w): a mask (bool, uint8 or uint16; 0 is background, other numbers are classes), labels (int32,
with the attribute `instances = True`), or probabilities (float32, 0 to 1). Attributes it may have:

    radius       how far a pixel's answer depends on others, in pixels. It has to be stated (by the attribute, or by
                 `halo=` of the call): 0 for a function of each pixel alone; None where there is no bound, so that the
                 tiled answer is not the whole picture's, and the call must say approximate=True.
    instances    True: each number of the result is an object of its own.
    version      of operators in an installed package: raise it when results change.

A two-pass operator decides over the whole picture before it makes the mask. Its first pass sees tiles of a fixed grid,
so that what it decides does not depend on tile_wh:

    stats(tile, inner, valid)   anything that pickles, or None for a tile that does not count. inner: (rows, columns)
                                slices of what is to be counted, the rest is halo. valid: (h, w) bool, or None for all.
    merge(a, b)                 of two such; must be exact, in any order.
    choose(stats)               what `fn` gets as `chosen`; stats is None where no tile counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

METHODS = ("otsu-tissue", "otsu", "multiotsu")
EMPTY_STD = 3  # grey levels of 256: less in a tile of 512 x 512 is bare glass, sky or sea
INT_TYPES = {"uint8": 0, "bool": 0, "uint16": 0, "int8": 128, "int16": 32768}  # and what is added to make them bins


def named(operator: Any) -> Callable:
    """The operator that a number, a word ("otsu", "median 5", "watershed 12"), a list of steps or a callable means.

    ValueError, with the words there are, for anything else.
    """
    if isinstance(operator, list | tuple):
        return Chain(tuple(named(step) for step in operator))
    if callable(operator):
        return operator
    if isinstance(operator, int | float) and not isinstance(operator, bool):
        return Threshold(float(operator))
    name, _, size = str(operator).strip().partition(" ")
    if name in METHODS and size in ("", "dark", "bright"):
        return Threshold(name, *filter(None, [size]))
    if name in STEPS and size.replace(".", "", 1).isdecimal():
        return STEPS[name](float(size) if name == "gaussian" else int(float(size)))
    known = f"{', '.join(METHODS)} (dark or bright), {', '.join(f'{n} SIZE' for n in STEPS)}"
    raise ValueError(f"no operator {operator!r}; there are: a number, a callable, a list of steps, {known}")


def grey(tile: np.ndarray) -> np.ndarray:
    """(h, w) in the tile's own scale: the luma of the first three bands, or the only one (or the first of two)."""
    if tile.ndim == 2 or tile.shape[2] < 3:
        return tile if tile.ndim == 2 else np.ascontiguousarray(tile[..., 0])
    tile = tile[..., :3] if tile.dtype in (np.uint8, np.uint16, np.float32) else tile[..., :3].astype(np.float32)
    return cv2.cvtColor(np.ascontiguousarray(tile), cv2.COLOR_RGB2GRAY)


@dataclass(frozen=True)
class Threshold:
    """Grey levels up to a cut ("dark"), or above it ("bright"). The cut is one number for the whole picture.

    method: "otsu" (Otsu, IEEE Trans. SMC 9(1), 1979) over all pixels; "otsu-tissue" leaves out 512 x 512 tiles that are
    nearly of one grey, so that glass does not decide; "multiotsu" takes the outermost of three classes (Liao, J. Inf.
    Sci. Eng. 17(5), 2001); or a number. Histograms are exact for 8 and 16 bits; of floats the upper 16 bits count.
    """

    method: str | float = "otsu-tissue"
    foreground: str = "dark"
    radius: ClassVar[int] = 0
    version: ClassVar[int] = 1

    def stats(self, tile: np.ndarray, inner: tuple[slice, slice], valid: np.ndarray | None) -> dict | None:
        """{"dtype", "counts"} of the grey levels; None for an empty tile."""
        if isinstance(self.method, float):
            return None
        levels = np.ascontiguousarray(grey(tile)[inner])
        keep = np.isfinite(levels) if levels.dtype.kind == "f" else None
        if valid is not None:
            keep = valid[inner] if keep is None else keep & valid[inner]
        bins = _bins(levels)
        n = 256 if bins.dtype == np.uint8 else 65536
        counts = cv2.calcHist([bins], [0], None if keep is None else keep.astype(np.uint8), [n], [0, n])
        counts, total = counts.ravel().astype(np.int64), int(counts.sum())
        found = {"dtype": str(levels.dtype), "counts": counts}
        if not total:
            return None
        if self.method == "otsu-tissue":
            at = np.flatnonzero(counts)
            values = centres(found)[at]
            mean = (counts[at] * values).sum() / total
            std = ((counts[at] * (values - mean) ** 2).sum() / total) ** 0.5
            scale = {"uint8": 255, "bool": 1, "uint16": 65535, "int16": 65535, "int8": 255}.get(found["dtype"], 0)
            if std * 255 < EMPTY_STD * scale or not std:  # of floats only what is quite uniform
                return None
        return found

    @staticmethod
    def merge(a: dict, b: dict) -> dict:
        return a | {"counts": a["counts"] + b["counts"]}

    def choose(self, stats: dict | None) -> float | None:
        """The cut; None where there was nothing but empty tiles (the mask is empty then)."""
        if isinstance(self.method, float):
            return self.method
        if stats is None:
            return None
        from skimage import filters

        at = np.flatnonzero(stats["counts"])
        counts, values = stats["counts"][at[0] : at[-1] + 1], centres(stats)[at[0] : at[-1] + 1]
        if len(at) == 1:
            return None  # one grey: nothing stands out
        if self.method != "multiotsu":
            return float(filters.threshold_otsu(hist=(counts, values)))
        while len(counts) > 1024:  # its tables grow with the square
            counts, values = (np.add.reduceat(x, np.arange(0, len(x), 2)) for x in (counts, values))
            values = values / 2
        cuts = filters.threshold_multiotsu(classes=min(3, np.count_nonzero(counts)), hist=(counts, values))
        return float(cuts[0] if self.foreground == "dark" else cuts[-1])

    def __call__(self, tile: np.ndarray, chosen: float | None) -> np.ndarray:
        levels = grey(tile)
        if chosen is None:
            return np.zeros(levels.shape, np.uint8)
        return (levels <= chosen if self.foreground == "dark" else levels > chosen).view(np.uint8)


def _bins(levels: np.ndarray) -> np.ndarray:
    """Grey levels as uint8 or uint16, in the same order."""
    shift = INT_TYPES.get(str(levels.dtype))
    if shift is not None:
        return levels.view(np.uint8) if levels.dtype == bool else _unsigned(levels, shift)
    bits = np.ascontiguousarray(levels, np.float32).view(np.uint32)
    negative = bits >> 31 == 1
    return ((np.where(negative, ~bits, bits | 0x80000000)) >> 16).astype(np.uint16)


def _unsigned(levels: np.ndarray, shift: int) -> np.ndarray:
    if not shift:
        return levels
    return (levels.astype(np.int32) + shift).astype(np.uint8 if shift == 128 else np.uint16)


def centres(stats: dict) -> np.ndarray:
    """The grey level of each bin of what `Threshold.stats` gives."""
    n = len(stats["counts"])
    if stats["dtype"] in INT_TYPES:
        return np.arange(n, dtype=np.float64) - INT_TYPES[stats["dtype"]]
    bits = (np.arange(n, dtype=np.uint32) << 16) | 0x8000
    value = np.where(bits >> 31 == 1, bits & 0x7FFFFFFF, ~bits).astype(np.uint32).view(np.float32)
    return np.nan_to_num(value.astype(np.float64), nan=0, posinf=0, neginf=0)


@dataclass(frozen=True)
class Filter:
    """OpenCV's median or Gaussian, on the picture or a mask; opening or closing by a square, on a mask.

    size: of the window in pixels, odd; of the Gaussian its sigma.
    """

    name: str
    size: float
    version: ClassVar[int] = 1

    def __post_init__(self):
        if self.size <= 0 or (self.name != "gaussian" and self.size % 2 == 0):
            raise ValueError(f"{self.name} takes an odd number of pixels, not {self.size}")

    @property
    def radius(self) -> int:
        if self.name == "gaussian":
            return round(3 * self.size + 0.5)
        return self.size // 2 if self.name == "median" else self.size // 2 * 2  # an erosion and a dilation

    def __call__(self, tile: np.ndarray) -> np.ndarray:
        if self.name == "median":
            return cv2.medianBlur(tile, self.size)
        if self.name == "gaussian":
            side = 2 * self.radius + 1
            return cv2.GaussianBlur(tile, (side, side), self.size)
        how = cv2.MORPH_OPEN if self.name == "opening" else cv2.MORPH_CLOSE
        return cv2.morphologyEx(tile, how, np.ones((self.size, self.size), np.uint8))


@dataclass(frozen=True)
class Watershed:
    """Splits a mask into objects at the valleys of its distance map (Meyer's flooding, as scikit-image has it).

    distance: between the centres of two objects, in pixels, at least. A basin has no bound, so tiled it is approximate:
    exact for objects that lie within the halo.
    """

    distance: int
    radius: ClassVar[None] = None
    instances: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        from skimage import feature, segmentation

        far = cv2.distanceTransform((mask != 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        peaks = feature.peak_local_max(far, min_distance=self.distance, exclude_border=False)
        seeds = np.zeros(mask.shape, np.int32)
        seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        return segmentation.watershed(-far, seeds, mask=mask != 0).astype(np.int32)


@dataclass(frozen=True)
class Chain:
    """Steps one after another; at most one of them has two passes. Its radius is the sum of theirs."""

    steps: tuple

    def __post_init__(self):
        if not self.steps:
            raise ValueError("an operator needs at least one step")
        if sum(hasattr(s, "choose") for s in self.steps) > 1:
            raise ValueError("only one step can decide over the whole picture: leave one threshold out")
        missing = [s for s in self.steps if not hasattr(s, "radius")]
        if missing:
            name = getattr(missing[0], "__name__", type(missing[0]).__name__)
            raise ValueError(f"{name} does not state its radius: set {name}.radius = 0, or the pixels it looks around")

    @property
    def radius(self) -> int | None:
        radii = [s.radius for s in self.steps]
        return None if None in radii else sum(radii)

    @property
    def instances(self) -> bool:
        return getattr(self.steps[-1], "instances", False)

    @property
    def _at(self) -> int:
        return next((n for n, s in enumerate(self.steps) if hasattr(s, "choose")), -1)

    def stats(self, tile: np.ndarray, inner: tuple[slice, slice], valid: np.ndarray | None) -> Any:
        if self._at < 0:
            return None
        for step in self.steps[: self._at]:
            tile = step(tile)
        return self.steps[self._at].stats(tile, inner, valid)

    def merge(self, a: Any, b: Any) -> Any:
        return self.steps[self._at].merge(a, b)

    def choose(self, stats: Any) -> Any:
        return self.steps[self._at].choose(stats) if self._at >= 0 else None

    def __call__(self, tile: np.ndarray, chosen: Any) -> np.ndarray:
        for n, step in enumerate(self.steps):
            tile = step(tile, chosen) if n == self._at else step(tile)
        return tile


STEPS = {
    "median": lambda size: Filter("median", size),
    "gaussian": lambda sigma: Filter("gaussian", sigma),
    "opening": lambda size: Filter("opening", size),
    "closing": lambda size: Filter("closing", size),
    "watershed": Watershed,
}
