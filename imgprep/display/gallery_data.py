"""What the gallery knows of each picture, in columns that travel as JSON."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.display.pictures import caption, every_row, spread
from imgprep.models import demo
from imgprep.models.codes import Rotation
from imgprep.models.embedders import Embedder
from imgprep.models.layout import flat_map
from imgprep.picture.composition import TECHNIQUES

FIRST_KINDS = ("composition", "object", "mood")
VOCABULARY = 2_500  # common words that are understood where no tag says them
NEAR = 0.5  # likeness from which a tag means what a word means
NUMBERS = {  # order by: column of `tone_measures`
    "most colourful": "colourfulness",
    "brightest": "key",
    "strongest contrast": "contrast",
    "warmest": "warmth",
    "most detail": "detail",
}
NOT_SEARCHED = {"image_id", "source", "sha256", "format", "status", "reason", "error", "file", "uri"}
NOT_SEARCHED |= {"embedding_model", "parent_id", "variant"}


@dataclass
class Collection:
    """Which rows are shown, (split, row) each, and their columns."""

    places: list[tuple[str, int]]
    columns: dict[str, Any] = field(default_factory=dict)


def collect(ds: Dataset, *, words: bool = True, most: int | None = None) -> Collection:
    """All rows that are ok; or so many of them, evenly spread."""
    table, places = every_row(ds)
    kept = np.flatnonzero(np.array(table["status"].to_pylist(), object) == "ok")
    if most is not None:
        kept = kept[spread(len(kept), most)]
    table, places = table.take(pa.array(kept)), places.iloc[kept].reset_index(drop=True)
    found = Collection([*zip(places.split.tolist(), places.row.tolist(), strict=True)])
    rows = len(found.places)
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
    columns["order"] = spread_order(columns.get("x"), columns.get("y"), rows)
    return found


def _shown_sources(table: pa.Table) -> list[str]:
    """The name at the end of each source; no path of this machine."""
    return [caption((one or "").rstrip("/").rpartition("/")[2], 90) for one in table["source"].to_pylist()]


def tag_columns(table: pa.Table) -> dict[str, Any]:
    """tags [[kind, name]], sources, kinds; and `of`: for each picture [[tag, score, source, accepted, box]]."""
    numbers: dict[tuple[str, str], int] = {}
    sources: dict[str, int] = {}
    of: list[list[list[Any]]] = []
    given = table["tags"].to_pylist() if "tags" in table.column_names else [None] * table.num_rows
    for entries in given:
        mine = []
        for one in entries or []:
            tag = numbers.setdefault((one["kind"], one["name"]), len(numbers))
            source = sources.setdefault(said_by(one["source"], one["version"]), len(sources))
            score = round(100 * min(1.0, max(0.0, one["score"] or 0.0)))
            box = json.loads(one["evidence"]).get("box") if one["evidence"].startswith('{"box"') else None
            mine.append([tag, score, source, one["accepted"], *([box] if box else [])])
        of.append(mine)
    kinds = list(dict.fromkeys(kind for kind, _ in numbers))
    kinds.sort(key=lambda kind: (kind == "tone", FIRST_KINDS.index(kind) if kind in FIRST_KINDS else 9, kind))
    counts = np.bincount([one[0] for mine in of for one in mine], minlength=len(numbers))
    named = [(n, tag) for n, tag in enumerate(numbers) if tag[0] not in ("composition", "tone")]
    top = sorted(named or list(enumerate(numbers)), key=lambda one: (-counts[one[0]], one[1]))[:8]
    return {
        "tags": [list(tag) for tag in numbers],
        "sources": list(sources),
        "kinds": kinds,
        "of": of,
        "top": [n for n, _ in top],
    }


def said_by(source: str, version: str) -> str:
    """Who says a tag, in words.

    >>> said_by("human:ann", "1"), said_by("imgprep heuristic", "1")
    ('ann, by eye', 'imgprep heuristic 1')
    """
    return f"{source.removeprefix('human:')}, by eye" if source.startswith("human:") else f"{source} {version}"


def _measured_columns(table: pa.Table) -> dict[str, Any]:
    """evidence, scores of composition, and numbers to order by."""
    rows = table.num_rows
    out: dict[str, Any] = {"evidence": [{}] * rows, "numbers": {}}
    if "tone_measures" in table.column_names:
        rows_of = [one or {} for one in table["tone_measures"].to_pylist()]
        measured = pd.DataFrame(rows_of, columns=[*NUMBERS.values()])
        for name, column in NUMBERS.items():
            out["numbers"][name] = [round(float(v), 1) for v in measured[column].fillna(-1000)]
    area = np.array(table["width"].fill_null(0)) * np.array(table["height"].fill_null(0)).astype(np.int64)
    out["numbers"]["largest"] = area.tolist()
    if "composition_scores" in table.column_names:
        scored = [one or {} for one in table["composition_scores"].to_pylist()]
        out["evidence"] = [json.loads(one.get("evidence") or "{}") for one in scored]
        out["scores"] = {t: [round(100 * (one.get(t.replace(" ", "_")) or 0)) for one in scored] for t in TECHNIQUES}
        out["numbers"] |= {f"most {technique}": values for technique, values in out["scores"].items()}
    return out


def _searched_texts(table: pa.Table) -> list[str]:
    """The user's own columns of text, joined and in small letters; [] where there is none."""
    text = (pa.types.is_string, pa.types.is_large_string)
    names = [f.name for f in table.schema if any(is_text(f.type) for is_text in text) and f.name not in NOT_SEARCHED]
    if not names:
        return []
    rows = table.select(names).to_pylist()
    return [" ".join(filter(None, row.values())).lower()[:200] for row in rows]


def _vectors_of(table: pa.Table) -> np.ndarray | None:
    """(n, dim) float32, the mean where a row has none; None where no row has one."""
    if "embedding" not in table.column_names:
        return None
    rows = table["embedding"].to_pylist()
    dim = max((len(row) for row in rows if row), default=0)
    if not dim:
        return None
    known = [row is not None and len(row) == dim for row in rows]
    vectors = np.zeros((len(rows), dim), np.float32)
    vectors[known] = np.array([row for row, is_known in zip(rows, known, strict=True) if is_known], np.float32)
    vectors[~np.array(known)] = vectors[known].mean(0)
    return vectors


def _vector_columns(table: pa.Table, vectors: np.ndarray) -> dict[str, Any]:
    """Codes for look-alikes, and places on a map: the table's own `x` and `y` where it has them."""
    codes = Rotation.of(vectors).codes(vectors)
    if {"x", "y"} <= {*table.column_names}:
        places, method = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()]), "map"
        low, high = places.min(0), places.max(0)
        places = (places - low) / np.maximum(high - low, 1e-9)
    else:
        places, method = flat_map(vectors)
    whole = np.round(places * 65535).astype(int)
    packed = base64.b64encode(codes.astype("<u8").tobytes()).decode()
    return {"bits": packed, "x": whole[:, 0].tolist(), "y": whole[:, 1].tolist(), "map": method}


def _model_name(table: pa.Table) -> str:
    names = {name for name in table["embedding_model"].to_pylist() if name}
    return names.pop().rpartition("@")[0] if len(names) == 1 else ""


def near_words(tags: list[list[str]], model: str) -> dict[str, list[list[int]]]:
    """Common words -> [[tag, likeness in percent]] of the tags that mean nearly the same, where the model is here.

    Only for the models of the extra `offline`, whose vocabulary is at hand.
    """
    if model != demo.DEMO_NAME or not demo.is_installed() or not tags:
        return {}
    common = demo.common_words(VOCABULARY)
    names = [name for _, name in tags]
    likeness = demo.common_vectors(VOCABULARY) @ Embedder(model).text(names)[:, : demo.MEANING].T
    found = {}
    for word, row in zip(common, likeness, strict=True):
        best = np.argsort(-row, kind="stable")[:5]
        near = [[int(n), round(100 * float(row[n]) ** 2)] for n in best if row[n] > NEAR and names[n] != word]
        if near:
            found[word] = near
    return found


def spread_order(x: list[int] | None, y: list[int] | None, count: int) -> list[int]:
    """An order in which every first part is spread over the whole: along a curve through the map, in bits reversed."""
    along = list(range(count))
    if x is not None and y is not None:
        along.sort(key=lambda i: (curve_place(x[i] >> 6, y[i] >> 6), i))
    bits = max(1, (count - 1).bit_length())
    turned = [int(f"{n:0{bits}b}"[::-1], 2) for n in range(1 << bits)]
    return [along[n] for n in turned if n < count]


def curve_place(x: int, y: int, bits: int = 10) -> int:
    """Where a point of a square of 2**bits lies along Hilbert's curve: near points are near on it.

    >>> [curve_place(*point, bits=1) for point in ((0, 0), (0, 1), (1, 1), (1, 0))]
    [0, 1, 2, 3]
    """
    place, side = 0, 1 << (bits - 1)
    while side:
        right, down = bool(x & side), bool(y & side)
        place += side * side * ((3 * right) ^ down)
        if not down:
            if right:
                x, y = ~x, ~y
            x, y = y, x
        side >>= 1
    return place
