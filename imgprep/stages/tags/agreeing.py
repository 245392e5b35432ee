"""How far taggers agree with each other and with people."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from imgprep.dataset import Dataset
from imgprep.stages.tags.corrections import HUMAN

DRAWS = 400
PEOPLE = "human"


def agreement(ds: Dataset | str, *, kind: str | None = None) -> Any:
    """Cohen's kappa of each tag and pair of taggers: a pandas frame.

    kind, name, a, b, n (pictures that both saw), both, kappa, low, high (90 %, bootstrap),
    precision (of `a` on what people decided, where `b` is people). A tagger saw every picture that
    is ok; people saw those they decided on.
    """
    import pandas as pd

    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    rows: list[list[dict[str, Any]]] = []
    for split in ds.splits:
        rows += _entries_of_split(ds, split)
    verdicts = _verdicts(rows, kind)
    lines = []
    for tag, by_source in sorted(verdicts.items()):
        # People come last, so that `b` is people wherever they are one of the two.
        sources = sorted(by_source, key=lambda source: (source == PEOPLE, source))
        for a, b in combinations(sources, 2):
            lines.append(_agreement_row(tag, a, b, by_source[a], by_source[b]))
    columns = ["kind", "name", "a", "b", "n", "both", "kappa", "low", "high", "precision"]
    return pd.DataFrame(lines, columns=columns)


@dataclass
class _Verdict:
    """What one source says of one tag, picture by picture: two bits for each."""

    said: np.ndarray
    seen: np.ndarray


def _entries_of_split(ds: Dataset, split: str) -> list[list[dict[str, Any]]]:
    table = ds.table(split, ["tags", "status"])
    pairs = zip(table["tags"].to_pylist(), table["status"].to_pylist(), strict=True)
    return [entries or [] for entries, status in pairs if status == "ok"]


def _verdicts(
    rows: list[list[dict[str, Any]]], kind: str | None
) -> dict[tuple[str, str], dict[str, _Verdict]]:
    """(kind, name) -> source -> its verdict on each picture."""
    found: dict[tuple[str, str], dict[str, _Verdict]] = defaultdict(dict)
    for number, entries in enumerate(rows):
        for one in entries:
            if kind in (None, one["kind"]):
                by_source = found[one["kind"], one["name"]]
                _note(by_source, one, number, len(rows))
    return found


def _note(by_source: dict[str, _Verdict], one: dict[str, Any], number: int, total: int) -> None:
    """Take one entry of one picture in."""
    is_human = one["source"].startswith(HUMAN)
    source = PEOPLE if is_human else f"{one['source']} {one['version']}"
    if source not in by_source:
        # A tagger that gives no tag has said no; a person who says nothing has not looked.
        by_source[source] = _Verdict(np.zeros(total, bool), np.full(total, not is_human))
    verdict = by_source[source]
    verdict.seen[number] = True
    verdict.said[number] = bool(one["accepted"]) if is_human else True


def _agreement_row(tag: tuple[str, str], a: str, b: str, of_a: _Verdict, of_b: _Verdict) -> tuple:
    both_saw = of_a.seen & of_b.seen
    first = of_a.said[both_saw]
    second = of_b.said[both_saw]
    both = int((first & second).sum())
    low, high = _interval(first, second)
    precision = None
    if b == PEOPLE and first.any():
        precision = float(second[first].mean())
    return (*tag, a, b, len(first), both, kappa(first, second), low, high, precision)


def kappa(a: np.ndarray, b: np.ndarray) -> float | None:
    """Agreement beyond chance of two yes/no vectors (Cohen 1960); None where neither could differ.

    >>> kappa(np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool))
    0.5
    """
    if not len(a):
        return None
    both_yes = a.mean() * b.mean()
    both_no = (1 - a.mean()) * (1 - b.mean())
    chance = both_yes + both_no
    if chance == 1:
        return None
    beyond = (a == b).mean() - chance
    return round(float(beyond / (1 - chance)), 3)


def _interval(a: np.ndarray, b: np.ndarray) -> tuple[float | None, float | None]:
    """The middle 90 % of kappa over pictures drawn anew."""
    if not len(a):
        return None, None
    # The same draws every time: the table of the same tags is the same table.
    random = np.random.default_rng(0)
    found = []
    # Whole pictures are drawn, not pairs of tags: that
    # is what another sample would have differed in.
    for _ in range(DRAWS):
        draw = random.integers(0, len(a), len(a))
        value = kappa(a[draw], b[draw])
        if value is not None:
            found.append(value)
    if not found:
        return None, None
    low, high = np.percentile(found, [5, 95])
    return round(float(low), 3), round(float(high), 3)
