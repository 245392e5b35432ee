"""Small pictures and short words: what a notebook cell and the report both show of a row."""

import base64
import re
from http import HTTPStatus
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset import Dataset
from imgprep.failures import REASONS
from imgprep.io.web.addresses import redact
from imgprep.picture import codec, geometry
from imgprep.project import project_root
from imgprep.words import bytes_text

LABELS = ("label", "class", "class_name", "category", "entity_name")
URL = re.compile(r"\b[a-z][a-z0-9+.-]+://[^\s'\"<>]+", re.I)
WORD = r"[^\s/'\"<>,:;]+"
# Folders of a path may have spaces in their names, but an option (-p name=) that follows a path does not belong to it.
LOCAL_PATH = re.compile(rf"(?<![\w.:/])(?:/{WORD}(?: (?!-|{WORD}=){WORD})*(?=/))+/(?:{WORD})?|\b[A-Za-z]:\\[^\s'\"<>]+")


def thumbnail(picture: bytes | np.ndarray | None, px: int) -> str:
    """A picture as a `data:` URI (WebP), never enlarged; "" where there is none or it does not decode.

    picture: encoded bytes, or (H, W, 3) or (H, W) uint8. px: the longest side at most.
    """
    if picture is None:
        return ""
    try:
        image = codec.decode(picture, min_wh=(2 * px, 2 * px)) if isinstance(picture, bytes) else picture
    except codec.DecodeError:
        return ""
    image = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image
    image = geometry.fit(image, (px, px)) if max(image.shape[:2]) > px else image
    return "data:image/webp;base64," + base64.b64encode(codec.encode(image, "WEBP", quality=75)).decode()


def every_row(ds: Dataset, split: str | None = None) -> tuple[pa.Table, pd.DataFrame]:
    """All rows of one split or of all, in order, and where each stands: its `split`, its number there as `row`."""
    tables = {s: ds.table(s) for s in ([split] if split else ds.splits)}
    places = [pd.DataFrame({"split": s, "row": range(table.num_rows)}) for s, table in tables.items()]
    return pa.concat_tables(tables.values()), pd.concat(places, ignore_index=True)


def label_column(table: pa.Table) -> str | None:
    """The user's column that looks like a label: 2 to 50 words that repeat. A usual name wins, then fewest words."""
    found = {}
    if "variant" in table.column_names:  # a picture's sizes repeat all its words
        table = table.filter(pc.fill_null(pc.equal(table["variant"], "original"), False))
    for name in table.column_names[1 : table.column_names.index("source")]:  # image_id, the user's own, source
        kind = table.schema.field(name).type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if text or (name in LABELS and pa.types.is_integer(kind)):
            words = set(table[name].unique().to_pylist()) - {None, ""}
            if 2 <= len(words) <= min(50, table.num_rows / 2):
                found[name] = len(words)
    return next((name for name in LABELS if name in found), min(found, key=found.get, default=None))


def spread(n: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 to n - 1, evenly spaced, ascending.

    >>> spread(10, 3), spread(2, 5)
    ([0, 3, 6], [0, 1])
    """
    return list(range(n)) if n <= most else [i * n // most for i in range(most)]


def caption(value: Any, most: int) -> str:
    """A cell as it may be shown: `public`, one line, at most `most` characters; the middle is left out.

    >>> caption("https://images.example.com/a/b/c/cat.jpg", 21)
    'https://im…/c/cat.jpg'
    """
    text = " ".join(public("" if value is None else value).split())
    return text if len(text) <= most else text[: (most - 1) // 2] + "…" + text[-(most // 2) :]


def size_text(row: dict[str, Any]) -> str:
    """Pixels, format, quality and bytes of one size of a picture.

    >>> size_text({"width": 2048, "height": 1365, "format": "JPEG", "quality": 88, "nbytes": 812_000})
    '2,048 × 1,365 · JPEG, quality 88 · 812 KB'
    """
    made = {"copied": ", as it was", "stripped": ", metadata removed"}.get(row.get("outcome", ""), "")
    made = f", quality {row['quality']}" if row.get("quality") else made
    return f"{row['width']:,} × {row['height']:,} · {row['format']}{made} · {bytes_text(row['nbytes'])}"


def meaning(word: str) -> str:
    """The sentence for a word of `reason`.

    >>> meaning("http_404")
    'the server answered 404 Not Found'
    """
    phrases = {f"http_{status.value}": f" {status.phrase}" for status in HTTPStatus}
    return REASONS.get(word) or f"the server answered {word.removeprefix('http_')}{phrases.get(word, '')}"


def public(value: Any) -> str:
    """What may leave this machine: URLs without secrets, paths in the project from its root, others by name only.

    >>> public("cannot read /srv/my photos/cat.jpg")
    'cannot read …/cat.jpg'
    """

    def shown(path: re.Match) -> str:
        inside = path[0].removeprefix(f"{project_root()}/")
        return inside if inside != path[0] else "…/" + re.split(r"[/\\]", path[0].rstrip("/\\"))[-1]

    text = URL.sub(lambda url: redact(url[0].removeprefix("file://")), str(value))
    return LOCAL_PATH.sub(shown, text)
