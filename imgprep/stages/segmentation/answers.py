"""What an operator says of a block: tile by tile, a batch at a time; or blended, where its tiles overlap."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from imgprep import engine
from imgprep.io.uris import SourceError
from imgprep.stages.segmentation import block as tiling
from imgprep.stages.segmentation import operators
from imgprep.tiles import windows


def of_tiles(recipe: Any, raster: Any, block: Any, chosen: tuple) -> Iterator[tuple]:
    """(tile, pixels, valid, the tile's place in them, error or None, the operator's answer for the pixels)."""
    batch, waiting = getattr(recipe.operator, "batch", 1), []
    for one in tiling.tiles(raster, block, recipe.tile_wh, recipe.halo, recipe.least_wh):
        waiting.append(one)
        if len(waiting) == batch:
            yield from _answered(recipe.operator, waiting, chosen)
            waiting = []
    yield from _answered(recipe.operator, waiting, chosen)


def _answered(operator: Callable, some: list[tuple], chosen: tuple) -> Iterator[tuple]:
    pixels, answers = [operators.own(operator, p) for _, p, _, _, error in some if not error], {}
    if hasattr(operator, "batch") and len(pixels) > 1:
        try:
            answers = dict(enumerate(operator(pixels, *chosen)))
        except Exception:  # one tile must not take the others with it
            answers = {}
    n = 0
    for tile, seen, valid, place, error in some:
        answer = None
        if not error:
            try:
                answer = answers[n] if n in answers else operator(operators.own(operator, seen), *chosen)
            except Exception as e:
                error = SourceError("error", engine.sentence(e))
            n += 1
        yield tile, seen, valid, place, error, answer


def blended(recipe: Any, raster: Any, block: Any, chosen: tuple) -> Iterator[tuple]:
    """As `of_tiles`, in strips of the block: the operator's probabilities for windows on a grid of the whole picture.

    A window is a tile with its halo, and shares twice the halo with the next. Where one cannot be read, or the operator
    fails, the rest of the block is done tile by tile, so that only those fail which such a window touches.
    """
    operator, (left, top, width, height) = recipe.operator, block

    def predict(boxes: list) -> list[np.ndarray]:
        tiles = [raster.read(box) for box in boxes]
        return operator.predict(tiles) if hasattr(operator, "predict") else [operator(t, *chosen) for t in tiles]

    strips = windows.stitch(
        (raster.width, raster.height),
        tuple(t + 2 * recipe.halo for t in recipe.tile_wh),
        predict,
        overlap=2 * recipe.halo,
        blend=recipe.blend,
        batch=getattr(operator, "batch", 1),
        box=block,
    )
    done = top
    try:
        for y, odds in strips:
            answer = operator.decide(odds) if hasattr(operator, "decide") else odds[..., 0]
            strip = left, y, width, len(odds)
            yield strip, raster.read(strip), raster.valid(strip), tiling.inside(strip, strip), None, answer
            done = y + len(odds)
    except Exception as e:
        rest = tiling.cut((left, done, width, top + height - done), recipe.tile_wh)
        if len(rest) == 1:
            error = e if isinstance(e, SourceError) else SourceError("error", engine.sentence(e))
            yield rest[0], None, None, None, error, None
        else:
            for tile in rest:
                yield from blended(recipe, raster, tile, chosen)
