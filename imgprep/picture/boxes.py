"""Boxes, outlines, masks and points that move with their picture: scale, shift, turn, clip.

An object is a dict: `box_xywh` [x, y, width, height], and where it has them `polygons` [[x, y, x, y
…] …], `mask` (run lengths, see `runs`) and `points_xyv` [[x, y, v] …]. All are pixels of the whole
picture, whose left upper corner is (0, 0): the first pixel reaches from 0 to 1. What else stands in
an object, its label and score, goes along.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from imgprep.hashing import versioned
from imgprep.picture import runs
from imgprep.picture.geometry import fit_pad, fitted_wh

Object = dict[str, Any]
Points = np.ndarray  # (n, 2), x and y


class Move(NamedTuple):
    """Where a point of the old picture stands in the new one: x' = a x + b y + c, y' = d x + e y +
    f.

    Only scaling, shifting, mirroring and quarter turns: a box stays a box.
    """

    matrix: tuple[tuple[float, float, float], tuple[float, float, float]]
    to_wh: tuple[int, int]  # the size of the new picture

    def points(self, xy: Points) -> Points:
        """(n, 2) points of the old picture as points of the new one."""
        (a, b, c), (d, e, f) = self.matrix
        x = xy[:, 0]
        y = xy[:, 1]
        new_x = a * x + b * y + c
        new_y = d * x + e * y + f
        return np.stack([new_x, new_y], axis=1)


def resize_move(from_wh: Sequence[int], to_wh: Sequence[int]) -> Move:
    """The whole picture made smaller or larger."""
    return _scale_move(from_wh, to_wh, (0, 0), to_wh)


def fit_move(from_wh: Sequence[int], size_wh: Sequence[int]) -> Move:
    """What `geometry.fit` does."""
    return resize_move(from_wh, fitted_wh(from_wh, size_wh))


def fit_pad_move(from_wh: Sequence[int], size_wh: Sequence[int]) -> Move:
    """What `geometry.fit_pad` does.

    >>> fit_pad_move((200, 100), (128, 128)).points(np.array([[200.0, 100.0]])).tolist()
    [[128.0, 96.0]]
    """
    width, height = fitted_wh(from_wh, size_wh)
    left = (size_wh[0] - width) // 2
    top = (size_wh[1] - height) // 2
    return _scale_move(from_wh, (width, height), (left, top), size_wh)


def _scale_move(
    from_wh: Sequence[int],
    scaled_wh: Sequence[int],
    corner_xy: Sequence[int],
    to_wh: Sequence[int],
) -> Move:
    """Scaled to scaled_wh, then put with its left upper corner there in a picture of to_wh."""
    scale_x = scaled_wh[0] / from_wh[0]
    scale_y = scaled_wh[1] / from_wh[1]
    across = (scale_x, 0.0, float(corner_xy[0]))
    down = (0.0, scale_y, float(corner_xy[1]))
    return Move((across, down), (to_wh[0], to_wh[1]))


def crop_move(box_xyxy: Sequence[int]) -> Move:
    """A piece cut out, from x0, y0 to x1, y1."""
    x0, y0, x1, y1 = box_xyxy
    if x1 <= x0 or y1 <= y0:
        rule = "box_xyxy = [x0, y0, x1, y1] with x0 < x1 and y0 < y1"
        raise ValueError(f"a crop is {rule}, not {list(box_xyxy)}")
    return Move(((1.0, 0.0, -x0), (0.0, 1.0, -y0)), (x1 - x0, y1 - y0))


def turn_move(stored_wh: Sequence[int], orientation: int) -> Move:
    """From the pixels as they are stored to the upright picture, by EXIF's orientation (1 to 8).

    >>> turn_move((4, 3), 6).points(np.array([[0.0, 0.0]])).tolist()  # top was right
    [[3.0, 0.0]]
    """
    width, height = stored_wh
    x, from_right = (1, 0, 0), (-1, 0, width)
    y, from_below = (0, 1, 0), (0, -1, height)
    # What the new x and the new y are made of.
    turns = {
        1: (x, y),
        2: (from_right, y),
        3: (from_right, from_below),
        4: (x, from_below),
        5: (y, x),
        6: (from_below, x),
        7: (from_below, from_right),
        8: (y, from_right),
    }
    if orientation not in turns:
        raise ValueError(f"EXIF's orientation is 1 to 8, not {orientation!r}")
    is_quarter = orientation >= 5
    return Move(turns[orientation], (height, width) if is_quarter else (width, height))


def moved(
    objects: Sequence[Object], move: Move, *, min_visible: float = 0.0, clip: bool = True
) -> list[Object]:
    """The objects where they are in the new picture, clipped at its edges.

    Those of which nothing is left go, and those of whose box less than the share min_visible is
    inside. A point that is outside is no longer labelled: [0, 0, 0]. clip: False leaves all as they
    are, also outside.
    """
    found = []
    for one in objects:
        new = dict(one)
        if one.get("box_xywh") is not None:
            box = _moved_box(one["box_xywh"], move)
            new["box_xywh"] = clip_box(box, move.to_wh) if clip else box
            if clip and _is_gone(box, new["box_xywh"], move.to_wh, min_visible):
                continue
        if one.get("polygons") is not None:
            new["polygons"] = _moved_polygons(one["polygons"], move, clip)
        if one.get("mask") is not None:
            new["mask"] = _moved_mask(one["mask"], move)
        if one.get("points_xyv") is not None:
            new["points_xyv"] = _moved_points(one["points_xyv"], move, clip)
        found.append(new)
    return found


def _is_gone(
    box: Sequence[float], inside: Sequence[float], size_wh: Sequence[int], min_visible: float
) -> bool:
    if min(box[2:]) == 0:
        # A point or a line has no area of which a share could be left.
        x, y, width, height = box
        return x + width < 0 or y + height < 0 or x > size_wh[0] or y > size_wh[1]
    return min(inside[2:]) <= 0 or _box_area(inside) < min_visible * _box_area(box)


@versioned(1)
def fit_pad_objects(
    image: np.ndarray,
    objects: Sequence[Object] | None,
    *,
    size_wh: Sequence[int] = (224, 224),
    fill: int | Sequence[int] = 255,
    min_visible: float = 0.0,
) -> dict[str, Any]:
    """`geometry.fit_pad` that takes the column `objects` along: {"image": …, "objects": …}."""
    move = fit_pad_move(image.shape[1::-1], size_wh)
    picture = fit_pad(image, size_wh, fill=fill)
    return {"image": picture, "objects": moved(objects or [], move, min_visible=min_visible)}


@versioned(1)
def crop_objects(
    image: np.ndarray,
    objects: Sequence[Object] | None,
    *,
    box_xyxy: Sequence[int],
    min_visible: float = 0.0,
) -> dict[str, Any]:
    """A piece of a picture, and the column `objects` of it. ValueError where the piece is not
    inside.
    """
    x0, y0, x1, y1 = box_xyxy
    height, width = image.shape[:2]
    move = crop_move(box_xyxy)
    if min(x0, y0) < 0 or x1 > width or y1 > height:
        raise ValueError(
            f"the crop {list(box_xyxy)} is not inside the picture of {width} x {height}"
        )
    piece = image[y0:y1, x0:x1]
    return {"image": piece, "objects": moved(objects or [], move, min_visible=min_visible)}


def clip_box(box_xywh: Sequence[float], size_wh: Sequence[int]) -> list[float]:
    """The part of a box that is inside a picture; its sides are 0 or less where nothing is.

    >>> clip_box([-5, 2, 20, 4], (10, 10))
    [0, 2, 10, 4]
    """
    x, y, width, height = box_xywh
    left, new_width = _clip_side(x, width, size_wh[0])
    top, new_height = _clip_side(y, height, size_wh[1])
    return [left, top, new_width, new_height]


def _clip_side(start: float, length: float, most: float) -> tuple[float, float]:
    end = start + length
    if start >= 0 and end <= most:
        # Left as it is: start + length - start is not always length.
        return start, length
    new_start = max(start, 0)
    return new_start, min(end, most) - new_start


def points_bounds(points: Sequence[Sequence[float]] | Points) -> list[float]:
    """The smallest box around points [[x, y], …]."""
    low = np.min(points, axis=0)
    high = np.max(points, axis=0)
    return [float(n) for n in (*low, *(high - low))]


def flat_points(polygon: Sequence[float]) -> Points:
    """[x, y, x, y …] as (n, 2)."""
    return np.asarray(polygon, float).reshape(-1, 2)


def _moved_box(box_xywh: Sequence[float], move: Move) -> list[float]:
    x, y, width, height = box_xywh
    (a, b, _), (d, e, _) = move.matrix
    corners = np.array([[x, y], [x + width, y + height]], float)
    left, top = move.points(corners).min(axis=0).tolist()
    # The sides are scaled, not taken from the corners: where nothing is scaled they stay exact.
    new_width = abs(a * width + b * height)
    new_height = abs(d * width + e * height)
    return [left, top, new_width, new_height]


def _box_area(box_xywh: Sequence[float]) -> float:
    return max(box_xywh[2], 0) * max(box_xywh[3], 0)


def _moved_polygons(
    polygons: Sequence[Sequence[float]], move: Move, clip: bool
) -> list[list[float]]:
    found = []
    for polygon in polygons:
        points = move.points(flat_points(polygon))
        if clip:
            points = clip_polygon(points, move.to_wh)
        if len(points) >= 3:
            found.append(points.ravel().tolist())
    return found


def clip_polygon(points: Points, size_wh: Sequence[int]) -> Points:
    """The part of an outline inside a picture (Sutherland and Hodgman, 1974).

    One that is inside stays as it is.
    """
    for axis, most in enumerate(size_wh):
        points = _cut_outline(points, points[:, axis] >= 0, axis, 0)
        points = _cut_outline(points, points[:, axis] <= most, axis, most)
    return points


def _cut_outline(points: Points, inside: np.ndarray, axis: int, limit: float) -> Points:
    """The outline on one side of a line: corners that are inside,
    and where edges cross the line.
    """
    if inside.all():
        return points
    found = []
    for number, here in enumerate(points):
        # The edge that leads here; the first one comes from the last corner.
        before = points[number - 1]
        if inside[number - 1] != inside[number]:
            share = (limit - before[axis]) / (here[axis] - before[axis])
            crossing = before + share * (here - before)
            crossing[axis] = limit
            found.append(crossing)
        if inside[number]:
            found.append(here)
    return np.array(found, float).reshape(-1, 2)


def _moved_points(points: Sequence[Sequence[float]], move: Move, clip: bool) -> list[list[float]]:
    if not points:
        return []
    given = np.asarray(points, float)
    width, height = move.to_wh
    found = []
    for place, visible in zip(move.points(given[:, :2]), given[:, 2], strict=True):
        x, y = place.tolist()
        is_inside = 0 <= x <= width and 0 <= y <= height
        if visible and (is_inside or not clip):
            found.append([x, y, float(visible)])
        else:
            # A point without a label has no place.
            found.append([0.0, 0.0, 0.0])
    return found


def _moved_mask(mask: dict[str, Any], move: Move) -> dict[str, Any]:
    """Each new pixel is the old one under its middle."""
    pixels = runs.decode_mask(mask)
    (a, b, c), (d, e, f) = move.matrix
    width, height = move.to_wh
    if b or d:
        # A quarter turn is a mirroring at the diagonal, and what is left.
        pixels = pixels.T
        a, e = b, d
    columns, is_column = _under_scale(width, a, c, pixels.shape[1])
    rows, is_row = _under_scale(height, e, f, pixels.shape[0])
    out = np.zeros((height, width), bool)
    out[np.ix_(is_row, is_column)] = pixels[np.ix_(rows, columns)]
    return runs.encode_mask(out)


def _under_scale(
    length: int, scale: float, shift: float, old_length: int
) -> tuple[Points, np.ndarray]:
    """The old pixels under the middles of the new ones, and which of the new ones have one."""
    middles = np.arange(length) + 0.5
    old = np.floor((middles - shift) / scale).astype(int)
    is_there = (old >= 0) & (old < old_length)
    return old[is_there], is_there


# The columns that they take and give back: `images.transform` replaces them.
vars(fit_pad_objects)["moves"] = ("objects",)
vars(crop_objects)["moves"] = ("objects",)
