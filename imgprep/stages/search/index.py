"""The index of a dataset folder: SQLite with the three tables and its own full-text search, and the vectors."""

import contextlib
import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imgprep.dataset import Dataset
from imgprep.io import sql
from imgprep.models.embedders import Embedder
from imgprep.stages.search.building import (
    INDEX_FORMAT,
    TABLES,
    dataset_version,
    fill_index,
    image_fields,
    index_folder,
    json_numbers,
    put_whole,
    searched_text,
    set_fact,
    stacked_vectors,
)
from imgprep.stages.search.nonsense import least_likeness
from imgprep.stages.search.vectors import Vectors

FUSION = 60  # k of reciprocal rank fusion (Cormack 2009)
STOP_WORDS = frozenset("a an the of on in with and at to for is are".split())


@dataclass(frozen=True)
class Hit:
    """A picture that was found: which, and why."""

    image_id: str
    split: str
    score: float
    likeness: float | None = None  # cosine, where vectors found it
    words: int | None = None  # its place among those that words found
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """Hits, the best first; and where there are none, what is near."""

    hits: list[Hit] = field(default_factory=list)
    note: str = ""
    near_tags: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    @property
    def ids(self) -> list[str]:
        return [hit.image_id for hit in self.hits]

    def __repr__(self) -> str:
        shown = ", ".join(f"{hit.image_id} {hit.score:.2f}" for hit in self.hits[:5])
        return f"{len(self.hits)} pictures: {shown}" if self.hits else self.note


class Index:
    """Opened by `search.open`. Not for two threads at once; any number of processes may read one."""

    def __init__(self, folder: Path, ds: Dataset | None = None):
        self.folder, self._ds = folder, ds
        self._db = sqlite3.connect(folder / "index.sqlite")
        self._db.execute("pragma foreign_keys = on")
        self.model = self._fact("model")
        dim, count = int(self._fact("dim")), int(self._fact("rows"))
        self.vectors = Vectors(folder, dim, count) if dim else None
        self._forget()
        self._embedder: Embedder | None = None

    # Making ---------------------------------------------------------------------------------------

    @classmethod
    def current(cls, ds: Dataset, folder: str | None) -> "Index | None":
        """What is there, if it is of this version of the dataset and of ours."""
        place = index_folder(ds, folder)
        if not (place / "index.sqlite").is_file():
            return None
        with contextlib.suppress(sqlite3.Error, ValueError, OSError):
            found = cls(place, ds)
            if (found._fact("dataset"), found._fact("format")) == (dataset_version(ds), INDEX_FORMAT):
                return found
        return None

    @classmethod
    def build(cls, ds: Dataset, folder: str | None = None) -> "Index":
        place = index_folder(ds, folder)
        made = place.with_name(f"{place.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        made.mkdir(parents=True)
        try:
            with contextlib.closing(sqlite3.connect(made / "index.sqlite")) as db:
                db.executescript(sql.SQLITE + TABLES)
                fill_index(db, made, ds)
                db.commit()
            put_whole(made, place)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return cls(place, ds)

    def add(self, pictures: Sequence[dict[str, Any]]) -> None:
        """More pictures, searchable at once: dicts of image_id, split, uri, width, height, sha256, tags,
        embedding, text.

        Does not touch the dataset: a rebuild forgets them, unless the dataset has them by then.
        """
        first = int(self._fact("rows"))
        rows = sql.Rows()
        known = {tag[1:]: tag[0] for tag in self._db.execute("select id, kind, name from tag")}
        rows._tags.update(known)
        vectors = []
        for number, one in enumerate(pictures):
            rows.add(first + number + 1, {"split": "train", "uri": "", **image_fields(one)}, one.get("tags") or [])
            vectors.append(one.get("embedding"))
        try:
            with self._db:
                new = [tag for tag in rows.tags if tag[1:] not in known]
                self._db.executemany("insert into tag (id, kind, name) values (?, ?, ?)", new)
                self._insert(rows, pictures, first)
                if self.vectors is not None:
                    self.vectors.append(stacked_vectors(vectors, self.vectors.dim))
                set_fact(self._db, "rows", str(first + len(pictures)))
        except sqlite3.IntegrityError as e:
            raise ValueError(f"a picture is in the index already, or named twice: {e}") from None
        if self.vectors is not None:
            self.vectors = Vectors(self.folder, self.vectors.dim, first + len(pictures))
            self._forget()

    def _forget(self) -> None:
        """Let vectors of deleted pictures be like nothing."""
        if self.vectors is not None:
            gone = self._db.execute("select id from deleted").fetchall()
            self.vectors.forget(np.array([row[0] - 1 for row in gone], np.int64))

    def _insert(self, rows: sql.Rows, pictures: Sequence[dict[str, Any]], first: int) -> None:
        for table, columns, values in sql.table_contents(rows):
            if table != "tag":
                marks = ", ".join("?" * len(columns))
                self._db.executemany(f"insert into {table} ({', '.join(columns)}) values ({marks})", values)
        bodies = [(first + n + 1, searched_text(one)) for n, one in enumerate(pictures)]
        self._db.executemany("insert into words (rowid, body) values (?, ?)", bodies)

    def delete(self, image_ids: Iterable[str]) -> int:
        """Take pictures out of every search at once, and say how many there were. Their rows stay until a rebuild."""
        with self._db:
            ids = [(one,) for one in image_ids]
            gone = [r for one in ids for r in self._db.execute("select id from image where image_id = ?", one)]
            self._db.executemany("insert or ignore into deleted values (?)", gone)
            self._db.executemany("delete from words where rowid = ?", gone)
            self._db.executemany("delete from image_tag where image_id = ?", gone)
            self._db.executemany("delete from image where id = ?", gone)
        self._forget()
        return len(gone)

    # Asking ---------------------------------------------------------------------------------------

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

        text: free words: found in tags, captions and ids, and by meaning where the vectors' model knows words.
        like: an image_id; picture: (H, W, 3) uint8: what looks like it. tags, without: names that each picture has, and
        has not. A text that means nothing here finds nothing: `note` says so, and `near_tags` what there is instead.
        """
        if type(n) is not int or n < 1:
            raise ValueError(f"n is a number of pictures, not {n!r}")
        if (like is not None) + (picture is not None) + bool(text.strip()) > 1:
            raise ValueError("search by text, like= or picture=, one at a time; tags= goes with each")
        rows = self._filtered(tags, without, split)
        if like is not None or picture is not None:
            return self._alike(self._query(like, picture, embedder), rows, n, like)
        if text.strip():
            return self._by_text(text, rows, n, embedder)
        return self._listed(rows, [tags] if isinstance(tags, str) else tags, n)

    def tags(self, image_id: str) -> list[dict[str, Any]]:
        """The tags of a picture: kind, name, score, source, version, accepted."""
        found = self._db.execute(sql.tags_of_picture("sqlite"), (image_id,)).fetchall()
        names = ("kind", "name", "score", "source", "version", "accepted")
        return [dict(zip(names, row, strict=True)) for row in found]

    def facets(self, *, tags: Sequence[str] = (), without: Sequence[str] = ()) -> list[tuple[str, str, int]]:
        """(kind, name, pictures) of what the pictures with these tags have, the commonest first."""
        rows = self._filtered(tags, without, None)
        where = "" if rows is None else "where it.image_id in (select value from json_each(?))"
        given = () if rows is None else (json_numbers(rows + 1),)
        asked = f"""select t.kind, t.name, count(distinct it.image_id) from image_tag it join tag t on t.id = it.tag_id
            {where} group by t.id order by 3 desc, 1, 2"""
        return self._db.execute(asked, given).fetchall()

    def near_tags(self, text: str, n: int = 5, *, embedder: Embedder | None = None) -> list[tuple[str, float]]:
        """The tags of this set that mean what the text means, with their likeness."""
        names = [row[0] for row in self._db.execute("select distinct name from tag order by name")]
        model = embedder or self._text_model()
        if not names or model is None:
            return []
        if getattr(self, "_tag_names", None) != names:
            self._tag_names, self._tag_vectors = names, model.text(names)
        scores = self._tag_vectors @ model.text(text)
        best = np.argsort(-scores, kind="stable")[:n]
        return [(names[i], round(float(scores[i]), 3)) for i in best]

    def __len__(self) -> int:
        return self._db.execute("select count(*) from image").fetchone()[0]

    def __repr__(self) -> str:
        kinds = self._db.execute("select count(*) from tag").fetchone()[0]
        made = f", vectors of {self.model}" if self.vectors else ", no vectors"
        return f"{len(self):,} pictures, {kinds:,} tags{made}"

    # ----------------------------------------------------------------------------------------------

    def _fact(self, name: str) -> str:
        found = self._db.execute("select value from fact where name = ?", (name,)).fetchone()
        return found[0] if found else ""

    def _filtered(self, tags: Sequence[str], without: Sequence[str], split: str | None) -> np.ndarray | None:
        """Row numbers that may be found; None for all."""
        if not (tags or without or split):
            return None
        clauses, given = ["1"], []
        for names, word in ((tags, "in"), (without, "not in")):
            for name in [names] if isinstance(names, str) else names:
                clauses.append(f"id {word} ({_WITH_TAG})")
                given.append(name)
        if split:
            clauses.append("split = ?")
            given.append(split)
        found = self._db.execute(f"select id from image where {' and '.join(clauses)} order by id", given)
        return np.array([row[0] for row in found.fetchall()], np.int64) - 1

    def _query(self, like: str | None, picture: np.ndarray | None, embedder: Embedder | None) -> np.ndarray:
        if self.vectors is None:
            raise ValueError("this dataset has no vectors: run tags.find with an embedder")
        if picture is not None:
            return self._checked(embedder or self._picture_model())(picture)
        row = self._db.execute("select id from image where image_id = ?", (like,)).fetchone()
        if row is None:
            raise ValueError(f"no picture {like!r} in the index")
        return self.vectors.of(row[0] - 1)

    def _alike(self, query: np.ndarray, rows: np.ndarray | None, n: int, like: str | None) -> Found:
        assert self.vectors is not None
        found, scores = self.vectors.nearest(query, n + 1, rows)
        pairs = zip(self._named(found), scores.tolist(), strict=True)
        hits = [Hit(i, s, score, likeness=score) for (i, s), score in pairs if i != like]
        return Found(hits[:n], "" if hits else "no other picture has a vector")

    def _by_text(self, text: str, rows: np.ndarray | None, n: int, embedder: Embedder | None) -> Found:
        allowed = None if rows is None else set(rows.tolist())
        by_words = [row for row in self._by_words(text) if allowed is None or row in allowed]
        model = embedder or self._text_model()
        by_vector: dict[int, float] = {}
        if model is not None and self.vectors is not None:
            found, scores = self.vectors.nearest(self._checked(model).text(text), max(n, 50), rows)
            least = self._least_likeness(model)
            by_vector = {int(r): float(s) for r, s in zip(found, scores, strict=True) if s >= least}
        ranks: dict[int, float] = {}
        for ordered in (by_words, list(by_vector)):
            for place, row in enumerate(ordered):
                ranks[row] = ranks.get(row, 0.0) + 1 / (FUSION + place + 1)
        best = sorted(ranks, key=lambda row: -ranks[row])[:n]
        if not best:
            return self._nothing(text, model)
        places = {row: place for place, row in enumerate(by_words)}
        named = self._named(np.array(best))
        return Found(
            [
                Hit(i, s, ranks[row] * FUSION, by_vector.get(row), places.get(row))
                for (i, s), row in zip(named, best, strict=True)
            ]
        )

    def _nothing(self, text: str, model: Embedder | None) -> Found:
        near = tuple(name for name, _ in self.near_tags(text, 5, embedder=model)) if model else ()
        told = f"nothing here is like {text!r}"
        return Found([], f"{told}; the nearest tags are {', '.join(near)}" if near else told, near)

    def _by_words(self, text: str) -> list[int]:
        """Rows whose words hold all of the text's, and then those that hold some, each by BM25."""
        terms = [w for w in re.findall(r"\w+", text.lower()) if w not in STOP_WORDS]
        if not terms:
            return []
        quoted = [f'"{term}"' for term in terms]
        rows: dict[int, None] = {}
        for joint in (" AND ", " OR ")[: 1 + (len(terms) > 1)]:
            asked = "select rowid from words where words match ? order by bm25(words), rowid limit 1000"
            rows |= {row[0] - 1: None for row in self._db.execute(asked, (joint.join(quoted),))}
        return list(rows)

    def _listed(self, rows: np.ndarray | None, tags: Sequence[str], n: int) -> Found:
        """Those that have the tags, by the first tag's score; without tags in the order of the dataset."""
        scores: dict[int, float] = {}
        if tags and rows is not None and len(rows):
            asked = """select it.image_id, max(it.score) from image_tag it join tag t on t.id = it.tag_id
                where t.name = ? and it.image_id in (select value from json_each(?))
                group by 1 order by 2 desc, 1 limit ?"""
            found = self._db.execute(asked, (tags[0], json_numbers(rows + 1), n)).fetchall()
            scores = {row - 1: score for row, score in found}
            rows = np.array([*scores], np.int64)
        elif rows is None:
            found = self._db.execute("select id from image order by id limit ?", (n,)).fetchall()
            rows = np.array([row[0] for row in found], np.int64) - 1
        pairs = zip(self._named(rows[:n]), rows[:n].tolist(), strict=True)
        hits = [Hit(i, s, scores.get(row, 1.0)) for (i, s), row in pairs]
        return Found(hits, "" if hits else "no picture has these tags")

    def _named(self, rows: np.ndarray) -> list[tuple[str, str]]:
        """(image_id, split) of row numbers, in their order."""
        asked = "select id, image_id, split from image where id in (select value from json_each(?))"
        known = {r[0] - 1: (r[1], r[2]) for r in self._db.execute(asked, (json_numbers(rows + 1),))}
        return [known[int(row)] for row in rows]

    def _picture_model(self) -> Embedder:
        if self._embedder is None:
            self._embedder = Embedder(self.model.rpartition("@")[0])
        return self._embedder

    def _text_model(self) -> Embedder | None:
        """The model that made the vectors, where it is to be had and knows words."""
        if self.vectors is None:
            return None
        try:
            model = self._picture_model()
        except ValueError:  # not on this machine
            return None
        return model if model.has_words else None

    def _checked(self, model: Embedder) -> Embedder:
        made = f"{model.name}@{model.model_version}"
        if made != self.model:
            raise ValueError(f"the vectors were made by {self.model}, not by {made}: they cannot be compared")
        return model

    def _least_likeness(self, model: Embedder) -> float:
        """What a text's likeness has to reach; worked out once for a set."""
        name = f"nonsense {model.name}@{model.model_version}"
        if not self._fact(name):
            assert self.vectors is not None
            value = least_likeness(self.vectors, model)
            with contextlib.suppress(sqlite3.OperationalError), self._db:  # a folder that is only read
                set_fact(self._db, name, str(value))
            return value
        return float(self._fact(name))


_WITH_TAG = """select it.image_id from image_tag it join tag t on t.id = it.tag_id
    where t.name = ? and (it.accepted is null or it.accepted = 1)"""
