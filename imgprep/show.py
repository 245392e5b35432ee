"""Pictures and tables for a notebook cell: small HTML in the theme's own colours, and one line in a terminal."""

from collections.abc import Callable, Sequence
from html import escape

import numpy as np
import pyarrow as pa

from imgprep import codec
from imgprep.dataset import Dataset, summary
from imgprep.thumbnails import bytes_text, caption, label_column, meaning, spread, tables, thumbnail

CELL_BYTES = 200_000  # a notebook with twenty such cells still opens at once
FIGURE = "display:inline-block;vertical-align:bottom;margin:0 12px 12px 0"
SMALL = "font-size:smaller;opacity:.75;overflow-wrap:anywhere;text-align:left"
# White pictures on white, black on black. Inside the picture: a cell cuts off what stands out on its left.
FRAME = "margin:0;border-radius:4px;outline:1px solid rgba(128,128,128,.3);outline-offset:-1px"
HIDDEN = {"file", "row", "sha256"}


class Cell:
    """What a notebook shows as HTML and a terminal as one line."""

    def __init__(self, html: str, text: str):
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def sheet(
    source: Dataset | Sequence[bytes | np.ndarray],
    n: int = 12,
    *,
    columns: Sequence[str] = (),
    split: str | None = None,
    status: str | None = None,
) -> Cell:
    """A contact sheet of n pictures spread evenly over the rows, each with its label and size below.

    source: a dataset, or a list of pictures (encoded bytes or uint8 arrays). columns: what the captions say instead of
    the label. status: only rows "ok", "placeholder" or "failed".
    """
    if not 0 < n <= 100:
        raise ValueError(f"a sheet shows 1 to 100 pictures, not {n}")
    if isinstance(source, Dataset):
        pictures, texts = _picked(source, n, columns, split, status)
    else:
        pictures = [source[i] for i in spread(len(source), n)]
        texts = [bytes_text(len(p)) if isinstance(p, bytes) else f"{p.shape[1]} × {p.shape[0]}" for p in pictures]

    def build(px: int) -> str:
        pairs = zip(pictures, texts, strict=True)
        return "".join(_figure(thumbnail(picture, px), text, f"max-width:{px}px") for picture, text in pairs)

    return Cell(_within(build), f"{len(pictures)} pictures: {'; '.join(texts[:3])} …" if pictures else "no pictures")


def _picked(
    ds: Dataset, n: int, columns: Sequence[str], split: str | None, status: str | None
) -> tuple[list[bytes | None], list[str]]:
    """n pictures, spread evenly over the splits' rows together, and what to write below each."""
    found = tables(ds, split)
    names = list(columns) or [c for c in [label_column(found)] if c]
    known = next((table.column_names for table in found.values()), names)
    for name in names:
        if name not in known:
            raise ValueError(f"no column {name!r}; the dataset has: {', '.join(known)}")
    rows = [(s, i, word) for s, table in found.items() for i, word in enumerate(table["status"].to_pylist())]
    rows = [(s, i) for s, i, word in rows if status in (None, word)]
    chosen = [rows[k] for k in spread(len(rows), n)]
    pictures, texts = [], []
    for s, table in found.items():
        mine = [i for where, i in chosen if where == s]
        pictures += ds.pictures(s, mine)
        for row in table.take(pa.array(mine, pa.int64())).to_pylist():
            size = f"{row['width']} × {row['height']}" if row["width"] else row["reason"]
            words = [row[name] for name in names if row[name] not in (None, "")]
            texts.append(" · ".join(caption(word, 40) for word in [*words, size]))
    return pictures, texts


def before_after(before: bytes | np.ndarray, after: bytes | np.ndarray) -> Cell:
    """Two pictures side by side at one height, each with its own size. Encoded bytes or uint8 arrays."""
    pair = [("before", before), ("after", after)]
    texts = []
    for name, picture in pair:
        image = codec.decode(picture) if isinstance(picture, bytes) else picture
        weight = f" · {bytes_text(len(picture))}" if isinstance(picture, bytes) else ""
        texts.append(f"{name} · {image.shape[1]} × {image.shape[0]}{weight}")

    def build(px: int) -> str:
        figures = zip([thumbnail(picture, 2 * px, quality=85) for _, picture in pair], texts, strict=True)
        return "".join(_figure(uri, text, "height:220px;max-width:100%") for uri, text in figures)

    return Cell(_within(build), "; ".join(texts))


def failures(ds: Dataset, n: int = 3, *, split: str | None = None) -> Cell:
    """Rows that are not ok, by reason: how many, what the word means, and n examples of each."""
    counts = ds.counts(split)
    if not counts["reasons"]:
        return Cell(f"<p>{escape(summary(counts))}.</p>", summary(counts))
    found = tables(ds, split)
    reasons = {s: np.array(table["reason"].to_pylist()) for s, table in found.items()}
    lines = []
    for word, total in counts["reasons"].items():
        head = [f"<b>{escape(word)}</b><br><span style='{SMALL}'>{escape(meaning(word))}</span>", f"{total:,}"]
        examples = [(s, row) for s in found for row in np.flatnonzero(reasons[s] == word)[:n].tolist()]
        for s, row in examples[:n]:
            cells = found[s].slice(row, 1).to_pylist()[0]
            text = "<br>".join(escape(caption(cells[c], 160)) for c in ("image_id", "source", "error"))
            picture = _img(thumbnail(ds.pictures(s, [row])[0], 48), "", "max-width:48px")
            lines.append([*head, picture, f"<div style='{SMALL}'>{text}</div>"])
            head = ["", ""]
    return Cell(_table(["reason", "rows", "", "examples"], lines), summary(counts))


def rows(ds: Dataset, split: str | None = None, n: int = 5) -> Cell:
    """The first n rows of a split as a table with thumbnails; columns that are empty in all of them are left out.

    So is `source` where another column says the same.
    """
    split = split or ds.splits[0]
    cells = ds.table(split).slice(0, n).to_pylist()
    names = [c for c in (cells[0] if cells else {}) if c not in HIDDEN and any(r[c] not in (None, "") for r in cells)]
    if any(all(r[c] == r["source"] for r in cells) for c in names if c != "source"):
        names.remove("source")
    pictures = ds.pictures(split, range(len(cells)))

    def build(px: int) -> str:
        lines = []
        for row, picture in zip(cells, pictures, strict=True):
            words = ["" if row[c] is None else escape(caption(row[c], 70)) for c in names]
            lines.append([_img(thumbnail(picture, px // 2), str(row["image_id"]), "max-width:80px"), *words])
        return _table(["", *names], lines)

    return Cell(_within(build), f"{len(cells)} rows of {split}: {', '.join(names)}")


def _img(uri: str, alt: str, style: str) -> str:
    # Inline styles: JupyterLab drops <style> from a notebook that is not trusted yet.
    return f"<img src='{uri}' alt='{escape(alt)}' style='{style};{FRAME}'>" if uri else ""


def _figure(uri: str, text: str, style: str) -> str:
    picture = _img(uri, text, style) or f"<span style='{SMALL}'>no picture</span>"
    return f"<figure style='{FIGURE}'>{picture}<figcaption style='{SMALL}'>{escape(text)}</figcaption></figure>"


def _table(head: Sequence[str], lines: list[list[str]]) -> str:
    """Cells are HTML already; heads are text."""
    style = "style='text-align:left;vertical-align:middle'"
    body = "".join("<tr>" + "".join(f"<td {style}>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><tr>{''.join(f'<th {style}>{escape(h)}</th>' for h in head)}</tr>{body}</table>"


def _within(build: Callable[[int], str]) -> str:
    """The HTML with the largest thumbnails that keep it under CELL_BYTES."""
    return next((html for px in (160, 112, 80, 56) if len(html := build(px)) <= CELL_BYTES), build(32))
