"""A filter that few pictures pass is exact: what bytes leave in doubt is settled by the vectors themselves."""

import numpy as np
import pytest

from imgprep import search, tags
from imgprep.dataset import Dataset
from imgprep.picture import codec
from imgprep.stages.search import vectors as kept
from imgprep.stages.search.vectors import Vectors

COUNT, DIM = 120, 48


class Crowd:
    """An embedder whose vectors lie so near each other that one byte a number cannot tell them apart."""

    once, version, kind, name, model_version, has_words = True, 1, "crowd", "crowd", "1", False

    def __call__(self, image):
        number = int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])
        middle = np.random.default_rng(7).normal(size=DIM)
        found = middle + 2e-2 * np.random.default_rng(number).normal(size=DIM)
        return (found / np.linalg.norm(found)).astype(np.float32)


def every_third(image):
    return ["rare"] if int(image[0, 0, 1]) % 3 == 0 else ["common"]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    where = tmp_path_factory.mktemp("crowd")
    (where / "in").mkdir()
    for n in range(COUNT):
        image = np.full((4, 4, 3), (n // 256, n % 256, 9), np.uint8)
        (where / "in" / f"{n:03d}.png").write_bytes(codec.encode(image, "PNG"))
    return tags.find(str(where / "in"), str(where / "tagged"), taggers=[every_third], embedder=Crowd())


def by_numpy(ds, image_id, n):
    """The ids of the nearest that have the tag, by all products over the whole column."""
    table = ds.table("train", ["image_id", "tags", "embedding"]).to_pylist()
    query = np.array(next(row["embedding"] for row in table if row["image_id"] == image_id))
    rare = [row for row in table if row["tags"][0]["name"] == "rare" and row["image_id"] != image_id]
    likeness = np.array([row["embedding"] for row in rare]) @ query
    return [rare[n]["image_id"] for n in np.argsort(-likeness, kind="stable")[:n]]


def test_a_filtered_search_gives_what_numpy_gives(crowd):
    index = search.build(crowd)
    ids = crowd.table("train", ["image_id"])["image_id"].to_pylist()
    for image_id in ids[::10]:
        assert index.search(like=image_id, tags=["rare"], n=10).ids == by_numpy(crowd, image_id, 10)


def test_bytes_alone_would_not(crowd, monkeypatch):
    """So the test above can fail."""
    monkeypatch.setattr(Vectors, "_originals", lambda self, rows: (np.zeros(len(rows), bool), None))
    index = search.open(crowd)
    ids = crowd.table("train", ["image_id"])["image_id"].to_pylist()
    found = [index.search(like=one, tags=["rare"], n=10).ids == by_numpy(crowd, one, 10) for one in ids[::10]]
    assert not all(found)


def test_added_and_deleted_pictures_are_among_them(crowd):
    index = search.build(crowd)
    ids = crowd.table("train", ["image_id"])["image_id"].to_pylist()
    nearest = by_numpy(crowd, ids[0], 3)
    index.delete(nearest[:1])
    assert index.search(like=ids[0], tags=["rare"], n=2).ids == nearest[1:]
    said = {"kind": "tag", "name": "rare", "score": 1.0, "source": "t"}
    said |= {"version": "1", "evidence": "", "accepted": None}
    vector = crowd.table("train", ["embedding"])["embedding"][0].as_py()
    index.add([{"image_id": "new", "tags": [said], "embedding": vector}])
    assert "new" in index.search(like=ids[0], tags=["rare"], n=12).ids


def test_where_the_files_are_gone_bytes_have_to_do(crowd, monkeypatch):
    index = search.build(crowd)

    def gone(*_):
        raise FileNotFoundError("replaced by another version")

    monkeypatch.setattr(Dataset, "table", gone)
    assert len(index.search(like=index.search().ids[0], tags=["rare"], n=10)) == 10


def test_more_rows_than_are_compared_one_by_one_are_found_by_their_codes(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(500, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    monkeypatch.setattr(kept, "EXACT_UP_TO", 100)

    class Held:
        def of(self, rows):
            return np.ones(len(rows), bool), vectors[rows]

    store = Vectors.create(tmp_path, vectors)
    store.append(vectors)
    index = Vectors(tmp_path, 64, 500, Held())
    few = np.arange(0, 500, 7)
    found, likeness = index.nearest(vectors[3], 10, few)
    exact = vectors[few] @ vectors[3]
    assert found.tolist() == few[np.argsort(-exact)[:10]].tolist()
    assert likeness == pytest.approx(np.sort(exact)[::-1][:10], abs=1e-6)
    many, _ = index.nearest(vectors[3], 1)
    assert many.tolist() == [3]
