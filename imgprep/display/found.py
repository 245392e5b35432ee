"""Boxes on pictures, in cells and in the report: what a detector found, or what people drew."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from imgprep.dataset import Dataset
from imgprep.display.cells import Cell, figure
from imgprep.display.pictures import caption, every_row, spread, thumbnail
from imgprep.picture import codec, geometry
from imgprep.words import number_of

OBJECTS_COLUMN = "objects"
SHOWN_SIDE = 640
SEEN_SIDE = 320  # of them in a cell, and about as much in the report
TAG_PX = 17  # height of a number, as it is seen
# Told apart by most people who see colours otherwise (Okabe and Ito, 2008), and bright enough.
BOX_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
LABEL_INK = (0, 0, 0)
LABEL_CHARS = 40


def draw_objects(
    image: np.ndarray,
    objects: Sequence[Mapping[str, Any]] | None,
    *,
    min_score: float = 0.0,
    width: int | None = None,
) -> np.ndarray:
    """A copy of a picture (H, W, 3) uint8 with the boxes of `objects` and their labels on it.

    Of a picture's own size; colours follow the label. min_score: those with a lower score are left
    out; boxes without a score always show. width: of the lines, in pixels; None: by the picture's
    size. Masks and points are not drawn.
    """
    line = width or max(2, round(max(image.shape[:2]) / 320))
    shown = [one for one in objects or () if _is_shown(one, min_score)]
    tags = [_label_and_score(one) for one in shown]
    return _drawn_boxes(image, shown, tags, line, max(13, 6 * line))


def _drawn_boxes(
    image: np.ndarray,
    shown: Sequence[Mapping[str, Any]],
    tags: Sequence[str],
    line: int,
    font_px: int,
) -> np.ndarray:
    """Boxes, and a word or a number at each."""
    drawn = image.copy()
    # The surest last, so that it lies above the others.
    for one in reversed(shown):
        x, y, w, h = one["box_xywh"]
        start = round(x), round(y)
        end = round(x + w), round(y + h)
        cv2.rectangle(drawn, start, end, _box_colour(one["label"]), line)
    pen_picture = Image.fromarray(drawn)
    pen = ImageDraw.Draw(pen_picture)
    font = ImageFont.load_default(font_px)
    for one, tag in reversed([*zip(shown, tags, strict=True)]):
        _write_tag(pen, one, tag, font, image.shape[1::-1])
    return np.asarray(pen_picture)


def objects(ds: Dataset, n: int = 4, *, split: str | None = None, min_score: float = 0.0) -> Cell:
    """n pictures, spread evenly over those that are ok, with the boxes of the column `objects`.

    At each box stands its label's number, and below the picture what that is: words on pictures
    this small would hide them, and could not be read. min_score: boxes with a lower score are not
    shown.
    """
    table, places = every_row(ds, split)
    if not has_boxes(table):
        return Cell("", f"no boxes: there is no column {OBJECTS_COLUMN!r} of them")
    numbers = label_numbers(table[OBJECTS_COLUMN].to_pylist(), min_score)
    figures = []
    texts = []
    for row, picture in _rows_with_boxes(ds, table, places, n):
        found = row[OBJECTS_COLUMN]
        uri = boxes_uri(picture, found, SHOWN_SIDE, numbers, min_score=min_score)
        text = f"{_file_or_id(row, 40)} · {objects_told(found, numbers, min_score)}"
        figures.append(figure(uri, text, f"max-width:{SEEN_SIDE}px;max-height:{SEEN_SIDE}px"))
        texts.append(text)
    return Cell("".join(figures), "; ".join(texts) or "no pictures")


def drawn_objects(
    ds: Dataset, most: int, side: int, *, min_score: float = 0.0
) -> list[dict[str, str]]:
    """Pictures of a dataset with its boxes, for the report: data: URIs, a name, what was found."""
    table, places = every_row(ds)
    if not has_boxes(table):
        return []
    numbers = label_numbers(table[OBJECTS_COLUMN].to_pylist(), min_score)
    shown = []
    for row, picture in _rows_with_boxes(ds, table, places, most):
        found = row[OBJECTS_COLUMN]
        uri = boxes_uri(picture, found, side, numbers, min_score=min_score)
        text = objects_told(found, numbers, min_score)
        shown.append({"uri": uri, "name": _file_or_id(row, 90), "text": text})
    return shown


def counted_objects(ds: Dataset, *, min_score: float = 0.0) -> list[dict[str, Any]]:
    """How many boxes each label has, in how many pictures; the commonest first.

    min_score: boxes with a lower score are not counted.
    """
    table, _ = every_row(ds)
    if not has_boxes(table):
        return []
    boxes: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    for found in table[OBJECTS_COLUMN].to_pylist():
        labels = [one["label"] for one in found or () if _is_shown(one, min_score)]
        boxes.update(labels)
        pictures.update(set(labels))
    names = sorted(boxes, key=lambda name: (-boxes[name], name))
    return [
        {"label": caption(name, 60), "boxes": boxes[name], "pictures": pictures[name]}
        for name in names
    ]


def label_numbers(
    rows: Sequence[Sequence[Mapping[str, Any]] | None], min_score: float = 0.0
) -> dict[str, int]:
    """A number for each label of the boxes that are shown, from 1, in the order of their names."""
    found = {one["label"] for row in rows for one in row or () if _is_shown(one, min_score)}
    return {name: number for number, name in enumerate(sorted(found, key=str), 1)}


def has_boxes(table: pa.Table) -> bool:
    """Is there a column of objects with labels and boxes? A user's own may hold anything."""
    if OBJECTS_COLUMN not in table.column_names:
        return False
    kind = table.schema.field(OBJECTS_COLUMN).type
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    names = {field.name for field in kind.value_type}
    return {"label", "box_xywh"} <= names


def boxes_uri(
    picture: bytes | None,
    found: Sequence[Mapping[str, Any]] | None,
    side: int,
    numbers: Mapping[str, int],
    *,
    min_score: float = 0.0,
) -> str:
    """An encoded picture with boxes on it as a data: URI, at most `side` pixels long.

    numbers: of the labels, which stand at the boxes.
    """
    if picture is None:
        return thumbnail(None, side)
    try:
        image = codec.decode(picture)
    except codec.DecodeError:
        return thumbnail(picture, side)
    small = geometry.shrink(image, side)
    by_xy = np.array(small.shape[1::-1]) / image.shape[1::-1]
    # Lines are drawn at the size that is looked at: thin ones would vanish when it shrinks.
    moved = []
    for one in found or ():
        if _is_shown(one, min_score):
            box = np.multiply(one["box_xywh"], np.tile(by_xy, 2)).tolist()
            moved.append({**one, "box_xywh": box})
    tags = [str(numbers[one["label"]]) for one in moved]
    # What is drawn larger than it is seen shrinks once more, and its numbers with it.
    shrinks = max(1.0, max(small.shape[:2]) / SEEN_SIDE)
    font_px = round(TAG_PX * shrinks)
    return thumbnail(_drawn_boxes(small, moved, tags, round(2 * shrinks), font_px), side)


def objects_told(
    found: Sequence[Mapping[str, Any]] | None,
    numbers: Mapping[str, int],
    min_score: float = 0.0,
) -> str:
    """1 blue ball × 2, 2 red ball × 1: the number of each label, and how many boxes it has."""
    labels = Counter(one["label"] for one in found or () if _is_shown(one, min_score))
    told = [
        f"{numbers[name]} {caption(name, LABEL_CHARS)} × {labels[name]:,}"
        for name in sorted(labels, key=numbers.__getitem__)
    ]
    return ", ".join(told) or number_of(0, "object")


def _file_or_id(row: Mapping[str, Any], most: int) -> str:
    """The name of its file, where there is one."""
    return caption(row.get("file_name") or row["image_id"], most)


def _rows_with_boxes(
    ds: Dataset, table: Any, places: pd.DataFrame, n: int
) -> list[tuple[dict[str, Any], bytes | None]]:
    statuses = np.array(table["status"].to_pylist(), object)
    is_ok = np.flatnonzero(statuses == "ok")
    rows = []
    for number in is_ok[spread(len(is_ok), n)].tolist():
        place = places.iloc[number]
        picture = ds.pictures(place["split"], [int(place["row"])])[0]
        rows.append((table.slice(number, 1).to_pylist()[0], picture))
    return rows


def _is_shown(one: Mapping[str, Any], min_score: float) -> bool:
    if one.get("box_xywh") is None:
        return False
    return one.get("score") is None or one["score"] >= min_score


def _box_colour(label: str | None) -> tuple[int, int, int]:
    # Not hash(): that of a text is another one in every process.
    return BOX_COLOURS[(crc32(str(label).encode()) >> 1) % len(BOX_COLOURS)]


def _label_and_score(one: Mapping[str, Any]) -> str:
    text = caption(one["label"], LABEL_CHARS)
    return text if one.get("score") is None else f"{text} {one['score']:.2f}"


def _write_tag(
    pen: ImageDraw.ImageDraw,
    one: Mapping[str, Any],
    text: str,
    font: Any,
    size_wh: Sequence[int],
) -> None:
    """A word or a number above the box, or in it where the picture ends there."""
    x, y, _, _ = one["box_xywh"]
    left, top, right, bottom = font.getbbox(text)
    high = bottom - top + 4
    wide = right - left + 4
    at_x = max(0, min(round(x), size_wh[0] - wide))
    at_y = round(y) - high if y >= high else round(y)
    pen.rectangle([at_x, at_y, at_x + wide, at_y + high], _box_colour(one["label"]))
    pen.text((at_x + 2 - left, at_y + 2 - top), text, LABEL_INK, font)
