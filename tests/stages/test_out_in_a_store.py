"""Every stage that makes a dataset writes it into a store as well: the files are those of a local folder.

Segmentation, pairs and exports have tests of their own for this; `transcode` says that it wants a folder.
"""

import fsspec
import numpy as np
import pytest
from made import folder, tree

import imgprep
from imgprep.io.vision import Vision
from imgprep.sample.films import make_films
from imgprep.stages import film, images, search, tags, upload, variants

MANY = 5


@pytest.fixture(autouse=True)
def inline():
    """memory:// is a store that each process has for itself."""
    with imgprep.session("local", workers=0):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """pictures/, films/, and the dataset folders raw and tagged."""
    home = tmp_path_factory.mktemp("home")
    folder(home / "pictures", MANY)
    make_films(home / "films")
    with imgprep.session("local", workers=0):
        images.download(str(home / "pictures"), str(home / "raw"))
        tags.find(str(home / "raw"), str(home / "tagged"), taggers=["tone"])
    return home


def first_id(home) -> str:
    return imgprep.dataset.open(str(home / "raw")).table("train")["image_id"][0].as_py()


def correct(home, out: str):
    decision = {"image_id": first_id(home), "kind": "tone", "name": "dark", "accepted": True}
    return tags.apply(str(home / "tagged"), [decision], out)


def upload_to_folder(home, out: str):
    return upload.upload(str(home / "raw"), str(home / "uploaded"), out)


STAGES = {
    "download": lambda home, out: images.download(str(home / "pictures"), out),
    "transform": lambda home, out: images.transform(str(home / "raw"), out, np.flipud),
    "children": lambda home, out: images.transform(str(home / "raw"), out, lambda i: [i, i], children=True),
    "variants": lambda home, out: variants.build(str(home / "raw"), out, thumbnail_side=8),
    "tags": lambda home, out: tags.find(str(home / "raw"), out, taggers=["tone"]),
    "merged tags": lambda home, out: tags.merge([str(home / "raw"), str(home / "tagged")], out),
    "corrections": correct,
    "without": lambda home, out: search.without(str(home / "raw"), [first_id(home)], out),
    "frames": lambda home, out: film.extract_frames(home / "films", out, every_s=2),
    "upload": upload_to_folder,
}


@pytest.mark.parametrize("stage", STAGES)
def test_the_files_of_a_store_are_those_of_a_folder(home, tmp_path, stage):
    there = f"memory://{tmp_path.name}/out"
    STAGES[stage](home, str(tmp_path / "here"))
    found = STAGES[stage](home, there)
    assert found.folder == there and found.counts()["rows"] >= MANY - 1
    fsspec.filesystem("memory").get(f"/{tmp_path.name}/out", str(tmp_path / "copy"), recursive=True)
    here = {name: sha for name, sha in tree(tmp_path / "here").items() if name != ".imgprep/lock"}
    assert tree(tmp_path / "copy") == here


def test_what_needs_a_folder_says_so_before_any_work(home, tmp_path):
    there = f"memory://{tmp_path.name}/out"
    with pytest.raises(ValueError, match="transcode into a local folder, then upload that"):
        film.transcode(home / "films", there)
    with pytest.raises(ValueError, match="is on a store: give Vision a local file cache= for its answers"):
        tags.ask(str(home / "raw"), there, Vision("http://127.0.0.1:9/v1", "m", key_env=None))
    images.download(str(home / "pictures"), there)
    with pytest.raises(ValueError, match="is on a store: name a local folder= for its index"):
        search.build(there)
