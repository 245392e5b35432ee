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
from imgprep.rows.annotations.objects import Annotated, ToldObject, box_of

Json = dict[str, Any]


def load_coco(where: str, notes: ToldObject) -> list[Annotated]:
    """The pictures of a file, in its order. ValueError where an id names nothing, or two things."""
    # utf-8-sig: tools on Windows write a mark in front.
    with open(where, encoding="utf-8-sig") as file:
        data = json.load(file)
    if not isinstance(data, dict) or not {"images", "annotations"} <= set(data):
        raise ValueError(f"{where} is no COCO file: it has no images and annotations")
    names = _by_id(where, data.get("categories") or [], "category")
    images = _by_id(where, data["images"], "image")
    pictures = {}
    for number, image in images.items():
        size_wh = (
            (image["width"], image["height"])
            if image.get("width") and image.get("height")
            else None
        )
        told_in = f"image {number!r} of {where}"
        pictures[number] = Annotated(str(image["file_name"]), [], size_wh, told_in)
    for one in data["annotations"]:
        about = f"annotation {one.get('id')!r} of {where}"
        if one.get("image_id") not in pictures:
            raise ValueError(
                f"{about} is about the image {one.get('image_id')!r}, which the file does not list"
            )
        if one.get("category_id") not in names:
            listed = ", ".join(map(str, names)) or "none"
            raise ValueError(
                f"{about} is of the category {one.get('category_id')!r}; categories lists: {listed}"
            )
        pictures[one["image_id"]].objects.append(
            _coco_object(one, names[one["category_id"]]["name"], about)
        )
    return list(pictures.values())


def _by_id(where: str, entries: Sequence[Json], what: str) -> dict[Any, Json]:
    twice = [number for number, n in Counter(entry["id"] for entry in entries).items() if n > 1]
    if twice:
        raise ValueError(f"{where} has two entries for the {what} {twice[0]!r}")
    return {entry["id"]: entry for entry in entries}


def _coco_object(one: Json, label: str, about: str) -> Object:
    found: Object = {"label": str(label), "score": one.get("score")}
    if one.get("bbox"):
        found["box_xywh"] = [float(n) for n in one["bbox"]]
    shape = one.get("segmentation")
    if isinstance(shape, dict):
        found["mask"] = {"size": list(shape["size"]), "counts": runs.runs_of(shape)}
    elif shape:
        found["polygons"] = [[float(n) for n in polygon] for polygon in shape]
    if one.get("keypoints"):
        points = one["keypoints"]
        if len(points) % 3:
            raise ValueError(
                f"the keypoints of {about} are {len(points)} numbers, not x, y, v of each"
            )
        found["points_xyv"] = [
            [float(n) for n in points[at : at + 3]] for at in range(0, len(points), 3)
        ]
    if one.get("iscrowd"):
        found["is_crowd"] = True
    found["box_xywh"] = box_of(found)
    return found


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
