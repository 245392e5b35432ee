"""Objects that a model found in overlapping windows: crops, made one where windows agree.

Painted as labels, or listed as columns of a dataset.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy import ndarray

from imgprep.tiles.windows import Box

# Only objects that share a square of so many pixels can meet: nothing else is compared.
SQUARE = 256


class Instance(NamedTuple):
    """An object: where its crop stands, the crop's pixels, what it is, how sure that is."""

    x: int
    y: int
    mask: ndarray  # (h, w) bool
    label: str
    score: float

    @property
    def box(self) -> Box:
        height, width = self.mask.shape
        return self.x, self.y, width, height

    def within(self, box: Box) -> ndarray:
        """Its pixels in a box that touches its own, (h, w) bool."""
        x, y, w, h = box
        left = x - self.x
        top = y - self.y
        rows = slice(max(0, top), top + h)
        columns = slice(max(0, left), left + w)
        return self.mask[rows, columns]

    def moved(
        self,
        x: int,
        y: int,
    ) -> "Instance":
        return self._replace(x=self.x + x, y=self.y + y)

    def first_column(self) -> int:
        """Where, in the picture, its first pixel stands in its first row."""
        return self.x + int(self.mask[0].argmax())


def cropped(
    mask: ndarray,
    label: str,
    score: float,
    x: int = 0,
    y: int = 0,
) -> Instance | None:
    """The object of a mask (h, w) whose corner is at x, y; None where no pixel is set."""
    # OpenCV finds it without listing the pixels, as np.nonzero would.
    left, top, w, h = cv2.boundingRect(mask.astype(np.uint8))
    crop = mask[top : top + h, left : left + w].astype(bool)
    if not crop.any():
        return None
    return Instance(
        x + left,
        y + top,
        crop,
        label,
        float(score),
    )


def clipped(one: Instance | None, box: Box) -> Instance | None:
    """The part of an object that lies in a box; None where none does."""
    part = intersection(one.box, box) if one else None
    if one is None or part is None:
        return None
    x, y, *_ = part
    return cropped(one.within(part), one.label, one.score, x, y)


def intersection(*boxes: Box | None) -> Box | None:
    """What the boxes have in common; None where that is nothing."""
    given = [box for box in boxes if box is not None]
    if len(given) < len(boxes):
        return None
    left = max(box[0] for box in given)
    top = max(box[1] for box in given)
    right = min(box[0] + box[2] for box in given)
    bottom = min(box[1] + box[3] for box in given)
    if left >= right or top >= bottom:
        return None
    return left, top, right - left, bottom - top


class _Found(NamedTuple):
    window: Box
    one: Instance


def merge_windows(
    found: Iterable[tuple[Box, Sequence[Instance]]],
    *,
    min_iou: float = 0.5,
) -> list[Instance]:
    """Objects of windows (x, y, w, h) become the picture's: in order of their first pixel.

    The objects are in the picture's pixels. Two from different windows are one where they are
    called the same and the pixels that both windows see agree by min_iou (intersection over
    union). One that lies in one window alone stays as it is. The order of windows is nothing to
    the result.
    """
    from scipy.cluster.hierarchy import DisjointSet

    everything = [_Found(window, one) for window, ones in found for one in ones]
    same = DisjointSet(range(len(everything)))
    for i, j in _neighbours(everything):
        if _agreement(everything[i], everything[j]) >= min_iou:
            same.merge(i, j)

    merged = []
    # Sorted: a union takes its label from the first, and sets have no order.
    for group in same.subsets():
        ones = [everything[i].one for i in sorted(group)]
        merged.append(ones[0] if len(ones) == 1 else _union(ones))
    return sorted(merged, key=_place_of)


def _place_of(one: Instance) -> tuple[Any, ...]:
    """By this objects are sorted: the first pixel,
    then what cannot depend on the order of windows.
    """
    return (
        one.y,
        one.first_column(),
        one.label,
        one.score,
        one.mask.shape,
    )


def _neighbours(everything: Sequence[_Found]) -> set[tuple[int, int]]:
    """Pairs of objects that may be one: of two windows, called the same, in a common square."""
    # All pairs of 100,000 objects would be five thousand million.
    squares = defaultdict(list)
    for i, (_, one) in enumerate(everything):
        for square in _squares_of(one.box):
            squares[square].append(i)
    pairs: set[tuple[int, int]] = set()
    for inside in squares.values():
        pairs.update(combinations(inside, 2))
    return {
        (i, j)
        for i, j in pairs
        if everything[i].window != everything[j].window
        and everything[i].one.label == everything[j].one.label
    }


def _squares_of(box: Box) -> Iterator[tuple[int, int]]:
    x, y, w, h = box
    last_row = (y + h - 1) // SQUARE
    last_column = (x + w - 1) // SQUARE
    for row in range(y // SQUARE, last_row + 1):
        for column in range(x // SQUARE, last_column + 1):
            yield row, column


def _agreement(this: _Found, that: _Found) -> float:
    """Intersection over union of two objects, of the pixels that both windows see."""
    shared = intersection(this.window, that.window)
    both = intersection(this.one.box, that.one.box, shared)
    if both is None:
        return 0.0
    is_common = this.one.within(both) & that.one.within(both)
    common = int(np.count_nonzero(is_common))
    seen = 0
    for one in (this.one, that.one):
        part = intersection(one.box, shared)
        if part is not None:
            seen += int(np.count_nonzero(one.within(part)))
    return common / (seen - common)


def _union(ones: Sequence[Instance]) -> Instance:
    x = min(one.x for one in ones)
    y = min(one.y for one in ones)
    right = max(one.x + one.mask.shape[1] for one in ones)
    bottom = max(one.y + one.mask.shape[0] for one in ones)
    mask = np.zeros((bottom - y, right - x), bool)
    for one in ones:
        height, width = one.mask.shape
        top = one.y - y
        left = one.x - x
        mask[top : top + height, left : left + width] |= one.mask
    score = max(one.score for one in ones)
    return Instance(x, y, mask, ones[0].label, score)


def paint_labels(instances: Sequence[Instance], box: Box) -> ndarray:
    """Labels (h, w) int32 of a part of the picture: 1 + an object's place in the list.

    Of several objects at a pixel it is the surest one's.
    """
    left, top, width, height = box
    labels = np.zeros((height, width), np.int32)
    by_score = sorted(
        range(len(instances)),
        key=lambda n: (instances[n].score, n),
    )
    for n in by_score:
        one = instances[n]
        part = intersection(one.box, box)
        if part is None:
            continue
        x, y, w, h = part
        x -= left
        y -= top
        pixels = labels[y : y + h, x : x + w]
        pixels[one.within(part)] = n + 1
    return labels


def object_columns(
    instances: Sequence[Instance],
    size_wh: tuple[int, int],
) -> dict[str, list[Any]]:
    """boxes [x, y, w, h], labels, scores, masks of a picture's objects, as `features` declares."""
    width, height = size_wh
    masks = []
    for one in instances:
        runs = counts(one, size_wh)
        masks.append({"size": [height, width], "counts": runs})
    return {
        "boxes": [list(one.box) for one in instances],
        "labels": [one.label for one in instances],
        "scores": [one.score for one in instances],
        "masks": masks,
    }


def counts(one: Instance, size_wh: tuple[int, int]) -> list[int]:
    """COCO's run lengths: column by column, zeros first."""
    width, height = size_wh
    xs, ys = np.nonzero(one.mask.T)
    at = (xs + one.x) * height + ys + one.y
    # A gap before a pixel: a run begins there, and the one before has ended.
    is_start = np.diff(at, prepend=-2) > 1
    starts = at[is_start]
    lasts = at[np.roll(is_start, -1)]
    borders = np.stack([starts, lasts + 1], 1)
    lengths = np.diff(
        borders.ravel(),
        prepend=0,
        append=height * width,
    )
    return lengths.tolist()


def features() -> dict[str, Any]:
    """The columns of `object_columns`, for images.transform(features=…)."""
    from datasets import List, Value

    whole = Value("int32")
    box = List(whole)
    mask = {"size": List(whole), "counts": List(whole)}
    return {
        "boxes": List(box),
        "labels": List(Value("string")),
        "scores": List(Value("float32")),
        "masks": List(mask),
    }
