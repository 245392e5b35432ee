"""What the gallery knows of each picture, in columns that travel as JSON."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.display.gallery_tags import tag_columns
from imgprep.display.pictures import caption, every_row, spread
from imgprep.models import demo
from imgprep.models.codes import Rotation
from imgprep.models.embedders import Embedder
from imgprep.models.layout import flat_map
from imgprep.picture.composition import TECHNIQUES

VOCABULARY = 2_500  # common words that are understood where no tag says them
NEAR = 0.5  # likeness from which a tag means what a word means
NUMBERS = {  # order by: column of `tone_measures`
    "most colourful": "colourfulness",
    "brightest": "key",
    "strongest contrast": "contrast",
    "warmest": "warmth",
    "most detail": "detail",
}
NOT_SEARCHED = {
    "image_id",
    "source",
    "sha256",
    "format",
    "status",
    "reason",
    "error",
    "file",
    "uri",
}
NOT_SEARCHED |= {"embedding_model", "parent_id", "variant"}


@dataclass
class Collection:
    """Which rows are shown, (split, row) each, and their columns."""

    places: list[tuple[str, int]]
    columns: dict[str, Any] = field(default_factory=dict)


def collect(ds: Dataset, *, words: bool = True, most: int | None = None) -> Collection:
    """All rows that are ok; or so many of them, evenly spread."""
    table, places = every_row(ds)
    status = np.array(table["status"].to_pylist(), object)
    kept = np.flatnonzero(status == "ok")
    if most is not None:
        kept = kept[spread(len(kept), most)]
    table = table.take(pa.array(kept))
    places = places.iloc[kept]
    found = Collection([*zip(places.split.tolist(), places.row.tolist(), strict=True)])
    columns = found.columns = {
        "id": [caption(one, 120) for one in table["image_id"].to_pylist()],
        "src": _shown_sources(table),
        "wide": table["width"].fill_null(0).to_pylist(),
        "high": table["height"].fill_null(0).to_pylist(),
        **tag_columns(table),
        **_measured_columns(table),
    }
    texts = _searched_texts(table)
    if texts:
        columns["text"] = texts
    vectors = _vectors_of(table)
    if vectors is not None:
        columns |= _vector_columns(table, vectors)
        if words:
            columns["words"] = near_words(columns["tags"], _model_name(table))
    columns["order"] = spread_order(columns.get("x"), columns.get("y"), len(found.places))
    return found


def _shown_sources(table: pa.Table) -> list[str]:
    """The name at the end of each source; no path of this machine."""
    return [last_name(source, 90) for source in table["source"].to_pylist()]


def last_name(source: str | None, most: int) -> str:
    """The name at the end of a path or URL, `most` characters at most."""
    return caption((source or "").rstrip("/").rpartition("/")[2], most)


def _measured_columns(table: pa.Table) -> dict[str, Any]:
    """evidence, scores of composition, and numbers to order by."""
    numbers: dict[str, list[Any]] = {}
    if "tone_measures" in table.column_names:
        rows = [row or {} for row in table["tone_measures"].to_pylist()]
        measured = pd.DataFrame(rows, columns=[*NUMBERS.values()])
        for name, column in NUMBERS.items():
            # Last in every order: what was not measured.
            measures = measured[column].fillna(-1000)
            numbers[name] = [round(float(value), 1) for value in measures]
    width = np.array(table["width"].fill_null(0))
    height = np.array(table["height"].fill_null(0)).astype(np.int64)
    numbers["largest"] = (width * height).tolist()
    if "composition_scores" not in table.column_names:
        return {"evidence": [{}] * table.num_rows, "numbers": numbers}
    scored = [row or {} for row in table["composition_scores"].to_pylist()]
    scores = {technique: _percents(scored, technique) for technique in TECHNIQUES}
    for technique, values in scores.items():
        numbers[f"most {technique}"] = values
    evidence = [json.loads(row.get("evidence") or "{}") for row in scored]
    return {"evidence": evidence, "numbers": numbers, "scores": scores}


def _percents(scored: list[dict[str, Any]], technique: str) -> list[int]:
    column = technique.replace(" ", "_")
    return [round(100 * (row.get(column) or 0)) for row in scored]


def _searched_texts(table: pa.Table) -> list[str]:
    """The user's own columns of text, joined and in small letters; [] where there is none."""
    names = []
    for column in table.schema:
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if is_text and column.name not in NOT_SEARCHED:
            names.append(column.name)
    if not names:
        return []
    found = []
    for row in table.select(names).to_pylist():
        words = " ".join(filter(None, row.values()))
        found.append(words.lower()[:200])
    return found


def _vectors_of(table: pa.Table) -> np.ndarray | None:
    """(n, dim) float32, the mean where a row has none; None where no row has one."""
    if "embedding" not in table.column_names:
        return None
    rows = table["embedding"].to_pylist()
    dim = max((len(row) for row in rows if row), default=0)
    if not dim:
        return None
    vectors = np.zeros((len(rows), dim), np.float32)
    known = np.zeros(len(rows), bool)
    for number, row in enumerate(rows):
        if row is not None and len(row) == dim:
            vectors[number] = row
            known[number] = True
    # In the middle of the map, and like nothing in particular.
    vectors[~known] = vectors[known].mean(0)
    return vectors


def _vector_columns(table: pa.Table, vectors: np.ndarray) -> dict[str, Any]:
    """Codes for look-alikes, and places on a map: the table's own `x` and `y` where it has them."""
    codes = Rotation.of(vectors).codes(vectors)
    if {"x", "y"} <= {*table.column_names}:
        method = "map"
        places = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])
        low = places.min(0)
        high = places.max(0)
        places = (places - low) / np.maximum(high - low, 1e-9)
    else:
        places, method = flat_map(vectors)
    # 16 bits: 65,536 places are finer than any screen, and half the text of decimals.
    whole = np.round(places * 65535).astype(int)
    # "<u8": the page reads them as little-endian numbers, whatever machine wrote them.
    packed = base64.b64encode(codes.astype("<u8").tobytes()).decode()
    return {
        "bits": packed,
        "x": whole[:, 0].tolist(),
        "y": whole[:, 1].tolist(),
        "map": method,
    }


def _model_name(table: pa.Table) -> str:
    names = {name for name in table["embedding_model"].to_pylist() if name}
    return names.pop().rpartition("@")[0] if len(names) == 1 else ""


def near_words(tags: list[list[str]], model: str) -> dict[str, list[list[int]]]:
    """Common words -> [[tag, likeness in percent]] of the tags that mean nearly the same, where the
    model is here.

    Only for the models of the extra `offline`, whose vocabulary is at hand.
    """
    if model != demo.DEMO_NAME or not demo.is_installed() or not tags:
        return {}
    common = demo.common_words(VOCABULARY)
    names = [name for _, name in tags]
    of_names = Embedder(model).text(names)[:, : demo.MEANING]
    likeness = demo.common_vectors(VOCABULARY) @ of_names.T
    found = {}
    for word, row in zip(common, likeness, strict=True):
        near = []
        for n in np.argsort(-row, kind="stable")[:5]:
            if row[n] > NEAR and names[n] != word:
                near.append([int(n), round(100 * float(row[n]) ** 2)])
        if near:
            found[word] = near
    return found


def spread_order(x: list[int] | None, y: list[int] | None, count: int) -> list[int]:
    """An order in which every first part is spread over the whole: along a curve through the map,
    in bits reversed.
    """
    along = list(range(count))
    if x is not None and y is not None:
        # >> 6: a curve of 1,024 x 1,024 places is fine enough to keep neighbours together.
        along.sort(key=lambda i: (curve_place(x[i] >> 6, y[i] >> 6), i))
    bits = max(1, (count - 1).bit_length())
    order = []
    # Bits reversed: any first part of the numbers is spread over all of them.
    for n in range(1 << bits):
        turned = int(f"{n:0{bits}b}"[::-1], 2)
        if turned < count:
            order.append(along[turned])
    return order


def curve_place(x: int, y: int, bits: int = 10) -> int:
    """Where a point of a square of 2**bits lies along Hilbert's curve: near points are near on it.

    >>> [curve_place(*point, bits=1) for point in ((0, 0), (0, 1), (1, 1), (1, 0))]
    [0, 1, 2, 3]
    """
    place = 0
    side = 1 << (bits - 1)
    while side:
        right = bool(x & side)
        down = bool(y & side)
        place += side * side * ((3 * right) ^ down)
        if not down:
            if right:
                x, y = ~x, ~y
            x, y = y, x
        side >>= 1
    return place
