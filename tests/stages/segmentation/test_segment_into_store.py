"""`segment` into a store: the files are those of a local folder, and nothing stays on this disk."""

import os
import shutil

import numpy as np
import pytest
from made import tree
from PIL import Image

import imgprep
from imgprep.stages import segmentation

pytestmark = pytest.mark.store
OPTIONS = {"tile_wh": [256, 256], "min_area": 30, "fill_holes": True}


@pytest.fixture
def pictures(tmp_path):
    """A TIFF in strips, which is copied into tiles, and a PNG."""
    home = tmp_path / "pictures"
    home.mkdir()
    rng = np.random.default_rng(1)
    for name, size in (("strips.tif", (40, 60)), ("small.png", (12, 9))):
        grey = rng.integers(0, 256, size, np.uint8).repeat(16, 0).repeat(16, 1)
        Image.fromarray(grey).save(home / name)
    return sorted(map(str, home.iterdir()))


@pytest.fixture(autouse=True, params=[0, 2])
def workers(request):
    imgprep.session("local", request.param)
    yield
    imgprep.close()


def test_the_files_of_a_store_are_those_of_a_folder(s3, pictures, tmp_path, monkeypatch):
    bucket = f"masks-{os.urandom(4).hex()}"
    s3.mkdir(bucket)
    there = f"s3://{bucket}/slides"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    here = tmp_path / "here"
    for operator in ("otsu", ["median 3", "100 dark"]):  # the second makes other files beside them
        segmentation.segment(pictures, str(here), operator, **OPTIONS)
        segmentation.segment(pictures, there, operator, **OPTIONS)
        copy = tmp_path / "copy"
        s3.get(f"{bucket}/slides", str(copy), recursive=True)
        assert tree(copy) == {name: sha for name, sha in tree(here).items() if name != ".imgprep/lock"}
        s3.invalidate_cache()
        shutil.rmtree(copy)
    assert not list(scratch.iterdir())


def test_a_second_run_has_nothing_to_compute(s3, pictures, capsys):
    bucket = f"masks-{os.urandom(4).hex()}"
    s3.mkdir(bucket)
    for _ in range(2):
        found = segmentation.segment(pictures, f"s3://{bucket}/slides", "otsu", **OPTIONS)
    assert "2 rows, nothing to compute" in capsys.readouterr().out
    assert found.counts()["ok"] == 2


def test_the_truth_is_compared(s3, pictures, tmp_path):
    bucket = f"masks-{os.urandom(4).hex()}"
    s3.mkdir(bucket)
    here = segmentation.segment(pictures[:1], str(tmp_path / "here"), "otsu", **OPTIONS)
    truth = str(tmp_path / "here" / here.table("train", ["labels"])["labels"].to_pylist()[0])
    found = segmentation.segment(pictures[:1], f"s3://{bucket}/slides", "otsu", truth=truth, **OPTIONS)
    (row,) = found.table("train", ["iou", "f1"]).to_pylist()
    assert row["iou"] == row["f1"] == 1.0
