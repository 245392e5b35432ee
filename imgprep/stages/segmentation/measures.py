"""How well a mask agrees with the truth: per class IoU and Dice,
per object precision, recall, PQ.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from imgprep.io import rasters
from imgprep.io.rasters import Raster
from imgprep.tiles import grid
from imgprep.tiles.windows import Box

# A window's side.
COMPARED_PX = 1024
# Pairs of numbers that are kept before they are summed up.
PENDING = 1 << 20


def evaluate(
    mask: str | np.ndarray,
    truth: str | np.ndarray,
    *,
    objects: bool = False,
    allow_hosts: Sequence[str] = (),
) -> dict[str, Any]:
    """Compare a mask with the truth, each a raster's URI or an array (h, w) of whole numbers.

    0 is background. Of a palette the indices are the numbers. allow_hosts: hosts with private
    addresses that a URL may name.
    objects=False: the numbers are classes. {"pixels", "accuracy", "mean_iou", "classes":
        {n: {"iou", "dice", "pixels", "truth"}}}, for every class that is in either, background
        too; pixels are what the mask has of it.
    objects=True: each number is an object. {"iou", "dice"} of foreground against background,
        {"found", "there", "matched", "precision", "recall", "f1", "sq", "rq", "pq"}: two objects
        match where their IoU is above 0.5, which no two can be with the same one (Kirillov et
        al., Panoptic Segmentation, CVPR 2019: pq = sq * rq).
    Pixels that are nodata in the truth do not count; where the mask has nodata (a part that
    failed) it has nothing. Both are read window by window; memory grows with the number of
    classes or objects, not with the picture. Raises ValueError where the sizes differ. A measure
    without anything to measure is None.
    """
    pairs = _overlaps(mask, truth, allow_hosts)
    return _of_objects(*pairs) if objects else _of_classes(*pairs)


def _of_classes(ours: np.ndarray, theirs: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    classes = {}
    every_iou = []
    for n in np.union1d(ours, theirs).tolist():
        is_ours = ours == n
        is_theirs = theirs == n
        both = counts[is_ours & is_theirs].sum()
        found = counts[is_ours].sum()
        there = counts[is_theirs].sum()
        iou = float(both) / float(found + there - both)
        every_iou.append(iou)
        classes[n] = {
            "iou": iou,
            "dice": _ratio(2 * both, found + there),
            "pixels": int(found),
            "truth": int(there),
        }
    total = int(counts.sum())
    right = int(counts[ours == theirs].sum())
    return {
        "pixels": total,
        "accuracy": _ratio(right, total),
        "mean_iou": float(np.mean(every_iou)) if every_iou else None,
        "classes": classes,
    }


def _of_objects(ours: np.ndarray, theirs: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    found, found_areas = _areas(ours, counts)
    there, there_areas = _areas(theirs, counts)
    met = (ours > 0) & (theirs > 0)
    shared = counts[met]
    area = found_areas[np.searchsorted(found, ours[met])]
    their_area = there_areas[np.searchsorted(there, theirs[met])]
    union = area + their_area - shared
    # IoU above a half, without dividing: 2 i > u.
    is_match = 2 * shared > union
    iou = shared[is_match] / union[is_match]
    matched = len(iou)
    n = len(found)
    m = len(there)
    f1 = _ratio(2 * matched, n + m)
    both = shared.sum()
    either = counts[(ours > 0) | (theirs > 0)].sum()
    return {
        "iou": _ratio(both, either),
        "dice": _ratio(2 * both, both + either),
        "found": n,
        "there": m,
        "matched": matched,
        "precision": _ratio(matched, n),
        "recall": _ratio(matched, m),
        "f1": f1,
        "sq": _ratio(iou.sum(), matched),
        "rq": f1,
        "pq": _ratio(2 * iou.sum(), n + m),
    }


def _areas(ids: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The objects, ascending, and the pixels of each."""
    names, at = np.unique(ids, return_inverse=True)
    areas = np.bincount(at, counts, len(names)).astype(np.int64)
    is_object = names > 0
    return names[is_object], areas[is_object]


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def _overlaps(
    mask: Any, truth: Any, allow_hosts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ours, theirs, pixels) for every two numbers that stand in the same place somewhere."""
    nothing = np.zeros(0, np.int64)
    parts = [(nothing, nothing)]
    for a, b in _both_windows(mask, truth, allow_hosts):
        # Two numbers as one: unique over one column is several times as fast as over pairs.
        pairs = (a.ravel().astype(np.int64) << 32) | b.ravel().astype(np.uint32)
        # Neighbours mostly have the same two numbers: runs of them are counted, not pixels.
        starts = np.flatnonzero(np.diff(pairs, prepend=~pairs[:1]))
        parts.append((pairs[starts], np.diff(starts, append=len(pairs))))
        waiting = sum(len(part) for part, _ in parts)
        # Twice what is known: summed up seldom enough to cost little, often enough to stay small.
        if waiting > 2 * len(parts[0][0]) + PENDING:
            parts = [_summed_pairs(parts)]
    pairs, counts = _summed_pairs(parts)
    return pairs >> 32, pairs & 0xFFFFFFFF, counts


def _summed_pairs(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    every_pair = np.concatenate([pairs for pairs, _ in parts])
    every_count = np.concatenate([counts for _, counts in parts])
    pairs, at = np.unique(every_pair, return_inverse=True)
    return pairs, np.bincount(at, every_count, len(pairs)).astype(np.int64)


def _both_windows(
    mask: Any, truth: Any, allow_hosts: Sequence[str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Both, window by window, without the pixels that the truth leaves open."""
    with ExitStack() as opened:
        both = []
        for one in (mask, truth):
            if isinstance(one, str):
                one = opened.enter_context(rasters.open_numbers(one, allow_hosts=allow_hosts))
            both.append(one)
        ours, theirs = both
        if _size_of(ours) != _size_of(theirs):
            told = f"the mask has {_size_of(ours)} pixels, the truth {_size_of(theirs)}"
            raise ValueError(f"{told}: they must be of the same picture")
        for box in grid.cut((0, 0, *_size_of(ours)), (COMPARED_PX, COMPARED_PX)):
            found, here = _window_of(ours, box)
            there, known = _window_of(theirs, box)
            if here is not None:
                found = np.where(here, found, 0)
            yield (found, there) if known is None else (found[known], there[known])


def _size_of(one: Any) -> tuple[int, int]:
    return (one.width, one.height) if isinstance(one, Raster) else one.shape[1::-1]


def _window_of(one: Any, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
    """Numbers of a window, and which pixels are valid, None for all."""
    x, y, w, h = box
    valid = None
    if isinstance(one, Raster):
        part = one.read(box)[..., 0]
        # Where 0 is called nodata, it is the background all the same.
        if one.nodata != 0:
            valid = one.valid(box)
    else:
        part = one[y : y + h, x : x + w]
    if part.dtype.kind not in "iub":
        raise ValueError(f"a mask holds whole numbers, not {part.dtype}")
    return part, valid
