"""Boxes of any detector are in pixels of the picture; what is no detector, or says nonsense, is told."""

import json
import pickle

import numpy as np
import onnx
import pytest
from made import table
from onnx import TensorProto, helper, numpy_helper
from test_models import conv, hub

import imgprep
from imgprep import models
from imgprep.models.found import FoundBoxes, without_copies
from imgprep.picture import codec
from imgprep.stages import images

PICTURE = np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8)


def saying(path, values, *, sides=("h", "w"), meta=(), more=()):
    """A network that says the same of every picture, as an ONNX file."""
    nodes = [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(v)) for n, v in values.items()]
    outputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in values.items()
    ]
    x = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *sides])
    graph = helper.make_graph(nodes, "detector", [x, *more], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(meta))
    onnx.save(model, path)
    return str(path)


NAMED = {
    "boxes": np.array([[10, 20, 30, 45], [100, 90, 260, 200], [0, 0, 5, 5], [300, 10, 310, 20]], np.float32),
    "labels": np.array([1, 0, 1, 0], np.int64),
    "scores": np.array([0.9, 0.75, 0.3, 0.8], np.float32),
}


def test_boxes_labels_and_scores_are_taken_as_they_are(tmp_path):
    path = saying(tmp_path / "m.onnx", NAMED)
    found = models.Boxes(path, labels=["dog", "cat"])(PICTURE)
    assert (found["width"], found["height"]) == (200, 120)
    assert [(o["label"], o["box_xywh"]) for o in found["objects"]] == [
        ("cat", [10, 20, 20, 25]),
        ("dog", [100, 90, 100, 30]),  # cut off at the edge; what lies outside is no object
    ]
    assert [o["score"] for o in found["objects"]] == pytest.approx([0.9, 0.75])
    numbers = models.Boxes(path, threshold=0.2)([PICTURE, PICTURE])
    assert [o["label"] for o in numbers[1]["objects"]] == ["1", "0", "1"]


def test_a_model_of_one_size_answers_in_pixels_of_the_picture(tmp_path):
    values = {n: v[:1] for n, v in NAMED.items()}
    path = saying(tmp_path / "m.onnx", values, sides=(60, 50))
    (one,) = models.Boxes(path)(PICTURE)["objects"]
    assert one["box_xywh"] == pytest.approx([10 * 4, 20 * 2, 20 * 4, 25 * 2])  # 200 x 120 was made 50 x 60
    sizes = helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [1, 2])
    told = saying(tmp_path / "told.onnx", values, sides=(60, 50), more=[sizes])
    (one,) = models.Boxes(told)(PICTURE)["objects"]
    assert one["box_xywh"] == [10, 20, 20, 25]


def yolo(boxes, scores):
    """(1, 4 + classes, n): middles and sizes, then a score for each class."""
    return {"output0": np.concatenate([np.float32(boxes).T, np.float32(scores).T])[None]}


def test_yolos_output_is_taken_out_of_its_letterbox(tmp_path):
    # 200 x 120 becomes 100 x 60, 20 pixels below the upper edge of 100 x 100.
    boxes = [[50, 50, 20, 10], [51, 50, 20, 10], [51, 51, 20, 10], [20, 40, 4, 4]] + [[90, 30, 6, 6]] * 60
    scores = [[0.9, 0], [0.8, 0], [0.1, 0.85], [0.2, 0.3]] + [[0, 0]] * 60
    names = {"names": "{0: 'cup', 1: 'cat'}"}
    path = saying(tmp_path / "m.onnx", yolo(boxes, scores), sides=(100, 100), meta=names.items())
    model = models.Boxes(path)
    assert [(o["label"], o["box_xywh"]) for o in model(PICTURE)["objects"]] == [
        ("cup", [80, 50, 40, 20]),  # the second cup is a copy
        ("cat", [82, 52, 40, 20]),  # a cat may stand where a cup does
    ]
    every = models.Boxes(path, most_iou=1)(PICTURE)["objects"]
    assert [o["label"] for o in every] == ["cup", "cat", "cup"]
    assert np.array_equal(pickle.loads(pickle.dumps(model)).find(PICTURE).boxes, model.find(PICTURE).boxes)


def test_other_shapes_of_yolo(tmp_path):
    end = np.zeros((1, 50, 6), np.float32)
    end[0, 7] = [10, 30, 30, 50, 0.9, 1]
    path = saying(tmp_path / "end.onnx", {"output0": end}, sides=(100, 100))
    (one,) = models.Boxes(path, labels=["cup", "cat", "dog"])(PICTURE)["objects"]
    assert (one["label"], one["box_xywh"]) == ("cat", [20, 20, 40, 40])
    older = np.zeros((1, 50, 8), np.float32)
    older[0, 3] = [20, 40, 20, 20, 0.9, 0.1, 0.2, 1]
    path = saying(tmp_path / "older.onnx", {"output": older}, sides=(100, 100))
    (one,) = models.Boxes(path, labels=["cup", "cat", "dog"])(PICTURE)["objects"]
    assert one["label"] == "dog" and one["score"] == pytest.approx(0.9) and one["box_xywh"] == [20, 20, 40, 40]


def test_of_copies_the_surest_stays_in_each_class():
    rng = np.random.default_rng(5)
    corners = rng.integers(0, 90, (300, 2))
    boxes = np.concatenate([corners, corners + rng.integers(5, 40, (300, 2))], 1).astype(np.float32)
    found = FoundBoxes(boxes, rng.random(300), [str(n) for n in rng.integers(0, 3, 300)])
    kept = without_copies(found, 0.5)

    def iou(a, b):
        shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
        return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)

    left = [*zip(kept.boxes.tolist(), kept.scores.tolist(), kept.labels, strict=True)]
    assert 50 < len(left) < 290
    for a in left:
        assert not any(iou(a[0], b[0]) > 0.5 for b in left if a is not b and a[2] == b[2])
    for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels, strict=True):
        assert any(b[2] == label and b[1] >= score and (b[0] == box or iou(b[0], box) > 0.5) for b in left)


def test_wrong_models_and_answers_are_told(tmp_path):
    path = saying(tmp_path / "m.onnx", NAMED)
    nan = {**NAMED, "scores": np.array([np.nan, 0.5, 0.5, 0.5], np.float32)}
    for make, told in [
        (lambda: models.Boxes(conv(tmp_path / "conv.onnx")), r"conv.onnx gives y .*: a detector gives boxes, labels"),
        (lambda: models.Boxes("nowhere.onnx"), "there is no model file 'nowhere.onnx'"),
        (lambda: models.Boxes(path, threshold=2), "threshold is a number from 0 to 1, not 2"),
        (lambda: models.Boxes(path, labels="cat"), "labels is a list of names, not 'cat'"),
        (lambda: models.Boxes(path, labels=["cat"])(PICTURE), "says class 1, and there are names of 1: give labels="),
        (lambda: models.Boxes(saying(tmp_path / "nan.onnx", nan))(PICTURE), "nan.onnx gives NaN"),
        (lambda: models.Boxes(path)(PICTURE[..., 0]), r"takes pictures of uint8 \(h, w, 3\), not uint8 \(120, 200\)"),
    ]:
        with pytest.raises(ValueError, match=told):
            make()


def test_boxes_are_a_column_and_a_model_that_says_nonsense_is_a_reason(tmp_path):
    (tmp_path / "p.png").write_bytes(codec.encode(PICTURE))
    rows = {"train": table([str(tmp_path / "p.png")])}

    model = models.Boxes(saying(tmp_path / "m.onnx", NAMED))

    def objects(image):
        return {"objects": model(image)["objects"]}

    nan = {**NAMED, "boxes": NAMED["boxes"] * np.float32(np.nan)}
    broken = models.Boxes(saying(tmp_path / "nan.onnx", nan))
    with imgprep.session("local", workers=0):
        done = images.transform(rows, str(tmp_path / "out"), objects, features=models.Boxes.features())
        assert [o["label"] for o in done.table("train")["objects"].to_pylist()[0]] == ["1", "0"]
        bad = images.transform(rows, str(tmp_path / "bad"), broken, features=models.Boxes.features(), max_failed=1)
    row = bad.table("train").to_pylist()[0]
    assert row["reason"] == "error" and "nan.onnx gives NaN" in row["error"]


@pytest.fixture(scope="module")
def rtdetr(tmp_path_factory):
    """A folder with an RT-DETR of a few weights, all of them random."""
    torch, transformers = hub()
    torch.manual_seed(0)
    folder = str(tmp_path_factory.mktemp("rtdetr"))
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=["stage2", "stage3", "stage4"]
    )
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 8, 8],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        decoder_layers=1,
        encoder_layers=1,
        num_queries=10,
        num_denoising=0,
        id2label={0: "cup", 1: "cat"},
        label2id={"cup": 0, "cat": 1},
    )
    transformers.RTDetrForObjectDetection(config).save_pretrained(folder)
    transformers.RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def test_a_transformers_detector_is_what_transformers_says(rtdetr):
    torch, transformers = hub()
    found = models.Boxes(rtdetr, threshold=0, most_iou=1)(PICTURE)
    processor = transformers.RTDetrImageProcessor.from_pretrained(rtdetr)
    net = transformers.RTDetrForObjectDetection.from_pretrained(rtdetr).eval()
    with torch.inference_mode():
        outputs = net(**processor(images=[PICTURE], return_tensors="pt"))
    want = processor.post_process_object_detection(outputs, threshold=0, target_sizes=[(120, 200)])[0]
    assert len(found["objects"]) >= 5 and {o["label"] for o in found["objects"]} <= {"cup", "cat"}
    scores = [o["score"] for o in found["objects"]]
    assert scores == sorted(scores, reverse=True)
    assert all(np.abs(want["scores"].numpy() - score).min() < 1e-5 for score in scores)
    for one in found["objects"]:
        x, y, w, h = one["box_xywh"]
        assert 0 <= x and 0 <= y and x + w <= 200.01 and y + h <= 120.01 and w > 0 and h > 0
    again = pickle.loads(pickle.dumps(models.Boxes(rtdetr, threshold=0, most_iou=1)))
    assert again(PICTURE) == found


def test_a_hub_model_of_another_kind_is_told(rtdetr, tmp_path):
    with pytest.raises(ValueError, match="is for RTDetrForObjectDetection: name a model for segmentation"):
        models.Semantic(rtdetr)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    for arch, told in [
        ("BertModel", "is for BertModel: name a model for object detection"),
        ("GroundingDinoForObjectDetection", "looks for what it is told in words: give labels="),
    ]:
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [arch]}))
        with pytest.raises(ValueError, match=told):
            models.Boxes(str(tmp_path))


def test_a_detector_by_words_looks_for_what_it_is_told(tmp_path):
    """A Grounding DINO of a few weights: that it finds anything is chance, but not what that is called."""
    torch, transformers = hub()
    torch.manual_seed(0)
    vocabulary = "[PAD] [UNK] [CLS] [SEP] [MASK] . a cat remote control".split()
    words = transformers.BertTokenizer(vocab={word: n for n, word in enumerate(vocabulary)})
    swin = transformers.SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1] * 4,
        num_heads=[1] * 4,
        window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )
    bert = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=swin,
        text_config=bert,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=8,
        num_feature_levels=4,
    )
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(tmp_path)
    pictures = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    transformers.GroundingDinoProcessor(pictures, words).save_pretrained(tmp_path)
    found = models.Boxes(str(tmp_path), labels=["a cat", "a remote control"], threshold=0.01, most_iou=1)(PICTURE)
    assert found["objects"] and {o["label"] for o in found["objects"]} <= {"a cat", "a remote control"}
