"""Where text stands: the boxes that RapidOCR gives, from its network's file alone; and what is no such network."""

import importlib.util
import pickle

import numpy as np
import onnx
import pytest
from conftest import missing
from made import table
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw, ImageFont
from test_models import conv

import imgprep
from imgprep import models
from imgprep.models import text_boxes
from imgprep.models.text_reader import LineReader
from imgprep.picture import codec
from imgprep.sample import packshot
from imgprep.stages import images

WORDS = {"SALE 50%": (40, 50, 40), "fresh fish": (250, 200, 24), "small print": (40, 250, 15)}


@pytest.fixture(scope="module")
def text():
    if not importlib.util.find_spec("rapidocr"):
        missing("the package rapidocr")
    return models.Text()


def written(words=WORDS):
    """Words on grey, and the boxes x, y, width, height of their ink."""
    page = Image.fromarray(np.full((300, 500, 3), 200, np.uint8))
    pen = ImageDraw.Draw(page)
    boxes = []
    for word, (x, y, size) in words.items():
        font = ImageFont.load_default(size)
        pen.text((x, y), word, (20, 20, 60), font)
        left, top, right, bottom = pen.textbbox((x, y), word, font)
        boxes.append([left, top, right - left, bottom - top])
    return np.asarray(page), boxes


def overlap(one, other):
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(np.add(one[:2], one[2:]), np.add(other[:2], other[2:]))
    shared = np.clip(high - low, 0, None).prod()
    return shared / (np.prod(one[2:]) + np.prod(other[2:]) - shared)


def test_words_are_found_where_they_stand(text):
    page, boxes = written()
    found = text(page)
    assert found["has_text"] and len(found["objects"]) == len(boxes)
    for box in boxes:
        assert max(overlap(box, one["box_xywh"]) for one in found["objects"]) > 0.6
    scores = [one["score"] for one in found["objects"]]
    assert scores == sorted(scores, reverse=True) and min(scores) > 0.9
    assert {one["text"] for one in found["objects"]} == set(WORDS)


@pytest.mark.parametrize("degrees", [90, -90, 30])
def test_text_is_read_as_it_lies(text, degrees):
    page, _ = written({"turned words": (120, 120, 36)})
    turned = Image.fromarray(page).rotate(degrees, expand=True, fillcolor=(200, 200, 200))
    (one,) = text(np.asarray(turned))["objects"]
    assert one["text"].replace(" ", "") == "turnedwords"


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png", "china.jpg", "rocket.jpg"])
def test_a_photograph_without_text_has_none(text, name):
    """Of these, three have something that looks like text: eyes, a saucer, roof tiles."""
    assert text(packshot.photograph(name)) == {"has_text": False, "objects": []}


@pytest.mark.corpus
def test_blood_cells_are_no_text(text, corpus):
    for number in ("00007", "00157", "00193", "00212"):
        file = corpus / "detection" / "bccd" / f"BloodImage_{number}.jpg"
        picture = codec.decode(file.read_bytes())
        assert text.find(picture), "it looks like text"
        assert text(picture) == {"has_text": False, "objects": []}


def test_boxes_and_words_are_those_of_rapidocr(text):
    rapidocr = pytest.importorskip("rapidocr")
    page, _ = written(WORDS | {"another line of words": (120, 130, 18)})
    theirs = rapidocr.RapidOCR()(page[:, :, ::-1].copy(), use_cls=False)
    ours = {one["text"]: one["box_xywh"] for one in text(page)["objects"]}
    assert set(theirs.txts) == set(ours) and len(ours) == 4
    for corners, word in zip(np.array(theirs.boxes, float), theirs.txts, strict=True):
        want = [*corners.min(0), *np.ptp(corners, axis=0)]
        assert ours[word] == pytest.approx(want, abs=1)


def bright_network(path, sides=("h", "w"), gain=40.0):
    """A network for which light is text, as an ONNX file."""
    axes = numpy_helper.from_array(np.array([1]), "axes")
    by = numpy_helper.from_array(np.float32(gain), "by")
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "by"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *sides])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, *sides])
    graph = helper.make_graph(nodes, "bright", [x], [y], [axes, by])
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    return str(path)


def test_a_box_is_grown_as_far_as_the_network_draws_text_small(tmp_path):
    picture = np.zeros((320, 480, 3), np.uint8)
    picture[60:100, 100:300] = 255
    model = models.Text(bright_network(tmp_path / "m.onnx"), reader=None, shortest_px=320)
    (one,) = model(picture)["objects"]
    # Of 200 x 40 pixels; the margin is their area by their circumference, times 1.6.
    margin = 200 * 40 * 1.6 / (2 * (200 + 40))
    want = [100 - margin, 60 - margin, 200 + 2 * margin, 40 + 2 * margin]
    assert one["label"] == "text" and one["box_xywh"] == pytest.approx(want, abs=2.5)
    again = pickle.loads(pickle.dumps(model))
    assert again(picture) == model(picture)


@pytest.mark.parametrize("size_wh", [(1, 1), (3, 900), (900, 3), (31, 33)])
def test_pictures_of_any_size_are_looked_at(size_wh, tmp_path):
    picture = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    model = models.Text(bright_network(tmp_path / "m.onnx"), reader=None, shortest_px=32)
    assert model(picture) == {"has_text": False, "objects": []}


def test_text_is_a_column_and_a_network_without_weights_a_reason(tmp_path):
    pictures = [np.zeros((64, 96, 3), np.uint8) for _ in range(2)]
    pictures[1][20:40, 10:80] = 255
    for n, picture in enumerate(pictures):
        (tmp_path / f"{n}.png").write_bytes(codec.encode(picture))
    rows = {"train": table([str(tmp_path / f"{n}.png") for n in range(2)])}
    how = {"features": models.Text.features(), "shortest_px": 64, "reader": None}
    good = bright_network(tmp_path / "m.onnx")
    bad = bright_network(tmp_path / "nan.onnx", gain=np.nan)
    with imgprep.session("local", workers=0):
        seen = images.transform(rows, str(tmp_path / "seen"), models.Text, model=good, **how)
        lost = images.transform(
            rows, str(tmp_path / "lost"), models.Text, model=bad, max_failed=1, **how
        )
    found = seen.table("train")
    assert found["has_text"].to_pylist() == [False, True]
    assert [len(objects) for objects in found["objects"].to_pylist()] == [0, 1]
    assert "nan.onnx gives NaN" in lost.table("train")["error"][0].as_py()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"at_least": 0}, "at_least is a probability above 0, not 0"),
        ({"shortest_px": 8}, "shortest_px is a whole number from 32 to 2,000 pixels, not 8"),
        ({"least_letters": 0}, "least_letters is a whole number above 0, not 0"),
        ({"model": "nowhere.onnx"}, "there is no model file 'nowhere.onnx'"),
    ],
)
def test_wrong_options_are_told(options, told):
    with pytest.raises(ValueError, match=told):
        models.Text(**options)


def test_another_network_is_told(tmp_path):
    path = conv(tmp_path / "conv.onnx", kernel=np.ones((3, 3, 3, 3), np.float32))
    with pytest.raises(ValueError, match=r"conv.onnx makes y .*: a network that finds text makes \(N, 1, H, W\)"):
        models.Text(path)
    finder = bright_network(tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="m.onnx has w letters and names of 2: it reads no lines"):
        models.Text(finder, reader=finder)


def test_letters_that_follow_each_other_are_one():
    """Nought is no letter: between two that are the same it says that they are two."""
    reader = object.__new__(LineReader)
    reader.letters = ["", "a", "b", " "]
    places = [1, 1, 0, 1, 2, 2, 3, 0, 0, 2]
    sure = np.full((10, 4), 0.02)
    sure[range(10), places] = [0.9, 0.5, 0.9, 0.8, 0.7, 0.1, 0.6, 0.9, 0.9, 1.0]
    assert reader.said(sure) == ("aab b", pytest.approx((0.9 + 0.8 + 0.7 + 0.6 + 1.0) / 5))
    assert reader.said(np.eye(4)[[0, 0]]) == ("", 0.0)


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(text_boxes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"the networks that find and read text come with `.*\[text\]"):
        models.Text()
