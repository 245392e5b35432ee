"""Lines that lead to one place.

Segments (LSD: von Gioi 2010) that meet, and edges that point there (Rasmussen 2004).
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy import ndarray

MOST_SEGMENTS = 40  # segments that are looked at
MOST_CROSSED = 30  # of these, those that are taken to meet
MOST_LINES = 12
MOST_EDGES = 1500  # pixels on edges that vote
FEW_EDGES = 200
POINTING = 0.06  # sine of the largest angle between an edge and where it points

SeenLines = dict[str, Any]


class Gradient(NamedTuple):
    """How grey (h, w) float32 changes: to the right, downwards, and how much."""

    across: ndarray
    down: ndarray
    strength: ndarray

    @classmethod
    def of(cls, grey: ndarray) -> "Gradient":
        across = cv2.Sobel(grey, cv2.CV_32F, 1, 0)
        down = cv2.Sobel(grey, cv2.CV_32F, 0, 1)
        # Not cv2.magnitude: its last digit depends on where in memory a picture lies.
        strength = np.sqrt(across * across + down * down)
        return cls(across, down, strength)


def leading_lines(
    grey: ndarray,
    gradient: Gradient,
) -> tuple[float, SeenLines | None]:
    """How much oblique line, seen from several sides, meets in one point of the picture."""
    met, seen = _vanishing_point(grey)
    pointing = _pointing_edges(gradient)
    score = met + 0.1 * pointing
    return float(np.clip(score, 0, 1)), seen


class _Lines(NamedTuple):
    """a x + b y + c = 0, by segment; scale: of (a, b), which is not 1."""

    a: ndarray
    b: ndarray
    c: ndarray
    scale: ndarray


def _lines_of(segments: ndarray) -> _Lines:
    x1, y1, x2, y2 = segments.T
    a = y2 - y1
    b = x1 - x2
    c = x2 * y1 - x1 * y2
    return _Lines(a, b, c, np.hypot(a, b))


def _vanishing_point(grey: ndarray) -> tuple[float, SeenLines | None]:
    height, width = grey.shape
    side = max(width, height)
    segments, lengths = _oblique_segments(grey)
    if len(segments) < 3:
        return 0.0, None
    lines = _lines_of(segments)
    x, y = _crossings(lines, width, height)
    if not len(x):
        return 0.0, None

    # From the middle of each segment to each crossing.
    middle_x = (segments[:, 0] + segments[:, 2]) / 2
    middle_y = (segments[:, 1] + segments[:, 3]) / 2
    to_x = x[:, None] - middle_x
    to_y = y[:, None] - middle_y
    far = np.hypot(to_x, to_y)
    off = np.abs(lines.a * x[:, None] + lines.b * y[:, None] + lines.c) / lines.scale
    meets = (off / (far + 1e-6) < 0.05) & (far > 0.1 * side)

    weight = meets * lengths
    total = weight.sum(1)
    spread = _spread(weight, np.arctan2(-to_y, -to_x))
    score = total / side * np.clip(spread / 0.35, 0, 1)
    best = int(score.argmax())
    found = float(np.clip(score[best] / 3, 0, 1))
    shown = segments[meets[best]][:MOST_LINES]
    if not len(shown):
        return found, None
    point = (x[best] / width, y[best] / height)
    shares = shown / (width, height, width, height)
    return found, {
        "point": _rounded(point),
        "lines": [_rounded(line) for line in shares],
    }


def _rounded(numbers: Any) -> list[float]:
    return [round(float(number), 3) for number in numbers]


def _spread(weight: ndarray, angle: ndarray) -> ndarray:
    """From how many sides lines come, 0 to 1, by crossing.

    Parallel texture comes from one side; lines that lead come from several.
    """
    across = (weight * np.cos(angle)).sum(1)
    down = (weight * np.sin(angle)).sum(1)
    pull = np.hypot(across, down)
    one_sided = pull / (weight.sum(1) + 1e-6)
    return np.asarray(np.sqrt(np.clip(1 - one_sided, 0, 1)))


def _oblique_segments(grey: ndarray) -> tuple[ndarray, ndarray]:
    """Segments (n, 4) that are neither level nor upright, the longest first.

    And their lengths in pixels.
    """
    detector = cv2.createLineSegmentDetector(cv2.LSD_REFINE_NONE)
    found = detector.detect(grey)[0]
    if found is None:
        return np.zeros((0, 4)), np.zeros(0)
    segments = found.reshape(-1, 4).astype(np.float64)
    across = segments[:, 2] - segments[:, 0]
    down = segments[:, 3] - segments[:, 1]
    lengths = np.hypot(across, down)
    angle = np.degrees(np.arctan2(down, across)) % 180
    from_level = np.minimum(angle, 180 - angle)
    from_axis = np.minimum(from_level, np.abs(angle - 90))
    is_long = lengths > 0.08 * min(grey.shape)
    kept = is_long & (from_axis > 6)
    segments = segments[kept]
    lengths = lengths[kept]
    longest = np.argsort(-lengths, kind="stable")[:MOST_SEGMENTS]
    return segments[longest], lengths[longest]


def _crossings(
    lines: _Lines,
    width: int,
    height: int,
) -> tuple[ndarray, ndarray]:
    """Where two of the longest meet, in the picture or a tenth of it outside."""
    a, b, c, scale = lines
    i, j = np.triu_indices(min(len(a), MOST_CROSSED), 1)
    cross = a[i] * b[j] - a[j] * b[i]
    # Nearly parallel ones meet anywhere.
    is_steep = np.abs(cross) > 0.08 * scale[i] * scale[j]
    i = i[is_steep]
    j = j[is_steep]
    cross = cross[is_steep]
    x = (b[i] * c[j] - b[j] * c[i]) / cross
    y = (c[i] * a[j] - c[j] * a[i]) / cross
    is_near = (x > -0.1 * width) & (x < 1.1 * width)
    is_near &= (y > -0.1 * height) & (y < 1.1 * height)
    return x[is_near], y[is_near]


class _Edges(NamedTuple):
    """Pixels on edges, float32: where, the direction along the edge, how much each counts."""

    x: ndarray
    y: ndarray
    along_x: ndarray
    along_y: ndarray
    weight: ndarray

    def at(self, places: ndarray) -> "_Edges":
        return _Edges(*(values[places] for values in self))


def _strong_edges(gradient: Gradient) -> _Edges:
    strength = gradient.strength
    strong = strength > max(30, np.percentile(strength, 85))
    y, x = np.nonzero(strong)
    strengths = strength[strong]
    along_x = -gradient.down[strong] / strengths
    along_y = gradient.across[strong] / strengths
    places = (x.astype(np.float32), y.astype(np.float32))
    return _Edges(*places, along_x, along_y, np.sqrt(strengths))


def _pointing_edges(gradient: Gradient) -> float:
    """The oblique edges that point at one place, over those that point at a usual one."""
    edges = _strong_edges(gradient)
    is_oblique = (np.abs(edges.along_x) > 0.12) & (np.abs(edges.along_y) > 0.12)
    oblique = np.flatnonzero(is_oblique)
    if len(oblique) < FEW_EDGES:
        return 0.0
    share = edges.weight[oblique].sum() / (edges.weight.sum() + 1e-6)
    dice = np.random.default_rng(0)
    count = min(MOST_EDGES, len(oblique))
    some = edges.at(dice.choice(oblique, count, replace=False))

    height, width = gradient.strength.shape
    grid = _grid(width, height)
    pointing = _points_at(some, grid, 0.12 * max(height, width))
    votes = pointing.astype(np.float32) @ some.weight / some.weight.sum()
    best = int(votes.argmax())

    pointed = some.at(np.flatnonzero(pointing[best]))
    angles = np.arctan2(grid[best, 1] - pointed.y, grid[best, 0] - pointed.x)
    one_way = np.abs(np.exp(1j * angles).mean()) if len(angles) else 1.0
    usual = np.median(votes) + 0.02
    return float(votes[best] / usual * np.sqrt(1 - one_way) * share)


def _grid(width: int, height: int) -> ndarray:
    """(places, 2) x and y of a grid that reaches a tenth beyond the picture."""
    steps = np.linspace(-0.1, 1.1, 17, dtype=np.float32)
    x, y = np.meshgrid(steps * width, steps * height)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _points_at(edges: _Edges, grid: ndarray, least: float) -> ndarray:
    """(places, edges): whether an edge points at the place, and is `least` pixels away from it."""
    one = np.ones(len(grid), np.float32)
    # The distance of a place from the edge's line, and its squared distance from the edge,
    # are sums of products of a place with an edge: two products of matrices, no angle.
    through = edges.y * edges.along_x - edges.x * edges.along_y
    lines = np.stack([edges.along_y, -edges.along_x, through])
    off = np.column_stack([grid, one]) @ lines
    norms = np.square(edges.x) + np.square(edges.y)
    ends = np.stack([-2 * edges.x, -2 * edges.y, np.ones_like(norms), norms])
    squares = np.column_stack([grid, np.square(grid).sum(1), one]) @ ends
    is_far = squares > least * least
    off *= off
    squares *= POINTING * POINTING
    return np.asarray((off < squares) & is_far)
