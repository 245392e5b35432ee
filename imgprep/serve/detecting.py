"""`detect` as an operation: boxes of a model that the operator of the service names,
never a client.
"""

import hashlib
import os
from typing import Any

import numpy as np

from imgprep.models.detectors import Boxes
from imgprep.project import absolute
from imgprep.serve.operations import Operation, operation

LOWEST_SCORE = 0.05


class Detect:
    """Find objects: {"objects": [{"label", "score", "box_xywh"}],
    "width", "height"}, the surest first.

    threshold: objects with a lower score are left out; 0.05 at least. Boxes are in pixels of the
    upright picture.
    """

    def __init__(self, model: str):
        # Lower boxes never push out surer ones, so one loaded model serves every threshold.
        self.boxes = Boxes(model, threshold=LOWEST_SCORE)

    def __call__(self, image: np.ndarray, *, threshold: float = 0.5) -> dict[str, Any]:
        if not LOWEST_SCORE <= threshold <= 1:
            raise ValueError(f"threshold is a number from {LOWEST_SCORE} to 1, not {threshold!r}")
        found = self.boxes(image)
        sure = [one for one in found["objects"] if one["score"] >= threshold]
        return found | {"objects": sure}


def detect_operation(model: str) -> Operation:
    """The operation of a model.

    Its results are named by what the model is, so another makes others.

    Raises ValueError for a missing file, extra or model.
    """
    path = absolute(model)
    if os.path.isfile(path):
        with open(path, "rb") as file:
            mark = hashlib.file_digest(file, "sha256").hexdigest()
        return operation(Detect(path), "detect", mark=mark)
    return operation(Detect(model), "detect", mark=model)
