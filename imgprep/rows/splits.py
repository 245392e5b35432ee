"""Train, validation and test out of one table. A row's split follows from a hash of its key, so growth moves nobody."""

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.picture import similar
from imgprep.words import no_column, say

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split(
    tables: pa.Table | Mapping[str, pa.Table],
    shares: Mapping[str, float] = SHARES,
    *,
    key: str = "image_id",
    seed: int = 0,
    stratify: str | None = None,
    group: str | None = None,
    near_duplicates: str | None = None,
) -> dict[str, pa.Table]:
    """Deal the rows of all tables out to the splits of `shares`, keeping their order: for `images.download` or `copy`.

    tables: what `sources.read` or `hashed` gives, or one table of it.
    key: the column whose hash decides, whatever other rows there are, and wherever they are added.
    group: rows with one value of this column go together. So do copies (one source, or one picture), to where the first
        of them belongs: put new rows behind the old ones, and it is the new that follow.
    near_duplicates: the column of `hashed`; rows that differ in 6 of 64 bits or fewer are taken for copies. Where a new
        picture is near two groups, the later of these moves to the split of the earlier.
    stratify: a column of classes. Exact quotas would move old rows when new ones come; by the hash a split with share p
        gets n p +- 2 sqrt(n p (1 - p)) of a class's n rows, 19 times in 20. How far that is from exact is said, and
        which of the first 32 seeds comes nearest: choose one at the start, then keep it.
    Raises ValueError for a column that is not there, and for shares that do not add up to 1.
    """
    parts = np.array([*shares.values()], float)
    if not len(parts) or parts.min() <= 0 or abs(parts.sum() - 1) > 1e-6:
        raise ValueError(f"shares is {{split: share}}, all above 0 and 1 in sum, not {dict(shares)}")
    table = tables if isinstance(tables, pa.Table) else _one(tables)
    for name in filter(None, (key, stratify, group, near_duplicates)):
        if name not in table.column_names:
            raise ValueError(no_column(name, table.column_names, "the table"))
    frame = table.select([*{"source", key, group, "sha256", "status"} & {*table.column_names}]).to_pandas()
    is_ok = frame.get("status", pd.Series("ok", frame.index)) == "ok"  # all placeholders are one picture
    alike = [frame[c].where(is_ok) if c == "sha256" else frame[c] for c in frame if c != "status"]
    if near_duplicates:
        near = similar.near(table[near_duplicates].fill_null(0).to_numpy() * is_ok.to_numpy())
        alike.append(pd.Series({row: i for i, rows in enumerate(near) for row in rows}).reindex(frame.index))
    # Not by pandas: there 1 becomes 1.0 as soon as a row has none.
    names = zip(*(table[name].cast(pa.string()).to_pylist() for name in (group or key, key)), strict=True)
    digests = b"".join(hashlib.blake2b((g or k or "").encode(), digest_size=8).digest() for g, k in names)
    drawn = np.frombuffer(digests, np.uint64)[_first(alike)]
    places = _places(drawn, seed, parts)
    if stratify:
        classes = pd.factorize(table[stratify].to_pandas().astype(str))[0]
        away = [_away(classes, _places(drawn, s, parts), parts) for s in range(32)]
        text = f"{_away(classes, places, parts):.0f} of {len(table):,} rows are not where exact shares per {stratify}"
        say(f"split: {text} would have them; nearest of 32 is seed={np.argmin(away)}, with {min(away):.0f}")
    return {name: table.take(np.flatnonzero(places == i)) for i, name in enumerate(shares)}


def balance(tables: Mapping[str, pa.Table], column: str) -> pd.DataFrame:
    """Rows per class of a column (the largest first) and split."""
    counts = {split: table[column].to_pandas().astype(str).value_counts() for split, table in tables.items()}
    frame = pd.DataFrame(counts).fillna(0).astype(int)
    return frame.loc[frame.sum(axis=1).sort_values(ascending=False, kind="stable").index]


def hashed(ds: Dataset) -> dict[str, pa.Table]:
    """The tables of a dataset folder, with `similar.look` of each picture (0: there is none) as the column `phash`."""
    tables = {split: ds.table(split) for split in ds.splits}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, table in tables.items():
            chunks = [range(start, min(len(table), start + 100)) for start in range(0, len(table), 100)]
            values = [value for rows in chunks for value in pool.map(similar.look, ds.pictures(split, rows))]
            tables[split] = table.append_column("phash", pa.array(values, pa.uint64()))
    return tables


def _one(tables: Mapping[str, pa.Table]) -> pa.Table:
    """The tables as one. An id that an earlier table has, too, gets the name of its own behind it."""
    seen: set[str] = set()
    pieces = []
    for split, table in tables.items():
        ids = [f"{name}-{split}" if name in seen else name for name in table["image_id"].to_pylist()]
        seen.update(ids)
        pieces.append(table.set_column(table.column_names.index("image_id"), "image_id", pa.array(ids, pa.string())))
    return pa.concat_tables(pieces, promote_options="default")


def _first(alike: list[pd.Series]) -> np.ndarray:
    """For each row the first of those that equal values connect it with, in however many steps; null is alone."""
    rows = len(alike[0])
    codes = [pd.factorize(column.where(column.astype(str) != ""))[0] for column in alike]
    codes = [np.where(c < 0, rows + np.arange(rows), c) for c in codes]
    first, before = np.arange(rows), None
    while before is None or (first != before).any():
        before = first
        for c in codes:
            lowest = np.full(2 * rows, rows)
            np.minimum.at(lowest, c, first)
            first = lowest[c]
    return first


def _places(drawn: np.ndarray, seed: int, shares: np.ndarray) -> np.ndarray:
    """The number of each row's split: its hash, mixed with the seed (splitmix64, Steele 2014), as a share of 1."""
    x = drawn + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.searchsorted(np.cumsum(shares)[:-1], (x ^ (x >> np.uint64(31))) / 2.0**64, side="right")


def _away(classes: np.ndarray, places: np.ndarray, shares: np.ndarray) -> float:
    """How many rows would have to move for every class to have exactly these shares."""
    counts = np.zeros((classes.max(initial=0) + 1, len(shares)))
    np.add.at(counts, (classes, places), 1)
    return abs(counts - counts.sum(1, keepdims=True) * shares).sum() / 2
