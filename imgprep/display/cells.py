"""What a notebook cell shows: small HTML in the theme's own colours, and one line in a terminal."""

from collections.abc import Sequence
from html import escape

FIGURE = "display:inline-block;vertical-align:bottom;margin:0 12px 12px 0"
SMALL = "font-size:smaller;opacity:.75;overflow-wrap:anywhere;text-align:left"
# White pictures on white, black on black. Inside the picture: a cell cuts off what stands out on
# its left.
FRAME = "margin:0;border-radius:4px;outline:1px solid rgba(128,128,128,.3);outline-offset:-1px"
MIDDLE = "text-align:left;vertical-align:middle"


class Cell:
    """What a notebook shows as HTML and a terminal as one line."""

    def __init__(self, html: str, text: str):
        self._html = html
        self._text = text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def img(uri: str, alt: str, style: str) -> str:
    """An <img>, or "" where there is no picture."""
    # Inline styles: JupyterLab drops <style> from a notebook that is not trusted yet.
    if not uri:
        return ""
    return f"<img src='{uri}' alt='{escape(alt)}' style='{style};{FRAME}'>"


def figure(uri: str, text: str, style: str) -> str:
    """A picture with words below it."""
    picture = img(uri, text, style) or f"<span style='{SMALL}'>no picture</span>"
    return framed(picture, text)


def framed(html: str, text: str) -> str:
    """Any markup with words below it."""
    below = f"<figcaption style='{SMALL}'>{escape(text)}</figcaption>"
    return f"<figure style='{FIGURE}'>{html}{below}</figure>"


def html_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already; heads are text."""
    heads = [f"<th style='{MIDDLE}'>{escape(text)}</th>" for text in head]
    rows = [_table_row(heads)]
    for line in lines:
        rows.append(_table_row([f"<td style='{MIDDLE}'>{cell}</td>" for cell in line]))
    return f"<table>{''.join(rows)}</table>"


def _table_row(cells: list[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"
