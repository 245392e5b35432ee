"""A file that is no detector is told when it is named; an answer that is none is its row's reason."""

import json

import numpy as np
import onnx
import pytest
from made import table
from onnx import TensorProto, helper, numpy_helper
from test_detectors import NAMED, PICTURE, saying
from test_models import conv

import imgprep
from imgprep import models
from imgprep.picture import codec
from imgprep.stages import images

FLOAT, BYTES, WHOLE = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
PICTURES = ("images", FLOAT, [1, 3, "h", "w"])
SIZES = ("orig_target_sizes", WHOLE, [1, 2])
IMAGE_SHAPE = ("im_shape", FLOAT, [1, 2])
ROW = {name: value[:1] for name, value in NAMED.items()}


def detector(path, *inputs, answers=NAMED, texts=None):
    """A file that says the same of whatever it is given."""
    nodes = []
    outputs = []
    for name, value in answers.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor = numpy_helper.from_array(value)
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        outputs.append(helper.make_tensor_value_info(name, kind, value.shape))
    for name, words in (texts or {}).items():
        tensor = helper.make_tensor(name, TensorProto.STRING, [len(words)], words)
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.STRING, [len(words)]))
    given = [helper.make_tensor_value_info(*one) for one in inputs]
    graph = helper.make_graph(nodes, "detector", given, outputs)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    return str(path)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ([], "m.onnx takes nothing: a model of pictures takes the picture alone"),
        ([SIZES], "m.onnx takes nothing: a model of pictures takes the picture alone"),
        ([PICTURES, IMAGE_SHAPE], r"takes images \[1, 3, 'h', 'w'\] and im_shape \[1, 2\]: a model"),
        ([("x", FLOAT, ["n"])], r"takes tensor\(float\) \['n'\]: a model of pictures takes \(N, C"),
        ([("x", FLOAT, [1, 3, 8, 8, 8])], r"\[1, 3, 8, 8, 8\]: a model of pictures takes \(N, C"),
        ([("x", WHOLE, [1, 3, 8, 8])], r"takes tensor\(int64\) \[1, 3, 8, 8\]: a model of pictures"),
        ([("x", FLOAT, [1, 1, 64, 64])], "takes pictures of 1 band: a detector takes 3"),
        ([("x", FLOAT, [1, 64, 64, 4])], "takes pictures of 4 bands: a detector takes 3"),
        ([("x", FLOAT, [4, 3, 64, 64])], "takes 4 pictures at once and gives boxes .* export it for 1"),
    ],
)
def test_wrong_inputs_are_told_when_a_model_is_named(inputs, told, tmp_path):
    path = detector(tmp_path / "m.onnx", *inputs)
    with pytest.raises(ValueError, match=told):
        models.Boxes(path)


@pytest.mark.parametrize(
    "inputs",
    [
        [("any name at all", FLOAT, [1, 3, "h", "w"])],
        [("x", BYTES, ["n", "h", "w", 3])],
        [("x", TensorProto.FLOAT16, [1, 3, "h", "w"])],
        [("x", FLOAT, [3, "h", "w"])],
    ],
)
def test_inputs_of_any_name_and_order_of_bands_are_taken(inputs, tmp_path):
    (one,) = models.Boxes(detector(tmp_path / "m.onnx", *inputs, answers=ROW))(PICTURE)["objects"]
    assert (one["label"], one["box_xywh"]) == ("1", [10, 20, 20, 25])


def test_the_picture_may_stand_behind_its_size(tmp_path):
    path = detector(tmp_path / "m.onnx", SIZES, PICTURES, answers=ROW)
    assert models.Boxes(path)(PICTURE)["objects"][0]["box_xywh"] == [10, 20, 20, 25]


def test_of_a_model_for_four_pictures_the_first_answer_counts(tmp_path):
    four = {name: np.stack([value, *[value * 0] * 3]) for name, value in NAMED.items()}
    path = detector(tmp_path / "m.onnx", ("x", FLOAT, [4, 3, 120, 200]), answers=four)
    found = models.Boxes(path)(PICTURE)
    alone = models.Boxes(detector(tmp_path / "alone.onnx", PICTURES))(PICTURE)
    assert found == alone and len(found["objects"]) == 2


def without(name):
    return {key: value for key, value in NAMED.items() if key != name}


@pytest.mark.parametrize(
    ("answers", "texts", "told"),
    [
        (without("labels"), {}, r"gives boxes \[4, 4\], scores \[4\]: a detector gives boxes, labels"),
        (without("scores"), {}, r"gives boxes \[4, 4\], labels \[4\]: a detector gives boxes, labels"),
        (without("labels"), {"labels": ["cat"] * 4}, r"gives labels as tensor\(string\), and they are"),
        (NAMED | {"scores": np.arange(4)}, {}, r"gives scores as tensor\(int64\), and they are numbers"),
        (NAMED | {"boxes": np.zeros((4, 5), np.float32)}, {}, r"gives boxes \[4, 5\]: a box is x1 y1 x2 y2"),
        ({"vector": np.zeros((1, 384), np.float32)}, {}, r"gives vector \[1, 384\]: a detector gives boxes"),
    ],
)
def test_wrong_outputs_are_told_when_a_model_is_named(answers, texts, told, tmp_path):
    path = detector(tmp_path / "m.onnx", PICTURES, answers=answers, texts=texts)
    with pytest.raises(ValueError, match=told):
        models.Boxes(path)


def write_text(folder):
    (folder / "m.onnx").write_text("weights will be uploaded soon\n")
    return str(folder / "m.onnx")


def write_torch(folder):
    torch = pytest.importorskip("torch")
    torch.save({"weights": torch.zeros(3)}, folder / "m.onnx")
    return str(folder / "m.onnx")


def write_torch_as_such(folder):
    write_torch(folder)
    (folder / "m.onnx").rename(folder / "m.pt")
    return str(folder / "m.pt")


def write_mask(folder):
    mask = {"mask": np.zeros((1, 120, 200), np.float32)}
    return detector(folder / "m.onnx", ("x", FLOAT, [1, 3, 120, 200]), answers=mask)


def write_bad_scaling(folder):
    return saying(folder / "m.onnx", NAMED, meta=[("image_std", "[0.2, 0, 0.2]")])


def write_bad_config_beside(folder):
    (folder / "preprocessor_config.json").write_text("<html>not found</html>")
    return saying(folder / "m.onnx", NAMED)


def write_empty_folder(folder):
    return str(folder)


def write_folder_without_weights(folder):
    config = {"architectures": ["DetrForObjectDetection"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text("{}")
    return str(folder)


def write_folder_of_html(folder):
    (folder / "config.json").write_text("<html>not found</html>")
    return str(folder)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (write_text, "m.onnx is no model that onnxruntime opens"),
        (write_torch, "m.onnx' has weights alone, and to open them may run code of their maker"),
        (write_torch_as_such, "m.pt' has weights alone, .*: export the network"),
        (lambda folder: conv(folder / "m.onnx"), "m.onnx gives y .*: a detector gives boxes, labels"),
        (write_mask, r"m.onnx gives mask \[1, 120, 200\]: a detector gives boxes"),
        (write_bad_scaling, r"says image_std \[0.2, 0, 0.2\]: it is a number, or one for each band"),
        (write_bad_config_beside, "preprocessor_config.json is no JSON that describes a model"),
        (write_empty_folder, "has no config.json: it is no model that transformers saved"),
        (write_folder_without_weights, "has a description and no weights .*: copy the whole folder"),
        (write_folder_of_html, "config.json is no JSON that describes a model"),
    ],
)
def test_a_file_of_another_kind_is_told_when_it_is_named(write, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        models.Boxes(write(tmp_path))


def one_box(*corners, score=0.9):
    box = np.array([corners], np.float32)
    return {"boxes": box, "labels": np.array([3]), "scores": np.array([score], np.float32)}


@pytest.mark.parametrize(
    ("corners", "kept"),
    [
        ((150, 100, 260, 190), [150, 100, 50, 20]),  # over the corner: cut off there
        ((-30, -10, 20, 30), [0, 0, 20, 30]),
        ((-5, -5, 900, 900), [0, 0, 200, 120]),
        ((200, 10, 260, 40), None),  # beside the picture
        ((20, -30, 40, 0), None),
        ((50, 50, 50, 80), None),  # of no area
        ((50, 50, 80, 50), None),
        ((90, 80, 40, 20), None),  # its corners in the wrong order
    ],
)
def test_a_detectors_box_is_cut_off_at_the_edge_or_left_out(corners, kept, tmp_path):
    path = detector(tmp_path / "m.onnx", PICTURES, answers=one_box(*corners))
    for model in (models.Boxes(path), models.Detector(path, tile_wh=[400, 400])):
        boxes = [one["box_xywh"] for one in model(PICTURE)["objects"]]
        assert boxes == ([kept] if kept else [])


BOX = (10, 20, 30, 45)
BAD_ANSWERS = {
    "nan-box": (one_box(10, np.nan, 30, 45), "m.onnx gives NaN: its weights"),
    "nan-score": (one_box(*BOX, score=np.nan), "m.onnx gives NaN: its weights"),
    "endless-box": (one_box(10, 20, np.inf, 45), "m.onnx gives boxes without end"),
    "logits": (one_box(*BOX, score=4.5), "m.onnx gives the score 4.5: scores are from 0 to 1"),
    "counts": (NAMED | {"scores": NAMED["scores"][:3]}, "gives 4 boxes, 3 scores and 4 labels: each"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_an_answer_that_is_none_is_its_rows_reason(name, tmp_path):
    answers, told = BAD_ANSWERS[name]
    model = models.Boxes(detector(tmp_path / "m.onnx", PICTURES, answers=answers))
    with pytest.raises(ValueError, match=told):
        model(PICTURE)


def test_a_run_of_a_detector_that_gives_logits_keeps_its_rows_and_says_why(tmp_path):
    (tmp_path / "p.png").write_bytes(codec.encode(PICTURE))
    rows = {"train": table([str(tmp_path / "p.png")])}
    answers, told = BAD_ANSWERS["logits"]
    path = detector(tmp_path / "m.onnx", PICTURES, answers=answers)
    columns = models.Detector.features()
    with imgprep.session("local", workers=0):
        out = str(tmp_path / "out")
        bad = images.transform(rows, out, models.Detector, model=path, features=columns, max_failed=1)
    (row,) = bad.table("train").to_pylist()
    assert (row["status"], row["reason"], row["objects"]) == ("failed", "error", None)
    assert told in row["error"]


def test_a_score_below_nought_marks_an_empty_place(tmp_path):
    answers = {name: np.concatenate([value, value]) for name, value in one_box(*BOX).items()}
    answers["scores"] = np.array([0.9, -1], np.float32)
    path = detector(tmp_path / "m.onnx", PICTURES, answers=answers)
    assert len(models.Boxes(path, threshold=0)(PICTURE)["objects"]) == 1
