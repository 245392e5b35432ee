"""Which of the two computes: onnxruntime for a file `*.onnx`,
transformers for a folder or a name.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from imgprep import project
from imgprep.models import onnx, transformers
from imgprep.models.spec import HubSpec, OnnxSpec

# Endings of files that hold weights, or that other programs run.
WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".safetensors", ".h5", ".keras", ".tflite")

# Pictures (n, h, w, bands) in; out come n arrays (h, w, channels), or n lists of objects.
Net = Callable[[np.ndarray], list[Any]]


def spec_of(model: Any) -> OnnxSpec | HubSpec:
    """What a model says of itself. ValueError for a missing file, extra or model."""
    path = checked_model_path(model)
    if not model.lower().endswith(".onnx"):
        return transformers.spec_of_hub(path if os.path.isdir(path) else model)
    return onnx.spec_of_file(path)


def checked_model_path(model: Any) -> str:
    """Where a model's file or folder is, if it has one. ValueError where it can be none."""
    if not isinstance(model, str) or not model:
        raise ValueError(f"model is a file, a folder or a name on the Hub, not {model!r}")
    # Workers may start elsewhere.
    path = project.absolute(model)
    _refuse_weights(model, path)
    if model.lower().endswith(".onnx") and not os.path.isfile(path):
        raise ValueError(f"there is no model file {model!r}")
    return path


def _refuse_weights(model: str, path: str) -> None:
    """ValueError for a file of weights: it does not say what network they are of."""
    is_file = os.path.isfile(path)
    hidden = is_file and model.lower().endswith(".onnx") and _is_zip(path)
    if not hidden and not model.lower().endswith(WEIGHTS):
        return
    told = "weights alone, and to open them may run code of their maker"
    fix = "export the network (torch.onnx.export) or save it with transformers' save_pretrained"
    raise ValueError(f"{model!r} has {told}: {fix}, and name that file or folder")


def _is_zip(path: str) -> bool:
    """torch.save writes one, whatever the file is called."""
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def load_net(spec: OnnxSpec | HubSpec, wanted: str, *, threshold: float, activation: str) -> Net:
    """The model itself. wanted: "classes" or "objects"."""
    if isinstance(spec, HubSpec):
        return transformers.net(spec, wanted, threshold)
    if wanted == "objects":
        return onnx.objects_net(spec, threshold)
    return onnx.classes_net(spec, activation)
