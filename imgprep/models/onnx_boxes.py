"""Detectors in a file `*.onnx`: outputs boxes, labels and scores, or YOLO's single one."""

import ast
import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from imgprep.models.found import FindBoxes, FoundBoxes, checked_scores, names_of
from imgprep.models.onnx import FLOATS, entrance, open_session, picture_entry, spec_of_file
from imgprep.models.spec import OnnxSpec
from imgprep.words import number_of

NAMED = {"boxes", "labels", "scores"}
WHOLE_TYPES = tuple(f"tensor({kind})" for kind in ("int64", "int32", "int16", "int8", "uint8"))
# As RT-DETR's exports call their second input.
SIZES = "orig_target_sizes"
# The grey that YOLO was trained with around its pictures.
LETTERBOX_GREY = 114
# Of a file that takes any.
YOLO_SIDE = 640
BOX_NUMBERS = 4
# Numbers of a box that needs no more: x1 y1 x2 y2, score, class.
END_TO_END = 6


class Fitted(NamedTuple):
    """A picture as a model gets it; where a point of that stands in the picture:
    (p - shift) / by.
    """

    image: np.ndarray
    by: np.ndarray
    shift: np.ndarray

    def back(self, boxes: np.ndarray) -> np.ndarray:
        """x1 y1 x2 y2 in pixels of the picture."""
        return (boxes - np.tile(self.shift, 2)) / np.tile(self.by, 2)


def spec_of_detector(path: str) -> OnnxSpec:
    """ValueError for a file whose outputs are no boxes."""
    spec = spec_of_file(path, [SIZES])
    if spec.bands not in (0, 3):
        told = number_of(spec.bands, "band")
        raise ValueError(f"{path} takes pictures of {told}: a detector takes 3")
    outputs = {output.name.lower(): output for output in open_session(path).get_outputs()}
    if NAMED <= set(outputs):
        _check_named_outputs(outputs, path, spec.batch)
    elif not _is_single([*outputs.values()], spec.window):
        told = ", ".join(f"{output.name} {output.shape}" for output in outputs.values())
        kinds = "boxes, labels and scores, or one output (1, 4 + classes, n) as YOLO has it"
        raise ValueError(f"{path} gives {told}: a detector gives {kinds}")
    return spec


def _check_named_outputs(outputs: dict[str, Any], path: str, batch: int | None) -> None:
    """ValueError for boxes of more than four numbers, for names that are texts, for a mixture."""
    boxes = outputs["boxes"]
    last = boxes.shape[-1] if boxes.shape else 0
    if isinstance(last, int) and last != BOX_NUMBERS:
        raise ValueError(f"{path} gives boxes {boxes.shape}: a box is x1 y1 x2 y2")
    for name in sorted(NAMED):
        if outputs[name].type not in (FLOATS if name != "labels" else FLOATS + WHOLE_TYPES):
            raise ValueError(f"{path} gives {name} as {outputs[name].type}, and they are numbers")
    if batch and batch > 1 and len(boxes.shape) < 3:
        told = f"takes {batch} pictures at once and gives boxes {boxes.shape}"
        raise ValueError(f"{path} {told}, which does not say whose they are: export it for 1")


def _is_single(outputs: Sequence[Any], window: tuple[int, int] | None) -> bool:
    if len(outputs) != 1 or outputs[0].type not in FLOATS:
        return False
    shape = outputs[0].shape
    # As large as the picture: that is a mask of it.
    is_mask = window is not None and tuple(shape[:0:-1]) == window
    return len(shape) == 3 and not is_mask


def onnx_detector(spec: OnnxSpec, labels: Sequence[str], model: str) -> FindBoxes:
    """(picture, least score) -> what was found in it.

    Labels: names that count instead of its own.
    """
    session = open_session(spec.path)
    names = [output.name.lower() for output in session.get_outputs()]
    said = list(labels) or _own_names(session)
    takes = picture_entry(session, spec.path, [SIZES])
    entered = entrance(spec, takes)
    entry = takes.name
    asks_size = any(one.name == SIZES for one in session.get_inputs())
    count = spec.batch or 1

    def find_named(image: np.ndarray, threshold: float) -> FoundBoxes:
        fitted = _stretched(image, spec.window)
        given = {entry: entered(fitted.image[None])}
        if asks_size:
            height, width = image.shape[:2]
            given[SIZES] = np.array([[width, height]] * count, np.int64)
        answers = dict(zip(names, session.run(None, given), strict=True))
        boxes, scores, classes = _of_named(answers, count, model)
        checked_scores(scores, boxes, model)
        is_sure = scores >= threshold
        numbers = classes[is_sure].astype(int).tolist()
        # A model that was told the picture's size answers in its pixels.
        sure = boxes[is_sure] if asks_size else fitted.back(boxes[is_sure])
        return FoundBoxes(sure, scores[is_sure], names_of(numbers, said, model))

    def find_single(image: np.ndarray, threshold: float) -> FoundBoxes:
        fitted = _letterboxed(image, spec.window or (YOLO_SIDE, YOLO_SIDE))
        (answer,) = session.run(None, {entry: entered(fitted.image[None])})
        boxes, scores, numbers = _of_single(answer[0], len(said), model)
        checked_scores(scores, boxes, model)
        is_sure = scores >= threshold
        sure = fitted.back(boxes[is_sure])
        return FoundBoxes(sure, scores[is_sure], names_of(numbers[is_sure].tolist(), said, model))

    return find_named if NAMED <= {*names} else find_single


def _of_named(
    answers: dict[str, np.ndarray], count: int, model: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes, scores, classes) of the first of so many pictures.

    ValueError where there are not as many of each.
    """
    boxes, scores, classes = (answers[name] for name in ("boxes", "scores", "labels"))
    if count > 1:
        # The others are copies of it.
        boxes, scores, classes = boxes[0], scores[0], classes[0]
    if boxes.size and boxes.shape[-1] != BOX_NUMBERS:
        raise ValueError(f"{model} gives boxes {list(boxes.shape)}: a box is x1 y1 x2 y2")
    boxes = boxes.reshape(-1, BOX_NUMBERS)
    if not len(boxes) == scores.size == classes.size:
        told = f"{len(boxes)} boxes, {scores.size} scores and {classes.size} labels"
        raise ValueError(f"{model} gives {told}: each box has one score and one label")
    return boxes, scores.reshape(-1), classes.reshape(-1)


def _own_names(session: Any) -> list[str] | dict[int, str]:
    """The names of classes in the file's metadata, as Ultralytics writes them; none is no fault."""
    text = session.get_modelmeta().custom_metadata_map.get("names", "")
    with contextlib.suppress(ValueError, SyntaxError):
        said = ast.literal_eval(text)
        if isinstance(said, dict):
            return {int(number): str(name) for number, name in said.items()}
        if isinstance(said, list):
            return [str(name) for name in said]
    return []


def _stretched(image: np.ndarray, window: tuple[int, int] | None) -> Fitted:
    """As large as the model takes it, whatever that does to its shape."""
    height, width = image.shape[:2]
    by = np.ones(2)
    if window and window != (width, height):
        image = cv2.resize(image, window, interpolation=cv2.INTER_LINEAR)
        by = np.array(window) / (width, height)
    return Fitted(image, by, np.zeros(2))


def _letterboxed(image: np.ndarray, window: tuple[int, int]) -> Fitted:
    """In the middle of the window, in its own shape, with grey around it."""
    height, width = image.shape[:2]
    by = min(window[0] / width, window[1] / height)
    inner = max(1, round(width * by)), max(1, round(height * by))
    small = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    left = (window[0] - inner[0]) // 2
    top = (window[1] - inner[1]) // 2
    out = np.full((window[1], window[0], image.shape[2]), LETTERBOX_GREY, image.dtype)
    out[top : top + inner[1], left : left + inner[0]] = small
    return Fitted(out, np.array(inner) / (width, height), np.array([left, top]))


def _of_single(
    answer: np.ndarray, names: int, model: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes x1 y1 x2 y2, scores, classes) of YOLO's (4 + classes,
    n), (n, 5 + classes) or (n, 6).
    """
    rows, columns = answer.shape
    if columns == END_TO_END and rows > END_TO_END and names != END_TO_END - 4:
        return answer[:, :4], answer[:, 4], answer[:, 5].astype(int)
    if names and columns == 5 + names:
        # Of the older ones: the chance of any object, then classes.
        classes = answer[:, 5:] * answer[:, 4:5]
        return _corners(answer[:, :4]), classes.max(1), classes.argmax(1)
    if names and columns == 4 + names:
        answer = answer.T
    if len(answer) < 5:
        told = f"an output of {rows} x {columns} has no classes beside its boxes"
        raise ValueError(f"{model}: {told}")
    boxes = _corners(answer[:4].T)
    return boxes, answer[4:].max(0), answer[4:].argmax(0)


def _corners(middles: np.ndarray) -> np.ndarray:
    """x1 y1 x2 y2 of middle x, middle y, width, height."""
    half = middles[:, 2:] / 2
    return np.concatenate([middles[:, :2] - half, middles[:, :2] + half], 1)
