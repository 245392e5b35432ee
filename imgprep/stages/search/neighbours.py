"""What stands near what: a map, near duplicates, odd ones out, and labels that their neighbours do not share.

All of it follows from the ten nearest vectors of each picture.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.models.layout import flat_map
from imgprep.stages import images
from imgprep.stages.search.building import column_vectors

NEAREST_KEPT = 10
DUPLICATE_FROM = 0.97  # likeness (cosine)
ODDEST = 0.01  # the share of pictures farthest from their neighbours
DISAGREE_FROM = 0.8  # the share of neighbours with another label
COMPARED_AT_ONCE = 1_024
NEIGHBORS = pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float32()))])


def place_on_map(ds: Dataset | str, out: str, *, k: int = NEAREST_KEPT) -> Dataset:
    """The dataset with the columns `x`, `y` (a map, 0 to 1) and `neighbors`, as the dataset folder `out`.

    `neighbors` is {"ids": row numbers in its split, "distances": 1 - cosine}: the shape that Embedding Atlas reads.
    Null where a picture has no vector. Raises ValueError where none has one.
    """
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    tables = {}
    for split in ds.splits:
        table = ds.table(split)
        rows, vectors = known_vectors(ds, split)
        places, _ = flat_map(vectors)
        ids, likeness = nearest_rows(vectors, k)
        x: list[float | None] = [None] * table.num_rows
        y: list[float | None] = [None] * table.num_rows
        near: list[dict[str, Any] | None] = [None] * table.num_rows
        for place, row in enumerate(rows):
            x[row], y[row] = float(places[place, 0]), float(places[place, 1])
            near[row] = {"ids": rows[ids[place]].tolist(), "distances": (1 - likeness[place]).tolist()}
        table = table.drop_columns([c for c in ("x", "y", "neighbors") if c in table.column_names])
        table = table.append_column("x", pa.array(x, pa.float32())).append_column("y", pa.array(y, pa.float32()))
        tables[split] = table.append_column("neighbors", pa.array(near, NEIGHBORS))
    return images.copy(ds, tables, out)


def known_vectors(ds: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a split that have a vector, and these vectors, (n, dim) of length 1."""
    table = ds.table(split)
    vectors = column_vectors(table)
    if vectors is None:
        raise ValueError(f"{ds.folder} has no vectors in {split!r}: run tags.find with an embedder")
    rows = np.flatnonzero(vectors.any(1))
    found = vectors[rows]
    return rows, found / np.linalg.norm(found, axis=1, keepdims=True)


def nearest_rows(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) numbers of the nearest others and their likeness, the nearest first. Exact, by blocks."""
    count = len(vectors)
    k = min(k, count - 1)
    ids, likeness = np.zeros((count, k), np.int64), np.zeros((count, k), np.float32)
    for start in range(0, count if k > 0 else 0, COMPARED_AT_ONCE):
        block = vectors[start : start + COMPARED_AT_ONCE] @ vectors.T
        here = np.arange(len(block))
        block[here, start + here] = -2  # not itself
        best = np.argpartition(-block, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(block, best, 1), axis=1, kind="stable")
        ids[start : start + len(block)] = np.take_along_axis(best, order, 1)
        likeness[start : start + len(block)] = np.take_along_axis(block, ids[start : start + len(block)], 1)
    return ids, likeness


def odd_ones(ds: Dataset | str, *, label: str | None = None, k: int = NEAREST_KEPT) -> Any:
    """Pictures worth a look: a pandas frame (finding, image_id, split, other, other_split, score), the oddest first.

    finding: "duplicate" (nearly the same vector; across splits that is a leak), "outlier" (far from all), and with the
    name of a column of labels "label" (most neighbours have another one, `other`). They are candidates, no verdicts.
    """
    import pandas as pd

    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    ids, splits, labels, vectors = _all_rows(ds, label)
    near, likeness = nearest_rows(vectors, k)
    lines = _near_duplicates(ids, splits, near, likeness) + _far_ones(ids, splits, likeness)
    if label is not None:
        lines += _lonely_labels(ids, splits, labels, near)
    columns = ["finding", "image_id", "split", "other", "other_split", "score"]
    return pd.DataFrame(lines, columns=columns)


def _all_rows(ds: Dataset, label: str | None) -> tuple[list[str], list[str], list[Any], np.ndarray]:
    ids: list[str] = []
    splits: list[str] = []
    labels: list[Any] = []
    vectors: list[np.ndarray] = []
    for split in ds.splits:
        table = ds.table(split)
        if label is not None and label not in table.column_names:
            raise ValueError(f"no column {label!r}; {ds.folder} has {', '.join(table.column_names)}")
        rows, found = known_vectors(ds, split)
        kept = table.take(pa.array(rows))
        ids += kept["image_id"].to_pylist()
        splits += [split] * len(rows)
        labels += kept[label].to_pylist() if label else []
        vectors.append(found)
    return ids, splits, labels, np.concatenate(vectors)


def _near_duplicates(ids: list[str], splits: list[str], near: np.ndarray, likeness: np.ndarray) -> list[tuple]:
    found = []
    for row, column in np.argwhere(likeness >= DUPLICATE_FROM):
        other = int(near[row, column])
        if row < other or row not in near[other][likeness[other] >= DUPLICATE_FROM]:
            score = round(float(likeness[row, column]), 3)
            found.append(("duplicate", ids[row], splits[row], ids[other], splits[other], score))
    return sorted(found, key=lambda one: (-one[-1], one[1]))


def _far_ones(ids: list[str], splits: list[str], likeness: np.ndarray) -> list[tuple]:
    if not likeness.size:
        return []
    apart = 1 - likeness.mean(1)
    most = max(1, round(ODDEST * len(apart)))
    oddest = np.argsort(-apart, kind="stable")[:most]
    return [("outlier", ids[row], splits[row], "", "", round(float(apart[row]), 3)) for row in oddest]


def _lonely_labels(ids: list[str], splits: list[str], labels: list[Any], near: np.ndarray) -> list[tuple]:
    found = []
    for row, others in enumerate(near):
        theirs = [labels[other] for other in others if labels[other] is not None]
        if labels[row] is None or not theirs:
            continue
        commonest = max(sorted(set(theirs), key=str), key=theirs.count)
        share = theirs.count(commonest) / len(theirs)
        if commonest != labels[row] and share >= DISAGREE_FROM:
            found.append(("label", ids[row], splits[row], str(commonest), "", round(share, 2)))
    return sorted(found, key=lambda one: (-one[-1], one[1]))
