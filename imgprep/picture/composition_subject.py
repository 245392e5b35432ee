"""Where the subject of a picture stands: in the middle, on the thirds, or inside a frame.

The subject is what is far from the border, where a step costs the difference in colour (geodesic
saliency: Wei 2012), and what is sharp (Nayar 1994: photographers blur the rest). Nothing prefers
the middle: that would fake "centered".
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy import ndarray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

CELLS = 32  # along the long side, of the grid that paths run on
NOISE_PERCENTILE = 70  # of the cells' smallest steps: a smaller one costs nothing


@dataclass(frozen=True)
class SubjectMaps:
    """Maps (h, w) float32, high where the subject is."""

    distance: ndarray  # from the border, by colour
    sharpness: ndarray
    seen: ndarray  # distance, and what a network sees where there is one

    @classmethod
    def of(
        cls,
        lab: ndarray,
        grey: ndarray,
        features: ndarray | None,
    ) -> "SubjectMaps":
        distance = border_distance(lab)
        seen = distance
        if features is not None:
            strength: ndarray = stretched(np.linalg.norm(features, axis=2))
            height, width = lab.shape[:2]
            strength = cv2.resize(
                strength.astype(np.float32),
                (width, height),
                interpolation=cv2.INTER_CUBIC,
            )
            seen = (np.maximum(strength, 0) + 0.05) * (distance + 0.15)
        return cls(distance, local_sharpness(grey), seen)


def stretched(values: ndarray) -> ndarray:
    """From 0 to 1."""
    values = values - values.min()
    return np.asarray(values / (values.max() + 1e-6))


def border_distance(lab: ndarray) -> ndarray:
    """How far each pixel is from the border, 0 to 1:
    the shortest path in Lab on a grid of CELLS.
    """
    height, width = lab.shape[:2]
    scale = CELLS / max(height, width)
    columns = max(8, round(width * scale))
    rows = max(8, round(height * scale))
    small = cv2.resize(lab, (columns, rows), interpolation=cv2.INTER_AREA)
    cells = small.reshape(-1, 3)
    number = np.arange(columns * rows).reshape(rows, columns)
    a, b = _neighbouring_cells(number)
    steps = _step_costs(cells, a, b)

    # One more cell, next to every cell of the border.
    outside = len(cells)
    sides = [number[0], number[-1], number[:, 0], number[:, -1]]
    border = np.unique(np.concatenate(sides))
    costs = np.concatenate([steps, np.full(len(border), 1e-6)])
    starts = np.concatenate([a, np.full(len(border), outside)])
    ends = np.concatenate([b, border])
    size = outside + 1
    graph = coo_matrix((costs, (starts, ends)), shape=(size, size))
    found = dijkstra(graph, directed=False, indices=outside)[:outside]
    grid = found.reshape(rows, columns).astype(np.float32)
    return stretched(cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR))


def _neighbouring_cells(number: ndarray) -> tuple[ndarray, ndarray]:
    """Each pair of cells that touch, also by a corner, once."""
    pairs = [
        (number[:, :-1], number[:, 1:]),
        (number[:-1], number[1:]),
        (number[:-1, :-1], number[1:, 1:]),
        (number[1:, :-1], number[:-1, 1:]),
    ]
    starts = [start.ravel() for start, _ in pairs]
    ends = [end.ravel() for _, end in pairs]
    return np.concatenate(starts), np.concatenate(ends)


def _step_costs(
    cells: ndarray,
    a: ndarray,
    b: ndarray,
) -> ndarray:
    """The difference in colour, less what is noise."""
    steps = np.linalg.norm(cells[a] - cells[b], axis=1)
    smallest = np.full(len(cells), np.inf)
    np.minimum.at(smallest, a, steps)
    np.minimum.at(smallest, b, steps)
    noise = np.percentile(smallest, NOISE_PERCENTILE)
    return np.asarray(np.maximum(0, steps - noise) + 1e-3)


def local_sharpness(grey: ndarray) -> ndarray:
    """How sharp each place is, 0 to 1: the modified Laplacian, smoothed."""
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F, ksize=3))
    # One glint is not the subject.
    most = np.percentile(edges, 99)
    return stretched(cv2.GaussianBlur(np.minimum(edges, most), (0, 0), 6))


def centred(maps: SubjectMaps) -> tuple[float, dict[str, Any]]:
    """How near the middle the subject is, and how little it spreads."""
    x, y, spread = _concentration(maps.seen)
    # People stand with their feet on the ground.
    off = np.hypot(x - 0.5, 0.7 * (y - 0.5))
    near = np.exp(-((off / 0.1) ** 2) / 2)
    score = near * np.clip(1.3 - spread / 0.3, 0, 1)
    return float(min(1, score)), {"point": [round(x, 3), round(y, 3)]}


def _concentration(values: ndarray) -> tuple[float, float, float]:
    """Centre (x, y) of the strongest 15 %, and how far they lie from it, in shares of the sides."""
    height, width = values.shape
    least = np.quantile(values, 0.85)
    strongest = np.where(values > least, values, 0)
    weight = strongest.astype(np.float64) ** 2
    weight /= weight.sum() + 1e-12
    xs = (np.arange(width) + 0.5) / width
    ys = (np.arange(height) + 0.5) / height
    across = weight.sum(0)
    down = weight.sum(1)
    x = float(across @ xs)
    y = float(down @ ys)
    variance = across @ (xs - x) ** 2 + down @ (ys - y) ** 2
    spread = np.sqrt(variance)
    return x, y, float(spread)


def on_thirds(maps: SubjectMaps) -> tuple[float, dict[str, Any] | None]:
    """How near the largest sharp thing is to a crossing of the third lines, or an upright one."""
    blob = _largest_blob(maps.distance * (0.25 + maps.sharpness))
    if blob is None:
        return 0.0, None
    x, y = blob["centre"]
    thirds = (1 / 3, 2 / 3)
    corners = [(across, down) for across in thirds for down in thirds]
    nearest = min(
        corners,
        key=lambda corner: np.hypot(x - corner[0], y - corner[1]),
    )
    to_point = np.hypot(x - nearest[0], y - nearest[1])
    to_line = min(abs(x - third) for third in thirds)
    on_point = np.exp(-((to_point / 0.09) ** 2) / 2)
    on_line = np.exp(-((to_line / 0.06) ** 2) / 2)
    score = max(on_point, 0.8 * on_line) * np.sqrt(blob["share"])
    score *= np.clip(1.6 - 2.5 * blob["area"], 0, 1)
    return float(min(1, score)), {
        "box": [round(float(v), 3) for v in blob["box"]],
        "point": [round(v, 3) for v in nearest],
    }


def _largest_blob(values: ndarray) -> dict[str, Any] | None:
    """The part above Otsu's threshold that holds most of the map:
    box, centre, share of it, area.
    """
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
    centre_x = (weight @ (xs + 0.5)) / total / width
    centre_y = (weight @ (ys + 0.5)) / total / height
    everything = values[mask > 0].sum() + 1e-9
    return {
        "box": (x / width, y / height, w / width, h / height),
        "centre": (float(centre_x), float(centre_y)),
        "share": mass[best] / everything,
        "area": area / (width * height),
    }


# Framing
# -------------------------------------------------------------------------------------------


def frame_score(lab: ndarray) -> tuple[float, dict[str, Any] | None]:
    """Whether one region runs along three sides and encloses another, livelier middle."""
    height, width = lab.shape[:2]
    rows = max(16, round(64 * height / width))
    small = cv2.resize(lab, (64, rows), interpolation=cv2.INTER_AREA)
    region, inside = _enclosing(small)
    contrast = _border_contrast(small)
    score = min(1.0, (contrast + 0.1) * (region + 0.1) / 1.21)
    return float(score), {"box": inside} if inside else None


def _enclosing(small: ndarray) -> tuple[float, list[float] | None]:
    """The best of four colours as a frame, and the box of what it encloses."""
    rows, columns = small.shape[:2]
    # The same picture, the same clusters.
    cv2.setRNGSeed(0)
    wanted = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 1.0)
    pixels = small.reshape(-1, 3)
    how = (wanted, 2, cv2.KMEANS_PP_CENTERS)
    _, labels, centres = cv2.kmeans(pixels, 4, None, *how)  # type: ignore[call-overload]
    labels = labels.reshape(rows, columns)
    light = small[..., 0]
    detail = np.abs(light - cv2.GaussianBlur(light, (0, 0), 2))
    detail = cv2.GaussianBlur(detail, (0, 0), 2)
    best = 0.0
    frame = None
    for number in range(len(centres)):
        mask = labels == number
        score = _mask_as_frame(small, detail, mask)
        if score > best:
            best = score
            frame = mask
    if frame is None:
        return best, None
    return best, _enclosed_box(~frame)


def _mask_as_frame(
    small: ndarray,
    detail: ndarray,
    mask: ndarray,
) -> float:
    """How well the mask runs along the sides, leaves the middle free, and differs from it."""
    rows, columns = mask.shape
    band = max(2, round(0.06 * min(rows, columns)))
    bands = [mask[:band], mask[-band:], mask[:, :band], mask[:, -band:]]
    # A frame may be open at one side.
    sides = sorted(side.mean() for side in bands)
    middle = _middle_half(rows, columns)
    free = middle & ~mask
    thick = mask.mean()
    if not free.any() or not mask.any():
        return 0.0
    of_frame = small[mask].mean(0)
    of_middle = small[free].mean(0)
    differs = np.linalg.norm(of_frame - of_middle) / 60
    lively = (detail[~mask].mean() + 0.3) / (detail[mask].mean() + 0.3)
    is_open = 1 - mask[middle].mean()
    score = np.mean(sides[1:]) * is_open * min(1, differs) * min(1, lively / 1.3)
    not_too_thick = np.clip((0.97 - thick) / 0.2, 0, 1)
    return float(score * min(1, thick / 0.2) * not_too_thick)


def _middle_half(rows: int, columns: int) -> ndarray:
    mask = np.zeros((rows, columns), bool)
    down = slice(round(0.25 * rows), round(0.75 * rows))
    across = slice(round(0.25 * columns), round(0.75 * columns))
    mask[down, across] = True
    return mask


def _enclosed_box(free: ndarray) -> list[float] | None:
    """[x, y, width, height] of the largest piece that the frame leaves free."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8))
    if count < 2:
        return None
    # The first is what is not free.
    areas = stats[1:, cv2.CC_STAT_AREA]
    best = 1 + int(areas.argmax())
    x, y, w, h = stats[best, :4]
    rows, columns = free.shape
    shares = (x / columns, y / rows, w / columns, h / rows)
    return [round(float(share), 3) for share in shares]


def _border_contrast(small: ndarray) -> float:
    """How much three of the four border bands differ from the middle, 0 to 1."""
    rows, columns = small.shape[:2]
    band = max(2, round(0.06 * min(rows, columns)))
    bands = [small[:band], small[-band:], small[:, :band], small[:, -band:]]
    middle = small[_middle_half(rows, columns)]
    found = []
    for one in bands:
        pixels = one.reshape(-1, 3)
        noise = pixels.std(0).mean() + 0.5 * middle.std(0).mean() + 8
        apart = np.linalg.norm(pixels.mean(0) - middle.mean(0))
        found.append(apart / noise)
    three = np.mean(sorted(found)[1:])
    return float(np.clip((three - 0.5) / 2, 0, 1))
