"""How far taggers agree with each other and with people."""

from collections import defaultdict
from itertools import combinations
from typing import Any

import numpy as np

from imgprep.dataset import Dataset
from imgprep.stages.tags.corrections import HUMAN

DRAWS = 400
PEOPLE = "human"


def agreement(ds: Dataset | str, *, kind: str | None = None) -> Any:
    """Cohen's kappa of each tag and pair of taggers: a pandas frame.

    kind, name, a, b, n (pictures that both saw), both, kappa, low, high (90 %, bootstrap), precision (of `a` on what
    people decided, where `b` is people). A tagger saw every picture that is ok; people saw those they decided on.
    """
    import pandas as pd

    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    rows = [row for split in ds.splits for row in _ok_rows(ds, split)]
    said: dict[tuple, dict[str, np.ndarray]] = defaultdict(dict)
    seen: dict[tuple, dict[str, np.ndarray]] = defaultdict(dict)
    for number, entries in enumerate(rows):
        for one in entries:
            if kind in (None, one["kind"]):
                _note(said, seen, one, number, len(rows))
    lines = []
    for tag, by_source in sorted(said.items()):
        for a, b in combinations(sorted(by_source, key=lambda s: (s == PEOPLE, s)), 2):
            both_saw = seen[tag][a] & seen[tag][b]
            lines.append(_agreement_row(tag, a, b, by_source[a][both_saw], by_source[b][both_saw]))
    columns = ["kind", "name", "a", "b", "n", "both", "kappa", "low", "high", "precision"]
    return pd.DataFrame(lines, columns=columns)


def _ok_rows(ds: Dataset, split: str) -> list[list[dict[str, Any]]]:
    table = ds.table(split, ["tags", "status"])
    pairs = zip(table["tags"].to_pylist(), table["status"].to_pylist(), strict=True)
    return [entries or [] for entries, status in pairs if status == "ok"]


def _note(said: Any, seen: Any, one: dict[str, Any], number: int, total: int) -> None:
    is_human = one["source"].startswith(HUMAN)
    source = PEOPLE if is_human else f"{one['source']} {one['version']}"
    tag = one["kind"], one["name"]
    if source not in said[tag]:
        said[tag][source] = np.zeros(total, bool)
        seen[tag][source] = np.full(total, not is_human)
    seen[tag][source][number] = True
    said[tag][source][number] = bool(one["accepted"]) if is_human else True


def _agreement_row(tag: tuple, a: str, b: str, first: np.ndarray, second: np.ndarray) -> tuple:
    low, high = _interval(first, second)
    precision = float(second[first].mean()) if b == PEOPLE and first.any() else None
    return (*tag, a, b, len(first), int((first & second).sum()), kappa(first, second), low, high, precision)


def kappa(a: np.ndarray, b: np.ndarray) -> float | None:
    """Agreement beyond chance of two yes/no vectors (Cohen 1960); None where neither could differ.

    >>> kappa(np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool))
    0.5
    """
    if not len(a):
        return None
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    return None if chance == 1 else round(float(((a == b).mean() - chance) / (1 - chance)), 3)


def _interval(a: np.ndarray, b: np.ndarray) -> tuple[float | None, float | None]:
    random = np.random.default_rng(0)
    draws = (random.integers(0, len(a), len(a)) for _ in range(DRAWS if len(a) else 0))
    found = [k for draw in draws if (k := kappa(a[draw], b[draw])) is not None]
    if not found:
        return None, None
    low, high = np.percentile(found, [5, 95])
    return round(float(low), 3), round(float(high), 3)
