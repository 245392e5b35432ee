"""The index of a dataset folder: SQLite with the three tables and its own full-text search, and the
vectors.
"""

import contextlib
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imgprep.dataset import Dataset
from imgprep.engine.progress import tell_while
from imgprep.io import sql
from imgprep.models.embedders import Embedder
from imgprep.project import short
from imgprep.stages.search.building import (
    INDEX_FILE,
    INDEX_FORMAT,
    TABLES,
    check_index_place,
    dataset_version,
    fill_index,
    index_folder,
    put_whole,
    read_sums,
    sweep_killed,
)
from imgprep.stages.search.changes import add_pictures, delete_pictures, erase_deleted
from imgprep.stages.search.checking import note_sums
from imgprep.stages.search.hits import Found, Hit
from imgprep.stages.search.meaning import Meaning
from imgprep.stages.search.originals import Originals
from imgprep.stages.search.questions import (
    filtered_rows,
    first_rows,
    name_list,
    names_of_rows,
    read_fact,
    row_of,
    rows_by_words,
    tag_counts,
    tag_scores,
)
from imgprep.stages.search.vectors import Vectors
from imgprep.words import number_of

FUSION = 60  # k of reciprocal rank fusion (Cormack 2009)
LEAST_LOOKED_AT = 50  # rows by meaning: the places of fewer would say little beside those of words
ONE_QUESTION = "search by text, like= or picture=, one at a time; tags= goes with each"
TAG_FIELDS = ("kind", "name", "score", "source", "version", "accepted")


class Index:
    """Opened by `search.open`.

    Not for two threads at once; any number of processes may read one.
    """

    def __init__(self, folder: Path, ds: Dataset | None = None):
        self.folder = folder
        self._db = sqlite3.connect(folder / INDEX_FILE)
        self._originals = Originals(ds, self._db) if ds is not None else None
        self._db.execute("pragma foreign_keys = on")
        self.model = read_fact(self._db, "model")
        self.vectors: Vectors | None = None
        self._meaning = Meaning(self._db, self.model)
        self._open_vectors()

    def made_of(self) -> tuple[str, str]:
        """The version of the dataset, and the format of what is written."""
        return read_fact(self._db, "dataset"), read_fact(self._db, "format")

    def add(self, pictures: Sequence[dict[str, Any]]) -> None:
        """More pictures, searchable at once: dicts of image_id, split, uri, width, height, sha256,
        tags, embedding, text.

        Does not touch the dataset: a rebuild forgets them, unless the dataset has them by then.
        """
        add_pictures(self._db, self.vectors, pictures)
        self._open_vectors()

    def delete(self, image_ids: Iterable[str]) -> int:
        """Take pictures out of every search, until a rebuild (see `search.without`); how many."""
        gone = delete_pictures(self._db, image_ids)
        self._forget_deleted()
        return gone

    def compact(self) -> int:
        """Let nothing of deleted pictures be left in the index's files, and say how many there are."""
        return erase_deleted(self._db, self.folder, self.vectors)

    def search(
        self,
        text: str = "",
        *,
        like: str | None = None,
        picture: np.ndarray | None = None,
        tags: Sequence[str] = (),
        without: Sequence[str] = (),
        split: str | None = None,
        n: int = 40,
        embedder: Embedder | None = None,
    ) -> Found:
        """The n best pictures.

        text: free words: found in tags, captions and ids, and by meaning where the vectors' model
        knows words. like: an image_id; picture: (H, W, 3) uint8: what looks like it. tags, without:
        names that each picture has, and has not. A text that means nothing here finds nothing:
        `note` says so, and `near_tags` what there is instead.
        """
        if type(n) is not int or n < 1:
            raise ValueError(f"n is a number of pictures, not {n!r}")
        if (like is not None) + (picture is not None) + bool(text.strip()) > 1:
            raise ValueError(ONE_QUESTION)
        rows = filtered_rows(self._db, tags, without, split)
        if like is not None or picture is not None:
            query = self._query(like, picture, embedder)
            return self._alike(query, rows, n, like)
        if text.strip():
            return self._by_text(text, rows, n, embedder)
        return self._listed(rows, name_list(tags), n)

    def tags(self, image_id: str) -> list[dict[str, Any]]:
        """The tags of a picture: kind, name, score, source, version, accepted."""
        found = self._db.execute(sql.tags_of_picture("sqlite"), (image_id,)).fetchall()
        return [dict(zip(TAG_FIELDS, row, strict=True)) for row in found]

    def facets(
        self, *, tags: Sequence[str] = (), without: Sequence[str] = ()
    ) -> list[tuple[str, str, int]]:
        """(kind, name, pictures) of what the pictures with these tags have, the commonest first."""
        return tag_counts(self._db, filtered_rows(self._db, tags, without, None))

    def near_tags(
        self, text: str, n: int = 5, *, embedder: Embedder | None = None
    ) -> list[tuple[str, float]]:
        """The tags of this set that mean what the text means, with their likeness."""
        model = embedder or self._text_model()
        return self._meaning.near_tags(text, n, model) if model else []

    def __len__(self) -> int:
        return self._db.execute("select count(*) from image").fetchone()[0]

    def __repr__(self) -> str:
        kinds = self._db.execute("select count(*) from tag").fetchone()[0]
        made = f", vectors of {self.model}" if self.vectors else ", no vectors"
        return f"{number_of(len(self), 'picture')}, {number_of(kinds, 'tag')}{made}"

    def _open_vectors(self) -> None:
        dim = int(read_fact(self._db, "dim"))
        if dim:
            count = int(read_fact(self._db, "rows"))
            self.vectors = Vectors(self.folder, dim, count, self._originals)
            read_sums(self._db, self.vectors)
            self._forget_deleted()

    def _forget_deleted(self) -> None:
        """Let vectors of deleted pictures be like nothing."""
        if self.vectors is not None:
            gone = self._db.execute("select id from deleted").fetchall()
            self.vectors.forget(np.array([row[0] - 1 for row in gone], np.int64))

    def _text_model(self) -> Embedder | None:
        return self._meaning.text_model() if self.vectors is not None else None

    def _query(
        self, like: str | None, picture: np.ndarray | None, embedder: Embedder | None
    ) -> np.ndarray:
        if self.vectors is None:
            raise ValueError("this dataset has no vectors: run tags.find with an embedder")
        if picture is None:
            assert like is not None
            return self.vectors.of(row_of(self._db, like))
        model = embedder or self._meaning.picture_model()
        return self._meaning.checked(model)(picture)

    def _alike(self, query: np.ndarray, rows: np.ndarray | None, n: int, like: str | None) -> Found:
        assert self.vectors is not None
        # One more than asked for: the picture itself may be among them.
        found, scores = self.vectors.nearest(query, n + 1, rows)
        named = names_of_rows(self._db, found)
        hits = [
            Hit(image_id, split, score, likeness=score)
            for (image_id, split), score in zip(named, scores.tolist(), strict=True)
            if image_id != like
        ]
        return Found(hits[:n], "" if hits else "no other picture has a vector")

    def _by_text(
        self, text: str, rows: np.ndarray | None, n: int, embedder: Embedder | None
    ) -> Found:
        """By words and by meaning, fused by rank: their scores cannot be compared, their places
        can.
        """
        by_words = rows_by_words(self._db, text)
        if rows is not None:
            allowed = set(rows.tolist())
            by_words = [row for row in by_words if row in allowed]
        model = embedder or self._text_model()
        by_vector: dict[int, float] = {}
        if model is not None and self.vectors is not None:
            most = max(n, LEAST_LOOKED_AT)
            by_vector = self._meaning.rows_by_meaning(self.vectors, model, text, most, rows)
        ranks = fused_ranks([by_words, list(by_vector)])
        best = sorted(ranks, key=lambda row: -ranks[row])[:n]
        if not best:
            return self._nothing(text, model)
        places = {row: place for place, row in enumerate(by_words)}
        named = names_of_rows(self._db, np.array(best))
        hits = []
        for (image_id, split), row in zip(named, best, strict=True):
            score = ranks[row] * FUSION
            hits.append(Hit(image_id, split, score, by_vector.get(row), places.get(row)))
        return Found(hits)

    def _nothing(self, text: str, model: Embedder | None) -> Found:
        named = self._meaning.near_tags(text, 5, model) if model else []
        near = tuple(name for name, _ in named)
        told = f"nothing here is like {text!r}"
        if near:
            told += f"; the nearest tags are {', '.join(near)}"
        return Found([], told, near)

    def _listed(self, rows: np.ndarray | None, tags: Sequence[str], n: int) -> Found:
        """Those that have the tags, by the first tag's score; else in the dataset's order."""
        scores: dict[int, float] = {}
        if rows is None:
            rows = first_rows(self._db, n)
        elif tags and len(rows):
            scores = tag_scores(self._db, tags[0], rows, n)
            rows = np.array([*scores], np.int64)
        rows = rows[:n]
        named = names_of_rows(self._db, rows)
        hits = [
            Hit(image_id, split, scores.get(row, 1.0))
            for (image_id, split), row in zip(named, rows.tolist(), strict=True)
        ]
        return Found(hits, "" if hits else "no picture has these tags")


def fused_ranks(lists: Sequence[Sequence[int]]) -> dict[int, float]:
    """Row -> the sum of 1 / (FUSION + place) over the lists that have it."""
    ranks: dict[int, float] = {}
    for ordered in lists:
        for place, row in enumerate(ordered, 1):
            ranks[row] = ranks.get(row, 0.0) + 1 / (FUSION + place)
    return ranks


def current_index(ds: Dataset, folder: str | None) -> Index | None:
    """What is there, if it is of this version of the dataset and of ours."""
    place = index_folder(ds, folder)
    if not (place / INDEX_FILE).is_file():
        return None
    # Whatever cannot be read as an index of ours is made anew.
    with contextlib.suppress(sqlite3.Error, ValueError, OSError):
        found = Index(place, ds)
        if found.made_of() == (dataset_version(ds), INDEX_FORMAT):
            return found
    return None


def build_index(ds: Dataset, folder: str | None = None) -> Index:
    """Made beside its place, and put there when it is whole."""
    place = index_folder(ds, folder)
    check_index_place(place)
    sweep_killed(place)
    # Named by process and chance: two that build at once must not write into one folder.
    made = place.with_name(f"{place.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    made.mkdir(parents=True)
    try:
        with contextlib.closing(sqlite3.connect(made / INDEX_FILE)) as db:
            db.executescript(sql.SQLITE + TABLES)
            with tell_while(f"search index of {short(ds.folder)}"):
                fill_index(db, made, ds)
            db.commit()
        note_sums(made)
        put_whole(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Index(place, ds)
