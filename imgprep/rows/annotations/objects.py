"""What people draw on pictures, as one column: a list of objects, each a dict.

`label` and `box_xywh` [x, y, width, height] stand in every object; `score` is null where a person
drew it. Where they are used there are `polygons` [[x, y, x, y …] …], `mask` (COCO's run lengths),
`points_xyv` [[x, y, v] …] and the flags `is_crowd` and `is_difficult`, which scores leave out. All
are pixels of the upright picture; its left upper corner is (0, 0), and the first pixel reaches from
0 to 1.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from imgprep.picture import runs
from imgprep.picture.boxes import Object, flat_points, points_bounds
from imgprep.words import number_of

COLUMN = "objects"
FLOAT_LIST = pa.list_(pa.float64())
TYPES = {
    "label": pa.string(),
    "score": pa.float64(),
    "box_xywh": FLOAT_LIST,
    "polygons": pa.list_(FLOAT_LIST),
    "mask": pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.list_(pa.int32()))]),
    "points_xyv": pa.list_(FLOAT_LIST),
    "is_crowd": pa.bool_(),
    "is_difficult": pa.bool_(),
}
ALWAYS = ("label", "score", "box_xywh")


@dataclass
class Annotated:
    """What a file of annotations says of one picture."""

    file_name: str  # from the folder of pictures on
    objects: list[Object]
    size_wh: tuple[int, int] | None = None  # as the file says it
    told_in: str = ""  # the file, and where known the place in it


@dataclass
class ToldObject:
    """Sentences that a reader or a writer has to say."""

    said: list[str] = field(default_factory=list)
    numbers: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, one: str, many: str) -> None:
        """Once more of this: it becomes a sentence with a number, of one or of many."""
        self.numbers[one, many] += 1

    def sentences(self) -> list[str]:
        """All of them; what was counted begins with its number."""
        numbers = [number_of(n, *spelled) for spelled, n in self.numbers.items()]
        return [*self.said, *numbers]


def box_of(one: Object) -> list[float] | None:
    """The box of an object: as it stands there,
    else around its polygons, its mask or its points.
    """
    if one.get("box_xywh") is not None:
        return [float(n) for n in one["box_xywh"]]
    if one.get("polygons"):
        corners = [tuple(xy) for polygon in one["polygons"] for xy in flat_points(polygon)]
        return points_bounds(corners)
    if one.get("mask") is not None:
        return runs.mask_bounds(one["mask"])
    # v = 0 is COCO's "not labelled", and stands at (0, 0).
    labelled = [point[:2] for point in one.get("points_xyv") or () if point[2]]
    return points_bounds(labelled) if labelled else None


def used_fields(rows: Iterable[Sequence[Object]]) -> list[str]:
    """The fields that the column of these objects has: those that stand in any of them."""
    used = set(ALWAYS)
    for objects in rows:
        for one in objects:
            used |= {name for name, value in one.items() if value is not None}
    return [name for name in TYPES if name in used]


def column(rows: Iterable[Sequence[Object]], fields: Sequence[str]) -> pa.Array:
    """The column of objects, with these fields."""
    cells = []
    for objects in rows:
        cells.append([{name: one.get(name) for name in fields} for one in objects])
    return pa.array(cells, pa.list_(pa.struct([(name, TYPES[name]) for name in fields])))


def object_features() -> dict[str, Any]:
    """The column of a function that returns objects with boxes,
    for images.transform(features=…).
    """
    from datasets import List, Value

    box = List(Value("float64"))
    return {COLUMN: List({"label": Value("string"), "score": Value("float64"), "box_xywh": box})}


def loaded_json(where: str) -> Any:
    """What a file of annotations says. ValueError for one that is no JSON."""
    # utf-8-sig: tools on Windows write a mark in front.
    with open(where, encoding="utf-8-sig") as file:
        try:
            return json.load(file)
        except ValueError as e:
            raise ValueError(f"{where} is no JSON: {e}") from None
