"""Bad luck and bad input of an index: each is a sentence, or does no harm."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from imgprep import search, tags
from imgprep.display import show
from imgprep.picture import codec


class Wordless:
    """An embedder without a text tower."""

    once, version, kind, name, model_version, has_words = True, 1, "wordless", "wordless", "1", False

    def __call__(self, image):
        found = np.append(image.reshape(-1, 3).mean(0), 1.0)
        return (found / np.linalg.norm(found)).astype(np.float32)

    def text(self, words):
        raise ValueError("wordless has no text tower: search by a picture, or name a CLIP or SigLIP model")


def dataset_of(where, count):
    (where / "in").mkdir()
    for n in range(count):
        (where / "in" / f"{n}.png").write_bytes(codec.encode(np.full((8, 8, 3), 20 * n, np.uint8), "PNG"))
    (where / "in" / "broken.png").write_bytes(b"no picture")
    return tags.find(str(where / "in"), str(where / "out"), taggers=["tone"], embedder=Wordless(), max_failed=1.0)


@pytest.fixture
def ds(tmp_path):
    return dataset_of(tmp_path, 8)


def test_an_index_of_another_version_is_made_anew(ds):
    folder = search.build(ds).folder
    for name, value in (("format", "0"), ("dataset", "another")):
        db = sqlite3.connect(folder / "index.sqlite")
        with db:
            db.execute("update fact set value = ? where name = ?", (value, name))
            db.execute("delete from image_tag")
        db.close()
        assert search.open(ds).search("smooth").ids, name


def test_words_where_the_model_knows_none_is_a_sentence_or_a_search_by_words(ds):
    index = search.build(ds)
    assert len(index.search("smooth")) == 8
    assert "nothing here is like" in index.search("zxqv").note
    with pytest.raises(ValueError, match="no text tower"):
        index.search("smooth", embedder=Wordless())


def test_two_that_build_at_once_leave_one_whole_index(ds):
    told = []

    def build():
        index = search.build(ds)
        told.append((len(index), len(index.search("smooth"))))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [(8, 8)] * 4
    left = [path.name for path in search.open(ds).folder.parent.glob("search*")]
    assert left == ["search"]


KILLED = """
import sys, time
from imgprep import search
from imgprep.io import sql
def slow(*given):
    print("filling", flush=True)
    time.sleep(60)
sql.fill_sqlite = slow
search.build(sys.argv[1])
"""


def test_a_build_that_is_killed_harms_no_index_and_is_swept_later(ds):
    before = search.build(ds)
    with subprocess.Popen([sys.executable, "-c", KILLED, ds.folder], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "filling\n"
        run.send_signal(signal.SIGKILL)
    parent = before.folder.parent
    (left,) = parent.glob("search-*")
    assert len(search.open(ds).search("smooth")) == 8
    search.build(ds)
    assert left.exists(), "it might be at work"
    yesterday = time.time() - 25 * 3600
    os.utime(left, (yesterday, yesterday))
    search.build(ds)
    assert not left.exists()


@pytest.mark.parametrize("count", [0, 1])
def test_no_picture_and_one_picture_are_collections_too(tmp_path, count):
    ds = dataset_of(tmp_path, count)
    index = search.build(ds)
    assert len(index) == count == len(index.search())
    assert index.facets() == [] or count
    assert len(index.search(tags=["smooth"])) == count
    assert index.search("zxqv").note
    assert show.gallery(ds, tmp_path / "g.html")
    assert show.hits(ds, index.search())
    if count:
        (one,) = index.search().ids
        assert index.search(like=one).note == "no other picture has a vector"
        placed = search.place_on_map(ds, str(tmp_path / "map"))
        assert placed.table("train", ["x"])["x"].drop_null().to_pylist() != []
        assert list(search.odd_ones(ds)["finding"]) in ([], ["outlier"])
    else:
        with pytest.raises(ValueError, match="no vectors"):
            search.place_on_map(ds, str(tmp_path / "map"))
