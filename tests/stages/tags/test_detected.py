"""A detector is a tagger: one tag for each word, with all its boxes; and too many tags are that row's error."""

import json

import numpy as np
import pytest

from imgprep import tags
from imgprep.display.gallery_tags import seen_boxes
from imgprep.models import Boxes
from imgprep.picture import codec
from imgprep.stages.tags.detected import object_tags


class TwoCats(Boxes):
    """Answers as a detector does, without a network."""

    def __init__(self):
        self.model = "/somewhere/private/cats.onnx"

    class spec:  # noqa: N801 - as an instance has it
        digest = "0123456789abcdef"

    def __call__(self, image):
        boxes = [("cat", 0.6, [0, 0, 10, 10]), ("cat", 0.9, [20, 10, 20, 20]), ("dog", 0.7, [5, 5, 10, 10])]
        return {"objects": [{"label": w, "score": s, "box_xywh": b} for w, s, b in boxes]}


def test_a_word_is_one_tag_with_all_its_boxes_in_shares():
    cat, dog = object_tags(TwoCats(), np.zeros((40, 80, 3), np.uint8))
    assert (cat["kind"], cat["name"], cat["score"]) == ("object", "cat", 0.9)
    assert (cat["source"], cat["version"]) == ("cats.onnx", "0123456789ab")
    assert seen_boxes(cat["evidence"]) == [[0.25, 0.25, 0.25, 0.5], [0, 0, 0.125, 0.25]]
    assert json.loads(dog["evidence"])["box"] == [0.0625, 0.125, 0.125, 0.25]
    assert seen_boxes('{"box": broken') == []


@pytest.mark.parametrize("count", [1_001, 1_000_000])
def test_a_million_tags_of_one_picture_are_that_row_s_error(tmp_path, count):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(codec.encode(np.zeros((8, 8, 3), np.uint8), "PNG"))
    ds = tags.find(str(tmp_path / "in"), str(tmp_path / "out"), taggers=[lambda _: ["x"] * count], max_failed=1.0)
    (row,) = ds.table("train", ["reason", "error"]).to_pylist()
    assert row["reason"] == "error" and f"{count:,} tags for one picture" in row["error"]
