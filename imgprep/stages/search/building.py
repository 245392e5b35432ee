"""Making an index: from the Parquet files of a dataset folder into SQLite and flat files of
vectors.
"""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset import MANIFEST, Dataset
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.io import sql
from imgprep.stages.search.questions import read_fact, set_fact
from imgprep.stages.search.vectors import CODES_FILE, ROTATION_SAMPLE, Vectors

INDEX_FILE = "index.sqlite"
INDEX_FORMAT = "3"
SUM_OF = "crc32 of "  # and the name of a file of vectors: a fact
ADDED_TOGETHER = 20_000  # rows that are added together
LONGEST_BUILD_S = 24 * 3600
LONGEST_TEXT = 2_000  # characters of a picture's words that are looked through
TABLES = """
create table fact (name text primary key, value text);
create table deleted (id integer primary key);
create table added (id integer primary key, vector blob);
create virtual table words using fts5(body, tokenize='porter unicode61 remove_diacritics 2');
"""
HEAVY = ("embedding", "composition_scores", "tone_measures", "original")
NO_TEXT = {
    "sha256",
    "format",
    "status",
    "reason",
    "error",
    "file",
    "embedding_model",
    "uri",
    "etag",
    "split",
}


def index_folder(ds: Dataset, folder: str | None) -> Path:
    if folder is None and Folder(ds.folder).remote:
        raise ValueError(f"{ds.folder} is on a store: name a local folder= for its index")
    return Path(folder or Path(ds.folder) / PRIVATE / "search")


def dataset_version(ds: Dataset) -> str:
    """Of the dataset: the hash of its list of files."""
    return hashlib.sha256(Folder(ds.folder).get(MANIFEST) or b"").hexdigest()


def check_index_place(place: Path) -> None:
    """ValueError where a folder holds something else, which a new index would replace."""
    try:
        names = os.listdir(place)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        names = [place.name]
    if names and INDEX_FILE not in names and CODES_FILE not in names:
        raise ValueError(f"{place} is there already, and no index: name a new folder")


def put_whole(made: Path, place: Path) -> None:
    """Put a whole index where another may be. Whoever has the old one open goes on with it."""
    old = place.with_name(f"{made.name}-old")
    # Two renames, as a folder cannot take another's place
    # in one step; in between readers find none and build.
    with contextlib.suppress(FileNotFoundError):
        os.rename(place, old)
    with contextlib.suppress(OSError):  # another build was quicker: its index is as good
        os.rename(made, place)
    shutil.rmtree(old, ignore_errors=True)


def sweep_killed(place: Path) -> None:
    """Delete what killed builds left beside the index, once nobody can be at work on it."""
    # By age: a build of a million pictures may still be running.
    for left in place.parent.glob(f"{place.name}-*"):
        with contextlib.suppress(FileNotFoundError):  # another build is sweeping, too
            if time.time() - left.stat().st_mtime > LONGEST_BUILD_S:
                shutil.rmtree(left, ignore_errors=True)


def fill_index(db: sqlite3.Connection, folder: Path, ds: Dataset) -> None:
    """Everything of the dataset into an empty index. The caller commits."""
    model = ""
    count = 0
    store: Vectors | None = None
    rows = sql.Rows()
    for split in ds.splits:
        table = ok_rows(ds, split)
        for start in range(0, table.num_rows, ADDED_TOGETHER):
            some = table.slice(start, ADDED_TOGETHER)
            model = _one_model(some, model)
            store = _store_vectors(store, folder, some, count)
            _add_words(db, rows, some, split, count)
            count += some.num_rows
    # At the end: tags have their numbers only when all pictures have been seen.
    sql.fill_sqlite(db, rows)
    set_fact(db, "dataset", dataset_version(ds))
    set_fact(db, "format", INDEX_FORMAT)
    set_fact(db, "rows", str(count))
    set_fact(db, "model", model)
    set_fact(db, "dim", str(store.dim if store is not None else 0))
    if store is not None:
        set_sums(db, store)


def read_sums(db: sqlite3.Connection, store: Vectors) -> None:
    """So that what is appended goes on from there."""
    for name in store.sums:
        store.sums[name] = int(read_fact(db, SUM_OF + name) or 0)


def set_sums(db: sqlite3.Connection, store: Vectors) -> None:
    """Write down what the files of vectors hold. The caller commits."""
    for name, told in store.sums.items():
        set_fact(db, SUM_OF + name, str(told))


def _store_vectors(
    store: Vectors | None, folder: Path, some: pa.Table, before: int
) -> Vectors | None:
    """Append these rows' vectors; the first that there are make the store.

    before: rows before these.
    """
    vectors = column_vectors(some)
    if store is None:
        if vectors is None:
            return None
        # Without zeros: rows that have no vector would draw the middle of the set towards nothing.
        given = vectors[vectors.any(1)]
        store = Vectors.create(folder, given[:ROTATION_SAMPLE])
        # Earlier rows had none: the files begin with their
        # zeros, so that a row's number is its place.
        store.append(np.zeros((before, store.dim), np.float32))
    if vectors is None:
        vectors = np.zeros((some.num_rows, store.dim), np.float32)
    store.append(vectors)
    return store


def _add_words(
    db: sqlite3.Connection, rows: sql.Rows, some: pa.Table, split: str, before: int
) -> None:
    heavy = [name for name in HEAVY if name in some.column_names]
    bodies = []
    # + 1: SQLite's rowids begin at 1, vectors at 0.
    for number, picture in enumerate(some.drop_columns(heavy).to_pylist(), before + 1):
        rows.add(number, shown_fields(picture, split), picture.get("tags") or [])
        bodies.append((number, searched_text(picture)))
    db.executemany("insert into words (rowid, body) values (?, ?)", bodies)


def ok_rows(ds: Dataset, split: str) -> pa.Table:
    table = ds.table(split)
    return table.filter(pc.equal(table["status"], "ok"))


def _one_model(table: pa.Table, before: str) -> str:
    """The model of all vectors so far."""
    if "embedding_model" not in table.column_names:
        return before
    found = {name for name in table["embedding_model"].unique().to_pylist() if name}
    if before:
        found.add(before)
    if len(found) > 1:
        told = f"the vectors are of several models ({', '.join(sorted(found))})"
        raise ValueError(f"{told}: they cannot be compared")
    return found.pop() if found else ""


def column_vectors(table: pa.Table) -> np.ndarray | None:
    """(n, dim) float32 of the column `embedding`, zeros where there is none.

    None where no row has one.
    """
    if "embedding" not in table.column_names:
        return None
    column = table["embedding"].combine_chunks()
    # Lengths before values: a null list has no numbers, and flatten leaves it out.
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    dims = {*lengths.tolist()} - {0}
    if len(dims) > 1:
        raise ValueError(f"the vectors have {sorted(dims)} numbers: they cannot be compared")
    if not dims:
        return None
    dim = dims.pop()
    numbers = column.flatten().to_numpy()
    vectors = np.zeros((len(lengths), dim), np.float32)
    vectors[lengths > 0] = numbers.astype(np.float32).reshape(-1, dim)
    return vectors


def stacked_vectors(vectors: Sequence[Any], dim: int) -> np.ndarray:
    """(n, dim) float32 of vectors that may be None, which are zeros."""
    out = np.zeros((len(vectors), dim), np.float32)
    for row, vector in enumerate(vectors):
        if vector is not None:
            out[row] = vector
    return out


def image_fields(picture: dict[str, Any]) -> dict[str, Any]:
    """The columns of the table `image`; split and uri only where the picture has them."""
    found = {}
    for name in sql.IMAGE_COLUMNS[1:]:
        if name in picture or name not in ("split", "uri"):
            found[name] = picture.get(name)
    return found


def shown_fields(picture: dict[str, Any], split: str) -> dict[str, Any]:
    """The columns of the table `image` for a row of a dataset."""
    uri = picture.get("uri") or picture["source"] or ""
    return {"split": split, "uri": uri, **image_fields(picture)}


def searched_text(picture: dict[str, Any]) -> str:
    """What words are looked for in: the tags not rejected, the id, and the user's own columns of
    text.
    """
    entries = picture.get("tags") or []
    named = [entry["name"] for entry in entries if entry["accepted"] is not False]
    # Once each: a tag that three taggers gave would weigh three times in BM25.
    words = [*dict.fromkeys(named), picture["image_id"], picture.get("text")]
    for column, value in picture.items():
        if isinstance(value, str) and column not in NO_TEXT and column != "image_id":
            words.append(value)
    return " ".join(filter(None, words))[:LONGEST_TEXT]
