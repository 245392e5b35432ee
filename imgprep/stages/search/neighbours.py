"""What stands near what: a map, near duplicates, odd ones out, and labels that their neighbours do
not share.

All of it follows from the ten nearest vectors of each picture.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    """The dataset with a map and each picture's neighbours, as the dataset folder `out`.

    Columns `x` and `y` (0 to 1), and `neighbors`: {"ids": row numbers in its split as
    `load_dataset` gives it, "distances": 1 - cosine}, the shape that Embedding Atlas reads. Null
    where a picture has no vector. Raises ValueError where none has one.
    """
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    tables = {split: _mapped_table(ds, split, k) for split in ds.splits}
    return images.copy(ds, tables, out)


def _mapped_table(ds: Dataset, split: str, k: int) -> pa.Table:
    table = ds.table(split)
    rows, vectors = known_vectors(ds, split)
    is_ok = pc.equal(table["status"], "ok").to_numpy()
    # Readers see the rows that are ok alone, and count these.
    number = np.cumsum(is_ok) - 1
    vectors = vectors[is_ok[rows]]
    rows = rows[is_ok[rows]]
    places, _ = flat_map(vectors)
    ids, likeness = nearest_rows(vectors, k)
    x: list[float | None] = [None] * table.num_rows
    y: list[float | None] = [None] * table.num_rows
    near: list[dict[str, Any] | None] = [None] * table.num_rows
    for place, row in enumerate(rows):
        x[row] = float(places[place, 0])
        y[row] = float(places[place, 1])
        others = number[rows[ids[place]]]
        distances = 1 - likeness[place]
        near[row] = {"ids": others.tolist(), "distances": distances.tolist()}
    columns = {
        "x": pa.array(x, pa.float32()),
        "y": pa.array(y, pa.float32()),
        "neighbors": pa.array(near, NEIGHBORS),
    }
    # A map made before is replaced.
    table = table.drop_columns([name for name in columns if name in table.column_names])
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def known_vectors(ds: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a split that have a vector, and these vectors, (n, dim) of length 1."""
    table = ds.table(split)
    vectors = column_vectors(table)
    if vectors is None:
        raise ValueError(f"{ds.folder} has no vectors in {split!r}: run tags.find with an embedder")
    rows = np.flatnonzero(vectors.any(1))
    found = vectors[rows]
    # Of length 1: then a dot product is the cosine.
    return rows, found / np.linalg.norm(found, axis=1, keepdims=True)


def nearest_rows(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) numbers of the nearest others and their likeness, the nearest first.

    Exact, by blocks.
    """
    count = len(vectors)
    k = min(k, count - 1)
    ids = np.zeros((count, k), np.int64)
    likeness = np.zeros((count, k), np.float32)
    if k <= 0:  # one picture, or none, has no others
        return ids, likeness
    for start in range(0, count, COMPARED_AT_ONCE):
        part = slice(start, min(start + COMPARED_AT_ONCE, count))
        block = vectors[part] @ vectors.T
        here = np.arange(len(block))
        block[here, start + here] = -2  # not itself
        # argpartition first: to sort all of a row for ten places takes most of the time.
        best = np.argpartition(-block, k - 1, axis=1)[:, :k]
        scores = np.take_along_axis(block, best, 1)
        order = np.argsort(-scores, axis=1, kind="stable")
        ids[part] = np.take_along_axis(best, order, 1)
        likeness[part] = np.take_along_axis(scores, order, 1)
    return ids, likeness


def odd_ones(ds: Dataset | str, *, label: str | None = None, k: int = NEAREST_KEPT) -> Any:
    """Pictures worth a look, the oddest first: a pandas frame.

    Columns finding, image_id, split, other, other_split, score. finding: "duplicate" (nearly the
    same vector; across splits that is a leak), "outlier" (far from all), and with the name of a
    column of labels "label" (most neighbours have another one, `other`). They are candidates, no
    verdicts.
    """
    import pandas as pd

    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    known = _all_known(ds, label)
    near, likeness = nearest_rows(known.vectors, k)
    lines = _near_duplicates(known, near, likeness)
    lines += _far_ones(known, likeness)
    if label is not None:
        lines += _lonely_labels(known, near)
    columns = ["finding", "image_id", "split", "other", "other_split", "score"]
    return pd.DataFrame(lines, columns=columns)


@dataclass(frozen=True)
class _KnownPictures:
    """Those that have a vector, of all splits together."""

    ids: list[str]
    splits: list[str]
    labels: list[Any]  # empty where no column of labels was named
    vectors: np.ndarray  # (n, dim), of length 1


def _all_known(ds: Dataset, label: str | None) -> _KnownPictures:
    ids: list[str] = []
    splits: list[str] = []
    labels: list[Any] = []
    vectors: list[np.ndarray] = []
    for split in ds.splits:
        table = ds.table(split)
        if label is not None and label not in table.column_names:
            columns = ", ".join(table.column_names)
            raise ValueError(f"no column {label!r}; {ds.folder} has {columns}")
        rows, found = known_vectors(ds, split)
        kept = table.take(pa.array(rows))
        ids += kept["image_id"].to_pylist()
        splits += [split] * len(rows)
        if label:
            labels += kept[label].to_pylist()
        vectors.append(found)
    return _KnownPictures(ids, splits, labels, np.concatenate(vectors))


def _near_duplicates(known: _KnownPictures, near: np.ndarray, likeness: np.ndarray) -> list[tuple]:
    found = []
    is_same = likeness >= DUPLICATE_FROM
    for row, column in np.argwhere(is_same):
        other = int(near[row, column])
        # A pair is told once; but where only one of the two has the other among its k, by that one.
        if row < other or row not in near[other][is_same[other]]:
            score = round(float(likeness[row, column]), 3)
            both = (known.ids[row], known.splits[row], known.ids[other], known.splits[other])
            found.append(("duplicate", *both, score))
    return sorted(found, key=_worst_first)


def _worst_first(line: tuple) -> tuple[float, str]:
    return -line[-1], line[1]


def _far_ones(known: _KnownPictures, likeness: np.ndarray) -> list[tuple]:
    if not likeness.size:
        return []
    apart = 1 - likeness.mean(1)
    most = max(1, round(ODDEST * len(apart)))
    oddest = np.argsort(-apart, kind="stable")[:most]
    found = []
    for row in oddest:
        score = round(float(apart[row]), 3)
        found.append(("outlier", known.ids[row], known.splits[row], "", "", score))
    return found


def _lonely_labels(known: _KnownPictures, near: np.ndarray) -> list[tuple]:
    found = []
    labels = known.labels
    for row, others in enumerate(near):
        theirs = [labels[other] for other in others if labels[other] is not None]
        if labels[row] is None or not theirs:
            continue
        # sorted first: where two labels are as common, the same one is named each time.
        commonest = max(sorted(set(theirs), key=str), key=theirs.count)
        share = theirs.count(commonest) / len(theirs)
        if commonest != labels[row] and share >= DISAGREE_FROM:
            this = (known.ids[row], known.splits[row])
            found.append(("label", *this, str(commonest), "", round(share, 2)))
    return sorted(found, key=_worst_first)
