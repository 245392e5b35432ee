"""Probabilities of overlapping tiles become one picture, row of tiles by row of tiles.

Never the whole picture in memory.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray

BLENDS = ("crop", "gaussian", "hann")
Box = tuple[int, int, int, int]  # x, y, width, height
Predict = Callable[[list[Box]], Sequence[ndarray]]


def starts(
    size: int,
    tile: int,
    overlap: int,
) -> list[int]:
    """Where the tiles of one axis begin; the last is shifted back inside (as MONAI and SAHI do).

    >>> starts(100, 40, 10), starts(30, 40, 10)
    ([0, 30, 60], [0])
    """
    last = max(size - tile, 0)
    end = max(size - overlap, 1)
    step = tile - overlap
    return [min(at, last) for at in range(0, end, step)]


def windows(
    size_wh: tuple[int, int],
    tile_wh: tuple[int, int],
    overlap: int,
) -> list[Box]:
    """The tiles of a picture, in raster order; a picture smaller than one is a tile itself."""
    width, height = size_wh
    w = min(width, tile_wh[0])
    h = min(height, tile_wh[1])
    columns = starts(width, w, min(overlap, w - 1))
    rows = starts(height, h, min(overlap, h - 1))
    return [(x, y, w, h) for y in rows for x in columns]


@functools.lru_cache(8)
def weights(side: int, blend: str) -> ndarray:
    """How much each pixel of a tile's side counts, float32.

    `gaussian` has MONAI's sigma of side / 8.
    """
    middle = np.float32((side - 1) / 2)
    at = np.arange(side, dtype=np.float32) - middle
    if blend == "gaussian":
        sigma = side * 0.125
        falls = np.float32(-2 * sigma**2)
        return np.asarray(np.exp(at**2 / falls))
    if blend == "hann":
        # Sampled between the zeros of the window: no pixel counts for nothing.
        return np.cos(np.pi * at / side) ** 2
    return np.ones_like(at)


def stitch_windows(
    size_wh: tuple[int, int],
    tile_wh: tuple[int, int],
    predict: Predict,
    *,
    overlap: int,
    blend: str = "crop",
    batch: int = 1,
    box: Box | None = None,
) -> Iterator[tuple[int, ndarray]]:
    """Yield (y, rows) from top to bottom: rows (h, w,
    channels) float32 of the picture or its `box`.

    predict: gets up to `batch` tiles (x, y, w, h) and returns for each an array (h, w) or
        (h, w, channels).
    overlap: pixels that neighbours share. blend: "crop" takes each pixel from the tile whose
        border is farthest from it; "gaussian" and "hann" are means weighted by the distance to
        the tile's centre.
    A pixel's value does not depend on box or batch: bit for bit what accumulators of the whole
    picture give, as in MONAI's sliding_window_inference (float32, tiles in raster order). Memory:
    one row of tiles. Raises ValueError for another blend, and an overlap as large as a tile.
    """
    if blend not in BLENDS:
        raise ValueError(f"blend is {', '.join(map(repr, BLENDS))}, not {blend!r}")
    if not 0 <= overlap < min(tile_wh):
        tile = f"{tile_wh[0]} x {tile_wh[1]}"
        raise ValueError(f"tiles of {tile} cannot overlap by {overlap} pixels")
    w = min(size_wh[0], tile_wh[0])
    h = min(size_wh[1], tile_wh[1])
    left, top, width, height = box or (0, 0, *size_wh)
    bottom = top + height
    rows = _spans(size_wh[1], h, overlap, top, bottom, blend)
    columns = _spans(size_wh[0], w, overlap, left, left + width, blend)

    weight = _weight(w, h, blend)
    sums = _Sums(weight, left, top, width)
    # Down to where no tile of the next row reaches: those rows are done.
    ends = [row.first for row in rows[1:]] + [bottom]
    for row, end in zip(rows, ends, strict=True):
        for i in range(0, len(columns), batch):
            some = columns[i : i + batch]
            boxes = [(column.start, row.start, w, h) for column in some]
            answers = predict(boxes)
            for column, answer in zip(some, answers, strict=True):
                sums.add(answer, column, row)
        if end > sums.top:
            yield sums.top, sums.mean(end)
        sums.move_to(end)


class _Span(NamedTuple):
    """Of one axis: where a tile begins, and from where to where the picture takes its pixels."""

    start: int
    first: int
    end: int

    def within_tile(self) -> slice:
        return slice(self.first - self.start, self.end - self.start)

    def behind(self, at: int) -> slice:
        return slice(self.first - at, self.end - at)


class _Sums:
    """A row of tiles as weighted sums, which move down the picture."""

    def __init__(
        self,
        weight: ndarray,
        left: int,
        top: int,
        width: int,
    ):
        self.weight = weight
        self.left = left
        self.top = top
        rows = len(weight)
        self.share = np.zeros((rows, width, 1), np.float32)
        # The first tile says how many channels there are.
        self.total = self.share

    def add(
        self,
        tile: ndarray,
        column: _Span,
        row: _Span,
    ) -> None:
        """Take what the picture wants of one tile, (h, w) or (h, w, channels)."""
        values = np.asarray(tile, np.float32)
        height, width, _ = self.weight.shape
        values = values.reshape(height, width, -1)
        if self.total is self.share:
            rows, columns, _ = self.share.shape
            channels = values.shape[2]
            self.total = np.zeros((rows, columns, channels), np.float32)

        part = row.within_tile(), column.within_tile()
        into = row.behind(self.top), column.behind(self.left)
        weight = self.weight[part]
        self.total[into] += weight * values[part]
        self.share[into] += weight

    def mean(self, end: int) -> ndarray:
        """The rows above this row of the picture."""
        done = end - self.top
        return self.total[:done] / self.share[:done]

    def move_to(self, top: int) -> None:
        """Begin at this row of the picture."""
        done = top - self.top
        for held in (self.total, self.share):
            kept = len(held) - done
            # A copy, since the two may overlap.
            held[:kept] = held[done:].copy()
            held[kept:] = 0
        self.top = top


def _weight(
    w: int,
    h: int,
    blend: str,
) -> ndarray:
    """How much each pixel of a tile counts, (h, w, 1) float32."""
    down = weights(h, blend)
    across = weights(w, blend)
    weight = np.outer(down, across)
    if blend == "gaussian":
        # As MONAI does it: what counts for next to nothing would be noise divided by noise.
        least = max(float(weight.min()), 1e-3)
        weight = np.maximum(weight, least)
    return weight[:, :, None]


def _spans(
    size: int,
    tile: int,
    overlap: int,
    low: int,
    high: int,
    blend: str,
) -> list[_Span]:
    """The tiles of one axis that give pixels to low..high."""
    begins = starts(size, tile, min(overlap, tile - 1))
    ends = [begin + tile for begin in begins]
    if blend == "crop":
        # Neighbours meet in the middle of what they share.
        shared = zip(begins[1:], ends, strict=False)
        meetings = [(begin + end) // 2 for begin, end in shared]
        firsts = [0, *meetings]
        lasts = [*meetings, size]
    else:
        firsts = begins
        lasts = ends
    spans = []
    for begin, first, last in zip(begins, firsts, lasts, strict=True):
        first = max(first, low)
        last = min(last, high)
        if first < last:
            spans.append(_Span(begin, first, last))
    return spans
