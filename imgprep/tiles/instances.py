"""Objects that a model found in overlapping windows: kept as crops, made one where windows agree, painted as labels."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import cv2
import numpy as np

Box = tuple[int, int, int, int]  # x, y, width, height


class Instance(NamedTuple):
    """An object: where its crop stands, which of the crop's pixels it has (h, w) bool, what it is, how sure that is."""

    x: int
    y: int
    mask: np.ndarray
    label: str
    score: float

    @property
    def box(self) -> Box:
        return self.x, self.y, self.mask.shape[1], self.mask.shape[0]

    def within(self, box: Box) -> np.ndarray:
        """Its pixels in a box that touches its own, (h, w) bool."""
        x, y, w, h = box
        return self.mask[max(0, y - self.y) : y + h - self.y, max(0, x - self.x) : x + w - self.x]

    def moved(self, x: int, y: int) -> "Instance":
        return self._replace(x=self.x + x, y=self.y + y)


def cropped(mask: np.ndarray, label: str, score: float, x: int = 0, y: int = 0) -> Instance | None:
    """The object of a mask (h, w) whose corner is at x, y; None where no pixel is set."""
    left, top, w, h = cv2.boundingRect(mask.astype(np.uint8))
    crop = mask[top : top + h, left : left + w].astype(bool)
    return Instance(x + left, y + top, crop, label, float(score)) if crop.any() else None


def inside(one: Instance | None, box: Box) -> Instance | None:
    """The part of an object that lies in a box; None where none does."""
    part = one and intersection(one.box, box)
    return cropped(one.within(part), one.label, one.score, *part[:2]) if part else None


def merge(found: Iterable[tuple[Box, Sequence[Instance]]], *, min_iou: float = 0.5) -> list[Instance]:
    """Objects of windows (x, y, w, h), in the picture's pixels, become the picture's: in order of their first pixel.

    Two from different windows are one where they are called the same and the pixels that both windows see agree by
    min_iou (intersection over union). One that lies in one window alone stays as it is. The order of windows is
    nothing to the result.
    """
    all_of = [(window, one) for window, ones in found for one in ones]
    near = defaultdict(list)  # which objects lie in a square of 256 pixels: only those can meet
    for i, (_, one) in enumerate(all_of):
        x, y, w, h = one.box
        for cell in np.ndindex((y + h - 1) // 256 - y // 256 + 1, (x + w - 1) // 256 - x // 256 + 1):
            near[y // 256 + cell[0], x // 256 + cell[1]].append(i)
    from scipy.cluster.hierarchy import DisjointSet

    same = DisjointSet(range(len(all_of)))
    for i, j in {pair for ones in near.values() for pair in combinations(ones, 2)}:
        (one_window, one), (other_window, other) = all_of[i], all_of[j]
        if one_window != other_window and one.label == other.label:
            if _agree(one, other, one_window, other_window) >= min_iou:
                same.merge(i, j)
    groups = [[all_of[i][1] for i in sorted(some)] for some in same.subsets()]
    merged = [ones[0] if len(ones) == 1 else _union(ones) for ones in groups]
    return sorted(merged, key=lambda o: (o.y, o.x + int(o.mask[0].argmax()), o.label, o.score, o.mask.shape))


def _agree(one: Instance, other: Instance, one_window: Box, other_window: Box) -> float:
    shared = intersection(one_window, other_window)
    both = intersection(one.box, other.box, shared)
    if not both:
        return 0.0
    common = np.count_nonzero(one.within(both) & other.within(both))
    seen = sum(np.count_nonzero(o.within(part)) for o in (one, other) if (part := intersection(o.box, shared)))
    return common / (seen - common)


def _union(ones: Sequence[Instance]) -> Instance:
    x, y = min(o.x for o in ones), min(o.y for o in ones)
    mask = np.zeros((max(o.y + o.mask.shape[0] for o in ones) - y, max(o.x + o.mask.shape[1] for o in ones) - x), bool)
    for o in ones:
        mask[o.y - y :, o.x - x :][: o.mask.shape[0], : o.mask.shape[1]] |= o.mask
    return Instance(x, y, mask, ones[0].label, max(o.score for o in ones))


def intersection(*boxes: Box | None) -> Box | None:
    """What the boxes have in common; None where that is nothing."""
    if None in boxes:
        return None
    x, y = max(b[0] for b in boxes), max(b[1] for b in boxes)
    w, h = min(b[0] + b[2] for b in boxes) - x, min(b[1] + b[3] for b in boxes) - y
    return (x, y, w, h) if w > 0 and h > 0 else None


def paint(instances: Sequence[Instance], box: Box) -> np.ndarray:
    """Labels (h, w) int32 of a part of the picture: 1 + an object's place in the list; of several the surest."""
    labels = np.zeros((box[3], box[2]), np.int32)
    for n in sorted(range(len(instances)), key=lambda n: (instances[n].score, n)):
        if part := intersection(instances[n].box, box):
            x, y, w, h = part
            labels[y - box[1] :, x - box[0] :][:h, :w][instances[n].within(part)] = n + 1
    return labels


def columns(instances: Sequence[Instance], size_wh: tuple[int, int]) -> dict[str, list[Any]]:
    """boxes [x, y, w, h], labels, scores and masks of a picture's objects, as `features` declares them."""
    return {
        "boxes": [list(o.box) for o in instances],
        "labels": [o.label for o in instances],
        "scores": [o.score for o in instances],
        "masks": [{"size": list(size_wh[::-1]), "counts": counts(o, size_wh)} for o in instances],
    }


def counts(one: Instance, size_wh: tuple[int, int]) -> list[int]:
    """COCO's run lengths: column by column, zeros first."""
    (width, height), (xs, ys) = size_wh, np.nonzero(one.mask.T)
    at = (xs + one.x) * height + ys + one.y
    starts = np.flatnonzero(np.diff(at, prepend=-2) > 1)
    ends = np.append(at[starts[1:] - 1], at[-1]) + 1
    edges = np.stack([at[starts], ends], 1).ravel()
    return np.diff(edges, prepend=0, append=height * width).tolist()


def features() -> dict[str, Any]:
    """The columns of `columns`, for images.transform(features=…)."""
    from datasets import List, Value

    whole, text, real = (Value(kind) for kind in ("int32", "string", "float32"))
    masks = List({"size": List(whole), "counts": List(whole)})
    return {"boxes": List(List(whole)), "labels": List(text), "scores": List(real), "masks": masks}
