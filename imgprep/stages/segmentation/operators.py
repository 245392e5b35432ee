"""Operators: what makes a mask of a tile. Any function is one; these are built in.

An operator is a callable `fn(tile)`, or `fn(tile, chosen)` where it has two passes. tile: (h, w, bands) as the raster
stores it. It returns (h, w): a mask (bool, uint8 or uint16; 0 is background, other numbers are classes), labels (int32,
with the attribute `instances = True`), or probabilities (float32, 0 to 1). Attributes it may have:

    radius       how far a pixel's answer depends on others, in pixels. It has to be stated (by the attribute, or by
                 `halo=` of the call): 0 for a function of each pixel alone; None where there is no bound, so that the
                 tiled answer is not the whole picture's, and the call must say approximate=True.
    stats_radius what `stats` needs around `inner`, in pixels (0 where it is absent).
    two_pass     False: `choose` needs no first pass (of an operator that could have one).
    once         True: a model, so that each worker keeps one.
    batch        it also takes a list of up to so many tiles, and returns a list of as many results.
    tile_wh, least_wh    the tiles it is made for; the least that it wants of a picture that has so much.
    predict, decide      probabilities (h, w, channels) of a list of tiles; and their mask, for blending (see models).
    instances    True: each number of the result is an object of its own.
    version      of operators in an installed package: raise it when results change.

A two-pass operator decides over the whole picture before it makes the mask. Its first pass sees tiles of a fixed grid,
so that what it decides does not depend on tile_wh:

    stats(tile, inner, valid)   anything that pickles, or None for a tile that does not count. inner: (rows, columns)
                                slices of what is to be counted, the rest is halo. valid: (h, w) bool, or None for all.
    merge(a, b)                 of two such; must be exact, in any order.
    choose(stats)               what `fn` gets as `chosen`; stats is None where no tile counted.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

METHODS = ("otsu-tissue", "otsu", "multiotsu")
EMPTY_STD = 3  # grey levels of 256: less in a tile of 512 x 512 is bare glass, sky or sea
SHIFT = {"bool": 0, "uint8": 0, "uint16": 0, "int8": 128, "int16": 32768}  # what makes grey levels numbers of bins


def named(operator: Any) -> Callable:
    """The operator that a number, words ("otsu", "128 bright", "median 5"), a list of steps or a callable mean.

    ValueError, with the words there are, for anything else.
    """
    if isinstance(operator, list | tuple):
        return Chain(tuple(named(step) for step in operator))
    if callable(operator):
        return operator
    name, _, more = str(operator).strip().partition(" ")
    number = re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", name)
    if (name in METHODS or number) and more in ("", "dark", "bright"):
        return Threshold(float(name) if number else name, more or "dark")
    if name in STEPS and re.fullmatch(r"\d+(\.\d+)?", more):
        return STEPS[name](float(more) if name == "gaussian" else int(float(more)))
    if re.fullmatch(r".+\.onnx|\S+/\S+", str(operator).strip(), re.IGNORECASE):
        from imgprep import models

        return models.named(str(operator).strip())
    known = f"NUMBER, {', '.join(METHODS)} (each also with dark or bright), {', '.join(f'{n} SIZE' for n in STEPS)}"
    raise ValueError(f"no operator {operator!r}; there are: {known}, FILE.onnx, OWNER/MODEL, functions, lists of these")


def name_of(operator: Callable) -> str:
    return getattr(operator, "__name__", type(operator).__name__)


def is_two_pass(operator: Callable) -> bool:
    return hasattr(operator, "choose") and getattr(operator, "two_pass", True)


def is_ours(operator: Callable) -> bool:
    steps = operator.steps if isinstance(operator, Chain) else [operator]
    return all(type(step).__module__.startswith("imgprep.") for step in steps)


def known_cut(operator: Callable) -> float | None:
    """The number of a threshold that was given one."""
    steps = operator.steps if isinstance(operator, Chain) else [operator]
    return next((s.method for s in steps if isinstance(s, Threshold) and not s.two_pass), None)


def own(operator: Callable, tile: np.ndarray) -> np.ndarray:
    """The tile as an operator may have it: somebody's function may write into it, and its neighbours see it, too."""
    return tile if is_ours(operator) else tile.copy()


def grey(tile: np.ndarray) -> np.ndarray:
    """(h, w) in the tile's own scale: the luma of the first three bands, or the only one (or the first of two)."""
    if tile.ndim == 2 or tile.shape[2] < 3:
        return tile if tile.ndim == 2 else np.ascontiguousarray(tile[..., 0])
    tile = tile[..., :3]
    if tile.dtype not in (np.uint8, np.uint16, np.float32):
        tile = tile.astype(np.float32)
    return cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)


@dataclass(frozen=True)
class Threshold:
    """Grey levels up to a cut ("dark"), or above it ("bright"). The cut is one number for the whole picture.

    method: a number; "otsu" (Otsu, IEEE Trans. SMC 9(1), 1979) over all pixels; "otsu-tissue" leaves out tiles that are
    nearly of one grey, so that glass does not decide: a standard deviation under 3 of 256 levels, or where pixels have
    more than 8 bits, under 1 % of the picture's range; "multiotsu" takes the outermost of three classes (Liao, J. Inf.
    Sci. Eng. 17(5), 2001). Histograms are exact for 8 and 16 bits; of floats the upper 16 bits count.
    """

    method: str | float = "otsu-tissue"
    foreground: str = "dark"
    radius: ClassVar[int] = 0
    version: ClassVar[int] = 1

    @property
    def __name__(self) -> str:
        return f"{self.method} {self.foreground}"

    @property
    def two_pass(self) -> bool:
        return self.method in METHODS

    def stats(self, tile: np.ndarray, inner: tuple[slice, slice], valid: np.ndarray | None) -> dict | None:
        """{"dtype", "counts": histograms by how much grey levels vary, in steps of half an octave}."""
        levels = grey(tile)[inner]
        keep = np.isfinite(levels) if levels.dtype.kind == "f" else None
        if valid is not None:
            keep = valid[inner] if keep is None else keep & valid[inner]
        bins, dtype = _bins(levels), str(levels.dtype)
        n = 256 if bins.dtype == np.uint8 else 65536
        counts = cv2.calcHist([bins], [0], None if keep is None else keep.astype(np.uint8), [n], [0, n])
        counts = counts.ravel().astype(np.int64)
        at = np.flatnonzero(counts)
        if not len(at):
            return None
        step, weight, values = 0, counts[at] / counts.sum(), centres(dtype, n)[at]
        if self.method == "otsu-tissue":
            std = (weight * (values - (weight * values).sum()) ** 2).sum() ** 0.5
            step = int(np.floor(2 * np.log2(max(std, 1e-30) / EMPTY_STD)))
        return {"dtype": dtype, "counts": {step: counts}}

    @staticmethod
    def merge(a: dict, b: dict) -> dict:
        counts = dict(a["counts"])
        for step, more in b["counts"].items():
            counts[step] = counts[step] + more if step in counts else more
        return {"dtype": a["dtype"], "counts": counts}

    def histogram(self, stats: dict | None) -> tuple[np.ndarray, np.ndarray] | None:
        """(counts, grey levels) of the tiles that are not empty, from the lowest grey level to the highest; or None."""
        if stats is None:
            return None
        levels, lowest = centres(stats["dtype"], len(next(iter(stats["counts"].values())))), -np.inf
        if self.method == "otsu-tissue" and stats["dtype"] == "uint8":
            lowest = 0
        elif self.method == "otsu-tissue":
            share = np.cumsum(sum(stats["counts"].values()))
            low, high = levels[np.searchsorted(share, share[-1] * np.array([0.001, 0.999]))]
            lowest = np.floor(2 * np.log2(max(high - low, 1e-30) / 255))
        counts = sum(c for step, c in stats["counts"].items() if step >= lowest)
        at = np.flatnonzero(counts)
        return (counts[at[0] : at[-1] + 1], levels[at[0] : at[-1] + 1]) if len(at) else None

    def choose(self, stats: dict | None) -> float | None:
        """The cut; None where all tiles were empty, or of one grey: nothing stands out, and the mask is empty."""
        found = self.histogram(stats)
        if found is None or len(found[0]) == 1:
            return None
        from skimage import filters

        counts, levels = found
        if self.method != "multiotsu":
            return float(filters.threshold_otsu(hist=(counts, levels)))
        if len(counts) > 1024:  # its tables grow with the square
            counts, edges = np.histogram(levels, 1024, weights=counts)
            levels = (edges[1:] + edges[:-1]) / 2
        cuts = filters.threshold_multiotsu(classes=min(3, np.count_nonzero(counts)), hist=(counts, levels))
        return float(cuts[0] if self.foreground == "dark" else cuts[-1])

    def __call__(self, tile: np.ndarray, chosen: float | None = None) -> np.ndarray:
        levels, cut = grey(tile), chosen if self.two_pass else self.method
        if cut is None:
            return np.zeros(levels.shape, np.uint8)
        return (levels <= cut if self.foreground == "dark" else levels > cut).view(np.uint8)


def _bins(levels: np.ndarray) -> np.ndarray:
    """Grey levels as uint8 or uint16, in the same order: of floats and longer integers the upper half of a float32."""
    shift = SHIFT.get(str(levels.dtype))
    if shift is not None:
        kind = np.uint8 if levels.dtype.itemsize == 1 else np.uint16
        return (levels.astype(np.int32) + shift).astype(kind) if shift else np.ascontiguousarray(levels).view(kind)
    bits = np.ascontiguousarray(levels, np.float32).view(np.uint32)
    return (np.where(bits >> 31 == 1, ~bits, bits | 0x80000000) >> 16).astype(np.uint16)


def centres(dtype: str, n: int) -> np.ndarray:
    """The grey level of each of the n bins of `Threshold.stats`."""
    if dtype in SHIFT:
        return np.arange(n, dtype=np.float64) - SHIFT[dtype]
    bits = (np.arange(n, dtype=np.uint32) << 16) | 0x8000
    with np.errstate(invalid="ignore"):  # the bins that no number falls into
        return np.where(bits >> 31 == 1, bits & 0x7FFFFFFF, ~bits).astype(np.uint32).view(np.float32).astype(np.float64)


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
    def __name__(self) -> str:
        return f"{self.name} {self.size:g}"

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

    @property
    def __name__(self) -> str:
        return f"watershed {self.distance}"

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
            name = name_of(missing[0])
            raise ValueError(f"{name} does not state its radius: set {name}.radius = 0, or the pixels it looks around")

    @property
    def __name__(self) -> str:
        return ", ".join(map(name_of, self.steps))

    @property
    def radius(self) -> int | None:
        radii = [s.radius for s in self.steps]
        return None if None in radii else sum(radii)

    @property
    def instances(self) -> bool:
        return getattr(self.steps[-1], "instances", False)

    @property
    def once(self) -> bool:
        return any(getattr(s, "once", False) for s in self.steps)

    @property
    def two_pass(self) -> bool:
        return self._at >= 0 and is_two_pass(self.steps[self._at])

    @property
    def stats_radius(self) -> int:
        return sum(s.radius or 0 for s in self.steps[: max(self._at, 0)])

    @property
    def _at(self) -> int:
        return next((n for n, s in enumerate(self.steps) if hasattr(s, "choose")), -1)

    def stats(self, tile: np.ndarray, inner: tuple[slice, slice], valid: np.ndarray | None) -> Any:
        for step in self.steps[: self._at]:
            tile = step(tile)
        return self.steps[self._at].stats(tile, inner, valid)

    def merge(self, a: Any, b: Any) -> Any:
        return self.steps[self._at].merge(a, b)

    def histogram(self, stats: Any) -> Any:
        return self.steps[self._at].histogram(stats)

    def choose(self, stats: Any) -> Any:
        return self.steps[self._at].choose(stats)

    def __call__(self, tile: np.ndarray, chosen: Any = None) -> np.ndarray:
        for n, step in enumerate(self.steps):
            tile = step(tile, chosen) if n == self._at and self.two_pass else step(tile)
        return tile


STEPS = {
    "median": lambda size: Filter("median", size),
    "gaussian": lambda sigma: Filter("gaussian", sigma),
    "opening": lambda size: Filter("opening", size),
    "closing": lambda size: Filter("closing", size),
    "watershed": Watershed,
}
