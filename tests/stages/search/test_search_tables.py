"""The same rows in SQLite, in PostgreSQL with pgvector, and in the index: tag -> pictures, picture -> tags, vectors."""

import sqlite3

import numpy as np
import pytest

from imgprep import search, tags
from imgprep.io import sql
from imgprep.picture import codec


class Colours:
    once, version, kind, name, model_version, has_words = True, 1, "colours", "colours", "1", True

    def __call__(self, image):
        mean = np.append(image.reshape(-1, 3).mean(0) / 150, 0.5).astype(np.float32)
        return mean / np.linalg.norm(mean)

    def text(self, words):
        known = {"rosy": (1, 0, 0, 0), "grassy": (0, 1, 0, 0), "azure": (0, 0, 1, 0)}
        rows = [known.get(w, (0, 0, 0, 1)) for w in ([words] if isinstance(words, str) else words)]
        found = np.array(rows, np.float32)
        return found[0] if isinstance(words, str) else found


def main_colour(image):
    mean = image.reshape(-1, 3).mean(0)
    name = ("rosy", "grassy", "azure")[int(mean.argmax())]
    return [{"kind": "colour", "name": name, "score": float(mean.max() / 255)}]


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    where = tmp_path_factory.mktemp("tables")
    folder = where / "pictures"
    folder.mkdir()
    for n in range(12):
        colour = np.full(3, 20)
        colour[n % 3] = 120 + 10 * n
        (folder / f"it's {n:02d}.png").write_bytes(codec.encode(np.full((30, 40, 3), colour, np.uint8), "PNG"))
    return tags.find(str(folder), str(where / "tagged"), taggers=[main_colour, "tone"], embedder=Colours())


def test_sqlite_has_the_rows_of_the_index(tagged, tmp_path):
    index = search.build(tagged)
    path = search.to_sqlite(tagged, tmp_path / "tags.sqlite")
    db = sqlite3.connect(path)
    rows = db.execute(sql.pictures_of_tag("sqlite"), ("azure", 100)).fetchall()
    assert [row[1] for row in rows] == index.search(tags=["azure"]).ids
    one = rows[0][1]
    found = db.execute(sql.tags_of_picture("sqlite"), (one,)).fetchall()
    assert [row[:2] for row in found] == [(t["kind"], t["name"]) for t in index.tags(one)]
    with pytest.raises(ValueError, match="there already"):
        search.to_sqlite(tagged, path)


def test_the_ddl_is_text():
    assert "create table image_tag" in sql.schema("sqlite")
    assert "vector(384)" in sql.schema("postgres", dim=384)
    with pytest.raises(ValueError, match="'sqlite' or 'postgres'"):
        sql.schema("oracle")


def test_a_database_that_is_not_named_is_told(tagged):
    with pytest.raises(ValueError, match="NO_DSN is not set"):
        search.to_postgres(tagged, dsn_env="NO_DSN")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    pgserver = pytest.importorskip("pgserver")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri()
    server.cleanup()


@pytest.mark.store
def test_postgres_answers_as_the_index_does_in_both_directions(tagged, postgres, monkeypatch):
    import psycopg

    monkeypatch.setenv("TEST_DSN", postgres)
    search.to_postgres(tagged, dsn_env="TEST_DSN", embedder=Colours())
    index = search.build(tagged)
    with psycopg.connect(postgres) as db:
        rows = db.execute(sql.pictures_of_tag("postgres"), ("azure", 100)).fetchall()
        assert [row[1] for row in rows] == index.search(tags=["azure"]).ids
        found = db.execute(sql.tags_of_picture("postgres"), (rows[0][1],)).fetchall()
        assert [row[:2] for row in found] == [(t["kind"], t["name"]) for t in index.tags(rows[0][1])]

        query = str(Colours().text("rosy").tolist())
        near = db.execute(sql.NEAR_PICTURES, (query, query, 4)).fetchall()
        assert {row[1] for row in near} == set(index.search(tags=["rosy"]).ids)
        through_tags = db.execute(sql.NEAR_TAGS, (query, 4)).fetchall()
        assert {row[1] for row in through_tags} == set(index.search(tags=["rosy"]).ids)

        db.execute("delete from image where image_id = %s", (rows[0][1],))
        left = db.execute(sql.tags_of_picture("postgres"), (rows[0][1],)).fetchall()
        assert left == []
    with pytest.raises(ValueError, match="has a table 'image'"):
        search.to_postgres(tagged, dsn_env="TEST_DSN", embedder=Colours())
