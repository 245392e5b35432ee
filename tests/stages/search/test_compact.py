"""What is deleted is gone from search at once, from the files after `compact`, from the dataset by `without`."""

from pathlib import Path

import numpy as np
import pytest

from imgprep import search, tags
from imgprep.app import inventory
from imgprep.picture import codec


class Numbered:
    """An embedder whose vector of a picture is easily recognised in a file."""

    once, version, kind, name, model_version, has_words = True, 1, "numbered", "numbered", "1", False

    def __call__(self, image):
        found = np.random.default_rng(int(image[0, 0, 0])).normal(size=64)
        return (found / np.linalg.norm(found)).astype(np.float32)


def named(image):
    return [f"confidential{int(image[0, 0, 0])}", "shared"]


@pytest.fixture
def tagged(tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(6):
        noise = np.random.default_rng(n).integers(0, 255, (8, 8, 3), np.uint8)
        noise[0, 0, 0] = n
        (tmp_path / "in" / f"secret{n}.png").write_bytes(codec.encode(noise, "PNG"))
    return tags.find(str(tmp_path / "in"), str(tmp_path / "tagged"), taggers=[named], embedder=Numbered())


def held(folder):
    return b"".join(path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file())


def row_with(ds, name):
    rows = ds.table("train", ["image_id", "tags", "embedding", "source"]).to_pylist()
    return next(row for row in rows if name in [entry["name"] for entry in row["tags"]])


def test_compacting_leaves_no_byte_of_what_was_deleted(tagged):
    index = search.build(tagged)
    gone, stays = row_with(tagged, "confidential3"), row_with(tagged, "confidential4")
    largest = np.abs(gone["embedding"]).max()
    code = np.round(np.array(gone["embedding"]) / (largest / 127)).astype(np.int8).tobytes()
    words = [gone["image_id"].encode(), b"confidential3", b"secret3", code]
    assert all(word in held(index.folder) for word in words)
    index.delete([gone["image_id"]])
    assert not index.search("confidential3").hits
    assert index.compact() == 1
    found = held(index.folder)
    assert not [word for word in words if word in found]
    for again in (index, search.open(tagged)):
        assert len(again) == 5
        assert gone["image_id"] not in again.search(like=stays["image_id"]).ids
        assert len(again.search(like=stays["image_id"])) == 4
        assert again.search("confidential4").ids == [stays["image_id"]]
        assert again.search(like=stays["image_id"], tags=["shared"], n=1).hits[0].likeness < 1


def test_an_added_picture_that_was_deleted_is_gone_too(tagged):
    index = search.build(tagged)
    vector = [1.0] + [0.0] * 63
    index.add([{"image_id": "upload-771", "text": "holiday in Ravenna", "embedding": vector}])
    assert index.search("Ravenna").ids == ["upload-771"]
    index.delete(["upload-771"])
    index.compact()
    assert b"Ravenna" not in held(index.folder) and b"upload-771" not in held(index.folder)
    index.add([{"image_id": "upload-772", "embedding": vector}])
    assert index.search(like="upload-772", n=1).hits


def test_without_takes_pictures_out_of_the_dataset(tagged, tmp_path):
    gone = row_with(tagged, "confidential3")
    out = str(tmp_path / "public")
    first = search.without(tagged, [], out)
    picture = first.pictures("train", [first.table("train")["image_id"].to_pylist().index(gone["image_id"])])[0]
    assert picture in held(out)
    less = search.without(tagged, [gone["image_id"]], out)
    assert less.counts()["ok"] == 5
    assert not search.open(less).search("confidential3").hits
    inventory.sweep([out], keep=1)
    assert picture not in held(out)
    assert b"confidential3" not in held(out)
    with pytest.raises(ValueError, match="no picture 'nobody'"):
        search.without(tagged, ["nobody"], out)
