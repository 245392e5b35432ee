"""The pictures, tags and vectors of a dataset as the three tables of SQLite or PostgreSQL."""

from pathlib import Path
from typing import Any

import numpy as np

from imgprep.dataset import Dataset
from imgprep.io import sql
from imgprep.models.embedders import Embedder
from imgprep.stages.search.building import column_vectors, image_fields, ok_rows


def to_sqlite(ds: Dataset | str, path: str | Path) -> Path:
    """A new SQLite file with the tables image, tag and image_tag; the vectors are not in it."""
    rows, _, _ = table_rows(ds if isinstance(ds, Dataset) else Dataset(ds))
    sql.write_sqlite(str(path), rows)
    return Path(path)


def to_postgres(ds: Dataset | str, *, dsn_env: str, embedder: Embedder | None = None) -> None:
    """The three tables with vectors, in a database that has pgvector; all of it or nothing.

    dsn_env: the NAME of the variable with the connection string. embedder: gives tags their vectors, so that words
    find tags and tags find pictures; None takes the model of the pictures' vectors where it is installed.
    """
    rows, vectors, model = table_rows(ds if isinstance(ds, Dataset) else Dataset(ds))
    names = [name for _, _, name in rows.tags]
    tag_vectors = None
    if names and vectors.any() and (text_model := embedder or _model_of(model)) is not None:
        tag_vectors = text_model.text(names)
    sql.write_postgres(dsn_env, rows, vectors, tag_vectors)


def table_rows(ds: Dataset) -> tuple[sql.Rows, np.ndarray, str]:
    """The rows of the three tables, the vector of each picture (zeros where it has none), the vectors' model."""
    rows, found, model = sql.Rows(), [], ""
    for split in ds.splits:
        table = ok_rows(ds, split)
        vectors = column_vectors(table)
        found.append((table.num_rows, vectors))
        columns = [c for c in (*sql.IMAGE_COLUMNS, "source", "tags", "embedding_model") if c in table.column_names]
        for picture in table.select(columns).to_pylist():
            shown = {"split": split, "uri": picture.get("uri") or picture["source"] or "", **image_fields(picture)}
            rows.add(len(rows.images) + 1, shown, picture.get("tags") or [])
            model = picture.get("embedding_model") or model
    dim = next((v.shape[1] for _, v in found if v is not None), 1)
    whole = [np.zeros((count, dim), np.float32) if v is None else v for count, v in found]
    return rows, np.concatenate(whole), model


def _model_of(name: str) -> Any:
    try:
        model = Embedder(name.rpartition("@")[0])
    except ValueError:  # not on this machine
        return None
    return model if model.has_words else None
