"""The pictures, tags and vectors of a dataset as the three tables of SQLite or PostgreSQL."""

from pathlib import Path
from typing import Any

import numpy as np

from imgprep.dataset import Dataset
from imgprep.io import sql
from imgprep.models.embedders import Embedder
from imgprep.stages.search.building import column_vectors, ok_rows, shown_fields

TABLE_COLUMNS = (*sql.IMAGE_COLUMNS, "source", "tags", "embedding_model")


def to_sqlite(ds: Dataset | str, path: str | Path) -> Path:
    """A new SQLite file with the tables image, tag and image_tag; the vectors are not in it."""
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    rows, _, _ = table_rows(ds)
    sql.write_sqlite(str(path), rows)
    return Path(path)


def to_postgres(ds: Dataset | str, *, dsn_env: str, embedder: Embedder | None = None) -> None:
    """The three tables with vectors, in a database that has pgvector; all of it or nothing.

    dsn_env: the NAME of the variable with the connection string. embedder: gives tags their
    vectors, so that words find tags and tags find pictures; None takes the model of the pictures'
    vectors where it is installed.
    """
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    rows, vectors, model = table_rows(ds)
    names = [name for _, _, name in rows.tags]
    tag_vectors = None
    if names and vectors.any():
        text_model = embedder or _model_of(model)
        if text_model is not None:
            tag_vectors = text_model.text(names)
    sql.write_postgres(dsn_env, rows, vectors, tag_vectors)


def table_rows(ds: Dataset) -> tuple[sql.Rows, np.ndarray, str]:
    """The rows of the three tables, the pictures' vectors, and the model that made them.

    Zeros where a picture has no vector.
    """
    rows = sql.Rows()
    found: list[tuple[int, np.ndarray | None]] = []
    model = ""
    for split in ds.splits:
        table = ok_rows(ds, split)
        found.append((table.num_rows, column_vectors(table)))
        columns = [name for name in TABLE_COLUMNS if name in table.column_names]
        for picture in table.select(columns).to_pylist():
            number = len(rows.images) + 1
            rows.add(number, shown_fields(picture, split), picture.get("tags") or [])
            model = picture.get("embedding_model") or model
    return rows, _stacked(found), model


def _stacked(found: list[tuple[int, np.ndarray | None]]) -> np.ndarray:
    """The vectors of all splits, each with its number of rows; at least one number wide."""
    dims = [vectors.shape[1] for _, vectors in found if vectors is not None]
    dim = dims[0] if dims else 1
    whole = []
    for count, vectors in found:
        whole.append(np.zeros((count, dim), np.float32) if vectors is None else vectors)
    return np.concatenate(whole)


def _model_of(name: str) -> Any:
    try:
        model = Embedder(name.rpartition("@")[0])
    except ValueError:  # not on this machine
        return None
    return model if model.has_words else None
