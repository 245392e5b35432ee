"""The demo's balls and the detector that sees them: boxes follow the picture, and the truth says how well."""

import json

import numpy as np
import pytest
from made import tree

from imgprep import annotations, codec, models, sample
from imgprep.sample.balls import TURNED, ball_picture

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "balls"
    sample.balls(folder)
    return folder


def test_they_are_the_same_every_time_and_stay_as_they_are(balls, tmp_path):
    sample.balls(tmp_path / "again")
    assert tree(tmp_path / "again") == tree(balls)
    (tmp_path / "again" / "truth.json").write_text("mine")
    sample.balls(tmp_path / "again")
    assert (tmp_path / "again" / "truth.json").read_text() == "mine"


def test_the_network_is_valid_and_small(balls):
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(str(balls / "demo_detector.onnx"), full_check=True)
    assert (balls / "demo_detector.onnx").stat().st_size < 20_000


def test_boxes_follow_the_picture(balls):
    model = models.Boxes(str(balls / "demo_detector.onnx"))
    empty = np.full((200, 300, 3), 128, np.uint8)
    assert model(empty)["objects"] == []
    picture, truth = ball_picture(0)
    (x, y, w, h) = truth[0][1]
    ball = picture[y : y + h, x : x + w]
    for left, top in ((40, 40), (180, 100)):
        here = empty.copy()
        here[top : top + h, left : left + w] = ball
        (one,) = model(here)["objects"]
        assert one["box_xywh"] == pytest.approx([left, top, w, h], abs=6)
        # its name is that of its colour
        mirrored = model(np.ascontiguousarray(here[:, :, ::-1]))["objects"]
        assert {one["label"], mirrored[0]["label"]} == {"red ball", "blue ball"}


def test_it_finds_nearly_all_also_in_the_picture_that_lies_on_its_side(balls):
    truth = annotations.read(balls / "truth.json", images=balls / "pictures")["train"].slice(TURNED - 1, 3)
    model = models.Boxes(str(balls / "demo_detector.onnx"))
    pictures = [codec.decode(open(path, "rb").read()) for path in truth["source"].to_pylist()]
    assert {picture.shape for picture in pictures} == {(480, 640, 3)}
    found = [model(picture)["objects"] for picture in pictures]
    scores = annotations.box_agreement(found, truth["objects"].to_pylist())
    assert scores["recall"] > 0.9 and scores["precision"] > 0.8 and 0.5 < scores["map"] < 1


def test_the_truth_holds_all_balls(balls):
    told = json.loads((balls / "truth.json").read_text())
    assert len(told["images"]) == 12 and len(told["annotations"]) > 40
    assert {one["category_id"] for one in told["annotations"]} == {1, 2, 3}


def test_only_demo_is_the_demos(tmp_path, project):
    assert sample.detector("my.onnx") == "my.onnx"
    assert sample.detector("demo") == str(project.root / "data/balls/demo_detector.onnx")
