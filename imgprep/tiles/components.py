"""Objects of a picture from the labels of its blocks: what touches across a border is one object."""

from collections.abc import Iterator

import cv2
import numpy as np

Block = tuple[int, int, int, int]  # x, y, width, height
SUMS, LOWS, HIGHS = ("area", "sum_x", "sum_y"), ("x0", "y0", "first"), ("x1", "y1")
SAME = 0.5  # IoU, on the two rows that both see, from which two blocks mean one object


def components(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    """(labels int32, how many): the connected pixels of equal value, 0 left out. The same input, the same labels."""
    values = np.flatnonzero(np.bincount(mask.ravel())) if mask.dtype != np.uint8 else np.flatnonzero(
        cv2.calcHist([mask], [0], None, [256], [0, 256])
    )  # fmt: skip
    labels, n = np.zeros(mask.shape, np.int32), 0
    for value in values[values > 0]:
        is_value = mask == value
        count, found = cv2.connectedComponents(is_value.view(np.uint8), connectivity=connectivity, ltype=cv2.CV_32S)
        if n:
            found[is_value] += n
            labels[is_value] = found[is_value]
        else:
            labels = found
        n += count - 1
    return labels, n


def regions(labels: np.ndarray, values: np.ndarray, x: int, y: int, picture_width: int) -> dict[str, np.ndarray]:
    """Of each label that occurs, in ascending order: value, area, sums and bounds in picture pixels, its first pixel.

    Works on runs, not on pixels. `first` is y * picture_width + x of the first pixel in raster order.
    """
    starts = np.empty(labels.shape, bool)
    starts[:, 0] = True
    np.not_equal(labels[:, 1:], labels[:, :-1], out=starts[:, 1:])
    at = np.flatnonzero(starts)
    length = np.diff(at, append=labels.size)
    label = labels.ravel()[at]
    keep = label > 0
    at, length, label = at[keep], length[keep], label[keep]
    order = np.argsort(label, kind="stable")
    at, length, label = at[order], length[order], label[order]
    row, column = np.divmod(at, labels.shape[1])
    new = np.flatnonzero(np.diff(label, prepend=0))
    row, column = row + y, column + x
    last = column + length - 1
    if not len(new):
        return {name: np.zeros(0, np.int64) for name in ("label", "value", *SUMS, *LOWS, *HIGHS)}
    return {
        "label": label[new].astype(np.int64),
        "value": values.ravel()[at[new]].astype(np.int64),
        "area": np.add.reduceat(length, new),
        "sum_x": np.add.reduceat((column + last) * length // 2, new),
        "sum_y": np.add.reduceat(row * length, new),
        "x0": np.minimum.reduceat(column, new),
        "y0": row[new],
        "first": row[new] * picture_width + column[new],
        "x1": np.maximum.reduceat(last + 1, new),
        "y1": np.maximum.reduceat(row + 1, new),
    }


def edges(labels: np.ndarray, inner: tuple[slice, slice], found: np.ndarray, *, both: bool) -> dict[str, np.ndarray]:
    """The labels along the four sides of a block, as numbers of rows in `regions` plus one.

    labels: of the block and, around `inner`, its halo. both: two rows of pixels, the outermost of the block and the
    first behind it (those of objects that lie in the block only partly), to be compared with what the neighbour sees.
    """
    number = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    number[found] = np.arange(1, len(found) + 1)
    (top, bottom), (left, right) = ((s.start, s.stop) for s in inner)
    more = int(both)
    sides = {
        "top": labels[max(top - more, 0) : top + 1, left:right],
        "bottom": labels[bottom - 1 : bottom + more, left:right],
        "left": labels[top:bottom, max(left - more, 0) : left + 1].T,
        "right": labels[top:bottom, right - 1 : right + more].T,
    }
    return {name: number[side] for name, side in sides.items()}


def merge(
    blocks: list[Block], tables: list[dict[str, np.ndarray]], size_wh: tuple[int, int], connectivity: int, *, both: bool
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The objects of the picture, in raster order of their first pixels.

    tables: per block its `regions` and `edges`. Returns the columns of the objects; for each region, block after block,
    the number of its object; and where in that the regions of each block begin.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    starts = np.concatenate([[0], np.cumsum([len(t["area"]) for t in tables])]).astype(np.int64)
    column = {n: np.concatenate([t[n] for t in tables]) for n in ("value", *SUMS, *LOWS, *HIGHS)}
    pairs = [np.zeros((0, 2), np.int64)]
    for first, second in _lines(blocks, tables, starts, size_wh):
        pairs += _alike(first, second) if both else _touching(first[0], second[0], connectivity)
    a, b = np.concatenate(pairs).T - 1
    same = column["value"][a] == column["value"][b]
    n = int(starts[-1])
    graph = coo_array((np.ones(same.sum(), bool), (a[same], b[same])), (n, n))
    parts, part = connected_components(graph, directed=False) if n else (0, np.zeros(0, np.int64))
    order = np.argsort(part, kind="stable")
    new = np.flatnonzero(np.diff(part[order], prepend=-1))
    objects = {"value": column["value"][order][new]}
    for names, how in ((SUMS, np.add), (LOWS, np.minimum), (HIGHS, np.maximum)):
        objects |= {name: how.reduceat(column[name][order], new) if n else column[name] for name in names}
    rank = np.argsort(objects["first"])
    number = np.empty(parts, np.int64)
    number[rank] = np.arange(parts)
    return {name: values[rank] for name, values in objects.items()}, number[part], starts


def _lines(blocks: list[Block], tables: list[dict], starts: np.ndarray, size_wh: tuple[int, int]) -> Iterator[tuple]:
    """For each line between two rows or columns of blocks: the regions (from 1) that either side sees along it."""
    for near, far, at, along in (("top", "bottom", 1, 0), ("left", "right", 0, 1)):
        lines: dict[int, dict[str, np.ndarray]] = {}
        for block, table, start in zip(blocks, tables, starts, strict=False):
            for name, border in ((near, block[at]), (far, block[at] + block[at + 2])):
                side = table[name]
                line = lines.setdefault(border, {}).setdefault(name, np.zeros((len(side), size_wh[along]), np.int64))
                line[:, block[along] : block[along] + block[along + 2]] = np.where(side, side + start, 0)
        yield from ((line[far], line[near]) for line in lines.values() if len(line) == 2)


def _touching(a: np.ndarray, b: np.ndarray, connectivity: int) -> Iterator[np.ndarray]:
    for shift in (0,) if connectivity == 4 else (-1, 0, 1):
        here = a[max(shift, 0) : len(a) + min(shift, 0)]
        there = b[max(-shift, 0) : len(b) + min(-shift, 0)]
        found = np.stack([here, there], 1)
        yield found[(found > 0).all(1)]


def _alike(a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
    pairs, shared = np.unique(np.stack([a.ravel(), b.ravel()], 1), axis=0, return_counts=True)
    of_a, of_b = np.bincount(a.ravel()), np.bincount(b.ravel())
    keep = (pairs > 0).all(1)
    pairs, shared = pairs[keep], shared[keep]
    yield pairs[shared >= SAME * (of_a[pairs[:, 0]] + of_b[pairs[:, 1]] - shared)]
