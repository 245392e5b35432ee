"""Embedders: a picture, or words, as a vector; what looks or means alike lies near.

CLIP, SigLIP, SigLIP 2 and DINO by their name on the Hub or their folder; a folder with a pair of
ONNX files; or the two small models of the extra `offline`, by the name "offline".
"""

import json
import os
import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from imgprep import project
from imgprep.models import demo
from imgprep.models.described import files_digest, hub_config, needs_extra

_tower_lock = threading.RLock()
PAIR = ("vision_model.onnx", "text_model.onnx")  # as the exports on the Hub are called


class Embedder:
    """Called with a picture, or a list of them, it gives (dim,) float32 of length 1, or (n, dim).

    model: "offline", a name on the Hub ("google/siglip2-base-patch16-224"), a folder that
        transformers saved, or one with vision_model.onnx, preprocessor_config.json and, for words,
        text_model.onnx and tokenizer.json.
    `name` and `model_version` say what made a vector: vectors of two models are never comparable.
    Loads when it is first used. Raises ValueError for a missing extra or model, before any work.
    """

    once, version = True, 1

    def __init__(self, model: str):
        if not isinstance(model, str) or not model:
            raise ValueError(f"model is 'offline', a folder or a name on the Hub, not {model!r}")
        self.name = model
        path = project.absolute(model)
        if model == demo.DEMO_NAME:
            demo.check_installed()
            self.kind, self.path, self.revision, self.digest = "demo", "", None, demo.demo_digest()
        elif os.path.isfile(os.path.join(path, PAIR[0])):
            needs_extra("onnx", "onnxruntime")
            self.kind, self.path, self.revision = "onnx", path, None
            self.digest = files_digest(path, "*.onnx", "*.json")
        else:
            needs_extra("models", "torch", "transformers")
            self.path = path if os.path.isdir(path) else model
            config, self.revision = hub_config(self.path, "config.json")
            self.kind = "transformers"
            self.digest = self.revision or files_digest(
                self.path, "*.json", "*.safetensors", "*.bin"
            )
            self.has_words = "text_config" in config
        if self.kind == "onnx":
            self.has_words = os.path.isfile(os.path.join(path, PAIR[1]))
        elif self.kind == "demo":
            self.has_words = True
        if os.path.isabs(model):
            self.name = os.path.basename(
                model.rstrip("/")
            )  # a dataset tells no place of this machine

    @property
    def model_version(self) -> str:
        return self.digest[:12]

    def __getstate__(
        self,
    ) -> dict[str, Any]:  # what travels to a worker, and what a result depends on
        return {k: v for k, v in vars(self).items() if k != "_towers"}

    def __call__(self, image: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        images = image if isinstance(image, list | tuple) else [image]
        if not len(images):
            return np.zeros((0, 0), np.float32)
        found = _of_unit_length(self._loaded().pictures(images))
        return found if isinstance(image, list | tuple) else found[0]

    def text(self, words: str | list[str]) -> np.ndarray:
        """The vectors of texts, (n, dim); of one text, (dim,).

        ValueError where the model knows no words.
        """
        if not self.has_words:
            raise ValueError(
                f"{self.name} has no text tower: search by a picture, or name a CLIP or SigLIP model"
            )
        texts = [words] if isinstance(words, str) else list(words)
        found = _of_unit_length(self._loaded().words(texts))
        return found[0] if isinstance(words, str) else found

    def feature_map(self, image: np.ndarray) -> np.ndarray | None:
        """(h, w, channels) of the whole picture, for `composition.scores`;
        None where the model gives none.
        """
        return demo.network().look(image).features if self.kind == "demo" else None

    def _loaded(self) -> Any:
        with _tower_lock:
            if not hasattr(self, "_towers"):
                kinds = {"demo": _Demo, "onnx": _Pair, "transformers": _Transformers}
                self._towers = kinds[self.kind](self.path, self.revision)
        return self._towers


def _of_unit_length(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float32)
    return vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9)


class _Demo:
    def __init__(self, path: str, revision: str | None):
        pass

    def pictures(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([demo.picture_vector(image) for image in images])

    def words(self, texts: list[str]) -> np.ndarray:
        return demo.text_vectors(texts)


class _Transformers:
    """Any model that AutoModel opens: with its own two towers, or the mean of its last layer."""

    def __init__(self, path: str, revision: str | None):
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(1)  # each core has a worker already
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        model = transformers.AutoModel.from_pretrained(path, revision=revision)
        self._model = model.to(self._device).eval()
        self._pictures = transformers.AutoImageProcessor.from_pretrained(path, revision=revision)
        self._path, self._revision = path, revision

    def pictures(self, images: Sequence[np.ndarray]) -> np.ndarray:
        given = self._pictures(images=list(images), return_tensors="pt").to(self._device)
        with self._torch.inference_mode():
            if hasattr(self._model, "get_image_features"):
                answer = self._model.get_image_features(**given)
            else:
                answer = self._model(**given)
        return _pooled(answer)

    def words(self, texts: list[str]) -> np.ndarray:
        import transformers

        tokens = transformers.AutoTokenizer.from_pretrained(self._path, revision=self._revision)
        # SigLIP was trained on texts filled up to one length: others give other vectors.
        filled = "max_length" if "siglip" in type(self._model).__name__.lower() else True
        longest = getattr(self._model.config.text_config, "max_position_embeddings", 64)
        given = tokens(
            texts, padding=filled, truncation=True, max_length=longest, return_tensors="pt"
        )
        known = {
            k: v.to(self._device) for k, v in given.items() if k in ("input_ids", "attention_mask")
        }
        with self._torch.inference_mode():
            answer = self._model.get_text_features(**known)
        return _pooled(answer)


def _pooled(answer: Any) -> np.ndarray:
    """(n, dim) of what a tower gives: the vectors themselves, or an output that holds them."""
    if getattr(answer, "pooler_output", None) is not None:
        answer = answer.pooler_output
    elif hasattr(answer, "last_hidden_state"):
        answer = answer.last_hidden_state[:, 0]
    return answer.float().cpu().numpy()


class _Pair:
    """vision_model.onnx and text_model.onnx of one folder."""

    def __init__(self, path: str, revision: str | None):
        self._path = path
        self._vision = _onnx_session(os.path.join(path, PAIR[0]))
        with open(os.path.join(path, "preprocessor_config.json"), "rb") as file:
            said = json.load(file)
        size = said.get("crop_size") or said.get("size") or {}
        side = (
            size
            if isinstance(size, int)
            else size.get("height") or size.get("shortest_edge") or 224
        )
        self._side = int(side)
        self._mean = np.asarray(said.get("image_mean", [0.5] * 3), np.float32)
        self._std = np.asarray(said.get("image_std", [0.5] * 3), np.float32)

    def pictures(self, images: Sequence[np.ndarray]) -> np.ndarray:
        side = (self._side, self._side)
        small = [cv2.resize(image, side, interpolation=cv2.INTER_AREA) for image in images]
        pixels = (np.stack(small).astype(np.float32) / 255 - self._mean) / self._std
        name = self._vision.get_inputs()[0].name
        return _vectors(self._vision, {name: np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))})

    def words(self, texts: list[str]) -> np.ndarray:
        import tokenizers

        tokens = tokenizers.Tokenizer.from_file(os.path.join(self._path, "tokenizer.json"))
        tokens.enable_padding()
        tokens.enable_truncation(64)
        encoded = tokens.encode_batch(texts)
        session = _onnx_session(os.path.join(self._path, PAIR[1]))
        given = {
            "input_ids": np.array([one.ids for one in encoded], np.int64),
            "attention_mask": np.array([one.attention_mask for one in encoded], np.int64),
        }
        return _vectors(session, {entry.name: given[entry.name] for entry in session.get_inputs()})


def _vectors(session: Any, given: dict[str, np.ndarray]) -> np.ndarray:
    """The first output that is (n, dim)."""
    for answer in session.run(None, given):
        if answer.ndim == 2:
            return answer
    raise ValueError("the ONNX model gives no output of shape (n, dim)")


def _onnx_session(path: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        path, options, providers=onnxruntime.get_available_providers()
    )
