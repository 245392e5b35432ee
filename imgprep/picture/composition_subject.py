"""Where the subject of a picture stands: in the middle, on the thirds, or inside a frame.

The subject is what is far from the border, where a step costs the difference in colour (geodesic saliency: Wei 2012),
and what is sharp (Nayar 1994: photographers blur the rest). Nothing prefers the middle: that would fake "centered".
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

CELLS = 32  # along the long side, of the grid that paths run on
NOISE_PERCENTILE = 70  # of the cells' smallest steps: a smaller one costs nothing


@dataclass(frozen=True)
class SubjectMaps:
    """Maps (h, w) float32, high where the subject is."""

    distance: np.ndarray  # from the border, by colour
    sharpness: np.ndarray
    seen: np.ndarray  # distance, and what a network sees where there is one

    @classmethod
    def of(cls, lab: np.ndarray, grey: np.ndarray, features: np.ndarray | None) -> "SubjectMaps":
        distance = border_distance(lab)
        seen = distance
        if features is not None:
            strength: np.ndarray = stretched(np.linalg.norm(features, axis=2)).astype(np.float32)
            strength = cv2.resize(strength, lab.shape[1::-1], interpolation=cv2.INTER_CUBIC)
            seen = (np.maximum(strength, 0) + 0.05) * (distance + 0.15)
        return cls(distance, local_sharpness(grey), seen)


def stretched(values: np.ndarray) -> np.ndarray:
    """From 0 to 1."""
    values = values - values.min()
    return np.asarray(values / (values.max() + 1e-6))


def border_distance(lab: np.ndarray) -> np.ndarray:
    """How far each pixel is from the border, 0 to 1: the shortest path in Lab on a grid of CELLS."""
    height, width = lab.shape[:2]
    scale = CELLS / max(height, width)
    columns, rows = max(8, round(width * scale)), max(8, round(height * scale))
    cells = cv2.resize(lab, (columns, rows), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    number = np.arange(columns * rows).reshape(rows, columns)
    starts = [number[:, :-1], number[:-1], number[:-1, :-1], number[1:, :-1]]
    ends = [number[:, 1:], number[1:], number[1:, 1:], number[:-1, 1:]]
    a = np.concatenate([part.ravel() for part in starts])
    b = np.concatenate([part.ravel() for part in ends])
    steps = np.linalg.norm(cells[a] - cells[b], axis=1)

    smallest = np.full(len(cells), np.inf)
    np.minimum.at(smallest, a, steps)
    np.minimum.at(smallest, b, steps)
    steps = np.maximum(0, steps - np.percentile(smallest, NOISE_PERCENTILE)) + 1e-3

    border = np.unique(np.concatenate([number[0], number[-1], number[:, 0], number[:, -1]]))
    outside = len(cells)  # one more cell, next to every cell of the border
    costs = np.concatenate([steps, np.full(len(border), 1e-6)])
    edges = (np.concatenate([a, np.full(len(border), outside)]), np.concatenate([b, border]))
    graph = coo_matrix((costs, edges), shape=(outside + 1, outside + 1))
    found = dijkstra(graph, directed=False, indices=outside)[:outside]
    found = found.reshape(rows, columns).astype(np.float32)
    return stretched(cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR))


def local_sharpness(grey: np.ndarray) -> np.ndarray:
    """How sharp each place is, 0 to 1: the modified Laplacian, smoothed."""
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F, ksize=3))
    return stretched(cv2.GaussianBlur(np.minimum(edges, np.percentile(edges, 99)), (0, 0), 6))


def centred(maps: SubjectMaps) -> tuple[float, dict[str, Any]]:
    """How near the middle the subject is, and how little it spreads."""
    x, y, spread = _concentration(maps.seen)
    off = np.hypot(x - 0.5, 0.7 * (y - 0.5))  # people stand with their feet on the ground
    near = np.exp(-((off / 0.1) ** 2) / 2)
    score = near * np.clip(1.3 - spread / 0.3, 0, 1)
    return float(min(1, score)), {"point": [round(x, 3), round(y, 3)]}


def _concentration(values: np.ndarray) -> tuple[float, float, float]:
    """Centre (x, y) of the strongest 15 %, and how far they lie from it, in shares of the sides."""
    height, width = values.shape
    weight = np.where(values > np.quantile(values, 0.85), values, 0).astype(np.float64) ** 2
    weight /= weight.sum() + 1e-12
    xs = (np.arange(width) + 0.5) / width
    ys = (np.arange(height) + 0.5) / height
    across, down = weight.sum(0), weight.sum(1)
    x, y = float(across @ xs), float(down @ ys)
    spread = np.sqrt(across @ (xs - x) ** 2 + down @ (ys - y) ** 2)
    return x, y, float(spread)


def on_thirds(maps: SubjectMaps) -> tuple[float, dict[str, Any] | None]:
    """How near a crossing of the third lines, or one of the upright ones, the largest sharp thing is."""
    blob = _largest_blob(maps.distance * (0.25 + maps.sharpness))
    if blob is None:
        return 0.0, None
    x, y = blob["centre"]
    corners = [(a, b) for a in (1 / 3, 2 / 3) for b in (1 / 3, 2 / 3)]
    nearest = min(corners, key=lambda corner: np.hypot(x - corner[0], y - corner[1]))
    to_point = np.hypot(x - nearest[0], y - nearest[1])
    to_line = min(abs(x - 1 / 3), abs(x - 2 / 3))
    on_point = np.exp(-((to_point / 0.09) ** 2) / 2)
    on_line = np.exp(-((to_line / 0.06) ** 2) / 2)
    score = max(on_point, 0.8 * on_line) * np.sqrt(blob["share"])
    score *= np.clip(1.6 - 2.5 * blob["area"], 0, 1)
    box = [round(float(v), 3) for v in blob["box"]]
    return float(min(1, score)), {"box": box, "point": [round(v, 3) for v in nearest]}


def _largest_blob(values: np.ndarray) -> dict[str, Any] | None:
    """The part above Otsu's threshold that holds most of the map: box, centre, share of it, area."""
    levels = (255 * values / (values.max() + 1e-9)).astype(np.uint8)
    _, mask = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return None
    mass = np.bincount(labels.ravel(), values.ravel(), count)
    mass[0] = 0
    best = int(mass.argmax())
    height, width = values.shape
    x, y, w, h, area = stats[best]
    ys, xs = np.nonzero(labels == best)
    weight = values[ys, xs]
    total = weight.sum() + 1e-9
    centre = (weight @ (xs + 0.5)) / total / width, (weight @ (ys + 0.5)) / total / height
    return {
        "box": (x / width, y / height, w / width, h / height),
        "centre": (float(centre[0]), float(centre[1])),
        "share": mass[best] / (values[mask > 0].sum() + 1e-9),
        "area": area / (width * height),
    }


# Framing -------------------------------------------------------------------------------------------


def frame_score(lab: np.ndarray) -> tuple[float, dict[str, Any] | None]:
    """Whether one region runs along three sides and encloses another, livelier middle."""
    height, width = lab.shape[:2]
    small = cv2.resize(lab, (64, max(16, round(64 * height / width))), interpolation=cv2.INTER_AREA)
    region, inside = _enclosing(small)
    contrast = _border_contrast(small)
    score = min(1.0, (contrast + 0.1) * (region + 0.1) / 1.21)
    return float(score), {"box": inside} if inside else None


def _enclosing(small: np.ndarray) -> tuple[float, list[float] | None]:
    """The best of four colours as a frame, and the box of what it encloses."""
    rows, columns = small.shape[:2]
    cv2.setRNGSeed(0)  # the same picture, the same clusters
    wanted = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 1.0)
    pixels = small.reshape(-1, 3)
    how = (wanted, 2, cv2.KMEANS_PP_CENTERS)
    _, labels, centres = cv2.kmeans(pixels, 4, None, *how)  # type: ignore[call-overload]
    labels = labels.reshape(rows, columns)
    light = small[..., 0]
    detail = np.abs(light - cv2.GaussianBlur(light, (0, 0), 2))
    detail = cv2.GaussianBlur(detail, (0, 0), 2)
    best, frame = 0.0, None
    for number in range(len(centres)):
        mask = labels == number
        score = _mask_as_frame(small, detail, mask)
        if score > best:
            best, frame = score, mask
    return best, None if frame is None else _enclosed_box(~frame)


def _mask_as_frame(small: np.ndarray, detail: np.ndarray, mask: np.ndarray) -> float:
    """How well the mask runs along the sides, leaves the middle free, and differs from it."""
    rows, columns = mask.shape
    band = max(2, round(0.06 * min(rows, columns)))
    sides = sorted((mask[:band].mean(), mask[-band:].mean(), mask[:, :band].mean(), mask[:, -band:].mean()))
    middle = _middle_half(rows, columns)
    free = middle & ~mask
    thick = mask.mean()
    if not free.any() or not mask.any():
        return 0.0
    differs = np.linalg.norm(small[mask].mean(0) - small[free].mean(0)) / 60
    lively = (detail[~mask].mean() + 0.3) / (detail[mask].mean() + 0.3)
    score = np.mean(sides[1:]) * (1 - mask[middle].mean()) * min(1, differs) * min(1, lively / 1.3)
    return float(score * min(1, thick / 0.2) * np.clip((0.97 - thick) / 0.2, 0, 1))


def _middle_half(rows: int, columns: int) -> np.ndarray:
    mask = np.zeros((rows, columns), bool)
    mask[round(0.25 * rows) : round(0.75 * rows), round(0.25 * columns) : round(0.75 * columns)] = True
    return mask


def _enclosed_box(free: np.ndarray) -> list[float] | None:
    """[x, y, width, height] of the largest piece that the frame leaves free."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8))
    if count < 2:
        return None
    best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    x, y, w, h = stats[best, :4]
    rows, columns = free.shape
    return [round(float(v), 3) for v in (x / columns, y / rows, w / columns, h / rows)]


def _border_contrast(small: np.ndarray) -> float:
    """How much three of the four border bands differ from the middle, 0 to 1."""
    rows, columns = small.shape[:2]
    band = max(2, round(0.06 * min(rows, columns)))
    bands = [small[:band], small[-band:], small[:, :band], small[:, -band:]]
    middle = small[_middle_half(rows, columns)]
    found = []
    for one in bands:
        pixels = one.reshape(-1, 3)
        noise = pixels.std(0).mean() + 0.5 * middle.std(0).mean() + 8
        found.append(np.linalg.norm(pixels.mean(0) - middle.mean(0)) / noise)
    return float(np.clip((np.mean(sorted(found)[1:]) - 0.5) / 2, 0, 1))
