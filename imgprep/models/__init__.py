"""Segmentation models as operators: an ONNX file, or a transformers model by its folder or its name on the Hub.

Pictures and tiles are (h, w, bands); uint8 is scaled and normalised as the model's own files say, any other type goes
in as it is. A model is read once per worker; it runs on a GPU where that worker has one, else on one thread. No code
that comes with a model is run.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from imgprep.models import nets
from imgprep.tiles import instances, windows
from imgprep.tiles.instances import Instance

_OF = {"classes": "Semantic", "objects": "Instances"}
WINDOW = 2048  # the largest square that a model without a size of its own is given at once
_loading = threading.RLock()


class _Model:
    """A model, checked when it is named, loaded when it is first used. `radius`: what `overlap` lets it look around."""

    gives = ""
    once, version = True, 1  # one per worker; raise `version` when the same model gives other pixels

    def __init__(self, model: str, window: int | None, overlap: int | None, batch: int, threshold: float):
        self.spec, self.model, self.threshold = nets.spec(model), model, threshold
        if self.gives not in self.spec["gives"]:
            raise ValueError(f"{model} gives {self.spec['gives'][0]}: take models.{_OF[self.spec['gives'][0]]}")
        own = self.spec["window"]
        if window and self.spec["fixed"] and own != (window, window):
            raise ValueError(f"{model} takes pictures of {own[0]} x {own[1]} pixels only: leave out window")
        self.window = (window, window) if window else own or (WINDOW, WINDOW)
        self.padded = bool(window or own)  # always gets exactly `window`
        self.batch, self.spec["wanted"] = self.spec["batch"] or batch, self.gives
        if type(batch) is not int or batch < 1:
            raise ValueError(f"batch is a number of pictures, not {batch!r}")
        side = min(self.window)
        self.overlap = side // 8 if overlap is None else overlap
        if type(self.overlap) is not int or not 0 <= self.overlap < side:
            raise ValueError(f"overlap is from 0 to less than the window, {side} pixels, not {overlap!r}")
        self.radius, self.least_wh = self.overlap // 2, self.window if self.padded else (0, 0)
        self.tile_wh = tuple(s - 2 * self.radius for s in self.window) if self.padded else (WINDOW // 2, WINDOW // 2)

    def __getstate__(self) -> dict[str, Any]:  # what travels to a worker, and what a result depends on
        return {k: v for k, v in vars(self).items() if k != "_net"}

    def _run(self, tiles: Sequence[np.ndarray]) -> list[Any]:
        """The model's answer for each tile, none larger than the window. Tiles of equal size go through together."""
        with _loading:  # threads that come first together
            if not hasattr(self, "_net"):
                self._net = nets.load(self.spec, self.threshold)
        found: dict[int, Any] = {}
        for shape in {t.shape: None for t in tiles}:
            if len(shape) != 3 or (self.spec["bands"] or shape[2]) != shape[2]:
                has = shape[2] if len(shape) == 3 else 1
                raise ValueError(f"{self.model} takes {self.spec['bands']} bands, this picture has {has}")
            same = [i for i, t in enumerate(tiles) if t.shape == shape]
            right, below = (max(0, s - n) * self.padded for s, n in zip(self.window, shape[1::-1], strict=True))
            for at in range(0, len(same), self.batch):
                some = same[at : at + self.batch]
                stack = [np.pad(tiles[i], ((0, below), (0, right), (0, 0)), "symmetric") for i in some]
                found |= dict(zip(some, self._net(np.stack(stack)), strict=True))
        return [found[i] for i in range(len(tiles))]


def named(model: str) -> "Semantic | Instances":
    """The operator for `segment` that a file, a folder or a name on the Hub stands for, with all its own numbers."""
    kind = Instances if "objects" in nets.spec(model)["gives"] else Semantic
    return kind(model)


class Semantic(_Model):
    """Called with a picture, or a list of them, it gives the class of each pixel: (h, w) uint8.

    model: a file `*.onnx`, a folder, or a name on the Hub ("nvidia/segformer-b0-finetuned-ade-512-512").
    probability_of: the channel whose probability is given instead of the class, (h, w) float32.
    threshold: a model with one channel says 1 where that is so much or more.
    activation: what the output of an ONNX file still needs to be probabilities: "sigmoid", "softmax"; "" nothing (it is
        an error where it is none, then); "none": its numbers are taken as they are.
    window: side of the square that the model always gets (a smaller picture is mirrored at its edge). None: its own
        size, else up to 2048 as they are. Larger pictures are cut into windows that share `overlap` pixels (an eighth);
        a pixel is taken from the window whose border is farthest: exact where the model looks no farther than half.
    batch: windows per run. Raises ValueError for a missing extra, file or model, before any work.
    """

    gives = "classes"

    def __init__(
        self,
        model: str,
        *,
        probability_of: int | None = None,
        threshold: float = 0.5,
        activation: str = "",
        window: int | None = None,
        overlap: int | None = None,
        batch: int = 8,
    ):
        super().__init__(model, window, overlap, batch, threshold)
        if activation not in ("", "sigmoid", "softmax", "none"):
            raise ValueError(f"activation is 'sigmoid', 'softmax', 'none' or '', not {activation!r}")
        self.probability_of, self.spec["activation"] = probability_of, activation
        self.has_probabilities = not self.spec["classes"]

    def predict(self, tiles: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(h, w, channels) float32 of each tile: probabilities; or the class itself, where the model says no more."""
        return [a[: t.shape[0], : t.shape[1]] for a, t in zip(self._run(tiles), tiles, strict=True)]

    def decide(self, answer: np.ndarray) -> np.ndarray:
        """Of what `predict` gives, the class of each pixel, (h, w) uint8, or the probability that was asked for."""
        n, channels = self.probability_of, answer.shape[2]
        if n is not None and not (self.has_probabilities and 0 <= n < channels):
            raise ValueError(f"{self.model} gives no probability number {n}")
        if n is None and (channels > 1 or not self.has_probabilities):
            classes = answer.argmax(2) if channels > 1 else answer[..., 0]
            if classes.max(initial=0) > 255:
                raise ValueError(f"{self.model} has more than 256 classes, a mask holds 256")
            return classes.astype(np.uint8)
        odds = answer[..., n or 0]
        if (
            not self.spec["activation"]
            and self.spec["kind"] == "onnx"
            and not -0.01 <= odds.min() <= odds.max() <= 1.01
        ):
            told = f"{self.model} gives {odds.min():.3g} to {odds.max():.3g}, which are no probabilities"
            raise ValueError(f"{told}: say activation='sigmoid' (or 'softmax', or 'none')")
        return odds if n is not None else np.uint8(odds >= self.threshold)

    def __call__(self, image: np.ndarray | list[np.ndarray]) -> Any:
        images = image if isinstance(image, list) else [image]
        small = [i for i, p in enumerate(images) if p.shape[1] <= self.window[0] and p.shape[0] <= self.window[1]]
        answers = dict(zip(small, self.predict([images[i] for i in small]), strict=True))
        for i in {*range(len(images))} - answers.keys():
            strips = windows.stitch(
                images[i].shape[1::-1],
                self.window,
                lambda boxes, p=images[i]: self.predict([p[y : y + h, x : x + w] for x, y, w, h in boxes]),
                overlap=self.overlap,
                batch=self.batch,
            )
            answers[i] = np.concatenate([rows for _, rows in strips])
        masks = [self.decide(answers[i]) for i in range(len(images))]
        return masks if isinstance(image, list) else masks[0]


class Instances(_Model):
    """Called with a picture, or a list of them, it gives labels (h, w) int32: each object has a number of its own.

    model: transformers' Mask2Former, MaskFormer, DETR and the like; or an ONNX file with the outputs boxes, labels,
        scores and masks (Mask R-CNN). threshold: objects with a lower score are left out. The rest as in Semantic, but
        that objects of neighbouring windows are one where half of what both windows see agrees (IoU >= 0.5).
    """

    gives, instances = "objects", True

    def __init__(
        self,
        model: str,
        *,
        threshold: float = 0.5,
        window: int | None = None,
        overlap: int | None = None,
        batch: int = 4,
    ):
        super().__init__(model, window, overlap, batch, threshold)

    def predict(self, tiles: Sequence[np.ndarray]) -> list[list[Instance]]:
        """The objects of each tile, in its own pixels, as crops."""
        sizes = [(0, 0, t.shape[1], t.shape[0]) for t in tiles]
        answers = zip(self._run(tiles), sizes, strict=True)
        return [[o for one in found if (o := instances.clipped(one, box))] for found, box in answers]

    def find(self, images: Sequence[np.ndarray]) -> list[list[Instance]]:
        """The objects of each picture, in order of their first pixel."""
        boxes = [windows.windows(i.shape[1::-1], self.window, self.overlap) for i in images]
        tiles = [i[y : y + h, x : x + w] for i, some in zip(images, boxes, strict=True) for x, y, w, h in some]
        answers = iter(self.predict(tiles))
        return [instances.merge_windows((b, [o.moved(*b[:2]) for o in next(answers)]) for b in some) for some in boxes]

    def _shown(self, objects: list[Instance], size_wh: tuple[int, int]) -> Any:
        return instances.paint_labels(objects, (0, 0, *size_wh))

    def __call__(self, image: np.ndarray | list[np.ndarray]) -> Any:
        images = image if isinstance(image, list) else [image]
        found = [self._shown(o, i.shape[1::-1]) for o, i in zip(self.find(images), images, strict=True)]
        return found if isinstance(image, list) else found[0]


class Objects(Instances):
    """As `Instances`, for `images.transform(features=models.Objects.features())`: a dict of columns, not labels.

    boxes [x, y, width, height] in pixels; labels by name, where the model has names; scores; masks, COCO's run lengths.
    """

    features = staticmethod(instances.features)

    def _shown(self, objects: list[Instance], size_wh: tuple[int, int]) -> Any:
        return instances.object_columns(objects, size_wh)
