"""Detection for `images.transform`: the boxes of a picture as one column, huge ones tile by tile."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from imgprep.models.detectors import Boxes
from imgprep.models.found import FoundBoxes, as_objects
from imgprep.tiles.windows import windows

# Of two boxes of neighbouring tiles: how much of the smaller one has to lie in the other.
SHARED_OF_SMALLER = 0.5


class Detector(Boxes):
    """As `Boxes`, for `images.transform(features=models.Detector.features())`: {"objects": […]}.

    tile_wh: pictures larger than this are looked at in tiles of this size, as a detector that makes
        every picture small misses what is small (SAHI: Akyon et al., 2022). None: always whole.
    overlap: pixels that neighbouring tiles share; at least as many as an object is long, else its
        halves are merged only where they meet.
    A picture that one tile holds gives what `Boxes` gives. Boxes of one label in different tiles
    are one object, with the box around both, where half of the smaller lies in the other.
    """

    def __init__(
        self,
        model: str,
        *,
        labels: Sequence[str] = (),
        threshold: float = 0.5,
        most_iou: float = 0.5,
        tile_wh: Sequence[int] | None = None,
        overlap: int = 128,
    ):
        super().__init__(model, labels=labels, threshold=threshold, most_iou=most_iou)
        if tile_wh is not None:
            _check_tiles(tile_wh, overlap)
        self.tile_wh = (tile_wh[0], tile_wh[1]) if tile_wh else None
        self.overlap = overlap

    def find(self, image: np.ndarray) -> FoundBoxes:
        """What is in a picture, as arrays: of all its tiles, merged over their borders."""
        height, width = image.shape[:2]
        if self.tile_wh is None or (width <= self.tile_wh[0] and height <= self.tile_wh[1]):
            return super().find(image)
        parts = []
        for x, y, w, h in windows((width, height), self.tile_wh, self.overlap):
            # Some models want their rows without gaps.
            tile = np.ascontiguousarray(image[y : y + h, x : x + w])
            part = super().find(tile)
            # As they are shown: a box that reaches out of its tile says nothing about what is there.
            inside = np.clip(part.boxes.astype(np.float64).reshape(-1, 4), 0, [w, h, w, h])
            parts.append(part._replace(boxes=inside + [x, y, x, y]))
        return merged_over_borders(parts)

    def _objects(self, image: np.ndarray) -> dict[str, Any]:
        height, width = image.shape[:2]
        # The rows of a dataset have width and height already.
        return {"objects": as_objects(self.find(image), (width, height))["objects"]}


def _check_tiles(tile_wh: Sequence[int], overlap: int) -> None:
    """ValueError for sides or an overlap that no tile can have."""
    sides = list(tile_wh)
    if len(sides) != 2 or not all(isinstance(n, int) and n > 0 for n in sides):
        must = "tile_wh is two whole numbers above 0, [width, height]"
        raise ValueError(f"{must}, not {tile_wh!r}")
    if not isinstance(overlap, int) or not 0 <= overlap < min(sides):
        tile = f"{sides[0]} x {sides[1]}"
        raise ValueError(f"tiles of {tile} cannot overlap by {overlap!r} pixels")


def merged_over_borders(parts: Sequence[FoundBoxes]) -> FoundBoxes:
    """The boxes of several tiles of one picture; those that are one object become one box.

    The surest takes up the others, as SAHI does greedily, and its box grows around them. Boxes of
    one tile are left as they are to each other.
    """
    boxes = np.concatenate([part.boxes for part in parts]).astype(np.float64).reshape(-1, 4)
    scores = np.concatenate([part.scores for part in parts])
    labels = np.array([name for part in parts for name in part.labels], object)
    tiles = np.repeat(np.arange(len(parts)), [len(part.labels) for part in parts])
    is_free = np.ones(len(boxes), bool)
    kept = []
    for place in np.argsort(-scores, kind="stable").tolist():
        if not is_free[place]:
            continue
        is_free[place] = False
        kept.append(place)
        is_other = is_free & (labels == labels[place]) & (tiles != tiles[place])
        for other in np.flatnonzero(is_other).tolist():
            if _share_of_smaller(boxes[place], boxes[other]) >= SHARED_OF_SMALLER:
                is_free[other] = False
                boxes[place, :2] = np.minimum(boxes[place, :2], boxes[other, :2])
                boxes[place, 2:] = np.maximum(boxes[place, 2:], boxes[other, 2:])
    return FoundBoxes(boxes[kept], scores[kept], labels[kept].tolist())


def _share_of_smaller(box: np.ndarray, other: np.ndarray) -> float:
    """How much of the smaller of two boxes x1 y1 x2 y2 lies in the other."""
    low = np.maximum(box[:2], other[:2])
    high = np.minimum(box[2:], other[2:])
    both = np.clip(high - low, 0, None).prod()
    smaller = min((box[2:] - box[:2]).prod(), (other[2:] - other[:2]).prod())
    return float(both / max(smaller, 1e-9))
