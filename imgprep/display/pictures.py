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
from imgprep.picture import codec, geometry
from imgprep.project import project_root
from imgprep.redaction import redact
from imgprep.words import bytes_text

USUAL_LABELS = ("label", "class", "class_name", "category", "entity_name")
WORD = r"[^\s/'\"<>,:;]+"
# Folders of a path may have spaces in their names, but an option (-p name=) that follows a path is
# none of it.
LOCAL_PATH = re.compile(
    rf"(?<![\w.:/])(?:/{WORD}(?: (?!-|{WORD}=){WORD})*(?=/))+/(?:{WORD})?|\b[A-Za-z]:\\[^\s'\"<>]+"
)
MADE = {"copied": ", as it was", "stripped": ", metadata removed"}  # by `outcome` of a size


def thumbnail(picture: bytes | np.ndarray | None, px: int) -> str:
    """A picture as a `data:` URI (WebP), never enlarged; "" where there is none or it does not
    decode.

    picture: encoded bytes, or (H, W, 3) or (H, W) uint8. px: the longest side at most.
    """
    if picture is None:
        return ""
    image = picture
    if isinstance(image, bytes):
        try:
            # Twice the size at least: JPEG's own shrinking is
            # coarse, and INTER_AREA wants something to take.
            image = codec.decode(image, min_wh=(2 * px, 2 * px))
        except codec.DecodeError:
            return ""
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if max(image.shape[:2]) > px:
        image = geometry.fit(image, (px, px))
    data = codec.encode(image, "WEBP", quality=75)
    return "data:image/webp;base64," + base64.b64encode(data).decode()


def every_row(ds: Dataset, split: str | None = None) -> tuple[pa.Table, pd.DataFrame]:
    """All rows of one split or of all, in order, and where each stands: its `split`, its number
    there as `row`.
    """
    tables = []
    places = []
    for name in [split] if split else ds.splits:
        table = ds.table(name)
        tables.append(table)
        place = {"split": name, "row": range(table.num_rows)}
        places.append(pd.DataFrame(place))
    return pa.concat_tables(tables), pd.concat(places, ignore_index=True)


def label_column(table: pa.Table) -> str | None:
    """The user's column that looks like a label: 2 to 50 words that repeat. A usual name wins, then
    fewest words.
    """
    if "variant" in table.column_names:
        # A picture's sizes repeat all its words.
        is_original = pc.equal(table["variant"], "original")
        table = table.filter(pc.fill_null(is_original, False))
    found = {}
    own = table.column_names[1 : table.column_names.index("source")]  # behind image_id
    for name in own:
        kind = table.schema.field(name).type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        is_class = name in USUAL_LABELS and pa.types.is_integer(kind)
        if not is_text and not is_class:
            continue
        words = set(table[name].unique().to_pylist()) - {None, ""}
        # More words than half the rows are names, not labels.
        if 2 <= len(words) <= min(50, table.num_rows / 2):
            found[name] = len(words)
    for name in USUAL_LABELS:
        if name in found:
            return name
    return min(found, key=lambda name: found[name], default=None)


def spread(n: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 to n - 1, evenly spaced, ascending.

    >>> spread(10, 3), spread(2, 5)
    ([0, 3, 6], [0, 1])
    """
    if n <= most:
        return list(range(n))
    return [i * n // most for i in range(most)]


def caption(value: Any, most: int) -> str:
    """A cell as it may be shown: `public_text`, in one line of at most `most` characters.

    What is too long loses its middle.

    >>> caption("https://images.example.com/a/b/c/cat.jpg", 21)
    'https://im…/c/cat.jpg'
    """
    text = " ".join(public_text("" if value is None else value).split())
    if len(text) <= most:
        return text
    start = text[: (most - 1) // 2]
    end = text[-(most // 2) :]
    return f"{start}…{end}"


def size_text(row: dict[str, Any]) -> str:
    """Pixels, format, quality and bytes of one size of a picture.

    >>> size_text({"width": 2048, "height": 1365, "format": "JPEG", "quality": 88, "nbytes": 812_000})
    '2,048 × 1,365 · JPEG, quality 88 · 812 KB'
    """
    made = MADE.get(row.get("outcome", ""), "")
    if row.get("quality"):
        made = f", quality {row['quality']}"
    size = f"{row['width']:,} × {row['height']:,}"
    nbytes = bytes_text(row["nbytes"])
    return f"{size} · {row['format']}{made} · {nbytes}"


def meaning(word: str) -> str:
    """The sentence for a word of `reason`.

    >>> meaning("http_404")
    'the server answered 404 Not Found'
    """
    if word in REASONS:
        return REASONS[word]
    number = word.removeprefix("http_")
    phrases = {str(status.value): f" {status.phrase}" for status in HTTPStatus}
    return f"the server answered {number}{phrases.get(number, '')}"


def public_text(value: Any) -> str:
    """What may leave this machine: URLs without secrets, paths in the project from its root, others
    by name only.

    >>> public_text("cannot read /srv/my photos/cat.jpg")
    'cannot read …/cat.jpg'
    """
    text = redact(str(value)).replace("file://", "")
    return LOCAL_PATH.sub(_public_path, text)


def _public_path(path: re.Match[str]) -> str:
    root = f"{project_root()}/"
    if path[0].startswith(root):
        return path[0].removeprefix(root)
    return "…/" + re.split(r"[/\\]", path[0].rstrip("/\\"))[-1]
