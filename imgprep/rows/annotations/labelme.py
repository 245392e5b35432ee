"""LabelMe's JSON: a file for each picture, of shapes; those of one group are one object."""

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from imgprep.picture import codec, runs
from imgprep.picture.boxes import Object, points_bounds
from imgprep.rows.annotations.objects import Annotated, ToldObject, box_of, loaded_json

CIRCLE_CORNERS = 64
VISIBLE = 2.0


def load_labelme(where: str, notes: ToldObject) -> list[Annotated]:
    """The pictures of all .json files of a folder, in the order of their names."""
    pictures = []
    for file in sorted(Path(where).glob("*.json")):
        data = loaded_json(str(file))
        if not isinstance(data, dict) or "shapes" not in data:
            notes.count(
                "JSON file has no shapes, so it is not LabelMe's",
                "JSON files have no shapes, so they are not LabelMe's",
            )
            continue
        # A path as the annotator's machine wrote it, also of Windows.
        name = PureWindowsPath(str(data.get("imagePath") or f"{file.stem}.jpg")).name
        width, height = data.get("imageWidth"), data.get("imageHeight")
        size_wh = (int(width), int(height)) if width and height else None
        objects = _labelme_objects(data["shapes"], size_wh, str(file), notes)
        pictures.append(Annotated(name, objects, size_wh, str(file)))
    return pictures


def _labelme_objects(
    shapes: Sequence[dict[str, Any]], size_wh: tuple[int, int] | None, file: str, notes: ToldObject
) -> list[Object]:
    found: dict[Any, Object] = {}
    for number, shape in enumerate(shapes):
        _check_shape(shape, f"shape {number} of {file}")
        group = shape.get("group_id")
        # A shape without a group is an object of its own.
        key = (shape["label"], group) if group is not None else number
        one = found.setdefault(key, {"label": str(shape["label"]), "score": shape.get("score")})
        _add(one, shape, size_wh, f"shape {number} of {file}", notes)
    for one in found.values():
        one["box_xywh"] = box_of(one)
    return list(found.values())


def _check_shape(shape: Any, told_in: str) -> None:
    """ValueError for one without a name, or whose points are none."""
    if not isinstance(shape, dict) or shape.get("label") in (None, ""):
        raise ValueError(f"{told_in} has no label")
    points = shape.get("points")
    if not isinstance(points, list) or not all(map(_is_point, points)):
        raise ValueError(f"{told_in} has the points {str(points)[:80]}: they are [[x, y], …]")


def _is_point(values: Any) -> bool:
    is_pair = isinstance(values, list) and len(values) == 2
    return is_pair and all(type(n) in (int, float) for n in values)


def _add(
    one: Object,
    shape: dict[str, Any],
    size_wh: tuple[int, int] | None,
    told_in: str,
    notes: ToldObject,
) -> None:
    """Put a shape into its object."""
    kind = shape.get("shape_type") or "polygon"
    points = [[float(x), float(y)] for x, y in shape["points"]]
    if kind == "rectangle" and len(points) in (2, 4):
        one["box_xywh"] = _exact_box(points, shape)
    elif kind == "polygon":
        one.setdefault("polygons", []).append([n for point in points for n in point])
    elif kind == "circle" and len(points) == 2:
        one.setdefault("polygons", []).append(_circle(*points))
        corners = f"{CIRCLE_CORNERS} corners"
        notes.count(
            f"circle is kept as an outline of {corners}",
            f"circles are kept as outlines of {corners}",
        )
    elif kind in ("point", "points", "line", "linestrip"):
        visible = float(shape.get("visible", VISIBLE))
        one.setdefault("points_xyv", []).extend([*point, visible] for point in points)
    elif kind == "mask" and shape.get("mask"):
        if size_wh is None:
            raise ValueError(f"{told_in} is a mask, and the file does not say the picture's size")
        one["mask"] = _labelme_mask(shape, points, size_wh)
    else:
        raise ValueError(f"{told_in} is a {kind!r} of {len(points)} points, which is not read")


def _exact_box(points: list[list[float]], shape: dict[str, Any]) -> list[float]:
    box = shape.get("box_xywh")
    if box and [box[0], box[1]] == points[0]:
        return [float(n) for n in box]  # ours: corners do not give a width back to its last bit
    return points_bounds(points)


def _circle(middle: list[float], edge: list[float]) -> list[float]:
    radius = float(np.hypot(edge[0] - middle[0], edge[1] - middle[1]))
    angles = np.arange(CIRCLE_CORNERS) * (2 * np.pi / CIRCLE_CORNERS)
    x = middle[0] + radius * np.cos(angles)
    y = middle[1] + radius * np.sin(angles)
    outline: list[float] = np.stack([x, y], axis=1).ravel().tolist()
    return outline


def _labelme_mask(
    shape: dict[str, Any], points: list[list[float]], size_wh: tuple[int, int]
) -> dict[str, Any]:
    """A PNG of the part between two pixels, both of them inside."""
    part = codec.decode(base64.b64decode(shape["mask"]))[:, :, 0] > 0
    x, y = (round(n) for n in points[0])
    whole = np.zeros(size_wh[::-1], bool)
    # What is left of the picture from there on: a part may reach over its edge.
    room = whole[y : y + part.shape[0], x : x + part.shape[1]]
    height, width = room.shape
    room[:] = part[:height, :width]
    return runs.encode_mask(whole)


def dump_labelme(
    pictures: Sequence[Annotated], classes: Sequence[str], where: str, notes: ToldObject
) -> None:
    """Write a file for each picture into a folder, with its name and the ending .json."""
    for picture in pictures:
        shapes: list[dict[str, Any]] = []
        for group, one in enumerate(picture.objects):
            pieces = _shapes_of(one)
            for piece in pieces:
                piece["label"] = one["label"]
                piece["group_id"] = group if len(pieces) > 1 else None
                piece["flags"] = {}
                if one.get("score") is not None:
                    piece["score"] = one["score"]
            shapes += pieces
            for flag in ("is_crowd", "is_difficult"):
                if one.get(flag):
                    lacks = f"{flag}, which LabelMe's files do not hold"
                    notes.count(f"object has {lacks}", f"objects have {lacks}")
        width, height = picture.size_wh or (None, None)
        path = Path(where, picture.file_name).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        data: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": os.path.basename(picture.file_name),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        path.write_text(json.dumps(data, ensure_ascii=False, indent=2), "utf-8")


def _shapes_of(one: Object) -> list[dict[str, Any]]:
    """The shapes that say all of an object; a box that follows from the others is left out."""
    pieces = []
    for polygon in one.get("polygons") or ():
        corners = [list(polygon[at : at + 2]) for at in range(0, len(polygon), 2)]
        pieces.append({"shape_type": "polygon", "points": corners})
    if one.get("mask") is not None:
        pieces.append(_mask_piece(one["mask"]))
    for x, y, visible in one.get("points_xyv") or ():
        pieces.append({"shape_type": "point", "points": [[x, y]], "visible": visible})
    box = one.get("box_xywh")
    follows = box_of({**one, "box_xywh": None})
    if box is not None and list(box) != follows:
        x, y, width, height = box
        corners = [[x, y], [x + width, y + height]]
        pieces.append({"shape_type": "rectangle", "points": corners, "box_xywh": list(box)})
    return pieces


def _mask_piece(mask: dict[str, Any]) -> dict[str, Any]:
    """A shape of the part around what is in, as LabelMe keeps it: a PNG between two pixels."""
    x, y, width, height = (int(n) for n in runs.mask_bounds(mask))
    # An empty mask is one pixel that is out.
    right = x + max(width, 1)
    below = y + max(height, 1)
    part = runs.decode_mask(mask)[y:below, x:right]
    picture = np.repeat(part[:, :, None] * np.uint8(255), 3, axis=2)
    text = base64.b64encode(codec.encode(picture, "PNG")).decode()
    # Both pixels are inside.
    corners = [[x, y], [right - 1, below - 1]]
    return {"shape_type": "mask", "points": corners, "mask": text}
