"""Lines that lead to one place.

Segments (LSD: von Gioi 2010) that meet, and edges that point there (Rasmussen 2004).
"""

from typing import Any

import cv2
import numpy as np

MOST_SEGMENTS = 40  # segments that are looked at
MOST_SHOWN = 12


def leading_lines(grey: np.ndarray) -> tuple[float, dict[str, Any] | None]:
    """How much oblique line, seen from several sides, meets in one point of the picture."""
    met, seen = _vanishing_point(grey)
    score = met + 0.1 * _pointing_edges(grey.astype(np.float32))
    return float(np.clip(score, 0, 1)), seen


def _vanishing_point(grey: np.ndarray) -> tuple[float, dict[str, Any] | None]:
    height, width = grey.shape
    segments, lengths = _oblique_segments(grey)
    if len(segments) < 3:
        return 0.0, None
    a = segments[:, 3] - segments[:, 1]
    b = segments[:, 0] - segments[:, 2]
    c = segments[:, 2] * segments[:, 1] - segments[:, 0] * segments[:, 3]
    scale = np.hypot(a, b)
    x, y = _crossings(a, b, c, scale, (width, height))
    if not len(x):
        return 0.0, None

    middle_x, middle_y = (segments[:, 0] + segments[:, 2]) / 2, (segments[:, 1] + segments[:, 3]) / 2
    to_x, to_y = x[:, None] - middle_x, y[:, None] - middle_y
    far = np.hypot(to_x, to_y)
    off = np.abs(a * x[:, None] + b * y[:, None] + c) / scale
    side = max(width, height)
    meets = (off / (far + 1e-6) < 0.05) & (far > 0.1 * side)
    weight = meets * lengths
    total = weight.sum(1)
    # Parallel texture comes from one side; lines that lead come from several.
    angle = np.arctan2(-to_y, -to_x)
    pull = np.hypot((weight * np.cos(angle)).sum(1), (weight * np.sin(angle)).sum(1))
    spread = np.sqrt(np.clip(1 - pull / (total + 1e-6), 0, 1))
    score = total / side * np.clip(spread / 0.35, 0, 1)
    best = int(score.argmax())
    lines = segments[meets[best]][:MOST_SHOWN] / (width, height, width, height)
    seen = {
        "point": [round(float(x[best] / width), 3), round(float(y[best] / height), 3)],
        "lines": [[round(float(v), 3) for v in line] for line in lines],
    }
    return float(np.clip(score[best] / 3, 0, 1)), seen if len(lines) else None


def _oblique_segments(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segments (n, 4) that are neither level nor upright, the longest first, and their lengths in pixels."""
    found = cv2.createLineSegmentDetector(cv2.LSD_REFINE_NONE).detect(grey)[0]
    if found is None:
        return np.zeros((0, 4)), np.zeros(0)
    segments = found.reshape(-1, 4).astype(np.float64)
    across, down = segments[:, 2] - segments[:, 0], segments[:, 3] - segments[:, 1]
    lengths = np.hypot(across, down)
    angle = np.degrees(np.arctan2(down, across)) % 180
    from_axis = np.minimum(np.minimum(angle, 180 - angle), np.abs(angle - 90))
    kept = (lengths > 0.08 * min(grey.shape)) & (from_axis > 6)
    segments, lengths = segments[kept], lengths[kept]
    order = np.argsort(-lengths, kind="stable")[:MOST_SEGMENTS]
    return segments[order], lengths[order]


def _crossings(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, scale: np.ndarray, size_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Where two of the 30 longest meet, in the picture or a tenth of it outside."""
    width, height = size_wh
    i, j = np.triu_indices(min(len(a), 30), 1)
    cross = a[i] * b[j] - a[j] * b[i]
    steep = np.abs(cross) > 0.08 * scale[i] * scale[j]
    i, j, cross = i[steep], j[steep], cross[steep]
    x = (b[i] * c[j] - b[j] * c[i]) / cross
    y = (c[i] * a[j] - c[j] * a[i]) / cross
    near = (x > -0.1 * width) & (x < 1.1 * width) & (y > -0.1 * height) & (y < 1.1 * height)
    return x[near], y[near]


def _pointing_edges(grey: np.ndarray) -> float:
    """The oblique edges that point at one place, over those that point at a usual one."""
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    height, width = grey.shape
    strong = strength > max(30, np.percentile(strength, 85))
    ys, xs = np.nonzero(strong)
    weight = np.sqrt(strength[strong])
    along_x, along_y = -down[strong] / strength[strong], across[strong] / strength[strong]
    oblique = np.flatnonzero((np.abs(along_x) > 0.12) & (np.abs(along_y) > 0.12))
    if len(oblique) < 200:
        return 0.0
    share = weight[oblique].sum() / (weight.sum() + 1e-6)
    some = np.random.default_rng(0).choice(oblique, min(1500, len(oblique)), replace=False)
    xs, ys, weight = xs[some], ys[some], weight[some]
    along_x, along_y = along_x[some], along_y[some]

    grid = np.linspace(-0.1, 1.1, 17, dtype=np.float32)
    points_x, points_y = (p.ravel()[:, None] for p in np.meshgrid(grid * width, grid * height))
    to_x, to_y = points_x - xs, points_y - ys
    far = np.hypot(to_x, to_y) + 1e-6
    off = np.abs(to_x * along_y - to_y * along_x) / far
    pointing = ((off < 0.06) & (far > 0.12 * max(height, width))) * weight
    votes = pointing.sum(1) / weight.sum()
    best = int(votes.argmax())
    angles = np.arctan2(to_y[best], to_x[best])[pointing[best] > 0]
    one_way = np.abs(np.exp(1j * angles).mean()) if len(angles) else 1.0
    return float(votes[best] / (np.median(votes) + 0.02) * np.sqrt(1 - one_way) * share)
