"""Making an index: from the Parquet files of a dataset folder into SQLite and flat files of vectors."""

import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset import MANIFEST, Dataset
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.io import sql
from imgprep.stages.search.vectors import ROTATION_SAMPLE, Vectors

INDEX_FORMAT = "1"
ADDED_TOGETHER = 20_000  # rows that are added together
LONGEST_TEXT = 2_000  # characters of a picture's words that are looked through
TABLES = """
create table fact (name text primary key, value text);
create table deleted (id integer primary key);
create virtual table words using fts5(body, tokenize='porter unicode61 remove_diacritics 2');
"""


def index_folder(ds: Dataset, folder: str | None) -> Path:
    if folder is None and Folder(ds.folder).remote:
        raise ValueError(f"{ds.folder} is on a store: name a local folder= for its index")
    return Path(folder or Path(ds.folder) / PRIVATE / "search")


def dataset_version(ds: Dataset) -> str:
    """Of the dataset: the hash of its list of files."""
    return hashlib.sha256(Folder(ds.folder).get(MANIFEST) or b"").hexdigest()


def put_whole(made: Path, place: Path) -> None:
    """Put a whole index where another may be. Whoever has the old one open goes on with it."""
    old = place.with_name(f"{made.name}-old")
    with contextlib.suppress(FileNotFoundError):
        os.rename(place, old)
    with contextlib.suppress(OSError):  # another build was quicker: its index is as good
        os.rename(made, place)
    shutil.rmtree(old, ignore_errors=True)


def fill_index(db: sqlite3.Connection, folder: Path, ds: Dataset) -> None:
    model, store, count = "", None, 0
    rows = sql.Rows()
    for split in ds.splits:
        table = ok_rows(ds, split)
        for start in range(0, table.num_rows, ADDED_TOGETHER):
            some = table.slice(start, ADDED_TOGETHER)
            model = _one_model(some, model)
            vectors = column_vectors(some)
            if store is None and vectors is not None:
                store = Vectors.create(folder, vectors[vectors.any(1)][:ROTATION_SAMPLE])
                store.append(np.zeros((count, store.dim), np.float32))
            bodies = []
            for picture in some.drop_columns([c for c in _HEAVY if c in some.column_names]).to_pylist():
                count += 1
                shown = {"split": split, "uri": picture.get("uri") or picture["source"] or "", **image_fields(picture)}
                rows.add(count, shown, picture.get("tags") or [])
                bodies.append((count, searched_text(picture)))
            db.executemany("insert into words (rowid, body) values (?, ?)", bodies)
            if store is not None:
                empty = np.zeros((some.num_rows, store.dim), np.float32)
                store.append(empty if vectors is None else vectors)
    sql.fill_sqlite(db, rows)
    facts = {"dataset": dataset_version(ds), "format": INDEX_FORMAT, "rows": count, "model": model}
    facts["dim"] = store.dim if store is not None else 0
    for name, value in facts.items():
        set_fact(db, name, str(value))


def ok_rows(ds: Dataset, split: str) -> pa.Table:
    table = ds.table(split)
    return table.filter(pc.equal(table["status"], "ok"))


_HEAVY = ("embedding", "composition_scores", "tone_measures", "original")
_NO_TEXT = {"sha256", "format", "status", "reason", "error", "file", "embedding_model", "uri", "etag", "split"}


def _one_model(table: pa.Table, before: str) -> str:
    if "embedding_model" not in table.column_names:
        return before
    found = {m for m in table["embedding_model"].unique().to_pylist() if m} | ({before} if before else set())
    if len(found) > 1:
        raise ValueError(f"the vectors are of several models ({', '.join(sorted(found))}): they cannot be compared")
    return found.pop() if found else ""


def column_vectors(table: pa.Table) -> np.ndarray | None:
    """(n, dim) float32 of the column `embedding`, zeros where there is none; None where no row has one."""
    if "embedding" not in table.column_names:
        return None
    column = table["embedding"].combine_chunks()
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    dims = {*lengths.tolist()} - {0}
    if len(dims) > 1:
        raise ValueError(f"the vectors have {sorted(dims)} numbers: they cannot be compared")
    if not dims:
        return None
    vectors = np.zeros((len(lengths), dims.pop()), np.float32)
    vectors[lengths > 0] = column.flatten().to_numpy().astype(np.float32).reshape(-1, vectors.shape[1])
    return vectors


def stacked_vectors(vectors: Sequence[Any], dim: int) -> np.ndarray:
    out = np.zeros((len(vectors), dim), np.float32)
    for row, vector in enumerate(vectors):
        if vector is not None:
            out[row] = vector
    return out


def image_fields(picture: dict[str, Any]) -> dict[str, Any]:
    return {
        name: picture.get(name) for name in sql.IMAGE_COLUMNS[1:] if name in picture or name not in ("split", "uri")
    }


def searched_text(picture: dict[str, Any]) -> str:
    """What words are looked for in: the tags not rejected, the id, and the user's own columns of text."""
    named = [t["name"] for t in picture.get("tags") or [] if t["accepted"] is not False]
    words = [*dict.fromkeys(named), picture["image_id"], picture.get("text")]
    words += [v for k, v in picture.items() if isinstance(v, str) and k not in _NO_TEXT and k != "image_id"]
    return " ".join(filter(None, words))[:LONGEST_TEXT]


def set_fact(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute("insert or replace into fact values (?, ?)", (name, value))


def json_numbers(numbers: np.ndarray) -> str:
    return "[" + ",".join(map(str, numbers.tolist())) + "]"
