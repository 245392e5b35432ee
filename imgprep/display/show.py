"""Pictures and tables for a notebook cell: each function looks at a dataset and returns a Cell."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from imgprep.dataset import Dataset, summary
from imgprep.display import charts, findings
from imgprep.display.cells import SMALL, Cell, figure, framed, html_table, img
from imgprep.display.changes import changes as changes
from imgprep.display.films import films as films
from imgprep.display.found import draw_objects as draw_objects
from imgprep.display.found import objects as objects
from imgprep.display.gallery_cells import evidence as evidence
from imgprep.display.gallery_cells import gallery as gallery
from imgprep.display.gallery_cells import hits as hits
from imgprep.display.pictures import (
    caption,
    every_row,
    label_column,
    meaning,
    size_text,
    spread,
    thumbnail,
)
from imgprep.display.pictures import public_text as public_text
from imgprep.words import bytes_text, number_of

HIDDEN_COLUMNS = {"file", "row", "sha256"}
MOST = 100  # pictures on a sheet
CHART = "display:block;width:320px;height:92px;fill:currentColor;opacity:.75"
RED = "color:#d11"
# Of no rows nobody knows the columns.
NO_PICTURE = Cell("<p>There is no picture.</p>", "there is no picture")

ShownRow = tuple[dict[str, Any], bytes | None]  # the cells of a row, its encoded picture


def sheet(ds: Dataset, n: int = 12, *, split: str | None = None) -> Cell:
    """A contact sheet of n pictures (100 at most) spread evenly over the rows.

    Each has its label and size below; a placeholder has its reason there, as its size is ours.
    """
    if not 0 < n <= MOST:
        raise ValueError(f"a sheet shows 1 to {MOST} pictures, not {n}")
    table, places = every_row(ds, split)
    label = label_column(table)
    # A notebook with twenty such cells still opens at once.
    px = 160 if n <= 24 else 80
    figures = []
    texts = []
    for row, picture in _with_pictures(ds, table, places, spread(len(places), n)):
        text = _label_and_size(row, label)
        figures.append(figure(thumbnail(picture, px), text, f"max-width:{px}px"))
        texts.append(text)
    if not texts:
        return Cell("", "no pictures")
    some = "; ".join(texts[:3])
    return Cell("".join(figures), f"{number_of(len(texts), 'picture')}: {some} …")


def _label_and_size(row: dict[str, Any], label: str | None) -> str:
    words = [row[label]] if label else []
    if row["reason"]:
        words.append(row["reason"])
    elif row["width"]:
        words.append(f"{row['width']} × {row['height']}")
    shown = [caption(word, 40) for word in words if word not in (None, "")]
    return " · ".join(shown)


def before_after(before: np.ndarray, after: np.ndarray, *, height_px: int = 220) -> Cell:
    """Two pictures side by side at one height, each with its own size.

    before, after: (H, W, 3) or (H, W) uint8. height_px: as they are seen; with more of it they may
    stand below each other.
    """
    figures = []
    texts = []
    for name, picture in (("before", before), ("after", after)):
        height, width = picture.shape[:2]
        text = f"{name} · {width} × {height}"
        style = f"height:{height_px}px;max-width:100%"
        # Pictures are mostly wider than high.
        longest_px = height_px * 320 // 220
        figures.append(figure(thumbnail(picture, longest_px), text, style))
        texts.append(text)
    return Cell("".join(figures), "; ".join(texts))


def overlay(ds: Dataset, n: int = 2) -> Cell:
    """The first n pictures with their masks on them, as large as they are kept (1,024 px at
    most).
    """
    table, places = every_row(ds, None)
    figures = []
    texts = []
    for row, picture in _with_pictures(ds, table, places, _rows_where(table, "status", "ok", n)):
        words = [
            caption(row["image_id"], 60),
            f"{row['source_width']:,} × {row['source_height']:,}",
        ]
        if row["count"] is not None:
            words.append(number_of(row["count"], "object"))
        words.append(f"{row['foreground']:.1%} foreground")
        text = " · ".join(words)
        figures.append(figure(thumbnail(picture, 1024), text, "max-width:100%"))
        texts.append(text)
    return Cell("".join(figures), "; ".join(texts) or "no masks")


def thresholds(ds: Dataset, n: int = 6) -> Cell:
    """The histograms that `segmentation.segment` chose the first n thresholds from, with the
    cuts.
    """
    cut = "{image_id} · cut at {threshold:.4g} of {low:.4g} to {high:.4g}"
    masks = [mask for mask in findings.masks(ds) if mask["path"]]
    figures = []
    texts = []
    for mask in masks[:n]:
        text = caption(cut.format(**mask), 90)
        chart = charts.svg([mask["path"]], mask["bins"], text, cut=mask["at"], style=CHART)
        figures.append(framed(chart, text))
        texts.append(text)
    return Cell("".join(figures), "; ".join(texts) or "no thresholds")


def failures(ds: Dataset, n: int = 3, *, split: str | None = None) -> Cell:
    """Rows that are not ok, by reason: how many, what the word means, and n examples of each."""
    counts = ds.counts(split)
    told = summary(counts, ds.noun)
    if not counts["reasons"]:
        return Cell(f"<p>{escape(told)}.</p>", told)
    table, places = every_row(ds, split)
    lines = []
    for word, total in counts["reasons"].items():
        said = f"<b>{escape(word)}</b><br><span style='{SMALL}'>{escape(meaning(word))}</span>"
        head = [said, f"{total:,}"]
        examples = _rows_where(table, "reason", word, n)
        for row, picture in _with_pictures(ds, table, places, examples):
            image = img(thumbnail(picture, 48), "", "max-width:48px")
            lines.append([*head, image, _what_happened(row)])
            head = ["", ""]
    return Cell(html_table(["reason", "rows", "", "examples"], lines), told)


def _what_happened(row: dict[str, Any]) -> str:
    lines = []
    for name in ("image_id", "source", "error"):
        lines.append(escape(caption(row[name], 160)))
    text = "<br>".join(lines)
    return f"<div style='{SMALL}'>{text}</div>"


def rows(
    ds: Dataset, split: str | None = None, n: int = 5, *, columns: Sequence[str] | None = None
) -> Cell:
    """The first n rows of a split as a table with thumbnails; columns that are empty in all of them
    are left out.

    So is `source` where another column says the same. columns: only these.
    """
    split = split or ds.splits[0]
    cells = ds.table(split).slice(0, n).to_pylist()
    names = _shown_columns(cells, columns)
    lines = []
    for row, picture in zip(cells, ds.pictures(split, range(len(cells))), strict=True):
        line = [img(thumbnail(picture, 80), row["image_id"], "max-width:80px")]
        for name in names:
            line.append("" if row[name] is None else escape(caption(row[name], 70)))
        lines.append(line)
    text = f"{number_of(len(cells), 'row')} of {split}: {', '.join(names)}"
    return Cell(html_table(["", *names], lines), text)


def table(rows: pa.Table, n: int = 5) -> Cell:
    """The first n rows of a table, as of `sources.read`, without secrets and without `source`."""
    first = rows.slice(0, n)
    names = [name for name in first.column_names if name != "source"]
    lines = []
    for row in first.to_pylist():
        lines.append([escape(caption(row[name], 70)) for name in names])
    return Cell(html_table(names, lines), f"{number_of(len(lines), 'row')}: {', '.join(names)}")


def _shown_columns(cells: list[dict[str, Any]], wanted: Sequence[str] | None) -> list[str]:
    shown = {}
    for name in cells[0] if cells else ():
        if name in HIDDEN_COLUMNS or (wanted is not None and name not in wanted):
            continue
        values = [row[name] for row in cells]
        if any(value not in (None, "") for value in values):
            shown[name] = [caption(value, 70) for value in values]
    said = list(shown.values())
    if "source" in shown and said.count(shown["source"]) > 1:
        # Another column says the same.
        del shown["source"]
    return list(shown)


def sizes(ds: Dataset, n: int = 3, *, split: str | None = None) -> Cell:
    """n pictures of `variants.build`, each in every size beside one another, with pixels, bytes and
    quality.
    """
    table, places = every_row(ds, split)
    if not table.num_rows:
        return NO_PICTURE
    columns = ["parent_id", "variant", "nbytes", "quality", "status"]
    frame = table.select(columns).to_pandas().join(places)
    frame = frame[frame.status == "ok"]
    # In the order of the sizes, not of the alphabet.
    names = list(dict.fromkeys(frame.variant))
    parents = frame.parent_id.unique()
    style = "max-width:220px;max-height:220px"
    lines = []
    for parent in parents[spread(len(parents), n)]:
        these = frame.index[frame.parent_id == parent]
        shown = dict.fromkeys(names, "")
        for row, picture in _with_pictures(ds, table, places, these.tolist()):
            shown[row["variant"]] = figure(thumbnail(picture, 256), size_text(row), style)
        lines.append(list(shown.values()))
    head = []
    for name in names:
        some = frame[frame.variant == name]
        nbytes = bytes_text(some.nbytes.sum())
        head.append(f"{name}: {number_of(len(some), 'picture')}, {nbytes}")
    return Cell(html_table(head, lines), "; ".join(head))


def places(ds: Dataset, public: dict[str, bool]) -> Cell:
    """Where `upload.upload` put how much, and, in red, where `upload.public` says that anyone can
    read it.
    """
    lines, texts = [], []
    table, _ = every_row(ds)
    if not table.num_rows:
        return NO_PICTURE
    objects = table.select(["uri", "nbytes"]).to_pandas().dropna(subset=["uri"])
    for place, is_public in public.items():
        # With the slash: container "a" is not "ab".
        these = objects[objects.uri.str.startswith(f"{place}/")]
        counts = number_of(len(these), "picture")
        nbytes = bytes_text(these.nbytes.sum())
        says = "refused" if "://" in place else "a folder of this machine"
        cell = says
        if is_public:
            says = "PUBLIC: anyone can read this, take its public access away"
            cell = f"<b style='{RED}'>{says}</b>"
        where = public_text(place)
        lines.append([escape(where), f"{counts}, {nbytes}", cell])
        texts.append(f"{where}: {counts}, {says}")
    head = ["place", "pictures", "without credentials"]
    return Cell(html_table(head, lines), "; ".join(texts))


def _rows_where(table: pa.Table, column: str, value: str, n: int) -> list[int]:
    """The first n rows with this value."""
    found = []
    for row, cell in enumerate(table[column].to_pylist()):
        if cell == value:
            found.append(row)
    return found[:n]


def _with_pictures(
    ds: Dataset, table: pa.Table, places: pd.DataFrame, rows: Sequence[int]
) -> Iterator[ShownRow]:
    """These rows of `every_row`, with their pictures."""
    # One at a time: a sheet is small, and a hundred originals in memory are not.
    for number in rows:
        place = places.iloc[number]
        picture = ds.pictures(place["split"], [int(place["row"])])[0]
        yield table.slice(number, 1).to_pylist()[0], picture
