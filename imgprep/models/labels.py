"""Labels: what a classifier, or an embedder with a list of words, says is in a picture, as tags."""

import json
import os
import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from imgprep import project
from imgprep.models import demo
from imgprep.models.described import files_digest, hub_architecture, needs_extra
from imgprep.models.embedders import Embedder

_net_lock = threading.RLock()


class Labels:
    """Called with a picture it gives the classes that are probable enough,
    as entries of the column `tags`.

    model: "offline", the name on the Hub or the folder of a model *ForImageClassification
        ("google/vit-base-patch16- 224"), or an ONNX file (N, 3, H, W) -> (N, classes) with
        config.json beside it for the names.
    at_least: probability from which a class is named. most: names per picture. kind: of the tags.
    """

    once, version = True, 1

    def __init__(self, model: str, *, at_least: float = 0.25, most: int = 5, kind: str = "object"):
        if not 0 < at_least <= 1:
            raise ValueError(f"at_least is a probability above 0, not {at_least!r}")
        self.name, self.at_least, self.most, self.kind = model, at_least, most, kind
        path = project.absolute(model)
        self.revision: str | None = None
        if model == demo.DEMO_NAME:
            demo.check_installed()
            self.runs, self.path, self.digest = "demo", "", demo.demo_digest()
        elif model.lower().endswith(".onnx"):
            needs_extra("onnx", "onnxruntime")
            if not os.path.isfile(path):
                raise ValueError(f"there is no model file {model!r}")
            self.runs, self.path = "onnx", path
            self.digest = files_digest(os.path.dirname(path), os.path.basename(path), "config.json")
        else:
            self.path = path if os.path.isdir(path) else model
            ending, task = "ForImageClassification", "image classification"
            _, self.revision, _ = hub_architecture(model, ending, task, path=self.path)
            self.runs = "transformers"
            self.digest = self.revision or files_digest(
                self.path, "*.json", "*.safetensors", "*.bin"
            )
        if os.path.isabs(model):
            self.name = os.path.basename(model.rstrip("/"))

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_net"}

    def __call__(self, image: np.ndarray) -> list[dict[str, Any]]:
        if self.runs == "demo":
            return demo.label_tags(image, self.at_least, self.most)
        with _net_lock:
            if not hasattr(self, "_net"):
                loads: dict[str, Any] = {"onnx": _OnnxClasses, "transformers": _HubClasses}
                self._net = loads[self.runs](self.path, self.revision)
        odds = self._net(image)
        likely = np.argsort(-odds, kind="stable")[: self.most]
        return [
            tag_of(self.kind, self._net.names[n], odds[n], self.name, self.digest[:12])
            for n in likely
            if odds[n] >= self.at_least
        ]


def tag_of(kind: str, name: str, score: float, source: str, version: str) -> dict[str, Any]:
    """An entry of the column `tags`."""
    known = {"kind": kind, "name": name, "score": float(score)}
    return known | {"source": source, "version": version, "evidence": ""}


class Zeroshot:
    """Words that fit a picture by an embedder alone:
    those that stand out over the mean of the list.

    The softmax over a list is no probability, so the margin over the list's mean is kept as the
    score.
    words: the closed list. template: a sentence around each. at_least: the margin from which a word
    is named.
    """

    once, version = True, 1

    def __init__(
        self,
        embedder: Embedder,
        words: Sequence[str],
        *,
        kind: str = "mood",
        template: str = "a {} photograph",
        at_least: float = 0.05,
        most: int = 3,
    ):
        if len(words) < 2 or len({*words}) != len(words):
            raise ValueError("words is a list of at least two words, each once")
        if not embedder.has_words:
            raise ValueError(f"{embedder.name} has no text tower: name a CLIP or SigLIP model")
        self.embedder, self.words, self.kind = embedder, list(words), kind
        self.template, self.at_least, self.most = template, at_least, most

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_vectors"}

    def __call__(self, image: np.ndarray) -> list[dict[str, Any]]:
        if not hasattr(self, "_vectors"):
            self._vectors = self.embedder.text([self.template.format(word) for word in self.words])
        likeness = self._vectors @ self.embedder(image)
        margin = likeness - likeness.mean()
        best = np.argsort(-margin, kind="stable")[: self.most]
        source = f"zero-shot: {self.embedder.name}"
        version = self.embedder.model_version
        return [
            tag_of(self.kind, self.words[n], margin[n], source, version)
            for n in best
            if margin[n] >= self.at_least
        ]


class _HubClasses:
    def __init__(self, path: str, revision: str | None):
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(1)
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._pictures = transformers.AutoImageProcessor.from_pretrained(path, revision=revision)
        kind = transformers.AutoModelForImageClassification
        self._model = kind.from_pretrained(path, revision=revision).to(self._device).eval()
        known = self._model.config.id2label
        self.names = [str(known[n]).partition(",")[0] for n in range(len(known))]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        given = self._pictures(images=[image], return_tensors="pt").to(self._device)
        with self._torch.inference_mode():
            return self._model(**given).logits[0].float().softmax(0).cpu().numpy()


class _OnnxClasses:
    """Pixels are scaled by ImageNet's mean and deviation,
    unless preprocessor_config.json beside it says otherwise.
    """

    def __init__(self, path: str, revision: str | None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        providers = onnxruntime.get_available_providers()
        self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        entry = self._session.get_inputs()[0]
        sides = [s if isinstance(s, int) else 224 for s in entry.shape[2:4]]
        self._entry, self._size_wh = entry.name, (sides[1], sides[0])
        said = _json_beside(path, "preprocessor_config.json")
        self._mean = np.asarray(said.get("image_mean", [0.485, 0.456, 0.406]), np.float32)
        self._std = np.asarray(said.get("image_std", [0.229, 0.224, 0.225]), np.float32)
        named = _json_beside(path, "config.json").get("id2label", {})
        self.names = [str(named[key]).partition(",")[0] for key in sorted(named, key=int)]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, self._size_wh, interpolation=cv2.INTER_AREA)
        pixels = (small.astype(np.float32) / 255 - self._mean) / self._std
        given = {self._entry: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}
        answer = self._session.run(None, given)[0][0].astype(np.float64)
        if not self.names:
            self.names = [f"class {n}" for n in range(len(answer))]
        if answer.min() >= 0 and abs(answer.sum() - 1) < 1e-3:
            return answer  # probabilities already
        odds = np.exp(answer - answer.max())
        return odds / odds.sum()


def _json_beside(path: str, name: str) -> dict[str, Any]:
    try:
        with open(os.path.join(os.path.dirname(path), name), "rb") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}
