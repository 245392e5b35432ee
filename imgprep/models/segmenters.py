"""Segmentation models as operators: classes of pixels, labels of objects, or objects as columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from imgprep.models import nets
from imgprep.models.model import Model
from imgprep.tiles import grid, instances, windows
from imgprep.tiles.instances import Instance

ACTIVATIONS = ("", "sigmoid", "softmax", "none")
# A mask has 8 bits.
MASK_CLASSES = 256


def named(model: str) -> "Semantic | Instances":
    """The operator for `segment` that a file, a folder or a name on the Hub stands for."""
    kind = Instances if "objects" in nets.spec_of(model).gives else Semantic
    return kind(model)


class Semantic(Model):
    """Called with a picture, or a list of them, it gives the class of each pixel: (h, w) uint8.

    model: a file `*.onnx`, a folder, or a name on the Hub
        ("nvidia/segformer-b0-finetuned-ade-512-512").
    probability_of: the channel whose probability is given instead of the class, (h, w) float32.
    threshold: a model with one channel says 1 where that is so much or more.
    activation: what the output of an ONNX file still needs to be probabilities: "sigmoid",
        "softmax"; "" nothing (it is an error where it is none, then); "none": its numbers are
        taken as they are.
    window: side of the square that the model always gets (a smaller picture is mirrored at its
        edge). None: its own size, else up to 2048 as they are. Larger pictures are cut into
        windows that share `overlap` pixels (an eighth); a pixel is taken from the window whose
        border is farthest: exact where the model looks no farther than half.
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
        if activation not in ACTIVATIONS:
            told = "'sigmoid', 'softmax', 'none' or ''"
            raise ValueError(f"activation is {told}, not {activation!r}")
        self.activation = activation
        self.probability_of = probability_of
        self.has_probabilities = not self.spec.classes

    def _asked(self) -> dict[str, Any]:
        return super()._asked() | {"activation": self.activation}

    def predict(self, tiles: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(h, w, channels) float32 of each tile: probabilities;
        or the class, where it says no more.
        """
        found = []
        for answer, tile in zip(self._run(tiles), tiles, strict=True):
            height, width = tile.shape[:2]
            # Without what a small tile was filled up with.
            found.append(answer[:height, :width])
        return found

    def decide(self, answer: np.ndarray) -> np.ndarray:
        """Of what `predict` gives the class of each pixel, (h, w) uint8, or the probability."""
        n = self.probability_of
        channels = answer.shape[2]
        if np.isnan(answer).any():
            raise ValueError(f"{self.model} gives NaN: its weights, or what it was given, are bad")
        if n is not None:
            if not self.has_probabilities or not 0 <= n < channels:
                raise ValueError(f"{self.model} gives no probability number {n}")
            self._check_odds(answer[..., n])
            return answer[..., n]
        if channels == 1 and self.has_probabilities:
            self._check_odds(answer[..., 0])
            return (answer[..., 0] >= self.threshold).astype(np.uint8)
        classes = answer.argmax(2) if channels > 1 else answer[..., 0]
        if classes.max(initial=0) >= MASK_CLASSES:
            told = f"more than {MASK_CLASSES} classes, a mask holds {MASK_CLASSES}"
            raise ValueError(f"{self.model} has {told}")
        return classes.astype(np.uint8)

    def _check_odds(self, odds: np.ndarray) -> None:
        is_file = self.model.lower().endswith(".onnx")
        if not is_file or self.activation:
            return
        low = odds.min()
        high = odds.max()
        if not -0.01 <= low <= high <= 1.01:
            told = f"gives {low:.3g} to {high:.3g}, which are no probabilities"
            fix = "say activation='sigmoid' (or 'softmax', or 'none')"
            raise ValueError(f"{self.model} {told}: {fix}")

    def __call__(self, image: np.ndarray | list[np.ndarray]) -> Any:
        images = image if isinstance(image, list) else [image]
        small = [one for one in images if self._fits(one)]
        # What fits goes through in batches, whatever lies between.
        answers = iter(self.predict(small))
        masks = []
        for one in images:
            answer = next(answers) if self._fits(one) else self._by_windows(one)
            masks.append(self.decide(answer))
        return masks if isinstance(image, list) else masks[0]

    def _fits(self, picture: np.ndarray) -> bool:
        """Is it no larger than a window?"""
        height, width = picture.shape[:2]
        return width <= self.window[0] and height <= self.window[1]

    def _by_windows(self, picture: np.ndarray) -> np.ndarray:
        """What `predict` would give of a picture that is larger than a window."""

        def predict(boxes: Sequence[windows.Box]) -> list[np.ndarray]:
            tiles = [grid.crop(picture, box) for box in boxes]
            return self.predict(tiles)

        strips = windows.stitch_windows(
            _size(picture),
            self.window,
            predict,
            overlap=self.overlap,
            batch=self.batch,
        )
        return np.concatenate([rows for _, rows in strips])


class Instances(Model):
    """Called with a picture, or a list of them, it gives labels (h, w) int32: a number each.

    model: transformers' Mask2Former, MaskFormer, DETR and the like; or an ONNX file with the
        outputs boxes, labels, scores and masks (Mask R-CNN). threshold: objects with a lower
        score are left out. The rest as in Semantic, but that objects of neighbouring windows are
        one where half of what both windows see agrees (IoU >= 0.5).
    """

    gives = "objects"
    instances = True

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
        every = []
        answers = self._run(tiles)
        for found, tile in zip(answers, tiles, strict=True):
            # A tile that was filled up may have objects in what is no picture.
            whole = (0, 0, *_size(tile))
            clipped = [instances.clipped(one, whole) for one in found]
            every.append([one for one in clipped if one])
        return every

    def find(self, images: Sequence[np.ndarray]) -> list[list[Instance]]:
        """The objects of each picture, in order of their first pixel."""
        boxes = []
        tiles = []
        for image in images:
            some = windows.windows(_size(image), self.window, self.overlap)
            boxes.append(some)
            tiles += [grid.crop(image, box) for box in some]
        answers = iter(self.predict(tiles))
        every = []
        for some in boxes:
            seen = []
            for box in some:
                x, y, _, _ = box
                found = next(answers)
                seen.append((box, [one.moved(x, y) for one in found]))
            every.append(instances.merge_windows(seen))
        return every

    def _shown(self, objects: list[Instance], size_wh: tuple[int, int]) -> Any:
        return instances.paint_labels(objects, (0, 0, *size_wh))

    def __call__(self, image: np.ndarray | list[np.ndarray]) -> Any:
        images = image if isinstance(image, list) else [image]
        shown = []
        for one, objects in zip(images, self.find(images), strict=True):
            shown.append(self._shown(objects, _size(one)))
        return shown if isinstance(image, list) else shown[0]


def _size(image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape[:2]
    return width, height


class Objects(Instances):
    """As `Instances`, for `images.transform(features=models.Objects.features())`: columns.

    boxes [x, y, width, height] in pixels; labels by name, where the model has names; scores;
    masks, COCO's run lengths.
    """

    features = staticmethod(instances.features)

    def _shown(self, objects: list[Instance], size_wh: tuple[int, int]) -> Any:
        return instances.object_columns(objects, size_wh)
