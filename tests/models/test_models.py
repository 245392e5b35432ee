import importlib.util
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from conftest import missing
from made import picture, table
from onnx import TensorProto, helper, numpy_helper

import imgprep
from imgprep import models
from imgprep.picture import codec
from imgprep.stages import images, segmentation

KERNEL = np.random.default_rng(0).normal(0, 1, (1, 3, 5, 5)).astype(np.float32)
KERNEL -= KERNEL.mean()
WIDE = np.random.default_rng(1).integers(0, 256, (190, 333, 3), np.uint8)


def conv(
    path, *, sides=("h", "w"), count="n", channels_last=False, kind=TensorProto.FLOAT, kernel=KERNEL, stride=1, meta=()
):
    """A convolution with known weights as an ONNX file: padded with zeros, as large as its picture (or 1 / stride)."""
    shape = [count, *sides, kernel.shape[1]] if channels_last else [count, kernel.shape[1], *sides]
    nodes, last = [], "x"
    if kind != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [last], ["f"], to=TensorProto.FLOAT))
        last = "f"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [last], ["t"], perm=[0, 3, 1, 2]))
        last = "t"
    pads = [kernel.shape[2] // 2] * 4
    nodes.append(
        helper.make_node("Conv", [last, "k"], ["c" if channels_last else "y"], pads=pads, strides=[stride] * 2)
    )
    if channels_last:
        nodes.append(helper.make_node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1]))
    x = helper.make_tensor_value_info("x", kind, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph(nodes, "conv", [x], [y], [numpy_helper.from_array(kernel, "k")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(meta))
    onnx.save(model, path)
    return str(path)


def filtered(image, *, scale=1 / 255, mean=0.0, std=1.0, kernel=KERNEL):
    """What the convolution gives for a whole picture, by OpenCV."""
    bands = cv2.split(((image * np.float32(scale) - np.float32(mean)) / np.float32(std)).astype(np.float32))
    return sum(
        cv2.filter2D(b, cv2.CV_32F, k, borderType=cv2.BORDER_CONSTANT) for b, k in zip(bands, kernel[0], strict=True)
    )


def score(model, image):
    (answer,) = model.predict([image])
    return answer[..., 0]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
def test_an_onnx_file_says_how_its_pictures_lie_and_how_they_are_scaled(tmp_path, channels_last, kind):
    model = models.Semantic(conv(tmp_path / "m.onnx", channels_last=channels_last, kind=kind), activation="none")
    want = filtered(WIDE, scale=1 if kind == TensorProto.UINT8 else 1 / 255)
    assert np.allclose(score(model, WIDE), want, rtol=1e-4, atol=2e-3 * want.std())
    assert np.array_equal(model(WIDE), score(model, WIDE) >= 0.5) and 0.1 < model(WIDE).mean() < 0.9


def test_normalisation_is_read_from_the_file_or_from_beside_it(tmp_path):
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    want = filtered(WIDE, mean=mean, std=std)
    inside = conv(tmp_path / "inside.onnx", meta={"image_mean": json.dumps(mean), "image_std": json.dumps(std)}.items())
    assert np.allclose(score(models.Semantic(inside, activation="none"), WIDE), want, atol=1e-3)
    (tmp_path / "beside").mkdir()
    beside = conv(tmp_path / "beside" / "m.onnx")
    assert not np.allclose(score(models.Semantic(beside, activation="none"), WIDE), want, atol=1e-3)
    (tmp_path / "beside" / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": std}))
    assert np.allclose(score(models.Semantic(beside, activation="none"), WIDE), want, atol=1e-3)


@pytest.mark.parametrize("fixed", [True, False])
def test_windows_with_an_overlap_give_what_the_whole_picture_gives(tmp_path, fixed):
    path = conv(tmp_path / "m.onnx", sides=(64, 64) if fixed else ("h", "w"), count=3 if fixed else "n")
    want = np.uint8(filtered(WIDE) >= 0.5)

    def found(overlap):
        return models.Semantic(path, activation="none", window=None if fixed else 64, overlap=overlap, batch=5)(WIDE)

    assert np.array_equal(found(4), want) and np.array_equal(found(37), want)
    assert (found(2) != want).sum() > 5  # the kernel looks two pixels far: an overlap of 4 is what it needs


def test_one_picture_many_pictures_and_any_batch_give_the_same(tmp_path):
    pictures = [WIDE, WIDE[:40, :40], WIDE[:64, :64], WIDE[5:45, 5:45], WIDE[:10, 50:300]]
    path = conv(tmp_path / "m.onnx", sides=(64, 64))
    one_by_one = [models.Semantic(path, activation="none", batch=1)(p) for p in pictures]
    assert [m.shape for m in one_by_one] == [p.shape[:2] for p in pictures]
    for batch in (2, 16):
        assert all(map(np.array_equal, models.Semantic(path, activation="none", batch=batch)(pictures), one_by_one))
    mirrored = np.pad(WIDE[:40, :40], ((0, 24), (0, 24), (0, 0)), "symmetric")
    assert np.array_equal(one_by_one[1], np.uint8(filtered(mirrored) >= 0.5)[:40, :40])


def test_classes_probabilities_and_a_coarse_output(tmp_path):
    kernel = np.random.default_rng(3).normal(0, 1, (7, 3, 3, 3)).astype(np.float32)
    path = conv(tmp_path / "m.onnx", kernel=kernel, stride=4)
    crop = WIDE[:64, :96]
    model = models.Semantic(path, activation="softmax")
    (odds,) = model.predict([crop])
    assert odds.shape == (64, 96, 7) and np.allclose(odds.sum(2), 1, atol=1e-5)
    assert np.array_equal(model(crop), odds.argmax(2)) and len(np.unique(model(crop))) > 2
    assert np.array_equal(models.Semantic(path, activation="softmax", probability_of=3)(crop), odds[..., 3])
    coarse = np.stack([filtered(crop, kernel=k[None]) for k in kernel], -1)[::4, ::4]
    logits = cv2.resize(coarse, (96, 64), interpolation=cv2.INTER_LINEAR)
    assert (logits.argmax(2) == model(crop)).mean() > 0.999
    with pytest.raises(ValueError, match="gives no probability number 7"):
        models.Semantic(path, activation="none", probability_of=7)(crop)


def test_numbers_that_are_no_probabilities_are_not_taken_for_some(tmp_path):
    path = conv(tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=r"gives -\d.* which are no probabilities: say activation='sigmoid'"):
        models.Semantic(path)(WIDE)
    assert np.array_equal(models.Semantic(path, activation="sigmoid")(WIDE), filtered(WIDE) >= 0)


def test_a_file_may_give_classes_themselves(tmp_path):
    """The number of the brightest band, at half the size."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["a"], axis=1, keepdims=0),
        helper.make_node("Slice", ["a", "from", "to", "axes", "steps"], ["y"]),
    ]
    values = {"from": [0, 0], "to": [9999, 9999], "axes": [1, 2], "steps": [2, 2]}
    weights = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in values.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, ["n", "p", "q"])
    graph = helper.make_graph(nodes, "argmax", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    model = models.Semantic(str(tmp_path / "m.onnx"))
    assert np.array_equal(model(WIDE[:60, :90]), WIDE[:60:2, :90:2].argmax(2).repeat(2, 0).repeat(2, 1))
    assert not model.has_probabilities


def test_sixteen_bits_and_more_bands_go_in_as_they_are(tmp_path):
    kernel = np.random.default_rng(4).normal(0, 1, (1, 6, 3, 3)).astype(np.float32)
    tile = np.random.default_rng(5).integers(0, 65536, (30, 40, 6), np.uint16)
    assert np.allclose(
        score(models.Semantic(conv(tmp_path / "m.onnx", kernel=kernel), activation="none"), tile),
        filtered(tile, scale=1, kernel=kernel),
        rtol=1e-4,
        atol=2,
    )


def test_a_model_travels_by_name_and_comes_with_the_hash_of_its_file(tmp_path):
    path = conv(tmp_path / "m.onnx")
    model = models.Semantic(path, activation="none")
    model(WIDE)
    assert len(pickle.dumps(model)) < 2000
    assert np.array_equal(pickle.loads(pickle.dumps(model))(WIDE), model(WIDE))
    before = model.spec.digest
    conv(tmp_path / "m.onnx", kernel=KERNEL + 1)
    assert models.Semantic(path, activation="none").spec.digest != before


def test_a_stage_computes_again_when_the_model_was_trained_again(tmp_path, capsys):
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(codec.encode(picture(i, (60, 40))))
    source = {"train": table([str(tmp_path / f"{i}.png") for i in range(6)])}
    path = conv(tmp_path / "m.onnx")
    with imgprep.session("local", workers=0):
        done = images.transform(source, str(tmp_path / "out"), models.Semantic, model=path, activation="none", batch=4)
        assert done.counts()["ok"] == 6
        masks = [codec.decode(b)[..., 0] for b in done.pictures("train", range(6))]
        assert all(
            np.array_equal(m, models.Semantic(path, activation="none")(picture(i, (60, 40))))
            for i, m in enumerate(masks)
        )
        images.transform(source, str(tmp_path / "out"), models.Semantic(path, activation="none"), batch=4)
        assert "nothing to compute" in capsys.readouterr().out
        conv(tmp_path / "m.onnx", kernel=-KERNEL)
        images.transform(source, str(tmp_path / "out"), models.Semantic, model=path, activation="none", batch=4)
        assert "6 of 6 rows to compute: function changed" in capsys.readouterr().out


def test_wrong_models_are_told_before_any_work(tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    rows = {"train": table([str(tmp_path / "none.png")])}
    cases = [
        ({}, "Semantic is missing 1 required positional argument: 'model'"),
        ({"model": "nowhere.onnx", "windows": 64}, "Semantic has no option 'windows'.* did you mean 'window'"),
        ({"model": "nowhere.onnx"}, "there is no model file 'nowhere.onnx'"),
        ({"model": str(tmp_path / "text.onnx")}, "text.onnx is no model that onnxruntime opens"),
        ({"model": conv(tmp_path / "m.onnx", sides=(64, 64)), "window": 128}, "takes pictures of 64 x 64 pixels only"),
        ({"model": conv(tmp_path / "n.onnx"), "window": 64, "overlap": 64}, "less than the window, 64 pixels, not 64"),
        ({"model": str(tmp_path / "n.onnx"), "activation": "relu"}, "activation is 'sigmoid', 'softmax', 'none' or ''"),
    ]
    for options, told in cases:
        with pytest.raises(ValueError, match=told):
            images.transform(rows, str(tmp_path / "out"), models.Semantic, **options)
        assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="take models.Semantic"):
        models.Objects(str(tmp_path / "n.onnx"))
    with pytest.raises(ValueError, match="n.onnx takes 3 bands, this picture has 4"):
        models.Semantic(str(tmp_path / "n.onnx"), activation="none")(np.zeros((8, 8, 4), np.uint8))


def test_weights_alone_are_no_model(tmp_path):
    """As torch.save leaves them, whatever the file is called."""
    with zipfile.ZipFile(tmp_path / "hidden.onnx", "w") as archive:
        archive.writestr("hidden/data.pkl", b"not opened")
    (tmp_path / "net.pt").write_bytes(b"not opened")
    for name in (tmp_path / "hidden.onnx", tmp_path / "net.pt", "nowhere/model.safetensors"):
        with pytest.raises(ValueError, match=r"has weights alone.*: export the network \(torch.onnx.export\)"):
            models.Semantic(str(name))
    with pytest.raises(ValueError, match="'net.pt' has weights alone"):
        segmentation.operator_of("net.pt")


def test_a_missing_extra_is_told_with_what_to_install(tmp_path, monkeypatch):
    path, find = conv(tmp_path / "m.onnx"), importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n in ("onnxruntime", "torch") else find(n))
    for model, extra in ((path, "onnx"), (str(tmp_path), "models")):
        with pytest.raises(ValueError, match=rf"needs `.*pip install -e .*\[{extra}\]"):
            models.Semantic(model)


def test_mask_r_cnn_in_a_file_gives_the_objects_it_was_given(tmp_path):
    """A network that says the same of every picture: two boxes with masks of 2 x 2, and one it is not sure of."""
    values = {
        "boxes": np.array([[10, 20, 30, 40], [40, 10, 48, 22], [0, 0, 9, 9]], np.float32),
        "labels": np.array([1, 2, 1], np.int64),
        "scores": np.array([0.9, 0.8, 0.3], np.float32),
        "masks": np.ones((3, 1, 2, 2), np.float32),
    }
    nodes = [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(v)) for n, v in values.items()]
    outputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in values.items()
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph(nodes, "rcnn", [x], outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    model = models.Objects(str(tmp_path / "m.onnx"))
    found = model(WIDE[:60, :45])
    assert found["boxes"] == [[40, 10, 5, 12], [10, 20, 20, 20]] and found["labels"] == ["2", "1"]
    assert found["scores"] == pytest.approx([0.8, 0.9])
    assert sum(found["masks"][1]["counts"][1::2]) == 20 * 20
    path = str(tmp_path / "m.onnx")
    assert len(models.Objects(path, threshold=0.1)(WIDE[:60, :45])["boxes"]) == 3
    labels = models.Instances(path)(WIDE[:60, :45])
    assert labels.dtype == np.int32 and {*np.unique(labels)} == {0, 1, 2} and (labels[20:40, 10:30] == 2).all()
    with imgprep.session("local", workers=0):
        (tmp_path / "p.png").write_bytes(codec.encode(WIDE[:60, :45]))
        rows = {"train": table([str(tmp_path / "p.png")])}
        done = images.transform(
            rows, str(tmp_path / "out"), models.Objects, model=path, batch=2, features=models.Objects.features()
        )
    assert done.table("train")["boxes"].to_pylist() == [found["boxes"]]


def hub():
    """torch and transformers: too heavy for the lock."""
    if not all(map(importlib.util.find_spec, ("torch", "transformers"))):
        missing("torch and transformers")
    import torch
    import transformers

    return torch, transformers


@pytest.fixture(scope="module")
def segformer(tmp_path_factory):
    """A folder with a SegFormer of a few weights, all of them random, and the numbers of its processor."""
    torch, transformers = hub()
    torch.manual_seed(0)
    folder = str(tmp_path_factory.mktemp("segformer"))
    config = transformers.SegformerConfig(
        num_labels=4, hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=16
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    size = {"height": 64, "width": 64}
    transformers.SegformerImageProcessor(size=size, image_mean=[0.3, 0.4, 0.5]).save_pretrained(folder)
    return folder


def test_a_transformers_model_is_what_transformers_says(segformer):
    import torch
    import transformers

    model = models.Semantic(segformer)
    assert model.window == (64, 64) and model.spec.bands == 3
    tile = WIDE[20:84, 30:94]
    net = transformers.SegformerForSemanticSegmentation.from_pretrained(segformer).eval()
    pixels = torch.from_numpy(((tile / 255 - [0.3, 0.4, 0.5]) / [0.229, 0.224, 0.225]).astype(np.float32))
    with torch.inference_mode():
        logits = net(pixels.permute(2, 0, 1)[None]).logits
        odds = (
            torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear", align_corners=False)
            .softmax(1)[0]
            .numpy()
        )
    (found,) = model.predict([tile])
    assert found.shape == (64, 64, 4) and np.allclose(found, odds.transpose(1, 2, 0), atol=1e-5)
    assert np.array_equal(model(tile), found.argmax(2))
    assert model(WIDE).shape == WIDE.shape[:2]
    assert np.array_equal(pickle.loads(pickle.dumps(model))([tile, WIDE])[1], model(WIDE))


def test_a_name_of_the_hub_stands_for_one_commit(segformer):
    """As a download left it in the cache, so that no network is asked."""
    from huggingface_hub import constants

    cache, commit = Path(constants.HF_HUB_CACHE) / "models--someone--net", "0123456789" * 4
    shutil.copytree(segformer, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    model = models.Semantic("someone/net")
    assert model.spec.revision == model.spec.digest == commit
    assert np.array_equal(model(WIDE), models.Semantic(segformer)(WIDE))


def test_a_name_or_folder_of_another_kind_is_told(segformer, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, told in (
        ("someone/no-such-model", "no folder here, and the Hub cannot be asked"),
        ("a/b/c", "no folder here, and no model on the Hub"),
        (str(tmp_path / "empty"), "has no config.json"),
    ):
        with pytest.raises(ValueError, match=told):
            models.Semantic(name)
    with pytest.raises(ValueError, match="gives classes: take models.Semantic"):
        models.Instances(segformer)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    with pytest.raises(ValueError, match="is for BertModel: name a model for segmentation"):
        models.Semantic(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["SegformerForSemanticSegmentation"]}))
    with pytest.raises(ValueError, match="has no preprocessor_config.json"):
        models.Semantic(str(tmp_path))


def test_a_universal_model_gives_objects_or_classes(tmp_path):
    torch, transformers = hub()
    torch.manual_seed(1)
    swin = transformers.SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1] * 4,
        num_heads=[1] * 4,
        window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    detr = transformers.DetrConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=12,
    )
    config = transformers.MaskFormerConfig(
        backbone_config=swin, decoder_config=detr, fpn_feature_size=32, mask_feature_size=16, num_labels=3
    )
    net = transformers.MaskFormerForInstanceSegmentation(config).eval()
    with torch.no_grad():  # sure of something everywhere, or an untrained network finds nothing
        net.class_predictor.bias[:] = torch.tensor([0.0, 4.0, 0.0, 0.0])
    net.save_pretrained(tmp_path)
    transformers.MaskFormerImageProcessor(size={"height": 64, "width": 64}, do_reduce_labels=False).save_pretrained(
        tmp_path
    )
    found = models.Objects(str(tmp_path), overlap=16)(WIDE[:64, :64])
    assert found["boxes"] and {*found["labels"]} == {"LABEL_1"} and min(found["scores"]) >= 0.5
    for (x, y, w, h), mask in zip(found["boxes"], found["masks"], strict=True):
        assert mask["size"] == [64, 64] and sum(mask["counts"]) == 64 * 64
        assert 0 < sum(mask["counts"][1::2]) <= w * h and x + w <= 64 and y + h <= 64
    assert models.Semantic(str(tmp_path))(WIDE[:64, :64]).shape == (64, 64)
