"""YOLO's text files: a line for each object, in shares of the picture's sides.

`class x y width height` (the middle of a box), with a sixth number where it is a result's score;
`class x y x y …` of an outline; or, where data.yaml has a `kpt_shape`, a box and its points.
Coordinates are exact to a millionth of a pixel.
"""

import os
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from imgprep.picture.boxes import Object
from imgprep.rows.annotations.objects import Annotated, ToldObject, box_of

CLASS_FILES = ("classes.txt", "obj.names", "labels.txt")  # a class a line, as tools call this file
YOLO_DIGITS = 12  # behind the point: a pixel of the largest picture to its millionth
PIXEL_PLACES = 6  # of a pixel

Sizes = Callable[[str], tuple[int, int] | None]


def load_yolo(
    where: str,
    notes: ToldObject,
    *,
    classes: Sequence[str] | None = None,
    pictures: Sequence[str],
    sizes: Sizes,
) -> list[Annotated]:
    """The pictures of a folder and what their files say; one without a file has no objects.

    where: the folder of .txt files, or data.yaml. pictures: names from the folder of pictures on.
        sizes: of a picture.
    """
    folder, about = _folder_and_yaml(where)
    names = list(classes) if classes is not None else _class_names(folder, about)
    shape = about.get("kpt_shape")
    found = []
    for picture in pictures:
        path = Path(folder, picture).with_suffix(".txt")
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        size_wh = sizes(picture)
        if any(line.split() for line in lines) and size_wh is None:
            raise ValueError(
                f"{path}: the size of {picture} is not known, and its coordinates are shares of it"
            )
        objects = []
        for number, line in enumerate(lines, 1):
            if line.split():
                told_in = f"line {number} of {path}"
                objects.append(_yolo_object(line.split(), names, shape, size_wh or (1, 1), told_in))
        found.append(Annotated(picture, objects, None, str(path)))
    return found


def _folder_and_yaml(where: str) -> tuple[str, dict[str, Any]]:
    if where.endswith((".yaml", ".yml")):
        about = yaml.safe_load(Path(where).read_text("utf-8")) or {}
        folder = os.path.join(os.path.dirname(where), "labels")
        return folder if os.path.isdir(folder) else os.path.dirname(where), about
    for beside in (where, os.path.dirname(where.rstrip("/"))):
        file = Path(beside, "data.yaml")
        if file.is_file():
            return where, yaml.safe_load(file.read_text("utf-8")) or {}
    return where, {}


def _class_names(folder: str, about: dict[str, Any]) -> list[str]:
    names = about.get("names")
    if isinstance(names, dict):
        # By number: YAML's mapping may have them in any order.
        return [str(names[key]) for key in sorted(names)]
    if names:
        return [str(name) for name in names]
    for beside in (folder, os.path.dirname(folder.rstrip("/"))):
        for file in CLASS_FILES:
            path = Path(beside, file)
            if path.is_file():
                return [
                    line.strip()
                    for line in path.read_text("utf-8-sig").splitlines()
                    if line.strip()
                ]
    raise ValueError(
        f"{folder} has no data.yaml and no classes.txt: give classes=['first', 'second', …]"
    )


def _yolo_object(
    words: list[str],
    names: Sequence[str],
    shape: Sequence[int] | None,
    size_wh: tuple[int, int],
    told_in: str,
) -> Object:
    try:
        numbers = [Decimal(word) for word in words]
        place = int(words[0])
    except (ArithmeticError, ValueError) as e:
        raise ValueError(f"{told_in} is not a class and numbers: {' '.join(words)[:80]!r}") from e
    if not 0 <= place < len(names):
        raise ValueError(
            f"{told_in} is of the class {place}; there are {len(names)}: {', '.join(names)}"
        )
    found: Object = {"label": names[place], "score": None}
    rest = numbers[1:]
    if shape and len(rest) >= 4 + shape[0] * shape[1]:
        found["box_xywh"] = _yolo_box(rest[:4], size_wh)
        found["points_xyv"] = _yolo_points(rest[4:], shape, size_wh)
        rest = rest[4 + shape[0] * shape[1] :]
        found["score"] = float(rest[0]) if rest else None
    elif len(rest) in (4, 5):
        found["box_xywh"] = _yolo_box(rest[:4], size_wh)
        found["score"] = float(rest[4]) if len(rest) == 5 else None
    elif len(rest) >= 6 and len(rest) % 2 == 0:
        sides = size_wh * (len(rest) // 2)
        found["polygons"] = [[_in_pixels(n * side) for n, side in zip(rest, sides, strict=True)]]
        found["box_xywh"] = box_of(found)
    else:
        raise ValueError(f"{told_in} has {len(rest)} numbers behind its class: no box, no outline")
    return found


def _yolo_box(shares: Sequence[Decimal], size_wh: tuple[int, int]) -> list[float]:
    middle_x, middle_y, share_w, share_h = shares
    width = share_w * size_wh[0]
    height = share_h * size_wh[1]
    # YOLO names the middle of a box, we its corner.
    x = middle_x * size_wh[0] - width / 2
    y = middle_y * size_wh[1] - height / 2
    return [_in_pixels(n) for n in (x, y, width, height)]


def _yolo_points(
    numbers: Sequence[Decimal], shape: Sequence[int], size_wh: tuple[int, int]
) -> list[list[float]]:
    many, each = shape
    found = []
    for at in range(0, many * each, each):
        x, y, *visible = numbers[at : at + each]
        seen = float(visible[0]) if visible else 2.0
        found.append([_in_pixels(x * size_wh[0]), _in_pixels(y * size_wh[1]), seen])
    return found


def _in_pixels(value: Decimal) -> float:
    return float(round(value, PIXEL_PLACES))


def dump_yolo(
    pictures: Sequence[Annotated], classes: Sequence[str], where: str, notes: ToldObject
) -> None:
    """Write a file for each picture into a folder, and data.yaml with the classes beside them.

    Outlines where every object has exactly one, points where all have equally many, else boxes.
    """
    place_of = {name: place for place, name in enumerate(classes)}
    objects = [one for picture in pictures for one in picture.objects]
    kind, shape = _line_kind(objects)
    about: dict[str, Any] = {"names": dict(enumerate(classes))}
    if shape:
        about["kpt_shape"] = shape
    for one in objects:
        _count_lost(one, kind, notes)
    for picture in pictures:
        if picture.size_wh is None:
            raise ValueError(
                f"the size of {picture.file_name} is not known, and YOLO's coordinates are shares of it"
            )
        lines = []
        for one in picture.objects:
            shares = [_as_share(n, side) for n, side in _line_numbers(one, kind, picture.size_wh)]
            lines.append(" ".join([str(place_of[one["label"]]), *shares]) + "\n")
        path = Path(where, picture.file_name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), "utf-8")
    os.makedirs(where, exist_ok=True)
    # sort_keys=False: the order of the classes is their numbers.
    Path(where, "data.yaml").write_text(
        yaml.safe_dump(about, sort_keys=False, allow_unicode=True), "utf-8"
    )


def _line_kind(objects: Sequence[Object]) -> tuple[str, list[int] | None]:
    points = {len(one.get("points_xyv") or ()) for one in objects}
    if len(points) == 1 and points != {0}:
        return "points", [points.pop(), 3]
    if objects and all(len(one.get("polygons") or ()) == 1 for one in objects):
        return "outlines", None
    return "boxes", None


def _count_lost(one: Object, kind: str, notes: ToldObject) -> None:
    held = {"points": {"points_xyv", "score"}, "outlines": {"polygons"}, "boxes": {"score"}}[kind]
    for field in ("polygons", "mask", "points_xyv", "score", "is_crowd", "is_difficult"):
        if one.get(field) not in (None, False) and field not in held:
            lacks = f"{field}, which these files do not hold"
            notes.count(f"object has {lacks}", f"objects have {lacks}")


def _line_numbers(one: Object, kind: str, size_wh: tuple[int, int]) -> list[tuple[Decimal, int]]:
    """Each number of a line with the side that it is a share of; 1 where it is none."""
    width, height = size_wh
    if kind == "outlines":
        corners = _decimals(one["polygons"][0])
        return list(zip(corners, size_wh * (len(corners) // 2), strict=True))
    x, y, w, h = _decimals(box_of(one) or [0.0] * 4)
    found = [(x + w / 2, width), (y + h / 2, height), (w, width), (h, height)]
    if kind == "points":
        for point in one["points_xyv"]:
            found += zip(_decimals(point), (width, height, 1), strict=True)
    if one.get("score") is not None:
        found += zip(_decimals([one["score"]]), (1,), strict=True)
    return found


def _decimals(numbers: Sequence[float]) -> list[Decimal]:
    # By its text: a float's own digits would go on for fifty places.
    return [Decimal(repr(float(number))) for number in numbers]


def _as_share(number: Decimal, side: int) -> str:
    if side == 1:
        return format(number.normalize(), "f")
    text = format(round(number / side, YOLO_DIGITS), "f")
    return text.rstrip("0").rstrip(".") or "0"


def yolo_pictures(where: str) -> str:
    """`labels` becomes `images`, as YOLO itself looks for them; else the pictures are beside their
    files.
    """
    folder, _ = _folder_and_yaml(where)
    start, name = os.path.split(folder.rstrip("/"))
    for candidate in (
        os.path.join(start, "images"),
        os.path.join(os.path.dirname(start), "images", name),
    ):
        is_labels = "labels" in (name, os.path.basename(start))
        if is_labels and os.path.isdir(candidate):
            return candidate
    return folder
