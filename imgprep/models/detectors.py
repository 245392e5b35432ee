"""Detectors as functions of a picture: boxes with labels and scores, without masks."""

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from imgprep import project
from imgprep.models import hub_boxes, nets, onnx_boxes
from imgprep.models.found import FindBoxes, FoundBoxes, as_objects, without_copies
from imgprep.models.spec import HubSpec, OnnxSpec

_loading_boxes = threading.RLock()


class Boxes:
    """Called with a picture, or a list of them: {"objects":
    [{label, score, box_xywh}], width, height}.

    model: a file `*.onnx` with the outputs boxes (x1 y1 x2 y2), labels and scores, or with YOLO's
        single output (1, 4 + classes, n); or a folder or a name on the Hub of a model
        *ForObjectDetection of transformers ("PekingU/rtdetr_v2_r18vd"), also one that looks for
        words (Grounding DINO, OWL-ViT).
    labels: names of the classes, where the model has none or others are wanted; of a model that
        looks for words, these words. threshold: objects with a lower score are left out.
    most_iou: of two boxes of one label that overlap by more (intersection over union) the surer
        one stays; 1 keeps all.
    Boxes are in pixels of the picture as it is given, cut off at its edge; those outside of it, of
    no area, or with corners in the wrong order are left out. The surest comes first.
    Does not cut huge pictures into tiles: `Detector` does. Loads when it is first used; no code that comes with a
    model is run. Raises ValueError for a missing extra, file or model, and for one of another
    kind, before any work; and for answers that are none: NaN, boxes without end, scores above 1,
    more boxes than scores (a row's `error`, in a dataset).
    """

    # One per worker.
    once = True
    # Raise it when the same model gives other boxes.
    version = 1

    def __init__(
        self,
        model: str,
        *,
        labels: Sequence[str] = (),
        threshold: float = 0.5,
        most_iou: float = 0.5,
    ):
        if isinstance(labels, str) or not all(isinstance(name, str) for name in labels):
            raise ValueError(f"labels is a list of names, not {labels!r}")
        for name, value in (("threshold", threshold), ("most_iou", most_iou)):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= 1:
                raise ValueError(f"{name} is a number from 0 to 1, not {value!r}")
        self.model = model
        self.labels = list(labels)
        self.threshold = threshold
        self.most_iou = most_iou
        self.spec = spec_of_boxes(model)
        if isinstance(self.spec, HubSpec):
            hub_boxes.check_hub_detector(self.spec, labels, model)

    @staticmethod
    def features() -> dict[str, Any]:
        """The column `objects`, for images.transform(features=…) with `Detector`."""
        from datasets import List, Value

        box = List(Value("float32"), length=4)
        return {
            "objects": List({"label": Value("string"), "score": Value("float32"), "box_xywh": box})
        }

    def __getstate__(self) -> dict[str, Any]:
        # What travels, and what a result depends on.
        return {name: value for name, value in vars(self).items() if name != "_net"}

    def __call__(self, image: np.ndarray | list[np.ndarray]) -> Any:
        if isinstance(image, list):
            return [self._objects(one) for one in image]
        return self._objects(image)

    def find(self, image: np.ndarray) -> FoundBoxes:
        """What is in a picture, as arrays: the boxes x1 y1 x2 y2, without copies."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            told = f"{image.dtype} {image.shape}"
            raise ValueError(f"{self.model} takes pictures of uint8 (h, w, 3), not {told}")
        found = self._loaded()(image, self.threshold)
        return without_copies(found, self.most_iou) if self.most_iou < 1 else found

    def _objects(self, image: np.ndarray) -> dict[str, Any]:
        height, width = image.shape[:2]
        return as_objects(self.find(image), (width, height))

    def _loaded(self) -> FindBoxes:
        with _loading_boxes:
            # Threads that come first together.
            if not hasattr(self, "_net"):
                self._net = detector_of(self.spec, self.labels, self.model)
        return self._net


def spec_of_boxes(model: Any) -> OnnxSpec | HubSpec:
    """What a detector says of itself. ValueError for a missing file, extra or model."""
    path = nets.checked_model_path(model)
    if not model.lower().endswith(".onnx"):
        return hub_boxes.spec_of_hub_detector(path if os.path.isdir(path) else model)
    return onnx_boxes.spec_of_detector(path)


def detector_of(spec: OnnxSpec | HubSpec, labels: Sequence[str], model: str) -> FindBoxes:
    shown = os.path.basename(project.absolute(model)) if os.path.isabs(model) else model
    if isinstance(spec, HubSpec):
        return hub_boxes.hub_detector(spec, labels, shown)
    return onnx_boxes.onnx_detector(spec, labels, shown)
