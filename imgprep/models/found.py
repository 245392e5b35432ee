"""What a detector found in a picture, as plain values: the same from every kind of model."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

# One, and what 16 bits may make of it.
MOST_SCORE = 1.001


class FoundBoxes(NamedTuple):
    """boxes: (n, 4) x1 y1 x2 y2 in pixels of the picture. scores: (n,). labels: n names."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: list[str]


def checked_scores(scores: np.ndarray, boxes: np.ndarray, model: str) -> None:
    """ValueError where a model gives numbers that are none."""
    if np.isnan(scores).any() or np.isnan(boxes).any():
        raise ValueError(f"{model} gives NaN: its weights, or what it was given, are bad")
    if not np.isfinite(boxes).all():
        raise ValueError(f"{model} gives boxes without end: its weights are bad")
    # Empty places of some have the score -1, which is below every threshold.
    if scores.size and scores.max() > MOST_SCORE:
        told = f"{model} gives the score {scores.max():g}"
        raise ValueError(f"{told}: scores are from 0 to 1 (export it with its sigmoid or softmax)")


def names_of(
    numbers: Sequence[int], names: Sequence[str] | dict[int, str], model: str
) -> list[str]:
    """The names of classes; of a model without names their numbers.

    ValueError for a class that the names do not reach.
    """
    known = dict(enumerate(names)) if not isinstance(names, dict) else names
    if not known:
        return [str(number) for number in numbers]
    missing = [number for number in numbers if number not in known]
    if missing:
        told = f"{model} says class {missing[0]}, and there are names of {len(known)}"
        raise ValueError(f"{told}: give labels=[…], a name for each class")
    return [known[number] for number in numbers]


# (picture, least score) -> what is found
FindBoxes = Callable[[np.ndarray, float], FoundBoxes]


def without_copies(found: FoundBoxes, most_iou: float) -> FoundBoxes:
    """Of boxes of one label that overlap by more than most_iou
    the surest (non-maximum suppression).

    Boxes of other labels are left alone.
    """
    order = np.argsort(-found.scores, kind="stable")
    labels = np.array(found.labels, object)
    keep: list[int] = []
    for i in order.tolist():
        same = [k for k in keep if labels[k] == labels[i]]
        if not same or overlap(found.boxes[i], found.boxes[same]).max() <= most_iou:
            keep.append(i)
    return chosen(found, keep)


def chosen(found: FoundBoxes, places: Sequence[int]) -> FoundBoxes:
    at = np.asarray(places, int)
    return FoundBoxes(found.boxes[at], found.scores[at], [found.labels[i] for i in places])


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with each of some, (n,)."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area = (box[2:] - box[:2]).prod()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return shared / np.maximum(area + areas - shared, 1e-9)


def as_objects(found: FoundBoxes, size_wh: tuple[int, int]) -> dict[str, Any]:
    """{"objects": [{"label", "score", "box_xywh"}], "width", "height"}, the surest first.

    Boxes are cut off at the picture's edge; what lies outside of it is no object.
    """
    width, height = size_wh
    edges = np.array([width, height, width, height], np.float64)
    boxes = np.clip(found.boxes.astype(np.float64).reshape(-1, 4), 0, edges)
    objects = []
    for box, score, label in zip(boxes, found.scores.tolist(), found.labels, strict=True):
        x, y, right, bottom = box.round(3).tolist()
        if right > x and bottom > y:
            sides = [x, y, round(right - x, 3), round(bottom - y, 3)]
            objects.append({"label": label, "score": score, "box_xywh": sides})
    # Where scores are equal the place decides, and not the order in which they were found.
    objects.sort(key=lambda one: (-one["score"], one["label"], one["box_xywh"]))
    return {"objects": objects, "width": width, "height": height}
