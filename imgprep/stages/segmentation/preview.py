"""`preview`: an operator tried on one window of a picture, before the whole is done."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from imgprep.io import rasters
from imgprep.stages.segmentation import block, chain, headers, inputs, masks, overlay
from imgprep.tiles import grid

PREVIEW_PX = 1024


def preview(
    source: str,
    operator: Any = "otsu-tissue",
    *,
    window: Sequence[int] | None = None,
    fill_holes: bool = False,
    plane: int | None = None,
    channels: Sequence[int] | None = None,
    allow_hosts: Sequence[str] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Try the operator on a window (x, y, width, height) of the (first) picture.

    None: 1024 x 1024 in the middle. Returns the window and its overlay, both (h, w, 3) uint8. What
    an operator decides over the whole picture it decides here over the window alone, so the whole
    may look different.
    """
    step = chain.operator_of(operator)
    chain.check_steps(step)
    first = next(iter(inputs.tables_of(source).values()))["source"][0].as_py()
    choice = rasters.checked_choice(plane, channels)
    with rasters.open_chosen(first, choice, allow_hosts=allow_hosts) as raster:
        if not choice.is_made:
            headers.refuse_planes(raster)
        x, y, width, height = window or _middle_window(raster)
        box = x, y, width, height
        pixels = raster.read(box)
        valid = raster.valid(box)
    chosen = (_choice(step, pixels, valid),) if chain.is_two_pass(step) else ()
    own_labels = bool(getattr(step, "instances", False))
    answer = masks.as_mask(step(pixels, *chosen), pixels.shape[:2], own_labels)
    mask = answer.mask.astype(np.int32)
    if answer.known is not None:
        valid = answer.known if valid is None else valid & answer.known
    if fill_holes:
        from scipy import ndimage

        mask[ndimage.binary_fill_holes(mask) & (mask == 0)] = 1
    shown = overlay.rgb(pixels.astype(np.float32))
    return shown, overlay.draw_mask(shown, mask, None if valid is None else ~valid)


def _middle_window(raster: Any) -> tuple[int, int, int, int]:
    width = min(PREVIEW_PX, raster.width)
    height = min(PREVIEW_PX, raster.height)
    return (raster.width - width) // 2, (raster.height - height) // 2, width, height


def _choice(step: Any, pixels: np.ndarray, valid: np.ndarray | None) -> Any:
    whole = 0, 0, pixels.shape[1], pixels.shape[0]
    found = []
    for cell in grid.cut(whole, (block.CELL, block.CELL)):
        found.append(step.stats(pixels, grid.inside(cell, whole), valid))
    return step.choose(functools.reduce(functools.partial(block.merged_stats, step), found, None))
