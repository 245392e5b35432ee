"""Pictures and tables for a notebook cell: small HTML in the theme's own colours, and one line in a terminal."""

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
import pandas as pd
import pyarrow as pa

from imgprep.dataset import Dataset, summary
from imgprep.display import findings
from imgprep.display.pictures import caption, every_row, label_column, meaning, size_text, spread, thumbnail
from imgprep.display.pictures import public as public_text
from imgprep.words import bytes_text

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


def sheet(ds: Dataset, n: int = 12, *, split: str | None = None) -> Cell:
    """A contact sheet of n pictures (100 at most) spread evenly over the rows, each with its label and size below.

    A placeholder has its reason there: its size is ours.
    """
    if not 0 < n <= 100:
        raise ValueError(f"a sheet shows 1 to 100 pictures, not {n}")
    table, places = every_row(ds, split)
    label = label_column(table)
    px = 160 if n <= 24 else 80  # a notebook with twenty such cells still opens at once
    figures, texts = [], []
    for row, picture in _with_pictures(ds, table, places, spread(len(places), n)):
        size = row["reason"] or (f"{row['width']} × {row['height']}" if row["width"] else "")
        texts.append(" · ".join(caption(word, 40) for word in (row.get(label), size) if word not in (None, "")))
        figures.append(_figure(thumbnail(picture, px), texts[-1], f"max-width:{px}px"))
    return Cell("".join(figures), f"{len(texts)} pictures: {'; '.join(texts[:3])} …" if texts else "no pictures")


def before_after(before: np.ndarray, after: np.ndarray) -> Cell:
    """Two pictures, (H, W, 3) or (H, W) uint8, side by side at one height, each with its own size."""
    texts = [f"{name} · {p.shape[1]} × {p.shape[0]}" for name, p in (("before", before), ("after", after))]
    pairs = zip((before, after), texts, strict=True)
    html = "".join(_figure(thumbnail(p, 320), text, "height:220px;max-width:100%") for p, text in pairs)
    return Cell(html, "; ".join(texts))


def overlay(ds: Dataset, n: int = 2) -> Cell:
    """The first n pictures with their masks on them, as large as they are kept (1,024 pixels at most)."""
    table, places = every_row(ds, None)
    ready = np.flatnonzero([status == "ok" for status in table["status"].to_pylist()])[:n]
    figures, texts = [], []
    for row, picture in _with_pictures(ds, table, places, ready):
        objects = "" if row["count"] is None else f" · {row['count']:,} objects"
        size = f"{row['source_width']:,} × {row['source_height']:,}"
        texts.append(f"{caption(row['image_id'], 60)} · {size}{objects} · {row['foreground']:.1%} foreground")
        figures.append(_figure(thumbnail(picture, 1024), texts[-1], "max-width:100%"))
    return Cell("".join(figures), "; ".join(texts) or "no masks")


def thresholds(ds: Dataset, n: int = 6) -> Cell:
    """The histograms that `segmentation.segment` chose the thresholds of the first n pictures from, with the cuts."""
    charts = [m for m in findings.masks(ds) if m["path"]][:n]
    cut = "{image_id} · cut at {threshold:.4g} of {low:.4g} to {high:.4g}"
    texts = [caption(cut.format(**m), 90) for m in charts]
    box = "display:block;width:320px;height:92px;fill:currentColor;opacity:.75"
    html = "".join(
        f"<figure style='{FIGURE}'><svg viewBox='0 0 {m['bins']} 92' preserveAspectRatio='none' style='{box}'>"
        f"<path d='{m['path']}'/><line x1='{m['at']}' x2='{m['at']}' y2='92' stroke='#e6196e' stroke-width='2' "
        f"vector-effect='non-scaling-stroke'/></svg><figcaption style='{SMALL}'>{escape(text)}</figcaption></figure>"
        for m, text in zip(charts, texts, strict=True)
    )
    return Cell(html, "; ".join(texts) or "no thresholds")


def failures(ds: Dataset, n: int = 3, *, split: str | None = None) -> Cell:
    """Rows that are not ok, by reason: how many, what the word means, and n examples of each."""
    counts = ds.counts(split)
    if not counts["reasons"]:
        return Cell(f"<p>{escape(summary(counts))}.</p>", summary(counts))
    table, places = every_row(ds, split)
    reasons = np.array(table["reason"].to_pylist())
    lines = []
    for word, total in counts["reasons"].items():
        head = [f"<b>{escape(word)}</b><br><span style='{SMALL}'>{escape(meaning(word))}</span>", f"{total:,}"]
        examples = np.flatnonzero(reasons == word)[:n]
        for row, picture in _with_pictures(ds, table, places, examples):
            text = "<br>".join(escape(caption(row[c], 160)) for c in ("image_id", "source", "error"))
            image = _img(thumbnail(picture, 48), "", "max-width:48px")
            lines.append([*head, image, f"<div style='{SMALL}'>{text}</div>"])
            head = ["", ""]
    return Cell(_table(["reason", "rows", "", "examples"], lines), summary(counts))


def rows(ds: Dataset, split: str | None = None, n: int = 5, *, columns: Sequence[str] | None = None) -> Cell:
    """The first n rows of a split as a table with thumbnails; columns that are empty in all of them are left out.

    So is `source` where another column says the same. columns: only these.
    """
    split = split or ds.splits[0]
    cells = ds.table(split).slice(0, n).to_pylist()
    names = [c for c in (cells[0] if cells else {}) if c not in HIDDEN and any(r[c] not in (None, "") for r in cells)]
    names = [c for c in names if columns is None or c in columns]
    if any(all(caption(r[c], 70) == caption(r["source"], 70) for r in cells) for c in names if c != "source"):
        names = [c for c in names if c != "source"]
    lines = []
    for row, picture in zip(cells, ds.pictures(split, range(len(cells))), strict=True):
        words = ["" if row[c] is None else escape(caption(row[c], 70)) for c in names]
        lines.append([_img(thumbnail(picture, 80), row["image_id"], "max-width:80px"), *words])
    return Cell(_table(["", *names], lines), f"{len(cells)} rows of {split}: {', '.join(names)}")


def sizes(ds: Dataset, n: int = 3, *, split: str | None = None) -> Cell:
    """n pictures of `variants.build`, each in every size beside one another, with pixels, bytes and quality."""
    table, places = every_row(ds, split)
    frame = table.select(["parent_id", "variant", "nbytes", "quality", "status"]).to_pandas().join(places)
    frame = frame[frame.status == "ok"]
    lines, names = [], list(dict.fromkeys(frame.variant))
    totals = [f"{len(f):,} pictures, {bytes_text(f.nbytes.sum())}" for f in (frame[frame.variant == v] for v in names)]
    parents = frame.parent_id.unique()
    for parent in parents[spread(len(parents), n)]:
        these = frame[frame.parent_id == parent]
        shown = {row["variant"]: (row, data) for row, data in _with_pictures(ds, table, places, these.index.tolist())}
        lines.append([_figure(thumbnail(shown[v][1], 256), size_text(shown[v][0]), "max-width:220px;max-height:220px")
                      if v in shown else "" for v in names])  # fmt: skip
    head = [f"{name}: {total}" for name, total in zip(names, totals, strict=True)]
    return Cell(_table(head, lines), "; ".join(head))


def places(ds: Dataset, public: dict[str, bool]) -> Cell:
    """Where `upload.upload` put how much, and, in red, where `upload.public` says that anyone can read it."""
    lines, texts = [], []
    table, _ = every_row(ds)
    rows = table.select(["uri", "nbytes", "stored"]).to_pandas().dropna(subset=["uri"])
    for place, is_public in public.items():
        these = rows[rows.uri.str.startswith(f"{place}/")]
        counts = " and ".join(f"{n:,} {word}" for word, n in these.stored.value_counts().items())
        says = "refused" if "://" in place else "a folder of this machine"
        says = "PUBLIC: anyone can read this, take its public access away" if is_public else says
        cell = f"<b style='color:#d11'>{says}</b>" if is_public else says
        lines.append([escape(public_text(place)), f"{counts}, {bytes_text(these.nbytes.sum())}", cell])
        texts.append(f"{public_text(place)}: {counts}, {says}")
    return Cell(_table(["place", "pictures", "without credentials"], lines), "; ".join(texts))


def _with_pictures(ds: Dataset, table: pa.Table, places: pd.DataFrame, rows: Sequence[int]) -> Iterator[tuple]:
    """These rows of `every_row` as (dict of cells, encoded bytes or None)."""
    cells = table.take(pa.array(rows, pa.int64())).to_pylist()
    for row, place in zip(cells, places.iloc[rows].itertuples(), strict=True):
        yield row, ds.pictures(place.split, [place.row])[0]


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
