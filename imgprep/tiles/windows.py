"""Probabilities of overlapping tiles become one picture, row of tiles by row of tiles: never the whole in memory."""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

BLENDS = ("crop", "gaussian", "hann")
Box = tuple[int, int, int, int]  # x, y, width, height


def starts(size: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles of one axis begin; the last one is shifted back inside (the rule of MONAI and of SAHI).

    >>> starts(100, 40, 10), starts(30, 40, 10)
    ([0, 30, 60], [0])
    """
    return [min(at, max(size - tile, 0)) for at in range(0, max(size - overlap, 1), tile - overlap)]


def windows(size_wh: tuple[int, int], tile_wh: tuple[int, int], overlap: int) -> list[Box]:
    """The tiles of a picture, in raster order; a picture smaller than one is a tile itself."""
    (width, height), (w, h) = size_wh, map(min, size_wh, tile_wh)
    return [(x, y, w, h) for y in starts(height, h, min(overlap, h - 1)) for x in starts(width, w, min(overlap, w - 1))]


@functools.lru_cache(8)
def weights(side: int, blend: str) -> np.ndarray:
    """How much each pixel of a tile's side counts, float32: `gaussian` with MONAI's sigma of side / 8, or `hann`."""
    at = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    if blend == "gaussian":
        return np.exp(at**2 / np.float32(-2 * (side * 0.125) ** 2))
    # Sampled between the zeros of the window: no pixel counts for nothing.
    return np.cos(np.pi * at / side) ** 2 if blend == "hann" else np.ones_like(at)


def stitch(
    size_wh: tuple[int, int],
    tile_wh: tuple[int, int],
    predict: Callable[[list[Box]], Sequence[np.ndarray]],
    *,
    overlap: int,
    blend: str = "crop",
    batch: int = 1,
    box: Box | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (y, rows) from top to bottom: rows (h, w, channels) float32 of the picture, or of its part `box`.

    predict: gets up to `batch` tiles (x, y, w, h) and returns for each an array (h, w) or (h, w, channels).
    overlap: pixels that neighbours share. blend: "crop" takes each pixel from the tile whose border is farthest from
        it; "gaussian" and "hann" are means weighted by the distance to the tile's centre.
    A pixel's value does not depend on box or batch: bit for bit what accumulators of the whole picture give, as in
    MONAI's sliding_window_inference (float32, tiles in raster order). Memory: one row of tiles.
    """
    if blend not in BLENDS:
        raise ValueError(f"blend is {', '.join(map(repr, BLENDS))}, not {blend!r}")
    if not 0 <= overlap < min(tile_wh):
        raise ValueError(f"tiles of {tile_wh[0]} x {tile_wh[1]} cannot overlap by {overlap} pixels")
    (w, h), left, top, width, height = map(min, size_wh, tile_wh), *(box or (0, 0, *size_wh))
    columns = _spans(size_wh[0], w, min(overlap, w - 1), left, left + width, blend)
    rows = _spans(size_wh[1], h, min(overlap, h - 1), top, top + height, blend)
    weight = np.outer(weights(h, blend), weights(w, blend))
    if blend == "gaussian":  # as MONAI does it: what counts for next to nothing would be noise divided by noise
        weight = np.maximum(weight, max(float(weight.min()), 1e-3))
    weight = weight[:, :, None]
    total = share = None
    at = top  # the picture's row that stands first in the accumulators
    for n, (y, first, last) in enumerate(rows):
        for i in range(0, len(columns), batch):
            spans = columns[i : i + batch]
            for (x, a, b), tile in zip(spans, predict([(x, y, w, h) for x, *_ in spans]), strict=True):
                tile = np.asarray(tile, np.float32).reshape(h, w, -1)
                if total is None:
                    total = np.zeros((h, width, tile.shape[2]), np.float32)
                    share = np.zeros((h, width, 1), np.float32)
                part = slice(first - y, last - y), slice(a - x, b - x)
                into = slice(first - at, last - at), slice(a - left, b - left)
                total[into] += weight[part] * tile[part]
                share[into] += weight[part]
        done = (rows[n + 1][1] if n + 1 < len(rows) else top + height) - at  # no later tile reaches these
        if done:
            yield at, total[:done] / share[:done]
        for held in (total, share):
            held[: h - done] = held[done:].copy()
            held[h - done :] = 0
        at += done


def _spans(size: int, tile: int, overlap: int, low: int, high: int, blend: str) -> list[tuple[int, int, int]]:
    """Of one axis: (start, first, last) of the tiles that give pixels to low..high, and which of these."""
    begins = starts(size, tile, overlap)
    ends = [b + tile for b in begins]
    if blend == "crop":  # neighbours meet in the middle of what they share
        middles = [(b + e) // 2 for b, e in zip(begins[1:], ends, strict=False)]
        spans = zip(begins, [0, *middles], [*middles, size], strict=True)
    else:
        spans = zip(begins, begins, ends, strict=True)
    return [(s, max(a, low), min(b, high)) for s, a, b in spans if max(a, low) < min(b, high)]
