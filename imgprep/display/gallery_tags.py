"""Tags as the gallery knows them: each named once, and which picture has which."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

TOP_TAGS = 8
FIRST_KINDS = ("composition", "object", "mood")


def tag_columns(table: pa.Table) -> dict[str, Any]:
    """tags [[kind, name]], sources, kinds; and `of`: for each picture [[tag, score, source,
    accepted, boxes]].
    """
    numbers: dict[tuple[str, str], int] = {}
    sources: dict[str, int] = {}
    of: list[list[list[Any]]] = []
    given: list[Any] = [None] * table.num_rows
    if "tags" in table.column_names:
        given = table["tags"].to_pylist()
    for entries in given:
        of.append([_placed_entry(one, numbers, sources) for one in entries or []])
    kinds = list(dict.fromkeys(kind for kind, _ in numbers))
    kinds.sort(key=_place_of_kind)
    return {
        "tags": [list(tag) for tag in numbers],
        "sources": list(sources),
        "kinds": kinds,
        "of": of,
        "top": _common_tags(list(numbers), of),
    }


def _placed_entry(
    one: dict[str, Any], numbers: dict[tuple[str, str], int], sources: dict[str, int]
) -> list[Any]:
    """[tag, score in percent, source, accepted], and the boxes where there are any.

    What is new gets the next number in `numbers` and `sources`.
    """
    tag = numbers.setdefault((one["kind"], one["name"]), len(numbers))
    source = sources.setdefault(said_by(one["source"], one["version"]), len(sources))
    # What another program wrote may be above 1, and the page draws bars by it.
    score = min(1.0, max(0.0, one["score"] or 0.0))
    entry = [tag, round(100 * score), source, one["accepted"]]
    boxes = seen_boxes(one["evidence"])
    if boxes:
        entry.append(boxes)
    return entry


def seen_boxes(evidence: str) -> list[list[float]]:
    """The boxes of a tag's evidence, in shares of width and height; [] where it has none.

    >>> seen_boxes('{"box": [0.1, 0.2, 0.3, 0.4]}')
    [[0.1, 0.2, 0.3, 0.4]]
    """
    # Looked at before it is parsed: most evidence is long, and holds no box.
    if not evidence.startswith('{"box"'):
        return []
    try:
        seen = json.loads(evidence)
    except ValueError:  # of another program
        return []
    found = seen.get("boxes") or [seen.get("box")]
    return [box for box in found if isinstance(box, list) and len(box) == 4]


def _place_of_kind(kind: str) -> tuple[bool, int, str]:
    """FIRST_KINDS come first, tones last."""
    place = FIRST_KINDS.index(kind) if kind in FIRST_KINDS else len(FIRST_KINDS)
    return kind == "tone", place, kind


def _common_tags(tags: list[tuple[str, str]], of: list[list[list[Any]]]) -> list[int]:
    """Numbers of the commonest tags: of what is shown, unless there is nothing but composition."""
    given = [entry[0] for entries in of for entry in entries]
    counts = np.bincount(given, minlength=len(tags))
    every = range(len(tags))
    named = [n for n in every if tags[n][0] not in ("composition", "tone")]
    ordered = sorted(named or every, key=lambda n: (-counts[n], tags[n]))
    return ordered[:TOP_TAGS]


def said_by(source: str, version: str) -> str:
    """Who says a tag, in words.

    >>> said_by("human:ann", "1"), said_by("imgprep heuristic", "1")
    ('ann, by eye', 'imgprep heuristic 1')
    """
    if source.startswith("human:"):
        return f"{source.removeprefix('human:')}, by eye"
    return f"{source} {version}"
