"""Three tables that hold a tagged collection (picture, tag, which has which), in SQLite and in
PostgreSQL.

Both directions are plain SQL: tag -> pictures, picture -> tags; with pgvector also vector ->
pictures and vector -> the nearest tags -> pictures.
"""

import os
import sqlite3
from collections.abc import Iterable
from typing import Any

import numpy as np

from imgprep.words import extra

SQLITE = """
create table image (
    id integer primary key,
    image_id text not null,
    split text not null,
    uri text not null,
    width integer,
    height integer,
    sha256 text,
    unique (split, image_id)
);
create table tag (
    id integer primary key,
    kind text not null,
    name text not null,
    unique (kind, name)
);
create table image_tag (
    image_id integer not null references image on delete cascade,
    tag_id integer not null references tag on delete cascade,
    score real,
    source text not null,
    version text not null,
    evidence text not null,
    accepted integer,
    primary key (image_id, tag_id, source, version)
) without rowid;
create index pictures_of_tag on image_tag (tag_id, score desc);
"""
POSTGRES = """
create extension if not exists vector;
create table image (
    id bigint primary key,
    image_id text not null,
    split text not null,
    uri text not null,
    width integer,
    height integer,
    sha256 text,
    embedding vector({dim}),
    unique (split, image_id)
);
create table tag (
    id integer primary key,
    kind text not null,
    name text not null,
    embedding vector({dim}),
    unique (kind, name)
);
create table image_tag (
    image_id bigint not null references image on delete cascade,
    tag_id integer not null references tag on delete cascade,
    score real,
    source text not null,
    version text not null,
    evidence text not null,
    accepted boolean,
    primary key (image_id, tag_id, source, version)
);
"""
INDICES = """
create index on image_tag (tag_id, score desc);
create index on image using hnsw (embedding vector_cosine_ops);
create index on tag using hnsw (embedding vector_cosine_ops);
"""
IMAGE_COLUMNS = ("id", "image_id", "split", "uri", "width", "height", "sha256")
TAG_COLUMNS = ("id", "kind", "name")
JOIN_COLUMNS = ("image_id", "tag_id", "score", "source", "version", "evidence", "accepted")

# The questions, the same in both but for the marks of parameters.
PICTURES_OF_TAG = """
select i.split, i.image_id, max(it.score) as score from image i
join image_tag it on it.image_id = i.id join tag t on t.id = it.tag_id
where t.name = {p} and (it.accepted is null or it.accepted {is_true})
group by i.id, i.split, i.image_id order by score desc, i.id limit {p}
"""
TAGS_OF_PICTURE = """
select t.kind, t.name, it.score, it.source, it.version, it.accepted from tag t
join image_tag it on it.tag_id = t.id join image i on i.id = it.image_id
where i.image_id = {p} order by t.kind, it.score desc, t.name, it.source
"""
NEAR_PICTURES = """
select split, image_id, 1 - (embedding <=> %s::vector) as likeness from image
order by embedding <=> %s::vector limit %s
"""
NEAR_TAGS = """
with near as (select id, embedding <=> %s::vector as distance from tag order by 2 limit 5)
select i.split, i.image_id, max(it.score * (1 - near.distance)) as score from near
join image_tag it on it.tag_id = near.id join image i on i.id = it.image_id
group by i.id, i.split, i.image_id order by score desc, i.id limit %s
"""


def schema(kind: str = "postgres", *, dim: int = 512) -> str:
    """The DDL as text: "sqlite", or "postgres" with vectors of `dim` numbers."""
    if kind == "sqlite":
        return SQLITE.strip()
    if kind == "postgres":
        return (POSTGRES + INDICES).format(dim=dim).strip()
    raise ValueError(f"kind is 'sqlite' or 'postgres', not {kind!r}")


class Rows:
    """Pictures and entries as rows of the three tables; tags are numbered as they come.

    known: tags (kind, name) that have their numbers already.
    """

    def __init__(self, known: dict[tuple[str, str], int] | None = None) -> None:
        self.images: list[tuple] = []
        self.joins: list[tuple] = []
        self._tags = dict(known or {})

    @property
    def tags(self) -> list[tuple]:
        return [(number, *tag) for tag, number in self._tags.items()]

    def add(self, number: int, picture: dict[str, Any], entries: Iterable[dict[str, Any]]) -> None:
        self.images.append((number, *(picture[name] for name in IMAGE_COLUMNS[1:])))
        for one in entries:
            tag = self._tags.setdefault((one["kind"], one["name"]), len(self._tags) + 1)
            said = (
                one["score"],
                one["source"],
                one["version"],
                one["evidence"] or "",
                one["accepted"],
            )
            self.joins.append((number, tag, *said))


def fill_sqlite(db: sqlite3.Connection, rows: Rows) -> None:
    """Put rows into tables made by SQLITE. The caller commits."""
    for table, columns, values in table_contents(rows):
        marks = ", ".join("?" * len(columns))
        db.executemany(f"insert into {table} ({', '.join(columns)}) values ({marks})", values)


def table_contents(rows: Rows) -> list[tuple[str, tuple[str, ...], list[tuple]]]:
    return [
        ("image", IMAGE_COLUMNS, rows.images),
        ("tag", TAG_COLUMNS, rows.tags),
        ("image_tag", JOIN_COLUMNS, rows.joins),
    ]


def write_sqlite(path: str, rows: Rows) -> None:
    """A new SQLite file with the three tables. ValueError where the file is there already."""
    # Not "create if not exists": rows of two collections would mix.
    if os.path.exists(path):
        raise ValueError(f"{path} is there already: name another file, or remove it")
    db = sqlite3.connect(path)
    try:
        db.executescript(SQLITE)
        fill_sqlite(db, rows)
        db.commit()
    finally:
        db.close()


def write_postgres(
    dsn_env: str, rows: Rows, vectors: np.ndarray, tag_vectors: np.ndarray | None = None
) -> None:
    """Make and fill the three tables by binary COPY, then their indices (HNSW), in one transaction.

    dsn_env: the NAME of the variable with the connection string. vectors: (pictures, dim), zeros
    where there is none;
    tag_vectors: (tags, dim) of the same model. Raises ValueError where the tables are there
    already.
    """
    dsn = os.environ.get(dsn_env)
    if not dsn:
        raise ValueError(
            f"the variable {dsn_env} is not set: it holds the connection string (postgresql://…)"
        )
    try:
        import psycopg
        from pgvector.psycopg import register_vector
    except ImportError:
        raise ValueError(f"PostgreSQL needs `{extra('pgvector')}`") from None
    with psycopg.connect(dsn) as db:
        if db.execute("select to_regclass('image'), to_regclass('image_tag')").fetchone() != (
            None,
            None,
        ):
            raise ValueError(
                "the database has a table 'image' or 'image_tag' already: name another database"
            )
        # One transaction: a reader sees all or nothing, and a failure leaves no tables.
        db.execute(POSTGRES.format(dim=vectors.shape[1]))
        register_vector(db)
        _copy_with_vectors(db, "image", IMAGE_COLUMNS, _IMAGE_TYPES, rows.images, vectors)
        _copy_with_vectors(db, "tag", TAG_COLUMNS, _TAG_TYPES, rows.tags, tag_vectors)
        columns = ", ".join(JOIN_COLUMNS)
        with db.cursor().copy(
            f"copy image_tag ({columns}) from stdin with (format binary)"
        ) as copy:
            copy.set_types(_JOIN_TYPES)
            for row in rows.joins:
                copy.write_row(row)
        # Behind the rows: HNSW over a full table is built
        # at once, row by row it takes many times as long.
        db.execute(INDICES)


_IMAGE_TYPES = ["int8", "text", "text", "text", "int4", "int4", "text", "vector"]
_TAG_TYPES = ["int4", "text", "text", "vector"]
_JOIN_TYPES = ["int8", "int4", "float4", "text", "text", "text", "bool"]


def _copy_with_vectors(
    db: Any, table: str, columns: tuple[str, ...], types: list[str], rows: list[tuple], vectors: Any
) -> None:
    names = ", ".join([*columns, "embedding"])
    with db.cursor().copy(f"copy {table} ({names}) from stdin with (format binary)") as copy:
        copy.set_types(types)
        for number, row in enumerate(rows):
            vector = None if vectors is None else vectors[number]
            # No vector rather than zeros, which are as near to everything as to nothing.
            copy.write_row((*row, vector if vector is not None and vector.any() else None))


def pictures_of_tag(kind: str) -> str:
    """The question tag -> pictures (name, most) for "sqlite" or "postgres"."""
    mark, is_true = ("?", "= 1") if kind == "sqlite" else ("%s", "= true")
    return PICTURES_OF_TAG.format(p=mark, is_true=is_true)


def tags_of_picture(kind: str) -> str:
    """The question picture -> tags (image_id)."""
    return TAGS_OF_PICTURE.format(p="?" if kind == "sqlite" else "%s")
