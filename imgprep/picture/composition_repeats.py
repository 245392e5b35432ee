"""What repeats in a picture: its own mirror image (symmetry), or one element many times (pattern).

Mirror symmetry by matched keypoints (Loy and Eklundh 2006) and by correlation with the flipped
picture; repetition by keypoints that have many near-equal others (Torii 2013), blocks that look
alike, and peaks of the autocorrelation (Lin 1997).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy import ndarray

MOST_KEYPOINTS = 220  # keypoints
SIZE_OF_SPATIAL = 4  # a SIFT descriptor is 4 x 4 places of 8 directions
DIRECTIONS = 8


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


def mirrored(
    grey: ndarray,
    keypoints: Keypoints,
    features: ndarray | None,
) -> tuple[float, dict[str, Any]]:
    """How well the picture matches its mirror image about an axis near the middle."""
    flat = _without_local_contrast(grey)
    upright, at_x = _best_flip(flat, 1)
    level, at_y = _best_flip(flat, 0)
    score = 2 * _axis_votes(keypoints, grey.shape[1]) + max(0.0, upright, level)
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


def _without_local_contrast(grey: ndarray) -> ndarray:
    """Else one bright edge decides."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.5)
    smooth = smooth - cv2.GaussianBlur(smooth, (0, 0), 24)
    spread = np.sqrt(cv2.GaussianBlur(smooth * smooth, (0, 0), 12))
    return np.asarray(smooth / (spread + 4))


def _best_flip(values: ndarray, axis: int) -> tuple[float, float]:
    """The best correlation with the flipped picture, and where that axis stands.

    8 % off the middle at most.
    """
    size = values.shape[axis]
    values = values if axis == 1 else values.T
    reach = int(size * 0.08)
    best = -1.0
    where = 0.5
    for offset in range(-reach, reach + 1, 2):
        first = max(0, offset)
        end = size + min(0, offset)
        part = values[:, first:end]
        found = _correlation(part, part[:, ::-1])
        if found > best:
            best = found
            where = (size + offset) / 2 / size
    return best, round(where, 3)


def _correlation(a: ndarray, b: ndarray) -> float:
    # Both hold the same numbers, so that one mean and one norm serve for both.
    centre = a.mean()
    common = a.size * centre * centre
    square = float(np.vdot(a, a)) - common
    product = float((a * b).sum()) - common
    return float(product / (square + 1e-6))


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
    lab: ndarray,
    grey: ndarray,
    keypoints: Keypoints,
    features: ndarray | None,
) -> tuple[float, dict[str, Any] | None]:
    """How much of the picture is one element that repeats."""
    peaks, period = _periodic(grey)
    score = _repeated_keypoints(keypoints) + _alike_blocks(lab, grey) + peaks
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
    score *= min(1.0, _texture(grey) / 0.3)
    return float(np.clip(score / parts, 0, 1)), {"period": period} if period else None


def _texture(grey: ndarray) -> float:
    """The share of pixels that differ from their surroundings by more than 3 levels."""
    around = cv2.GaussianBlur(grey, (0, 0), 2)
    differs = np.abs(grey - around) > 3
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


def _alike_blocks(lab: ndarray, grey: ndarray) -> float:
    """How alike 16 blocks are in colour, direction and strength of their edges."""
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    degrees = np.degrees(np.arctan2(down, across)) % 180
    direction = (degrees // 22.5).astype(int) % 8
    height, width = grey.shape
    described = []
    for row in range(4):
        rows = slice(row * height // 4, (row + 1) * height // 4)
        for column in range(4):
            columns = slice(column * width // 4, (column + 1) * width // 4)
            block = (rows, columns)
            words = _described_block(lab[block], strength[block], direction[block])
            described.append(words)
    blocks = np.array(described)
    apart = np.linalg.norm(blocks[:, None] - blocks[None], axis=2)
    pairs = np.triu_indices(16, 1)
    return float(np.exp(-np.median(apart[pairs]) / 1.2))


def _described_block(
    lab: ndarray,
    strength: ndarray,
    direction: ndarray,
) -> ndarray:
    """Colours, directions of edges, and how strong they are, as one vector."""
    edges = np.bincount(direction.ravel(), strength.ravel(), 8)
    edges = edges / (edges.sum() + 1e-6)
    colours = lab.reshape(-1, 3)
    energy = [np.log1p(strength.mean()) * 0.8]
    parts = [
        colours.mean(0) / 25,
        colours.std(0) / 20,
        edges * 3,
        energy,
    ]
    return np.concatenate(parts)


def _periodic(grey: ndarray) -> tuple[float, list[float] | None]:
    """The height of the highest peaks of the autocorrelation.

    And the step [dx, dy] of the highest.
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.5)
    smooth = smooth - cv2.GaussianBlur(smooth, (0, 0), 24)
    height, width = smooth.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    found = _self_correlation(smooth * window)
    # What is left where the window overlaps itself less.
    overlap = _self_correlation(window)
    found = found / np.maximum(overlap, 0.2)

    ys, xs = np.mgrid[0:height, 0:width]
    down = ys - height // 2
    across = xs - width // 2
    radius = np.hypot(down, across)
    highest = cv2.dilate(found.astype(np.float32), np.ones((9, 9)))
    is_peak = found >= highest - 1e-6
    is_peak &= (radius > 10) & (radius < min(height, width) * 0.35)
    values = found[is_peak]
    if len(values) < 4:
        return 0.0, None
    order = np.argsort(-values, kind="stable")[:6]
    y = down[is_peak][order[0]]
    x = across[is_peak][order[0]]
    step = [round(float(x / width), 3), round(float(y / height), 3)]
    return float(np.clip(values[order].mean(), 0, 1)), step


def _self_correlation(values: ndarray) -> ndarray:
    spectrum = np.fft.rfft2(values)
    power = np.abs(spectrum) ** 2
    found = np.fft.fftshift(np.fft.irfft2(power, s=values.shape))
    return np.asarray(found / (found.max() + 1e-9))
