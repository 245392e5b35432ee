"""Embedders and classifiers by folder: tiny random CLIP, SigLIP, DINO and ViT as transformers saves them."""

import json

import numpy as np
import pytest

from imgprep.models.embedders import Embedder
from imgprep.models.labels import Labels, Zeroshot

transformers = pytest.importorskip("transformers")
pytest.importorskip("torch")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "photograph", "calm", "tense", "dark", "sunny"]


def image(*rgb: int) -> np.ndarray:
    random = np.random.default_rng(sum(rgb)).integers(0, 40, (50, 70, 3))
    return np.clip(random + rgb, 0, 255).astype(np.uint8)


def save_pictures_of(folder) -> None:
    known = {"image_processor_type": "CLIPImageProcessor", "size": {"height": 32, "width": 32}}
    known |= {"do_center_crop": False, "crop_size": {"height": 32, "width": 32}, "do_resize": True}
    known |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(known))


def save_words_of(folder) -> None:
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def two_towers(request, tmp_path_factory):
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    seen = text | {"image_size": 32, "patch_size": 16}
    words = text | {"vocab_size": len(WORDS), "max_position_embeddings": 16, "eos_token_id": 3}
    if request.param == "clip":
        config = transformers.CLIPConfig(text_config=words, vision_config=seen, projection_dim=12)
        model = transformers.CLIPModel(config)
    else:
        config = transformers.SiglipConfig(text_config=words, vision_config=seen)
        model = transformers.SiglipModel(config)
    model.save_pretrained(folder)
    save_pictures_of(folder)
    save_words_of(folder)
    return str(folder)


def test_pictures_and_words_have_vectors_of_one_length(two_towers):
    model = Embedder(two_towers)
    pictures = model([image(200, 0, 0), image(0, 0, 200)])
    words = model.text(["a red photograph", "a calm photograph"])
    assert pictures.shape == words.shape
    assert np.linalg.norm(pictures, axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert np.abs(pictures[0] - model(image(200, 0, 0))).max() < 1e-4
    assert not np.allclose(pictures[0], pictures[1])


def test_a_name_tells_no_place_and_a_version_follows_the_files(two_towers):
    model = Embedder(two_towers)
    assert "/" not in model.name
    assert model.model_version == Embedder(two_towers).model_version


def test_an_embedder_travels_without_its_weights(two_towers):
    import pickle

    model = Embedder(two_towers)
    before = model(image(1, 2, 3))
    state = pickle.dumps(model)
    assert len(state) < 5_000
    assert np.abs(pickle.loads(state)(image(1, 2, 3)) - before).max() < 1e-4


def test_words_of_a_closed_list_stand_out_or_are_not_named(two_towers):
    tagger = Zeroshot(Embedder(two_towers), ["calm", "tense", "dark"], at_least=-1, most=3)
    found = tagger(image(10, 10, 10))
    assert {one["name"] for one in found} == {"calm", "tense", "dark"}
    assert sum(one["score"] for one in found) == pytest.approx(0, abs=1e-5)
    assert found[0]["source"].startswith("zero-shot: ")
    with pytest.raises(ValueError, match="each once"):
        Zeroshot(Embedder(two_towers), ["calm", "calm"])


def test_a_model_without_words_says_so(tmp_path):
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    save_pictures_of(tmp_path)
    model = Embedder(str(tmp_path))
    assert model(image(5, 5, 5)).shape == (16,)
    with pytest.raises(ValueError, match="no text tower"):
        model.text("a dog")
    with pytest.raises(ValueError, match="no text tower"):
        Zeroshot(model, ["a", "b"])


def test_a_classifier_names_its_classes(tmp_path):
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32,
        patch_size=16, num_labels=3, id2label={0: "dog, hound", 1: "cat", 2: "cow"},
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    save_pictures_of(tmp_path)
    found = Labels(str(tmp_path), at_least=0.01, most=3)(image(9, 9, 9))
    assert {one["name"] for one in found} == {"dog", "cat", "cow"}
    assert sum(one["score"] for one in found) == pytest.approx(1, abs=1e-4)


def test_a_name_that_is_no_model_is_told_before_any_work():
    for kind in (Embedder, Labels):
        with pytest.raises(ValueError, match="no folder here"):
            kind("nobody/has-this-model")
    with pytest.raises(ValueError, match="no model file"):
        Labels("nothing.onnx")
