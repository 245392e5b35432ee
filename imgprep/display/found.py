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
    drawn = image.copy()
    line = width or max(2, round(max(image.shape[:2]) / 320))
    shown = [one for one in objects or () if _is_shown(one, min_score)]
    # The surest last, so that it lies above the others.
    for one in reversed(shown):
        x, y, w, h = one["box_xywh"]
        start = round(x), round(y)
        end = round(x + w), round(y + h)
        cv2.rectangle(drawn, start, end, _box_colour(one["label"]), line)
    pen_picture = Image.fromarray(drawn)
    pen = ImageDraw.Draw(pen_picture)
    font = ImageFont.load_default(max(11, 5 * line))
    for one in reversed(shown):
        _write_label(pen, one, font, image.shape[1::-1])
    return np.asarray(pen_picture)


def objects(ds: Dataset, n: int = 4, *, split: str | None = None, min_score: float = 0.0) -> Cell:
    """n pictures, spread evenly over those that are ok, with the boxes of the column `objects`.

    min_score: boxes with a lower score are not shown.
    """
    table, places = every_row(ds, split)
    if not has_boxes(table):
        return Cell("", f"no boxes: there is no column {OBJECTS_COLUMN!r} of them")
    figures = []
    texts = []
    for row, picture in _rows_with_boxes(ds, table, places, n):
        uri = boxes_uri(picture, row[OBJECTS_COLUMN], SHOWN_SIDE, min_score=min_score)
        text = f"{caption(row['image_id'], 40)} · {objects_told(row[OBJECTS_COLUMN], min_score)}"
        figures.append(figure(uri, text, "max-width:320px;max-height:320px"))
        texts.append(text)
    return Cell("".join(figures), "; ".join(texts) or "no pictures")


def drawn_objects(ds: Dataset, most: int, side: int) -> list[dict[str, str]]:
    """Pictures of a dataset with its boxes, for the report: data: URIs, a name, what was found."""
    table, places = every_row(ds)
    if not has_boxes(table):
        return []
    shown = []
    for row, picture in _rows_with_boxes(ds, table, places, most):
        found = row[OBJECTS_COLUMN]
        uri = boxes_uri(picture, found, side)
        shown.append({"uri": uri, "name": caption(row["image_id"], 90), "text": objects_told(found)})
    return shown


def counted_objects(ds: Dataset) -> list[dict[str, Any]]:
    """How many boxes each label has, in how many pictures; the commonest first."""
    table, _ = every_row(ds)
    if not has_boxes(table):
        return []
    boxes: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    for found in table[OBJECTS_COLUMN].to_pylist():
        labels = [one["label"] for one in found or ()]
        boxes.update(labels)
        pictures.update(set(labels))
    names = sorted(boxes, key=lambda name: (-boxes[name], name))
    return [{"label": caption(name, 60), "boxes": boxes[name], "pictures": pictures[name]} for name in names]


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
    *,
    min_score: float = 0.0,
) -> str:
    """An encoded picture with boxes on it as a data: URI, at most `side` pixels long."""
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
        if one.get("box_xywh") is not None:
            box = np.multiply(one["box_xywh"], np.tile(by_xy, 2)).tolist()
            moved.append({**one, "box_xywh": box})
    return thumbnail(draw_objects(small, moved, min_score=min_score), side)


def objects_told(found: Sequence[Mapping[str, Any]] | None, min_score: float = 0.0) -> str:
    """2 cat, 1 dog."""
    labels = Counter(one["label"] for one in found or () if _is_shown(one, min_score))
    told = [f"{count:,} {caption(name, LABEL_CHARS)}" for name, count in sorted(labels.items())]
    return ", ".join(told[:6]) or number_of(0, "object")


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


def _write_label(pen: ImageDraw.ImageDraw, one: Mapping[str, Any], font: Any, size_wh: Sequence[int]) -> None:
    """Label and score above the box, or in it where the picture ends there."""
    text = caption(one["label"], LABEL_CHARS)
    if one.get("score") is not None:
        text = f"{text} {one['score']:.2f}"
    x, y, _, _ = one["box_xywh"]
    left, top, right, bottom = font.getbbox(text)
    high = bottom - top + 4
    wide = right - left + 4
    at_x = max(0, min(round(x), size_wh[0] - wide))
    at_y = round(y) - high if y >= high else round(y)
    pen.rectangle([at_x, at_y, at_x + wide, at_y + high], _box_colour(one["label"]))
    pen.text((at_x + 2 - left, at_y + 2 - top), text, LABEL_INK, font)
