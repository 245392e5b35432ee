"""The objects of one block of a picture: labels,
what is known of each, and what its borders see.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy import ndarray

from imgprep.tiles.windows import Box

Block = Box

# A table of regions or of objects: its columns by name; and the sides of a block.
TableColumns = dict[str, ndarray]

# How the columns of regions become those of the object that they are parts of.
SUMS = ("area", "sum_x", "sum_y")
LOWS = ("x0", "y0", "first")
HIGHS = ("x1", "y1")
SUMMED = ("value", *SUMS, *LOWS, *HIGHS)


def components(mask: ndarray, connectivity: int) -> tuple[ndarray, int]:
    """(labels int32, how many): the connected pixels of equal value, 0 left out.

    The same input, the same labels.
    """
    labels = np.zeros(mask.shape, np.int32)
    n = 0
    for value in _values_of(mask):
        is_value = mask == value
        count, found = cv2.connectedComponents(
            is_value.view(np.uint8),
            connectivity=connectivity,
            ltype=cv2.CV_32S,
        )
        if n:
            found[is_value] += n
            labels[is_value] = found[is_value]
        else:
            labels = found
        # One of OpenCV's labels is the background.
        n += count - 1
    return labels, n


def _values_of(mask: ndarray) -> ndarray:
    """The values above 0 that occur, in ascending order."""
    if mask.dtype == np.uint8:
        # In less than half the time of bincount, and most masks are of 8 bits.
        bounds = [0, 256]
        how_many = cv2.calcHist([mask], [0], None, [256], bounds)
    else:
        how_many = np.bincount(mask.ravel())
    values = np.flatnonzero(how_many)
    return values[values > 0]


def regions(
    labels: ndarray,
    values: ndarray,
    x: int,
    y: int,
    picture_width: int,
) -> TableColumns:
    """Of each label that occurs, in ascending order: value, area, sums, bounds, its first pixel.

    x, y: where the block stands; sums and bounds are in pixels of the picture. `first` is
    y * picture_width + x of the first pixel in raster order. Works on runs, not on pixels.
    """
    runs = _runs_of(labels)
    if not len(runs.label):
        names = ("label", *SUMMED)
        return {name: np.zeros(0, np.int64) for name in names}

    # The first of each label's runs.
    new = np.flatnonzero(np.diff(runs.label, prepend=0))
    row, column = np.divmod(runs.start, labels.shape[1])
    row += y
    column += x
    length = runs.length
    last = column + length - 1
    sum_x = (column + last) * length // 2
    sum_y = row * length
    label = runs.label[new]
    value = values.ravel()[runs.start[new]]
    first_row = row[new]
    first_column = column[new]
    return {
        "label": label.astype(np.int64),
        "value": value.astype(np.int64),
        "area": np.add.reduceat(length, new),
        "sum_x": np.add.reduceat(sum_x, new),
        "sum_y": np.add.reduceat(sum_y, new),
        "x0": np.minimum.reduceat(column, new),
        "y0": first_row,
        "first": first_row * picture_width + first_column,
        "x1": np.maximum.reduceat(last + 1, new),
        "y1": np.maximum.reduceat(row + 1, new),
    }


class _Runs(NamedTuple):
    """Neighbours of one label in a row: where they start in the block, how many, which label."""

    start: ndarray
    length: ndarray
    label: ndarray

    def at(self, places: ndarray) -> "_Runs":
        return _Runs(
            self.start[places],
            self.length[places],
            self.label[places],
        )


def _runs_of(labels: ndarray) -> _Runs:
    """The runs of labels above 0, by label, then in raster order. A run ends with its row."""
    is_start = np.empty(labels.shape, bool)
    is_start[:, 0] = True
    here = labels[:, 1:]
    before = labels[:, :-1]
    np.not_equal(here, before, out=is_start[:, 1:])

    start = np.flatnonzero(is_start)
    length = np.diff(start, append=labels.size)
    label = labels.ravel()[start]
    runs = _Runs(start, length, label).at(label > 0)
    # Stable: the runs of a label stay in raster order, so its first one has its first pixel.
    order = np.argsort(runs.label, kind="stable")
    return runs.at(order)


def edges(
    labels: ndarray,
    inner: tuple[slice, slice],
    found: ndarray,
    *,
    both: bool,
) -> TableColumns:
    """The labels along the four sides of a block, as numbers of rows in `regions` plus one.

    labels: of the block and, around `inner`, its halo. found: the column `label` of `regions`.
    both: two rows of pixels, the outermost of the block and the first behind it (those of objects
    that lie in the block only partly), to be compared with what the neighbour sees.
    """
    most = int(labels.max(initial=0))
    number = np.zeros(most + 1, np.int64)
    number[found] = np.arange(len(found)) + 1

    rows, columns = inner
    more = int(both)
    top = slice(max(rows.start - more, 0), rows.start + 1)
    left = slice(max(columns.start - more, 0), columns.start + 1)
    bottom = slice(rows.stop - 1, rows.stop + more)
    right = slice(columns.stop - 1, columns.stop + more)
    return {
        "top": number[labels[top, columns]],
        "bottom": number[labels[bottom, columns]],
        "left": number[labels[rows, left].T],
        "right": number[labels[rows, right].T],
    }
