"""What repeats in a picture: its own mirror image (symmetry), or one element many times (pattern).

Mirror symmetry by matched keypoints (Loy and Eklundh 2006) and by correlation with the flipped
picture; repetition by keypoints that have many near-equal others (Torii 2013), blocks that look
alike, and peaks of the autocorrelation (Lin 1997).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy import ndarray
from scipy import fft

from imgprep.picture.composition_lines import Gradient

MOST_KEYPOINTS = 220  # keypoints
SIZE_OF_SPATIAL = 4  # a SIFT descriptor is 4 x 4 places of 8 directions
DIRECTIONS = 8
BLOCKS_A_SIDE = 4  # along each side
SHAPES_KEPT = 8  # shapes of pictures: nearly all of a set have one of a few


@dataclass(frozen=True)
class Keypoints:
    """SIFT keypoints of a picture: places (n, 2) in pixels, descriptors (n, 128)."""

    places: ndarray
    descriptors: ndarray

    @classmethod
    def of(cls, grey: ndarray) -> "Keypoints":
        create = cv2.SIFT_create  # type: ignore[attr-defined]
        sift = create(nfeatures=MOST_KEYPOINTS, contrastThreshold=0.02)
        found, descriptors = sift.detectAndCompute(grey, None)
        if descriptors is None:
            return cls(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
        places = [point.pt for point in found]
        return cls(np.array(places), descriptors)

    def flipped(self) -> ndarray:
        """The descriptors that the mirrored picture has, without looking at it.

        Places and directions change sides.
        """
        shape = (-1, SIZE_OF_SPATIAL, SIZE_OF_SPATIAL, DIRECTIONS)
        by_place = self.descriptors.reshape(shape)
        turned = -np.arange(DIRECTIONS) % DIRECTIONS
        flipped = by_place[:, ::-1][..., turned]
        return flipped.reshape(-1, 128)


class SharedMaps(NamedTuple):
    """What several scores look at, made once: (h, w) float32, lab (h, w, 3)."""

    lab: ndarray
    grey: ndarray
    even: ndarray
    gradient: Gradient

    @classmethod
    def of(cls, lab: ndarray, grey: ndarray) -> "SharedMaps":
        return cls(lab, grey, evened(grey), Gradient.of(grey))


def evened(grey: ndarray) -> ndarray:
    """(h, w) float32 without noise, and without what changes slowly, such as light."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.5)
    return smooth - cv2.GaussianBlur(smooth, (0, 0), 24)


def mirrored(
    even: ndarray,
    keypoints: Keypoints,
    features: ndarray | None,
) -> tuple[float, dict[str, Any]]:
    """How well the picture matches its mirror image about an axis near the middle.

    even: of `evened`.
    """
    # Else one bright edge decides.
    spread = np.sqrt(cv2.GaussianBlur(even * even, (0, 0), 12))
    flat = even / (spread + 4)
    upright, at_x = _best_flip(flat)
    level, at_y = _best_flip(np.ascontiguousarray(flat.T))
    score = 2 * _axis_votes(keypoints, even.shape[1]) + max(0.0, upright, level)
    parts = 2
    if features is not None:
        lengths = np.linalg.norm(features, axis=2, keepdims=True)
        units = features / (lengths + 1e-6)
        alike = (units * units[:, ::-1]).sum(2)
        score += float(alike.mean())
        parts = 3
    if upright >= level:
        seen = {"axis": "vertical", "at": at_x}
    else:
        seen = {"axis": "horizontal", "at": at_y}
    return float(np.clip(score / parts, 0, 1)), seen


def _best_flip(values: ndarray) -> tuple[float, float]:
    """The best correlation with the picture flipped to the side, and where that axis stands.

    8 % off the middle at most.
    """
    height, width = values.shape
    reach = int(width * 0.08)
    offsets = np.arange(-reach, reach + 1, 2)
    first = np.maximum(0, offsets)
    end = width + np.minimum(0, offsets)
    # A row convolved with itself holds its products with its mirror image about every axis.
    length = fft.next_fast_len(2 * width, real=True)
    spectrum = np.square(fft.rfft(values, length, axis=1)).sum(0)
    products = fft.irfft(spectrum, length)[width - 1 + offsets]
    sums = _sums_between(values.sum(0), first, end)
    squares = _sums_between(np.square(values).sum(0), first, end)

    # Both sides hold the same numbers, so that one mean and one norm serve for both.
    common = np.square(sums) / ((end - first) * height)
    found = (products - common) / (squares - common + 1e-6)
    best = int(found.argmax())
    where = (width + offsets[best]) / 2 / width
    return float(found[best]), round(float(where), 3)


def _sums_between(columns: ndarray, first: ndarray, end: ndarray) -> ndarray:
    total = np.concatenate([[0.0], np.cumsum(columns, dtype=np.float64)])
    return np.asarray(total[end] - total[first])


def _axis_votes(keypoints: Keypoints, width: int) -> float:
    """The share of pairs of mirrored keypoints that agree on one upright axis near the middle."""
    places = keypoints.places
    count = len(places)
    if count < 12:
        return 0.0
    apart = _distances(keypoints.descriptors, keypoints.flipped())
    # A keypoint on its own mirror image says nothing.
    across, down = (places[:, None] - places[None]).transpose(2, 0, 1)
    is_near = np.hypot(across, down) <= 0.06 * width
    apart[is_near] = 1e9
    partner = apart.argmin(1)
    distance = apart[np.arange(count), partner]
    matched = distance < 260
    if matched.sum() < 6:
        return 0.0

    first = places[matched]
    second = places[partner[matched]]
    across, down = (second - first).T
    slope = np.arctan2(down, np.abs(across) + 1e-9)
    is_level = np.abs(slope) < np.radians(8)
    middle = (first[:, 0] + second[:, 0]) / 2 / width
    weight = np.exp(-distance[matched] / 180)
    votes, edges = np.histogram(
        middle[is_level],
        40,
        (0, 1),
        weights=weight[is_level],
    )
    votes = np.convolve(votes, [0.5, 1, 0.5], "same")
    best = int(votes.argmax())
    axis = (edges[best] + edges[best + 1]) / 2
    off = (axis - 0.5) / 0.15
    return float(votes[best] / (weight.sum() + 3) * np.exp(-(off**2)))


def _distances(a: ndarray, b: ndarray) -> ndarray:
    of_a = (a * a).sum(1)[:, None]
    of_b = (b * b).sum(1)[None]
    squares = of_a + of_b - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(0, squares)))


# Pattern
# -------------------------------------------------------------------------------------------


def patterned(
    seen: SharedMaps,
    keypoints: Keypoints,
    features: ndarray | None,
) -> tuple[float, dict[str, Any] | None]:
    """How much of the picture is one element that repeats."""
    peaks, period = _periodic(seen.even)
    blocks = _alike_blocks(seen.lab, seen.gradient)
    score = _repeated_keypoints(keypoints) + blocks + peaks
    parts = 3
    if features is not None:
        cells = features.reshape(-1, features.shape[2])
        lengths = np.linalg.norm(cells, axis=1, keepdims=True)
        cells = cells / (lengths + 1e-6)
        pairs = np.triu_indices(len(cells), 1)
        alike = (cells @ cells.T)[pairs]
        score += 2 * float(np.median(alike))
        parts = 5
    # Else the moon, a black frame and snow come first.
    score *= min(1.0, _texture(seen.grey) / 0.3)
    return float(np.clip(score / parts, 0, 1)), {"period": period} if period else None


def _texture(grey: ndarray) -> float:
    """The share of pixels that differ from their surroundings by more than 3 levels."""
    around = cv2.GaussianBlur(grey, (0, 0), 2)
    differs = cv2.absdiff(grey, around) > 3
    return float(differs.mean())


def _repeated_keypoints(keypoints: Keypoints) -> float:
    """The share of keypoints that have four near-equal others."""
    if len(keypoints.places) < 20:
        return 0.0
    total = keypoints.descriptors.sum(1, keepdims=True) + 1e-6
    roots = np.sqrt(keypoints.descriptors / total)
    apart = _distances(roots, roots)
    np.fill_diagonal(apart, 9)
    nearest = np.partition(apart, 4, axis=1)[:, :4]
    is_repeated = nearest.mean(1) < 0.55
    return float(is_repeated.mean())


def _alike_blocks(lab: ndarray, gradient: Gradient) -> float:
    """How alike 16 blocks are in colour, direction and strength of their edges."""
    height, width = gradient.strength.shape
    # An edge and the same edge from dark to light have one direction.
    turn = np.arctan2(gradient.down, gradient.across) * (DIRECTIONS / np.pi)
    direction = np.floor(turn).astype(np.int8) % DIRECTIONS
    block_rows = np.arange(BLOCKS_A_SIDE).repeat(np.diff(_cuts(height)))
    block_columns = np.arange(BLOCKS_A_SIDE).repeat(np.diff(_cuts(width)))
    block = block_rows[:, None] * BLOCKS_A_SIDE + block_columns
    word = block * DIRECTIONS + direction
    words = BLOCKS_A_SIDE * BLOCKS_A_SIDE * DIRECTIONS
    edges = np.bincount(word.ravel(), gradient.strength.ravel(), words)
    # Sums of whole numbers do not depend on their order: the same picture, the same score.
    colours = lab.astype(np.uint8)
    described = []
    for number, of_block in enumerate(edges.reshape(-1, DIRECTIONS)):
        down, across = divmod(number, BLOCKS_A_SIDE)
        rows = slice(*_cuts(height)[down : down + 2])
        columns = slice(*_cuts(width)[across : across + 2])
        described.append(_described_block(colours[rows, columns], of_block))
    blocks = np.array(described)
    apart = np.linalg.norm(blocks[:, None] - blocks[None], axis=2)
    pairs = np.triu_indices(BLOCKS_A_SIDE * BLOCKS_A_SIDE, 1)
    return float(np.exp(-np.median(apart[pairs]) / 1.2))


def _cuts(side: int) -> list[int]:
    return [number * side // BLOCKS_A_SIDE for number in range(BLOCKS_A_SIDE + 1)]


def _described_block(lab: ndarray, edges: ndarray) -> ndarray:
    """Colours, directions of edges, and how strong they are, as one vector.

    edges: the strength of those in each direction, summed.
    """
    mean, spread = cv2.meanStdDev(lab)
    total = edges.sum()
    strength = total / (lab.shape[0] * lab.shape[1])
    energy = [np.log1p(strength) * 0.8]
    parts = [
        mean.ravel() / 25,
        spread.ravel() / 20,
        edges / (total + 1e-6) * 3,
        energy,
    ]
    return np.concatenate(parts)


class _Lags(NamedTuple):
    """By shape, for `_periodic`, (h, w) each: the window, what is left of it where it overlaps
    itself less, and the pixels that each lag moves right and down.
    """

    window: ndarray
    overlap: ndarray
    across: ndarray
    down: ndarray


@lru_cache(SHAPES_KEPT)
def _lags(height: int, width: int) -> _Lags:
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    ys, xs = np.mgrid[0:height, 0:width]
    overlap = np.maximum(_self_correlation(window), 0.2)
    return _Lags(window, overlap, xs - width // 2, ys - height // 2)


def _periodic(even: ndarray) -> tuple[float, list[float] | None]:
    """The height of the highest peaks of the autocorrelation.

    And the step [dx, dy] of the highest.
    """
    height, width = even.shape
    lags = _lags(height, width)
    found = _self_correlation(even * lags.window) / lags.overlap
    highest = cv2.dilate(found, np.ones((9, 9)))
    y, x = np.nonzero(found >= highest - 1e-6)
    radius = np.hypot(lags.across[y, x], lags.down[y, x])
    is_peak = (radius > 10) & (radius < min(height, width) * 0.35)
    y = y[is_peak]
    x = x[is_peak]
    if len(y) < 4:
        return 0.0, None
    values = found[y, x]
    # Each peak has its like on the other side: rounded, so that the first of both is named.
    order = np.argsort(-values.round(4), kind="stable")[:6]
    first = (y[order[0]], x[order[0]])
    across = lags.across[first] / width
    down = lags.down[first] / height
    step = [round(float(across), 3), round(float(down), 3)]
    return float(np.clip(values[order].mean(), 0, 1)), step


def _self_correlation(values: ndarray) -> ndarray:
    spectrum = fft.rfft2(values)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    found = np.fft.fftshift(fft.irfft2(power, s=values.shape))
    return np.asarray(found / (found.max() + 1e-9))
