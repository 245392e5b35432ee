"""How well boxes that were found agree with the true ones: COCO's average precision, and precision
and recall.

As `pycocotools` counts (Lin et al., 2014): at ten thresholds of IoU from 0.5 to 0.95, at 101 levels
of recall, at most 100 boxes of a picture, crowds matched by how much of a box they hold and then
left out.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from imgprep.picture.boxes import Object

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST_BOXES = 100  # of a picture and class, those with the highest scores
EDGE = 1 - 1e-10  # an IoU of 1 matches at every threshold


class Evaluated(NamedTuple):
    """The boxes of one class in all pictures, best first, at each threshold."""

    scores: np.ndarray  # (n,)
    is_match: np.ndarray  # (thresholds, n)
    is_ignored: np.ndarray  # (thresholds, n): neither right nor wrong
    true_count: int


def box_agreement(
    found: Sequence[Sequence[Object]],
    truth: Sequence[Sequence[Object]],
    *,
    min_score: float = 0.0,
    iou: float = 0.5,
) -> dict[str, Any]:
    """The box_agreement of two columns of objects, row by row, over all classes and for each.

    map: the mean over classes and IoU 0.50:0.95. map50, map75: at one IoU. precision, recall: of
    boxes with a score of min_score or more, at one IoU; None where there are no boxes, or none that
    are true. classes: the same for each, with how many there are. Boxes without a score count as 1.
    ValueError where the columns differ in length.
    """
    if len(found) != len(truth):
        raise ValueError(
            f"found has {len(found):,} rows and truth {len(truth):,}: give the same pictures"
        )
    if not 0 < iou <= 1:
        raise ValueError(f"iou is above 0 and at most 1, not {iou!r}")
    names = sorted({one["label"] for objects in (*found, *truth) for one in objects})
    classes = {}
    for name in names:
        ours = [[one for one in objects if one["label"] == name] for objects in found]
        theirs = [[one for one in objects if one["label"] == name] for objects in truth]
        classes[name] = _of_class(ours, theirs, min_score, iou)
    return {**_together(list(classes.values())), "classes": classes}


def _of_class(
    found: list[list[Object]], truth: list[list[Object]], min_score: float, iou: float
) -> dict[str, Any]:
    whole = evaluated(found, truth, THRESHOLDS)
    precisions = average_precisions(whole)
    right, wrong, missed = _right_and_wrong(found, truth, min_score, iou)
    average = precisions.mean() if whole.true_count else None
    return {
        "true": whole.true_count,
        "found": sum(map(len, found)),
        "map": _float_or_none(average),
        "map50": _float_or_none(precisions[0] if whole.true_count else None),
        "map75": _float_or_none(precisions[5] if whole.true_count else None),
        "precision": _share_of(right, right + wrong),
        "recall": _share_of(right, right + missed),
        "counts": [right, wrong, missed],
    }


def _together(classes: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over classes that have true boxes; precision and recall of all boxes."""
    together: dict[str, Any] = {}
    for key in ("map", "map50", "map75"):
        values = [one[key] for one in classes if one[key] is not None]
        together[key] = float(np.mean(values)) if values else None
    right, wrong, missed = (sum(one["counts"][place] for one in classes) for place in range(3))
    together["precision"] = _share_of(right, right + wrong)
    together["recall"] = _share_of(right, right + missed)
    return together


def _float_or_none(value: Any) -> float | None:
    return None if value is None else float(value)


def _share_of(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _right_and_wrong(
    found: list[list[Object]], truth: list[list[Object]], min_score: float, iou: float
) -> tuple[int, int, int]:
    """(right, wrong, missed) boxes at one IoU, of those with the score or more."""
    kept = [[one for one in objects if _score(one) >= min_score] for objects in found]
    at = evaluated(kept, truth, np.array([iou]))
    is_match = at.is_match[0]
    counts = ~at.is_ignored[0]
    right = int((is_match & counts).sum())
    wrong = int((~is_match & counts).sum())
    return right, wrong, at.true_count - right


def evaluated(
    found: Sequence[Sequence[Object]], truth: Sequence[Sequence[Object]], thresholds: np.ndarray
) -> Evaluated:
    """Match the boxes of one class, picture by picture,
    and put them in the order of their scores.
    """
    parts = [_matched(ours, theirs, thresholds) for ours, theirs in zip(found, truth, strict=True)]
    scores_ = np.concatenate([part[0] for part in parts] or [np.zeros(0)])
    # Stable: of equal scores the earlier picture's comes first.
    order = np.argsort(-scores_, kind="mergesort")
    is_match = np.concatenate(
        [part[1] for part in parts] or [np.zeros((len(thresholds), 0), bool)], axis=1
    )
    is_ignored = np.concatenate(
        [part[2] for part in parts] or [np.zeros((len(thresholds), 0), bool)], axis=1
    )
    true_count = sum(not _is_ignored(one) for objects in truth for one in objects)
    return Evaluated(scores_[order], is_match[:, order], is_ignored[:, order], true_count)


def _score(one: Object) -> float:
    return 1.0 if one.get("score") is None else float(one["score"])


def _is_ignored(one: Object) -> bool:
    return bool(one.get("is_crowd") or one.get("is_difficult"))


def _matched(
    found: Sequence[Object], truth: Sequence[Object], thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one picture: scores, and at each threshold which boxes match a true one, and which of
    those do not count.

    The best box takes first, and it takes the true one with the largest IoU that is free; of one
    that is left out only where no other is left. A crowd may be taken by many.
    """
    order = np.argsort([-_score(one) for one in found], kind="mergesort")[:MOST_BOXES]
    ours = [found[place] for place in order]
    # Those that do not count come last.
    theirs = sorted(truth, key=_is_ignored)
    is_crowd = np.array([bool(one.get("is_crowd")) for one in theirs], bool)
    does_not_count = np.array([_is_ignored(one) for one in theirs], bool)
    overlaps = iou_matrix(
        [one["box_xywh"] for one in ours], [one["box_xywh"] for one in theirs], is_crowd
    )
    is_match = np.zeros((len(thresholds), len(ours)), bool)
    is_ignored = np.zeros((len(thresholds), len(ours)), bool)
    for level, threshold in enumerate(thresholds):
        is_taken = np.zeros(len(theirs), bool)
        for place in range(len(ours)):
            taken = _best(
                overlaps[place], min(threshold, EDGE), is_taken & ~is_crowd, does_not_count
            )
            if taken is None:
                continue
            is_taken[taken] = True
            is_match[level, place] = True
            is_ignored[level, place] = does_not_count[taken]
    return np.array([_score(one) for one in ours]), is_match, is_ignored


def _best(
    overlap: np.ndarray, threshold: float, is_taken: np.ndarray, does_not_count: np.ndarray
) -> int | None:
    """The true box that one takes; None where none is near enough."""
    for group in (~does_not_count, does_not_count):
        possible = np.flatnonzero(group & ~is_taken & (overlap >= threshold))
        if len(possible):
            # Of equal ones the last, as pycocotools does.
            largest = overlap[possible].max()
            return int(possible[overlap[possible] == largest][-1])
    return None


def iou_matrix(
    boxes: Sequence[Sequence[float]],
    others: Sequence[Sequence[float]],
    is_crowd: np.ndarray | None = None,
) -> np.ndarray:
    """The intersection over union of boxes [x, y, width, height], (n, m).

    With a crowd it is over the box's own area.

    >>> iou_matrix([[0, 0, 4, 4]], [[0, 0, 4, 4], [2, 0, 4, 4], [9, 9, 1, 1]]).round(3).tolist()
    [[1.0, 0.333, 0.0]]
    """
    # A row for each of the boxes, a column for each of the others.
    ours = np.asarray(boxes, float).reshape(-1, 1, 4)
    theirs = np.asarray(others, float).reshape(1, -1, 4)
    our_start, our_sides = ours[:, :, :2], ours[:, :, 2:]
    their_start, their_sides = theirs[:, :, :2], theirs[:, :, 2:]
    low = np.maximum(our_start, their_start)
    high = np.minimum(our_start + our_sides, their_start + their_sides)
    both = np.clip(high - low, 0, None).prod(axis=2)
    own = our_sides.prod(axis=2)
    union = own + their_sides.prod(axis=2) - both
    if is_crowd is not None:
        union = np.where(is_crowd[None, :], own, union)
    shares: np.ndarray = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return shares


def average_precisions(whole: Evaluated) -> np.ndarray:
    """The average precision at each threshold: the best precision from each of the levels of recall
    on.
    """
    precisions = np.zeros(len(whole.is_match))
    if not whole.true_count:
        return precisions
    for level, (is_match, is_ignored) in enumerate(
        zip(whole.is_match, whole.is_ignored, strict=True)
    ):
        right = np.cumsum(is_match & ~is_ignored)
        wrong = np.cumsum(~is_match & ~is_ignored)
        recall = right / whole.true_count
        # spacing(1) keeps 0 / 0 away, as pycocotools does.
        precision = right / np.maximum(right + wrong, np.spacing(1))
        # Never falling from right to left.
        best = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(recall, RECALLS, side="left")
        reached = places < len(best)
        precisions[level] = best[places[reached]].sum() / len(RECALLS) if len(best) else 0.0
    return precisions
