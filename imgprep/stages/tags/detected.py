"""What a detector found, as tags: one for each word, with all its boxes as evidence."""

import os
from typing import Any

import numpy as np

from imgprep.models import Boxes, Objects
from imgprep.rows.tag_entries import TagEntry, entry

MOST_BOXES = 50  # that travel with a tag: they are drawn, and a thousand say no more


def object_tags(detector: Boxes | Objects, image: np.ndarray) -> list[TagEntry]:
    """An entry of kind "object" for each word, with the surest score.

    Evidence: `box` [x, y, width, height] in shares of the picture, of the surest, and `boxes` of
    all, the surest first.
    """
    height, width = image.shape[:2]
    by_word: dict[str, list[tuple[float, list[float]]]] = {}
    for word, score, (x, y, w, h) in _found(detector, image):
        shares = [round(float(v), 4) for v in (x / width, y / height, w / width, h / height)]
        by_word.setdefault(word, []).append((score, shares))
    entries = []
    for word, seen in by_word.items():
        seen.sort(key=lambda one: -one[0])
        boxes = [shares for _, shares in seen[:MOST_BOXES]]
        evidence = {"box": boxes[0], "boxes": boxes}
        said = {"kind": "object", "name": word, "score": seen[0][0], "evidence": evidence}
        entries.append(entry(said, source=_name(detector), version=detector.spec.digest[:12]))
    return entries


def _found(detector: Boxes | Objects, image: np.ndarray) -> list[tuple[str, float, Any]]:
    """(word, score, box in pixels) of every object."""
    found = detector(image)
    if isinstance(detector, Boxes):
        return [(one["label"], one["score"], one["box_xywh"]) for one in found["objects"]]
    words = [str(label) for label in found["labels"]]
    return list(zip(words, found["scores"], found["boxes"], strict=True))


def _name(detector: Boxes | Objects) -> str:
    """The model's; a dataset tells no place of this machine."""
    model = detector.model
    is_here = os.path.isabs(model) or model.lower().endswith(".onnx")
    return os.path.basename(model.rstrip("/")) if is_here else model
