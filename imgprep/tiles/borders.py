"""Objects of blocks become objects of the picture: what touches across a border is one."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from imgprep.tiles.components import HIGHS, LOWS, SUMMED, SUMS, Block, TableColumns

# IoU, on the two rows that both see, from which two blocks mean one object.
SAME = 0.5


def merge_blocks(
    blocks: list[Block],
    tables: list[TableColumns],
    size_wh: tuple[int, int],
    connectivity: int,
    *,
    both: bool,
) -> tuple[TableColumns, ndarray, ndarray]:
    """The objects of the picture, in raster order of their first pixels.

    tables: per block its `regions` and `edges`. Returns the columns of the objects; for each
    region, block after block, the number of its object; and where in that the regions of each
    block begin.
    """
    sizes = [len(table["area"]) for table in tables]
    starts = np.cumsum([0, *sizes], dtype=np.int64)
    column = {}
    for name in SUMMED:
        parts = [table[name] for table in tables]
        column[name] = np.concatenate(parts)

    pairs = [np.zeros((0, 2), np.int64)]
    for line in _lines_between(blocks, tables, starts, size_wh):
        if both:
            pairs.append(_seen_alike(line))
        else:
            pairs += _touching(line, connectivity)
    # On the sides regions count from 1, since 0 is what lies between them.
    one, other = np.concatenate(pairs).T - 1
    value = column["value"]
    is_same = value[one] == value[other]
    count, part = _connected(
        int(starts[-1]),
        one[is_same],
        other[is_same],
    )

    # The numbers of connected_components follow no order of ours.
    objects = _summed_up(column, part)
    rank = np.argsort(objects["first"])
    number = np.empty(count, np.int64)
    number[rank] = np.arange(count)
    for name, values in objects.items():
        objects[name] = values[rank]
    return objects, number[part], starts


def _connected(
    n: int,
    one: ndarray,
    other: ndarray,
) -> tuple[int, ndarray]:
    """How many groups n things make of which these pairs belong together; the group of each."""
    if not n:
        return 0, np.zeros(0, np.int64)
    # Here, because a notebook that segments nothing need not wait for it.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(one), bool)
    pairs = (one, other)
    graph = coo_array((ones, pairs), (n, n))
    count, part = connected_components(graph, directed=False)
    return int(count), part


def _summed_up(column: TableColumns, part: ndarray) -> TableColumns:
    """One row for each number in `part`, of all rows of `column` that have it."""
    if not len(part):
        return dict(column)
    order = np.argsort(part, kind="stable")
    new = np.flatnonzero(np.diff(part[order], prepend=-1))
    first = order[new]
    objects = {"value": column["value"][first]}
    together = {
        np.add: SUMS,
        np.minimum: LOWS,
        np.maximum: HIGHS,
    }
    for how, names in together.items():
        for name in names:
            ordered = column[name][order]
            objects[name] = how.reduceat(ordered, new)
    return objects


class _Line(NamedTuple):
    """A line between two rows or columns of blocks: the regions that either side sees along it.

    They count from 1, over all blocks; 0 is none. (1, w) int64, of `edges(both=True)` (2, w).
    """

    before: ndarray
    behind: ndarray


def _lines_between(
    blocks: list[Block],
    tables: list[TableColumns],
    starts: ndarray,
    size_wh: tuple[int, int],
) -> Iterator[_Line]:
    """Every line that has blocks on both of its sides."""
    width, height = size_wh
    corners = [block[:2] for block in blocks]
    tops = [(y, x) for x, y in corners]
    bottoms = [(y + h, x) for x, y, _, h in blocks]
    lefts = [(x, y) for x, y in corners]
    rights = [(x + w, y) for x, y, w, _ in blocks]

    sides = {"bottom": bottoms, "top": tops, "right": rights, "left": lefts}
    lengths = {"bottom": width, "top": width, "right": height, "left": height}
    lines = {
        side: _lines_along(side, places, lengths[side], tables, starts)
        for side, places in sides.items()
    }
    for before, behind in (("bottom", "top"), ("right", "left")):
        # The picture's own borders have one side only.
        for at, line in lines[before].items():
            if at in lines[behind]:
                yield _Line(line, lines[behind][at])


def _lines_along(
    side: str,
    places: list[tuple[int, int]],
    length: int,
    tables: list[TableColumns],
    starts: ndarray,
) -> dict[int, ndarray]:
    """Of one side of all blocks, laid end to end: where the line is -> the regions along it.

    places: of each block's side, where its line is and where on that it begins.
    """
    lines: dict[int, ndarray] = {}
    for (at, first), table, start in zip(places, tables, starts, strict=False):
        seen = table[side]
        rows, pixels = seen.shape
        if at not in lines:
            lines[at] = np.zeros((rows, length), np.int64)
        numbers = np.where(seen, seen + start, 0)
        lines[at][:, first : first + pixels] = numbers
    return lines


def _touching(line: _Line, connectivity: int) -> Iterator[ndarray]:
    """Pairs (k, 2) of regions that touch across a line."""
    before = line.before[0]
    behind = line.behind[0]
    yield _pairs_of(before, behind)
    # Corner to corner.
    if connectivity == 8:
        yield _pairs_of(before[1:], behind[:-1])
        yield _pairs_of(before[:-1], behind[1:])


def _pairs_of(one: ndarray, other: ndarray) -> ndarray:
    """Pairs (k, 2) of numbers above 0 that stand at the same place."""
    found: ndarray = np.stack([one, other], 1)
    are_both = (found > 0).all(1)
    return found[are_both]


def _seen_alike(line: _Line) -> ndarray:
    """Pairs (k, 2) of regions that are one object, as both sides see the same two rows."""
    before = line.before.ravel()
    behind = line.behind.ravel()
    seen = _pairs_of(before, behind)
    pairs, shared = np.unique(seen, axis=0, return_counts=True)
    one, other = pairs.T
    pixels = np.bincount(before)[one] + np.bincount(behind)[other]
    union = pixels - shared
    is_same = shared >= SAME * union
    return np.asarray(pairs[is_same])
