"""How well a mask agrees with the truth: per class IoU and Dice, per object precision, recall, F1 and PQ."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from imgprep.io import rasters
from imgprep.io.rasters import Raster
from imgprep.stages.segmentation import block

SIDE = 1024  # pixels of a window's side


def evaluate(mask: str | np.ndarray, truth: str | np.ndarray, *, objects: bool = False) -> dict[str, Any]:
    """Compare a mask with the truth, each a raster's URI or an array (h, w) of whole numbers; 0 is background.

    objects=False: the numbers are classes. {"pixels", "accuracy", "mean_iou", "classes": {n: {"iou", "dice",
        "pixels", "truth"}}}, for every class that is in either, background too; pixels are what the mask has of it.
    objects=True: each number is an object. {"iou", "dice"} of foreground against background, {"found", "there",
        "matched", "precision", "recall", "f1", "sq", "rq", "pq"}: two objects match where their IoU is above 0.5,
        which no two can be with the same one (Kirillov et al., Panoptic Segmentation, CVPR 2019: pq = sq * rq).
    Pixels that are nodata in the truth do not count; where the mask has nodata (a part that failed) it has nothing.
    Both are read window by window; memory grows with the number of classes or objects, not with the picture.
    Raises ValueError where the sizes differ. A measure without anything to measure is None.
    """
    pairs = _overlaps(mask, truth)
    return _objects(*pairs) if objects else _classes(*pairs)


def _classes(ours: np.ndarray, theirs: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    total, right, classes = int(counts.sum()), int(counts[ours == theirs].sum()), {}
    for n in np.union1d(ours, theirs).tolist():
        both = counts[(ours == n) & (theirs == n)].sum()
        found, there = counts[ours == n].sum(), counts[theirs == n].sum()
        classes[n] = {"iou": _ratio(both, found + there - both), "dice": _ratio(2 * both, found + there)}
        classes[n] |= {"pixels": int(found), "truth": int(there)}
    mean = float(np.mean([c["iou"] for c in classes.values()])) if classes else None
    return {"pixels": total, "accuracy": _ratio(right, total), "mean_iou": mean, "classes": classes}


def _objects(ours: np.ndarray, theirs: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    found, their_area = _areas(ours, counts), _areas(theirs, counts)
    met = (ours > 0) & (theirs > 0)
    a, b, shared = ours[met], theirs[met], counts[met]
    union = found[1][np.searchsorted(found[0], a)] + their_area[1][np.searchsorted(their_area[0], b)] - shared
    iou = shared[2 * shared > union] / union[2 * shared > union]
    matched, n, m = len(iou), len(found[0]), len(their_area[0])
    sq, rq = _ratio(iou.sum(), matched), _ratio(2 * matched, n + m)
    both, either = shared.sum(), counts[(ours > 0) | (theirs > 0)].sum()
    return {
        "iou": _ratio(both, either),
        "dice": _ratio(2 * both, both + either),
        "found": n,
        "there": m,
        "matched": matched,
        "precision": _ratio(matched, n),
        "recall": _ratio(matched, m),
        "f1": rq,
        "sq": sq,
        "rq": rq,
        "pq": _ratio(2 * iou.sum(), n + m),
    }


def _areas(ids: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The objects, ascending, and the pixels of each."""
    names, at = np.unique(ids, return_inverse=True)
    return names[names > 0], np.bincount(at, counts, len(names)).astype(np.int64)[names > 0]


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def _overlaps(mask: Any, truth: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ours, theirs, pixels) for every two numbers that stand in the same place somewhere."""
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for a, b in _windows(mask, truth):
        pairs = (a.ravel().astype(np.int64) << 32) | b.ravel().astype(np.uint32)
        starts = np.flatnonzero(np.diff(pairs, prepend=~pairs[:1]))  # neighbours mostly have the same two numbers
        parts.append((pairs[starts], np.diff(starts, append=len(pairs))))
        if sum(len(part[0]) for part in parts) > 2 * len(parts[0][0]) + (1 << 20):
            parts = [_summed(parts)]
    pairs, counts = _summed(parts)
    return pairs >> 32, pairs & 0xFFFFFFFF, counts


def _summed(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    pairs, at = np.unique(np.concatenate([p for p, _ in parts]), return_inverse=True)
    return pairs, np.bincount(at, np.concatenate([n for _, n in parts]), len(pairs)).astype(np.int64)


def _windows(mask: Any, truth: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Both, window by window, without the pixels that the truth leaves open."""
    opened = [rasters.open(one) if isinstance(one, str) else one for one in (mask, truth)]
    sizes = [(r.width, r.height) if isinstance(r, Raster) else r.shape[1::-1] for r in opened]
    if sizes[0] != sizes[1]:
        raise ValueError(f"the mask has {sizes[0]} pixels, the truth {sizes[1]}: they must be of the same picture")
    try:
        for box in block.cut((0, 0, *sizes[0]), (SIDE, SIDE)):
            (a, here), (b, known) = (_read(one, box) for one in opened)
            a = a if here is None else np.where(here, a, 0)
            yield (a, b) if known is None else (a[known], b[known])
    finally:
        for one in opened:
            if isinstance(one, Raster):
                one.close()


def _read(one: Any, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray | None]:
    x, y, w, h = box
    if isinstance(one, Raster):  # where 0 is called nodata, it is the background all the same
        part, valid = one.read(box)[..., 0], None if one.nodata == 0 else one.valid(box)
    else:
        part, valid = one[y : y + h, x : x + w], None
    if part.dtype.kind not in "iub":
        raise ValueError(f"a mask holds whole numbers, not {part.dtype}")
    return part, valid
