"""Tags, evidence and what a search found, for a notebook cell; and the gallery itself."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imgprep.dataset import Dataset
from imgprep.display.cells import Cell, figure
from imgprep.display.gallery import write_gallery
from imgprep.display.gallery_data import last_name
from imgprep.display.pictures import caption, every_row, thumbnail
from imgprep.picture import codec, geometry

EVIDENCE_COLOUR = (255, 212, 0)
EVIDENCE_EDGE = (20, 20, 20)
EVIDENCE_SIDE = 420
# A long caption is broken: it makes no picture wider than the others.
CAPTION_AS_WIDE = "display:inline-block;max-width:178px;vertical-align:top"
PERIODS_DRAWN = 6  # to either side of the middle


def gallery(
    ds: Dataset,
    path: str | Path | None = None,
    *,
    title: str = "",
    live: bool = False,
    corrections: str | Path | None = None,
) -> Any:
    """The gallery of a tagged dataset: as one HTML file where `path` names it, or with live=True in
    this cell.

    corrections: with live=True the file that gets each decision. A live gallery travels in no saved
    notebook.
    """
    # Here only: anywidget is an extra.
    if live:
        from imgprep.display.widget import live_gallery

        return live_gallery(ds, corrections)
    if path is None:
        raise ValueError("name the HTML file, or say live=True for a gallery in this cell")
    file = write_gallery(path, ds, title=title)
    size = file.stat().st_size / 1e6
    text = f"the gallery is one file of {size:.1f} MB that needs no network: {file.name}"
    return Cell(f"<p>{text}</p>", text)


def hits(ds: Dataset, found: Any, n: int = 8) -> Cell:
    """The first n pictures of what `search` found, each with its score; or why there are none."""
    table, places = every_row(ds)
    ids = table["image_id"].to_pylist()
    where = {(split, ids[row]): row for row, split in enumerate(places.split)}
    figures = []
    texts = []
    for hit in list(found)[:n]:
        row = where.get((hit.split, hit.image_id))
        if row is None:
            continue  # added to the index, and not in the dataset
        data = ds.pictures(hit.split, [int(places.row[row])])[0]
        name = last_name(table["source"][row].as_py(), 40) or hit.image_id
        text = f"{name} · {_why_found(hit)}"
        small = figure(thumbnail(data, 160), text, "max-width:160px")
        figures.append(f"<div style='{CAPTION_AS_WIDE}'>{small}</div>")
        texts.append(text)
    if not texts:
        note = getattr(found, "note", "") or "nothing found"
        return Cell(f"<p>{caption(note, 200)}</p>", note)
    return Cell("".join(figures), "; ".join(texts))


def _why_found(hit: Any) -> str:
    by_words = hit.words is not None
    if hit.likeness is None:
        return "by words" if by_words else f"{hit.score:.2f}"
    likeness = f"likeness {hit.likeness:.2f}"
    return f"{likeness}, and by words" if by_words else likeness


def evidence(ds: Dataset, technique: str, n: int = 3) -> Cell:
    """The n pictures with the highest score of a technique of composition, with what was seen drawn
    on them.
    """
    table, places = every_row(ds)
    if "composition_scores" not in table.column_names:
        told = "this dataset has no composition scores"
        raise ValueError(f"{told}: run tags.find with the tagger 'composition'")
    column = technique.replace(" ", "_")
    rows = table["composition_scores"].to_pylist()
    if rows and rows[0] is not None and column not in rows[0]:
        known = ", ".join(name.replace("_", " ") for name in rows[0] if name != "evidence")
        raise ValueError(f"there is no technique {technique!r}; there is {known}")
    # -1 behind every score: a picture that was not scored is never among the best.
    scores = np.array([row[column] if row else -1 for row in rows])
    figures = []
    texts = []
    for row in np.argsort(-scores, kind="stable")[:n]:
        data = ds.pictures(places.split[row], [int(places.row[row])])[0]
        if scores[row] < 0 or data is None:
            continue
        image = codec.decode(data, min_wh=(EVIDENCE_SIDE, EVIDENCE_SIDE))
        image = geometry.fit(image, (EVIDENCE_SIDE, EVIDENCE_SIDE))
        seen = json.loads(rows[row]["evidence"]).get(technique)
        if seen:
            image = draw_evidence(image, seen)
        name = last_name(table["source"][int(row)].as_py(), 40)
        text = f"{technique} {scores[row]:.2f} · {name}"
        uri = thumbnail(image, EVIDENCE_SIDE)
        figures.append(figure(uri, text, "height:174px;max-width:100%"))
        texts.append(text)
    return Cell("".join(figures), "; ".join(texts) or "no pictures")


def draw_evidence(image: np.ndarray, seen: dict[str, Any]) -> np.ndarray:
    """The picture with boxes, points, lines and axes on it, yellow with a dark edge.

    A new picture.
    """
    drawn = image.copy()
    height, width = drawn.shape[:2]

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x * width), round(y * height)

    # The dark edge first and wider: the mark shows on bright and on dark pictures.
    for colour, thick in ((EVIDENCE_EDGE, 5), (EVIDENCE_COLOUR, 2)):
        for x0, y0, x1, y1 in _evidence_lines(seen):
            cv2.line(drawn, at(x0, y0), at(x1, y1), colour, thick, cv2.LINE_AA)
        for x, y, w, h in _evidence_boxes(seen):
            cv2.rectangle(drawn, at(x, y), at(x + w, y + h), colour, thick, cv2.LINE_AA)
        if "point" in seen:
            cv2.circle(drawn, at(*seen["point"]), 9, colour, thick, cv2.LINE_AA)
        for x, y in _repeats_of(seen):
            cv2.circle(drawn, at(x, y), 5, colour, thick, cv2.LINE_AA)
    return drawn


def _evidence_boxes(seen: dict[str, Any]) -> list[list[float]]:
    boxes: list[list[float]] = seen.get("boxes", [])
    if not boxes and "box" in seen:
        boxes = [seen["box"]]
    return boxes


def _evidence_lines(seen: dict[str, Any]) -> list[tuple[float, float, float, float]]:
    """Lines that were seen, and an axis from edge to edge, in shares of width and height."""
    lines = list(seen.get("lines", []))
    if "axis" in seen:
        place = seen["at"]
        vertical = (place, 0, place, 1)
        lines.append(vertical if seen["axis"] == "vertical" else (0, place, 1, place))
    return lines


def _repeats_of(seen: dict[str, Any]) -> list[tuple[float, float]]:
    """Where a pattern comes again, from the middle of the picture on."""
    if "period" not in seen:
        return []
    dx, dy = seen["period"]
    steps = range(-PERIODS_DRAWN, PERIODS_DRAWN + 1)
    return [(0.5 + step * dx, 0.5 + step * dy) for step in steps]
