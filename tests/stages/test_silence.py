"""Nobody waits for ten seconds without a word, whichever step of a verb is slow.

The clock is small: a line is due after 0.15 s of silence instead of 8. A slow step goes on until it comes, or 20 s.
"""

import importlib
import time

import cv2
import numpy as np
import pytest
from made import folder, table

import imgprep
from imgprep.engine import progress
from imgprep.io.rasters import mosaic
from imgprep.io.stores import Store
from imgprep.resume import stage
from imgprep.resume.commit import Commit
from imgprep.resume.work import Work
from imgprep.stages import exports, images, pairs, publish, search, segmentation, upload
from imgprep.stages.publish import checks
from imgprep.stages.search import index
from imgprep.stages.segmentation import headers, polygons
from imgprep.stages.segmentation.reduce import Reduce

DUE_S, WAITS_S = 0.15, 20


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """What stands in the log by now."""
    lines: list[str] = []

    def note(line, **_):
        lines.append(line)

    monkeypatch.setattr(progress, "SILENT_S", DUE_S)
    monkeypatch.setattr(progress, "print", note, raising=False)
    with imgprep.session("local", workers=0):
        yield lines


@pytest.fixture
def each_is_told(said, monkeypatch):
    """each_is_told(call, {label: (place, name)}): in each of these functions, made slow, lines with its label come."""

    def check(call, steps):
        told = {}
        with monkeypatch.context() as patch:
            patch.delenv("PYTEST_CURRENT_TEST")  # which silences it
            for label, (place, name) in steps.items():
                patch.setattr(place, name, slowed(getattr(place, name), said, told, label))
            call()
        assert told == dict.fromkeys(steps, True), "a step that was not taken shows nothing"

    return check


def slowed(real, said, told, label):
    """The function; the first time it takes as long as nothing is said of it."""

    def slow(*given, **more):
        if label not in told:
            told[label] = False
            before = len(said)
            deadline = time.monotonic() + WAITS_S
            while not told[label] and time.monotonic() < deadline:
                time.sleep(0.02)
                told[label] = any(line.startswith(label) for line in said[before:])
        return real(*given, **more)

    return slow


@pytest.fixture
def scenes(tmp_path):
    (tmp_path / "in").mkdir()
    grey = np.full((64, 64), 200, np.uint8)
    grey[5:20, 5:20] = 10
    cv2.imwrite(str(tmp_path / "in" / "a.png"), grey)
    return str(tmp_path / "in")


def test_headers_cogs_objects_and_what_is_put_together(scenes, tmp_path, each_is_told):
    steps = {
        "segment: looking at the pictures, ": (headers, "scene_of"),
        "segment: looking what there is, ": (stage, "make_plan"),
        "segment: labels: taking the files together, ": (Reduce, "numbered"),
        "segment: files: 0/": (mosaic, "stitch"),
        "segment: figures: ": (polygons, "write_objects"),
        "segment: writing the dataset, ": (Commit, "publish"),
    }
    each_is_told(lambda: segmentation.segment(scenes, str(tmp_path / "out"), "100"), steps)


def test_pairs(scenes, tmp_path, each_is_told):
    mask = np.zeros((64, 64), np.uint8)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    given = {f"{scenes}/a.png": str(tmp_path / "mask.png")}
    steps = {
        "pairs: looking at the pictures, ": (pairs.blocks, "pair_blocks_of"),
        "pairs: 0/": (Work, "__call__"),
    }
    each_is_told(lambda: pairs.write(given, str(tmp_path / "out"), tile=16, block=1, margin=0), steps)


def test_objects_that_are_uploaded(tmp_path, each_is_told):
    folder(tmp_path / "in", 2)
    uploading = importlib.import_module("imgprep.stages.upload.upload")  # not the verb of its name
    steps = {
        "upload: 0/": (Store, "put"),
        "upload: writing the index, ": (uploading, "put_indexes"),
    }
    where = str(tmp_path / "store"), str(tmp_path / "out")
    each_is_told(lambda: upload.upload(str(tmp_path / "in"), *where, names="picture"), steps)


def test_exports_indexes_and_publishing(tmp_path, each_is_told):
    rows = {"train": table(folder(tmp_path / "in", 2))}
    ds = images.download(rows, str(tmp_path / "ds"))

    def call():
        exports.export(ds, str(tmp_path / "export"), "disk")
        search.build(ds)
        publish.publish(ds)

    steps = {
        "export ": (exports.ExportMark, "of_folder"),
        "search index of ": (index, "fill_index"),
        "publish: looking through the rows, ": (checks, "examine"),
    }
    each_is_told(call, steps)


def test_what_is_quick_says_nothing_of_it(tmp_path, said, monkeypatch):
    monkeypatch.setattr(progress, "SILENT_S", 60)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    images.download({"train": table(folder(tmp_path / "in", 2))}, str(tmp_path / "out"))
    assert [line for line in said if not line.startswith("download: 2/2 rows")] == []
