"""Train, validation and test out of one table. A row's split follows from a hash of its key, so
growth moves nobody.
"""

import hashlib
import os
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.picture import similar
from imgprep.words import no_column, say

DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
SEEDS = 32  # so many are tried for `report_classes`
PICTURES_AT_ONCE = 100  # read and hashed together


def split(
    tables: pa.Table | Mapping[str, pa.Table],
    shares: Mapping[str, float] = DEFAULT_SHARES,
    *,
    key: str = "image_id",
    seed: int = 0,
    report_classes: str | None = None,
    group: str | None = None,
    near_duplicates: str | None = None,
    stratify: str | None = None,
) -> dict[str, pa.Table]:
    """Deal the rows of all tables out to the splits of `shares`, keeping their order: for
    `images.download` or `copy`.

    tables: what `sources.read` or `hashed` gives, or one table of it.
    key: the column whose hash decides, whatever other rows there are, and wherever they are added.
    group: rows with one value of this column go together. So do copies (one source, or one
        picture), to where the first of them belongs: put new rows behind the old ones, and it is
        the new that follow.
    near_duplicates: the column of `hashed`; rows that differ in 6 of 64 bits or fewer are taken for
        copies. Where a new picture is near two groups, the later of these moves to the split of the
        earlier.
    report_classes: a column of classes. Nothing moves for its sake: exact quotas would move old
        rows when new ones come. By the hash a split with share p gets n p +- 2 sqrt(n p (1 - p)) of
        a class's n rows, 19 times in 20. How far that is from exact is said, and which of the first
        32 seeds comes nearest: choose one at the start, then keep it.
    stratify: what report_classes was called when it sounded as if rows moved; it goes with the next
        release.
    Raises ValueError for a column that is not there, and for shares that do not add up to 1.
    """
    parts = _checked_shares(shares)
    table = tables if isinstance(tables, pa.Table) else _one_table(tables)
    if stratify:
        warnings.warn(
            "splits.split(stratify=) moves no row: it is report_classes= now",
            FutureWarning,
            stacklevel=2,
        )
        report_classes = stratify
    for name in filter(None, (key, report_classes, group)):
        _check_column(name, table)
    if near_duplicates:
        _check_column(near_duplicates, table, fix="; splits.hashed(dataset) makes it")
    together = _first_alike(_likenesses(table, key, group, near_duplicates))
    drawn = _row_hashes(table, key, group)[together]
    places = _split_numbers(drawn, seed, parts)
    if report_classes:
        _say_how_exact(table, report_classes, drawn, seed, parts)
    return {name: table.take(np.flatnonzero(places == place)) for place, name in enumerate(shares)}


def balance(tables: Mapping[str, pa.Table], column: str) -> pd.DataFrame:
    """Rows per class of a column (the largest first) and split."""
    counts = {
        name: table[column].to_pandas().astype(str).value_counts() for name, table in tables.items()
    }
    frame = pd.DataFrame(counts).fillna(0).astype(int)
    totals = frame.sum(axis=1)
    return frame.loc[totals.sort_values(ascending=False, kind="stable").index]


def hashed(ds: Dataset) -> dict[str, pa.Table]:
    """The tables of a dataset folder, with `similar.look` of each picture (0: there is none) as the
    column `phash`.
    """
    tables = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name in ds.splits:
            table = ds.table(name)
            looks: list[int] = []
            for start in range(0, len(table), PICTURES_AT_ONCE):
                rows = range(start, min(len(table), start + PICTURES_AT_ONCE))
                looks += pool.map(similar.look, ds.pictures(name, rows))
            tables[name] = table.append_column("phash", pa.array(looks, pa.uint64()))
    return tables


def _checked_shares(shares: Mapping[str, float]) -> np.ndarray:
    parts = np.array([*shares.values()], float)
    if not len(parts) or parts.min() <= 0 or abs(parts.sum() - 1) > 1e-6:
        rule = "{split: share}, all above 0 and 1 in sum"
        raise ValueError(f"shares is {rule}, not {dict(shares)}")
    return parts


def _check_column(name: str, table: pa.Table, *, fix: str = "") -> None:
    if name not in table.column_names:
        raise ValueError(no_column(name, table.column_names, "the table") + fix)


def _one_table(tables: Mapping[str, pa.Table]) -> pa.Table:
    """The tables as one. An id that an earlier table has too gets its split's name behind it."""
    seen: set[str] = set()
    pieces = []
    for name, table in tables.items():
        ids = []
        for one in table["image_id"].to_pylist():
            ids.append(f"{one}-{name}" if one in seen else one)
        seen.update(ids)
        place = table.column_names.index("image_id")
        pieces.append(table.set_column(place, "image_id", pa.array(ids, pa.string())))
    return pa.concat_tables(pieces, promote_options="default")


def _likenesses(table: pa.Table, key: str, group: str | None, near: str | None) -> list[pd.Series]:
    """Columns of which equal values mean that rows belong together;
    null and "" belong to nothing.
    """
    wanted = {"source", key, group, "sha256", "status"} & {*table.column_names}
    frame = table.select([*wanted]).to_pandas()
    # All placeholders are one picture.
    is_ok = frame.get("status", pd.Series("ok", frame.index)) == "ok"
    alike = []
    for name in frame.columns.drop("status", errors="ignore"):
        alike.append(frame[name].where(is_ok) if name == "sha256" else frame[name])
    if near:
        looks = table[near].fill_null(0).to_numpy() * is_ok.to_numpy()
        groups = similar.near(looks, mirrored=True)
        group_of = {row: number for number, rows in enumerate(groups) for row in rows}
        alike.append(pd.Series(group_of).reindex(frame.index))
    return alike


def _first_alike(alike: list[pd.Series]) -> np.ndarray:
    """For each row the first of those that equal values connect it with, in however many steps;
    null is alone.
    """
    rows = len(alike[0])
    codes = []
    for column in alike:
        code = pd.factorize(column.where(column.astype(str) != ""))[0]
        # Alone: a number that no other row has, above all real ones.
        codes.append(np.where(code < 0, rows + np.arange(rows), code))
    first = np.arange(rows)
    before = None
    # Until nothing moves: a is like b by source, b like c by bytes.
    while before is None or (first != before).any():
        before = first
        for code in codes:
            lowest = np.full(2 * rows, rows)
            np.minimum.at(lowest, code, first)
            first = lowest[code]
    return first


def _row_hashes(table: pa.Table, key: str, group: str | None) -> np.ndarray:
    """64 bits of the hash of each row's group, or of its key where it has none."""
    # Not by pandas: there 1 becomes 1.0 as soon as a row has none.
    keys = table[key].cast(pa.string()).to_pylist()
    groups = table[group].cast(pa.string()).to_pylist() if group else keys
    names = [one or other or "" for one, other in zip(groups, keys, strict=True)]
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, np.uint64)


def _split_numbers(drawn: np.ndarray, seed: int, shares: np.ndarray) -> np.ndarray:
    """The number of each row's split: its hash, mixed with the seed (splitmix64, Steele 2014), as a
    share of 1.
    """
    x = drawn + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    share = (x ^ (x >> np.uint64(31))) / 2.0**64
    # right: a hash that is just on the border belongs to the next split, as with half-open ranges.
    return np.searchsorted(np.cumsum(shares)[:-1], share, side="right")


def _say_how_exact(
    table: pa.Table, column: str, drawn: np.ndarray, seed: int, shares: np.ndarray
) -> None:
    classes = pd.factorize(table[column].to_pandas().astype(str))[0]
    here = _away(classes, _split_numbers(drawn, seed, shares), shares)
    away = [_away(classes, _split_numbers(drawn, other, shares), shares) for other in range(SEEDS)]
    say(
        f"split: {here:.0f} of {len(table):,} rows are not where exact shares per {column} "
        f"would have them; nearest of {SEEDS} is seed={np.argmin(away)}, with {min(away):.0f}"
    )


def _away(classes: np.ndarray, places: np.ndarray, shares: np.ndarray) -> float:
    """How many rows would have to move for every class to have exactly these shares."""
    counts = np.zeros((classes.max(initial=0) + 1, len(shares)))
    np.add.at(counts, (classes, places), 1)
    exact = counts.sum(1, keepdims=True) * shares
    return float(abs(counts - exact).sum() / 2)
