"""Thresholds: grey levels up to a cut or above it; a chosen cut is one for the whole picture."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

METHODS = ("otsu-tissue", "otsu", "multiotsu")
# Grey levels of 256: less in a tile of 512 x 512 is bare glass, sky or sea.
EMPTY_STD = 3
# Of a histogram that is cut into more than two classes.
MULTI_BINS = 1024
# What makes grey levels numbers of bins.
SHIFT = {"bool": 0, "uint8": 0, "uint16": 0, "int8": 128, "int16": 32768}


def grey_of(tile: np.ndarray) -> np.ndarray:
    """(h, w) in the tile's own scale: luma of the first three bands, or the first of fewer."""
    if tile.ndim == 2:
        return tile
    if tile.shape[2] < 3:
        return np.ascontiguousarray(tile[..., 0])
    colours = tile[..., :3]
    if colours.dtype not in (np.uint8, np.uint16, np.float32):
        colours = colours.astype(np.float32)
    return cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)


@dataclass(frozen=True)
class Threshold:
    """Grey levels up to a cut ("dark"), or above it ("bright"). One cut for the whole picture.

    method: a number; "otsu" (Otsu, IEEE Trans. SMC 9(1), 1979) over all pixels; "otsu-tissue"
    leaves out tiles that are nearly of one grey, so that glass does not decide: a standard
    deviation under 3 of 256 levels, or where pixels have more than 8 bits, under 1 % of the
    picture's range; "multiotsu" takes the outermost of three classes (Liao, J. Inf. Sci. Eng.
    17(5), 2001). Histograms are exact for 8 and 16 bits; of floats the upper 16 bits count.
    """

    method: str | float = "otsu-tissue"
    foreground: str = "dark"
    radius: ClassVar[int] = 0
    version: ClassVar[int] = 2

    @property
    def __name__(self) -> str:
        return f"{self.method} {self.foreground}"

    @property
    def two_pass(self) -> bool:
        return self.method in METHODS

    def stats(
        self, tile: np.ndarray, inner: tuple[slice, slice], valid: np.ndarray | None
    ) -> dict[str, Any] | None:
        """{"dtype", "counts": histograms by how much grey levels vary, in half octaves}."""
        levels = grey_of(tile)[inner]
        keep = _counted(levels, None if valid is None else valid[inner])
        bins = _bins(levels)
        dtype = str(levels.dtype)
        n = 256 if bins.dtype == np.uint8 else 65536
        mask = None if keep is None else keep.astype(np.uint8)
        counts = cv2.calcHist([bins], [0], mask, [n], [0, n]).ravel().astype(np.int64)
        at = np.flatnonzero(counts)
        if not len(at):
            return None
        step = 0
        if self.method == "otsu-tissue":
            weight = counts[at] / counts.sum()
            step = _contrast_step(centres(dtype, n)[at], weight)
        return {"dtype": dtype, "counts": {step: counts}}

    @staticmethod
    def merge(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
        counts = dict(a["counts"])
        for step, more in b["counts"].items():
            counts[step] = counts[step] + more if step in counts else more
        return {"dtype": a["dtype"], "counts": counts}

    def histogram(self, stats: dict[str, Any] | None) -> tuple[np.ndarray, np.ndarray] | None:
        """(counts, grey levels) of the tiles that are not empty; None where there are none.

        From the lowest grey level that occurs to the highest.
        """
        if stats is None:
            return None
        counted = stats["counts"]
        levels = centres(stats["dtype"], len(next(iter(counted.values()))))
        lowest = self._least_step(stats["dtype"], counted, levels)
        counts = np.zeros(len(levels), np.int64)
        for step, some in counted.items():
            if step >= lowest:
                counts += some
        at = np.flatnonzero(counts)
        if not len(at):
            return None
        used = slice(at[0], at[-1] + 1)
        return counts[used], levels[used]

    def _least_step(self, dtype: str, counted: dict[int, np.ndarray], levels: np.ndarray) -> float:
        """The step from which on a tile is not empty."""
        if self.method != "otsu-tissue":
            return -np.inf
        if dtype == "uint8":
            return 0
        share = np.cumsum(sum(counted.values()))
        # The picture's range, without the thousandth at either end: a dead pixel is no contrast.
        low, high = levels[np.searchsorted(share, share[-1] * np.array([0.001, 0.999]))]
        return float(np.floor(2 * np.log2(max(high - low, 1e-30) / 255)))

    def choose(self, stats: dict[str, Any] | None) -> float | None:
        """The cut. None where all tiles were empty, or of one grey: the mask is empty, then."""
        found = self.histogram(stats)
        if stats is None or found is None or len(found[0]) == 1:
            return None
        from skimage import filters

        counts, levels = found
        dtype = stats["dtype"]
        if self.method != "multiotsu":
            return upper_edge(dtype, float(filters.threshold_otsu(hist=(counts, levels))))
        if dtype in SHIFT and len(counts) <= MULTI_BINS:
            last = _last_bins(counts)
            return float(levels[last[0] if self.foreground == "dark" else last[-1]])
        # Its tables grow with the square of the bins, and it takes them for equally wide.
        few, edges = np.histogram(levels, MULTI_BINS, weights=counts)
        last = _last_bins(few)
        edge = edges[1 + (last[0] if self.foreground == "dark" else last[-1])]
        return upper_edge(dtype, float(levels[levels < edge][-1]))

    def __call__(self, tile: np.ndarray, chosen: float | None = None) -> np.ndarray:
        levels = grey_of(tile)
        cut = chosen if self.two_pass else self.method
        if cut is None:
            return np.zeros(levels.shape, np.uint8)
        if levels.dtype.kind in "iu" and math.isfinite(float(cut)):
            # The same pixels, and no grey level has to become a float64 for it.
            cut = math.floor(float(cut))
        marked = levels <= cut if self.foreground == "dark" else levels > cut
        return marked.view(np.uint8)


def _last_bins(counts: np.ndarray) -> np.ndarray:
    """The last bin of each of three classes but the uppermost; of two where there are no more."""
    from skimage import filters

    classes = min(3, np.count_nonzero(counts))
    bins = np.arange(len(counts))
    return filters.threshold_multiotsu(classes=classes, hist=(counts, bins))


def _counted(levels: np.ndarray, valid: np.ndarray | None) -> np.ndarray | None:
    """(h, w) bool: the pixels that count; None for all."""
    if levels.dtype.kind != "f":
        return valid
    finite = np.isfinite(levels)
    return finite if valid is None else finite & valid


def _contrast_step(values: np.ndarray, weight: np.ndarray) -> int:
    """How much grey levels vary, in half octaves above EMPTY_STD."""
    mean = (weight * values).sum()
    std = (weight * (values - mean) ** 2).sum() ** 0.5
    return int(np.floor(2 * np.log2(max(std, 1e-30) / EMPTY_STD)))


def _bins(levels: np.ndarray) -> np.ndarray:
    """Grey levels as uint8 or uint16 in the same order.

    Of floats and longer integers it is the upper half of a float32.
    """
    shift = SHIFT.get(str(levels.dtype))
    if shift is None:
        return _sortable(np.ascontiguousarray(levels, np.float32).view(np.uint32))
    kind = np.uint8 if levels.dtype.itemsize == 1 else np.uint16
    if shift:
        return (levels.astype(np.int32) + shift).astype(kind)
    return np.ascontiguousarray(levels).view(kind)


def _sortable(bits: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers, so that they sort as the numbers do."""
    negative = bits >> 31 == 1
    return (np.where(negative, ~bits, bits | 0x80000000) >> 16).astype(np.uint16)


def centres(dtype: str, n: int) -> np.ndarray:
    """The grey level of each of the n bins of `Threshold.stats`."""
    if dtype in SHIFT:
        return np.arange(n, dtype=np.float64) - SHIFT[dtype]
    bits = (np.arange(n, dtype=np.uint32) << 16) | 0x8000
    negative = bits >> 31 == 0
    raw = np.where(negative, ~bits, bits & 0x7FFFFFFF).astype(np.uint32)
    with np.errstate(invalid="ignore"):
        # The bins that no number falls into.
        return raw.view(np.float32).astype(np.float64)


def upper_edge(dtype: str, centre: float) -> float:
    """The largest number that falls into the bin with this centre.

    What lies in one bin is not to be parted: 0.1 is above the centre of its own.
    """
    if dtype in SHIFT:
        return centre
    bits = int(np.float32(centre).view(np.uint32))
    is_negative = bool(bits >> 31)
    # Of negative numbers those with smaller bits are the larger ones.
    upper = bits & 0xFFFF0000 if is_negative else bits | 0xFFFF
    largest = np.uint32(upper).view(np.float32)
    following = np.nextafter(largest, np.float32(np.inf))
    if not np.isfinite(following):
        return float(largest)
    # Wider numbers fall into the bin where they are rounded to one of it.
    edge = (float(largest) + float(following)) / 2
    return edge if np.float32(edge) == largest else float(np.nextafter(edge, -np.inf))
