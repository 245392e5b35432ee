"""What an operator says of a block: tile by tile, a batch at a time;
or blended, where tiles overlap.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from imgprep import engine
from imgprep.failures import is_of_machine
from imgprep.io.uris import SourceError
from imgprep.stages.segmentation import chain
from imgprep.stages.segmentation.recipe import Recipe
from imgprep.tiles import grid, windows
from imgprep.tiles.windows import Box


@dataclass(frozen=True)
class SeenTile:
    """A tile: its pixels with the halo, which are valid (None: all), where it stands in them.

    answer: what the operator says of the pixels. error: why there is none.
    """

    tile: Box
    pixels: Any = None
    valid: np.ndarray | None = None
    place: Any = None
    answer: Any = None
    error: SourceError | None = None


def tiles_of(
    raster: Any,
    block: Box,
    tile_wh: tuple[int, int],
    halo: int,
    least_wh: tuple[int, int] = (0, 0),
    *,
    reach: int = 0,
) -> Iterator[SeenTile]:
    """The tiles of a block, without answers; every pixel is read once.

    Where the block cannot be read as a whole it is read tile by tile, so that only those fail
    which lie on the damage. reach: so far around a NaN nothing is valid.
    """
    size_wh = raster.width, raster.height
    outer = grid.grown(block, halo, size_wh, least_wh)
    try:
        whole = raster.read(outer)
        is_valid = _valid(raster, outer, whole, reach)
    except SourceError:
        whole = None
    for tile in grid.cut(block, tile_wh):
        around = grid.grown(tile, halo, size_wh, least_wh)
        place = grid.inside(tile, around)
        if whole is not None:
            at = grid.inside(around, outer)
            valid = None if is_valid is None else is_valid[at]
            yield SeenTile(tile, whole[at], valid, place)
            continue
        try:
            pixels = raster.read(around)
            seen = SeenTile(tile, pixels, _valid(raster, around, pixels, reach), place)
        except SourceError as e:
            seen = SeenTile(tile, error=e)
        yield seen


def _valid(raster: Any, box: Box, pixels: np.ndarray, reach: int) -> np.ndarray | None:
    """(h, w) bool, None for all: a pixel with a NaN in any of its bands has no data."""
    valid = raster.valid(box)
    if pixels.dtype.kind != "f":
        return valid
    is_nan = np.isnan(pixels).any(2)
    if not is_nan.any():
        return valid
    if reach:
        square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        is_nan = cv2.dilate(is_nan.view(np.uint8), square) > 0
    return ~is_nan if valid is None else valid & ~is_nan


def _reach(operator: Any) -> int:
    """How far a NaN spoils our own operators; another's may know what to do with one."""
    return getattr(operator, "radius", 0) or 0 if chain.is_of_package(operator) else 0


def of_tiles(recipe: Recipe, raster: Any, block: Box, chosen: tuple) -> Iterator[SeenTile]:
    """The tiles of a block, with the operator's answers."""
    size = getattr(recipe.operator, "batch", 1)
    waiting = []
    reach = _reach(recipe.operator)
    sides = recipe.tile_wh, recipe.halo, recipe.least_wh
    for seen in tiles_of(raster, block, *sides, reach=reach):
        waiting.append(seen)
        if len(waiting) == size:
            yield from _answered(recipe.operator, waiting, chosen)
            waiting = []
    yield from _answered(recipe.operator, waiting, chosen)


def _answered(operator: Callable, some: list[SeenTile], chosen: tuple) -> Iterator[SeenTile]:
    """A batch at once where the operator takes one; alone where that fails, or it does not."""
    whole = [seen for seen in some if not seen.error]
    answers = iter(_of_batch(operator, whole, chosen))
    for seen in some:
        if seen.error:
            yield seen
            continue
        answer = next(answers, None)
        if answer is None:
            seen = _by_itself(operator, seen, chosen)
        else:
            seen = replace(seen, answer=answer)
        yield seen


def _of_batch(operator: Callable, some: list[SeenTile], chosen: tuple) -> list:
    if not hasattr(operator, "batch") or len(some) < 2:
        return []
    try:
        return list(operator([chain.own(operator, seen.pixels) for seen in some], *chosen))
    except Exception:
        # One tile must not take the others with it.
        return []


def _by_itself(operator: Callable, seen: SeenTile, chosen: tuple) -> SeenTile:
    try:
        return replace(seen, answer=operator(chain.own(operator, seen.pixels), *chosen))
    except Exception as e:
        if is_of_machine(e):
            raise
        return replace(seen, error=SourceError("error", engine.sentence(e)))


def blended(recipe: Recipe, raster: Any, block: Box, chosen: tuple) -> Iterator[SeenTile]:
    """As `of_tiles`, in strips of the block: the mean of what overlapping windows say.

    The windows stand on a grid of the whole picture; each is a tile with its halo, and shares
    twice the halo with the next. Where one cannot be read, or the operator fails, the rest of the
    block is done tile by tile, so that only those fail which such a window touches.
    """
    left, top, width, height = block
    done = top
    try:
        for y, odds in _strips(recipe, raster, block, chosen):
            strip = left, y, width, len(odds)
            pixels = raster.read(strip)
            yield SeenTile(
                strip,
                pixels,
                _valid(raster, strip, pixels, 0),
                grid.inside(strip, strip),
                _decided(recipe.operator, odds),
            )
            done = y + len(odds)
    except Exception as e:
        if is_of_machine(e):
            raise
        rest = grid.cut((left, done, width, top + height - done), recipe.tile_wh)
        if len(rest) > 1:
            # Each tile anew with its own windows: those that
            # lie on the damage fail, the others do not.
            for tile in rest:
                yield from blended(recipe, raster, tile, chosen)
            return
        told = e if isinstance(e, SourceError) else SourceError("error", engine.sentence(e))
        yield SeenTile(rest[0], error=told)


def _strips(
    recipe: Recipe, raster: Any, block: Box, chosen: tuple
) -> Iterator[tuple[int, np.ndarray]]:
    operator = recipe.operator
    shared = 2 * recipe.halo

    def predict(boxes: list[Box]) -> list[np.ndarray]:
        tiles = [raster.read(box) for box in boxes]
        if hasattr(operator, "predict"):
            return operator.predict(tiles)
        return [operator(tile, *chosen) for tile in tiles]

    width, height = recipe.tile_wh
    return windows.stitch_windows(
        (raster.width, raster.height),
        (width + shared, height + shared),
        predict,
        overlap=shared,
        blend=recipe.blend,
        batch=getattr(operator, "batch", 1),
        box=block,
    )


def _decided(operator: Any, odds: np.ndarray) -> np.ndarray:
    return operator.decide(odds) if hasattr(operator, "decide") else odds[..., 0]
