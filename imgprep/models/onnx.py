"""Models in a file `*.onnx`, run by onnxruntime."""

import glob
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from imgprep.models.described import files_digest, json_object, needs_extra
from imgprep.models.spec import SCALING, OnnxSpec
from imgprep.tiles.instances import Instance, cropped

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
PICTURE_TYPES = ("tensor(float)", "tensor(float16)", "tensor(uint8)")
# As torchvision's Mask R-CNN names its outputs.
RCNN = {"boxes", "labels", "scores", "masks"}


def open_session(path: str) -> Any:
    """ValueError where onnxruntime is not installed, or cannot open the file."""
    needs_extra("onnx", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Each core has a worker already.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [name for name in PROVIDERS if name in available]
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as e:
        # Onnxruntime's own classes have no common one.
        told = str(e).splitlines()[0][:200]
        raise ValueError(f"{path} is no model that onnxruntime opens: {told}") from None


def spec_of_file(path: str, beside: Sequence[str] = ()) -> OnnxSpec:
    """beside: names of inputs beside the picture that are given, too."""
    session = open_session(path)
    entry = picture_entry(session, path, beside)
    outputs = session.get_outputs()
    count, a, b, c = _input_shape(path, entry)
    # There are fewer bands than pixels.
    is_last = bool(c) and (not a or c < a)
    bands, height, width = (c, a, b) if is_last else (a, b, c)
    has_objects = RCNN <= {output.name.lower() for output in outputs}
    has_size = bool(width and height)
    return OnnxSpec(
        path=path,
        digest=_digest_of(path),
        gives=("objects",) if has_objects else ("classes",),
        bands=bands,
        window=(width, height) if has_size else None,
        fixed=has_size,
        batch=1 if has_objects else count or None,
        classes=outputs[0].type not in FLOATS,
        is_last=is_last,
        scaling=SCALING | _said_of_scaling(session, path),
        takes_bytes=entry.type == "tensor(uint8)",
    )


def picture_entry(session: Any, path: str, beside: Sequence[str] = ()) -> Any:
    """The one input that is not `beside`, wherever it stands. ValueError for none, or several."""
    inputs = [one for one in session.get_inputs() if one.name not in beside]
    if len(inputs) == 1:
        return inputs[0]
    told = " and ".join(f"{one.name} {one.shape}" for one in inputs) or "nothing"
    raise ValueError(f"{path} takes {told}: a model of pictures takes the picture alone")


def _input_shape(path: str, entry: Any) -> list[int]:
    """Four numbers, 0 for one that is open. ValueError for what is no input of pictures."""
    shape = [side if isinstance(side, int) and side > 0 else 0 for side in entry.shape]
    if len(shape) == 3:
        # Mask R-CNN, as torchvision exports it.
        shape.insert(0, 1)
    if len(shape) != 4 or entry.type not in PICTURE_TYPES:
        told = "a model of pictures takes (N, C, H, W) or (N, H, W, C), float or uint8"
        raise ValueError(f"{path} takes {entry.type} {entry.shape}: {told}")
    return shape


def _digest_of(path: str) -> str:
    """Of the file, and of those beside it that begin with its name: weights of more than 2 GB."""
    name = glob.escape(os.path.basename(path))
    return files_digest(os.path.dirname(path), f"{name}*")


def _said_of_scaling(session: Any, path: str) -> dict[str, Any]:
    """What the file says in its metadata; else what a preprocessor_config.json beside it says."""
    said: dict[str, Any] = {}
    beside = os.path.join(os.path.dirname(path), "preprocessor_config.json")
    if os.path.isfile(beside):
        config = json_object(beside)
        # Null: it says nothing of it.
        known = [key for key in SCALING if config.get(key) is not None]
        said = {key: _scaling_number(beside, key, config[key]) for key in known}
    for key, text in session.get_modelmeta().custom_metadata_map.items():
        if key in SCALING:
            said[key] = _scaling_number(path, key, _parsed_or_text(text))
    return said


def _parsed_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _scaling_number(where: str, key: str, value: Any) -> Any:
    """A number, or one for each band. ValueError for what pictures cannot be scaled with."""
    numbers = value if isinstance(value, list) else [value]
    is_number = [type(one) in (int, float) and np.isfinite(one) for one in numbers]
    # Pictures are divided by two of them: a nought would make them endless.
    if all(is_number) and numbers and (key == "image_mean" or all(numbers)):
        return value
    raise ValueError(f"{where} says {key} {value!r}: it is a number, or one for each band")


# Running -----------------------------------------------------------------------------------------


def entrance(spec: OnnxSpec, entry: Any) -> Callable[[np.ndarray], np.ndarray]:
    """What makes pictures (n, h, w, bands) the input of a model."""
    mean = np.asarray(spec.scaling["image_mean"], np.float32)
    std = np.asarray(spec.scaling["image_std"], np.float32)
    factor = np.float32(spec.scaling["rescale_factor"])
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    dtype = kinds.get(entry.type, np.uint8)

    def entered(stack: np.ndarray) -> np.ndarray:
        if stack.dtype == np.uint8 and dtype != np.uint8:
            stack = (stack * factor - mean) / std
        stack = stack.astype(dtype)
        if not spec.is_last:
            stack = np.ascontiguousarray(stack.transpose(0, 3, 1, 2))
        # A last batch that is too small is filled up.
        count = spec.batch or len(stack)
        stack = np.resize(stack, (count, *stack.shape[1:]))
        return stack[0] if len(entry.shape) == 3 else stack

    return entered


def objects_net(spec: OnnxSpec, threshold: float) -> Callable[[np.ndarray], list[Any]]:
    """A Mask R-CNN: of each picture its objects."""
    session = open_session(spec.path)
    entry = session.get_inputs()[0]
    names = [output.name.lower() for output in session.get_outputs()]
    entered = entrance(spec, entry)

    def find(stack: np.ndarray) -> list[Any]:
        answers = session.run(None, {entry.name: entered(stack)})
        found = dict(zip(names, answers, strict=True))
        is_sure = found["scores"] >= threshold
        sure = {name: found[name][is_sure] for name in RCNN}
        return [_instances(sure, stack.shape[2:0:-1])]

    return find


def classes_net(spec: OnnxSpec, activation: str) -> Callable[[np.ndarray], list[Any]]:
    """Of each picture (h, w, channels): probabilities, or the class itself."""
    session = open_session(spec.path)
    entry = session.get_inputs()[0]
    entered = entrance(spec, entry)

    def classify(stack: np.ndarray) -> list[Any]:
        n = len(stack)
        answers = session.run(None, {entry.name: entered(stack)})
        size_wh = stack.shape[2:0:-1]
        found = []
        for answer in answers[0][:n]:
            last = _channels_last(answer, spec)
            large = full_size(last, size_wh, spec.classes)
            found.append(_activated(large, activation))
        return found

    return classify


def _channels_last(answer: np.ndarray, spec: OnnxSpec) -> np.ndarray:
    if answer.ndim == 3 and not spec.is_last:
        return np.moveaxis(answer, 0, -1)
    return answer


def full_size(answer: np.ndarray, size_wh: tuple[int, ...], is_class: bool) -> np.ndarray:
    """(h, w, channels) float32 of an answer that may be smaller: pixel centres as in torch."""
    width, height = size_wh
    answer = np.ascontiguousarray(answer, np.float32)
    if answer.shape[:2] != (height, width):
        # The mean of two classes is no class.
        how = cv2.INTER_NEAREST_EXACT if is_class else cv2.INTER_LINEAR
        answer = cv2.resize(answer, (width, height), interpolation=how)
    return answer.reshape(height, width, -1)


def _activated(answer: np.ndarray, activation: str) -> np.ndarray:
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-answer))
    if activation == "softmax":
        powers = np.exp(answer - answer.max(2, keepdims=True))
        return powers / powers.sum(2, keepdims=True)
    return answer


def _instances(found: dict[str, np.ndarray], size_wh: tuple[int, ...]) -> list[Instance | None]:
    """boxes (n, 4) x1 y1 x2 y2; masks (n, 1, h, w) of the picture,
    or (n, 1, 28, 28) of each box.
    """
    boxes = found["boxes"]
    masks = found["masks"].reshape(len(boxes), *found["masks"].shape[-2:])
    out = []
    for i, box in enumerate(boxes):
        x = 0
        y = 0
        mask = masks[i]
        if mask.shape[::-1] != size_wh:
            x, y = np.floor(box[:2]).astype(int).tolist()
            mask = _of_box(mask, box)
        label = str(found["labels"][i])
        out.append(cropped(mask >= 0.5, label, found["scores"][i], x, y))
    return out


def _of_box(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A small mask as large as its box."""
    x, y = np.floor(box[:2]).astype(int).tolist()
    right, below = np.ceil(box[2:]).astype(int).tolist()
    width = max(1, right - x)
    height = max(1, below - y)
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)


def full_float(answer: np.ndarray, spec: OnnxSpec) -> np.ndarray:
    """(h, w, bands) float32, black 0 and white 1, of the first picture that a model gives back.

    It comes out as pictures go in: with the same mean, and as many grey levels.
    """
    picture = answer[0] if answer.ndim == 4 else answer
    if not spec.is_last:
        picture = np.moveaxis(picture, 0, -1)
    if answer.dtype == np.uint8:
        return picture.astype(np.float32) / np.float32(255)
    mean = np.asarray(spec.scaling["image_mean"], np.float32)
    std = np.asarray(spec.scaling["image_std"], np.float32)
    white = np.float32(255 * spec.scaling["rescale_factor"])
    return (picture.astype(np.float32) * std + mean) / white
