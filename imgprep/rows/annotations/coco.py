"""COCO's JSON: one file for all pictures, of boxes, polygons, run lengths, points, and scores of
results.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from imgprep.picture import runs
from imgprep.picture.boxes import Object, flat_points
from imgprep.rows.annotations.objects import Annotated, ToldObject, box_of, loaded_json

Json = dict[str, Any]


def load_coco(where: str, notes: ToldObject) -> list[Annotated]:
    """The pictures of a file, in its order. ValueError where an id names nothing, or two things,
    and for a record that lacks what it needs.
    """
    data = loaded_json(where)
    if not isinstance(data, dict) or not {"images", "annotations"} <= set(data):
        raise ValueError(f"{where} is no COCO file: it has no images and annotations")
    names = _by_id(where, _records(where, data, "categories", ("id", "name")), "category")
    images = _by_id(where, _records(where, data, "images", ("id", "file_name")), "image")
    pictures = {}
    for number, image in images.items():
        told_in = f"image {number!r} of {where}"
        size_wh = _size_said(image, told_in)
        pictures[number] = Annotated(str(image["file_name"]), [], size_wh, told_in)
    for one in _records(where, data, "annotations", ()):
        about = f"annotation {one.get('id')!r} of {where}"
        image_id, category_id = (_id_of(one, name, about) for name in ("image_id", "category_id"))
        if image_id not in pictures:
            raise ValueError(
                f"{about} is about the image {image_id!r}, which the file does not list"
            )
        if category_id not in names:
            listed = ", ".join(map(str, names)) or "none"
            raise ValueError(
                f"{about} is of the category {category_id!r}; categories lists: {listed}"
            )
        pictures[image_id].objects.append(_coco_object(one, names[category_id]["name"], about))
    return list(pictures.values())


def _records(where: str, data: Json, name: str, needs: Sequence[str]) -> list[Json]:
    """One of the lists of a file. ValueError for what is none, or lacks what it needs."""
    records = data.get(name)
    if records is None and name == "categories":
        return []
    if not isinstance(records, list):
        raise ValueError(f"{name} of {where} is no list")
    for number, record in enumerate(records):
        about = f"record {number} of {name} in {where}"
        if not isinstance(record, dict):
            raise ValueError(f"{about} is {record!r}, and no record of names and values")
        missing = [key for key in needs if record.get(key) in (None, "")]
        if missing:
            raise ValueError(f"{about} has no {missing[0]}")
    return records


def _id_of(record: Json, name: str, about: str) -> Any:
    found = record.get(name)
    if isinstance(found, list | dict):
        raise ValueError(f"{about} has the {name} {found!r}, which is no number")
    return found


def _size_said(image: Json, about: str) -> tuple[int, int] | None:
    width = image.get("width")
    height = image.get("height")
    for side in (width, height):
        if side is not None and (type(side) not in (int, float) or side < 0):
            raise ValueError(f"{about} has a side of {side!r} pixels")
    return (width, height) if width and height else None


def _by_id(where: str, entries: Sequence[Json], what: str) -> dict[Any, Json]:
    ids = [_id_of(entry, "id", f"the {what} {entry['id']!r} of {where}") for entry in entries]
    twice = [number for number, n in Counter(ids).items() if n > 1]
    if twice:
        raise ValueError(f"{where} has two entries for the {what} {twice[0]!r}")
    return dict(zip(ids, entries, strict=True))


def _numbers(values: Any, what: str, about: str) -> list[float]:
    """ValueError for anything but a list of numbers."""
    if isinstance(values, list) and all(type(n) in (int, float) for n in values):
        return [float(n) for n in values]
    raise ValueError(f"the {what} of {about} is no list of numbers: {str(values)[:80]}")


def _coco_object(one: Json, label: str, about: str) -> Object:
    score = one.get("score")
    if score is not None:
        (score,) = _numbers([score], "score", about)
    found: Object = {"label": str(label), "score": score}
    if one.get("bbox"):
        found["box_xywh"] = _numbers(one["bbox"], "bbox", about)
    shape = one.get("segmentation")
    if isinstance(shape, dict):
        if not {"size", "counts"} <= set(shape):
            raise ValueError(f"the segmentation of {about} has no size and counts")
        found["mask"] = {"size": list(shape["size"]), "counts": runs.runs_of(shape)}
    elif shape:
        found["polygons"] = [_outline(polygon, about) for polygon in shape]
    if one.get("keypoints"):
        points = _numbers(one["keypoints"], "keypoints", about)
        if len(points) % 3:
            raise ValueError(
                f"the keypoints of {about} are {len(points)} numbers, not x, y, v of each"
            )
        found["points_xyv"] = [points[at : at + 3] for at in range(0, len(points), 3)]
    if one.get("iscrowd"):
        found["is_crowd"] = True
    found["box_xywh"] = box_of(found)
    return found


def _outline(polygon: Any, about: str) -> list[float]:
    numbers = _numbers(polygon, "segmentation", about)
    if len(numbers) % 2:
        raise ValueError(f"an outline of {about} has {len(numbers)} numbers, not x, y of each")
    return numbers


def dump_coco(
    pictures: Sequence[Annotated], classes: Sequence[str], where: str, notes: ToldObject
) -> None:
    """Write one file. The classes are the categories 1, 2 … in their order."""
    # From 1, as COCO's own: 0 is the background to many loaders.
    category_of = {name: number for number, name in enumerate(classes, 1)}
    images: list[Json] = []
    annotations: list[Json] = []
    for number, picture in enumerate(pictures, 1):
        width, height = picture.size_wh or (None, None)
        images.append(
            {"id": number, "file_name": picture.file_name, "width": width, "height": height}
        )
        for one in picture.objects:
            about = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": category_of[one["label"]],
            }
            annotations.append(about | _annotation(one))
    categories = [{"id": number, "name": name} for name, number in category_of.items()]
    data = {"images": images, "annotations": annotations, "categories": categories}
    os.makedirs(os.path.dirname(os.path.abspath(where)), exist_ok=True)
    with open(where, "w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False)


def _annotation(one: Object) -> Json:
    box = box_of(one) or [0.0, 0.0, 0.0, 0.0]
    made: Json = {
        "bbox": box,
        "area": _object_area(one, box),
        "iscrowd": int(bool(one.get("is_crowd"))),
    }
    if one.get("mask") is not None:
        made["segmentation"] = {
            "size": list(one["mask"]["size"]),
            "counts": runs.runs_of(one["mask"]),
        }
    elif one.get("polygons"):
        made["segmentation"] = [list(polygon) for polygon in one["polygons"]]
    else:
        made["segmentation"] = []
    if one.get("points_xyv"):
        made["keypoints"] = [n for point in one["points_xyv"] for n in point]
        made["num_keypoints"] = sum(point[2] > 0 for point in one["points_xyv"])
    if one.get("score") is not None:
        made["score"] = one["score"]
    return made


def _object_area(one: Object, box: Sequence[float]) -> float:
    if one.get("mask") is not None:
        return float(runs.mask_area(one["mask"]))
    if one.get("polygons"):
        return sum(map(polygon_area, one["polygons"]))
    return box[2] * box[3]


def polygon_area(polygon: Sequence[float]) -> float:
    """What an outline encloses (the shoelace formula).

    >>> polygon_area([0, 0, 4, 0, 4, 3])
    6.0
    """
    points = flat_points(polygon)
    x = points[:, 0]
    y = points[:, 1]
    # The last corner is followed by the first.
    next_x = np.roll(x, -1)
    next_y = np.roll(y, -1)
    return abs(float((x * next_y - next_x * y).sum())) / 2
