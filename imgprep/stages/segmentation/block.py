"""What a worker does with one block of a picture: read it once, run the operator on its tiles.

A block is some tiles, about 2048 x 2048 pixels. What is kept of it is a piece (see `pieces`).
"""

import threading
from typing import Any, NamedTuple

import numpy as np

from imgprep import engine
from imgprep.dataset.files import Folder
from imgprep.failures import is_of_machine
from imgprep.io import rasters
from imgprep.io.rasters import Choice, mosaic
from imgprep.stages.segmentation import answers, chain, masks, overlay, pieces
from imgprep.stages.segmentation.answers import SeenTile
from imgprep.stages.segmentation.copies import why_lost
from imgprep.stages.segmentation.pieces import NODATA
from imgprep.stages.segmentation.recipe import Recipe
from imgprep.tiles import components, grid
from imgprep.tiles.windows import Box

# About so many pixels a side.
BLOCK_PX = 2048
# What the first pass sees at once, whatever the tiles are.
CELL = 512


def blocks_of(
    size_wh: tuple[int, int],
    tile_wh: tuple[int, int],
    *,
    single: bool = False,
) -> list[Box]:
    return grid.blocks(size_wh, tile_wh, BLOCK_PX, single=single)


def cells_of(size_wh: tuple[int, int]) -> list[Box]:
    """Blocks of the first pass: a grid that is the same for all tiles,
    so that they do not decide.
    """
    return blocks_of(size_wh, (BLOCK_PX, BLOCK_PX))


class Given(NamedTuple):
    """What a task of a block says: where the picture is, which block, what its piece is called.

    content: what the picture was when its header was read. choice: of planes. chosen: what the
    first pass decided.
    factor: of the overview. mask: the TIFF that is the mask so far. ids, rows: the file, and the
    part of it, that says what the block's labels are called in the whole picture.
    """

    path: str
    content: str
    block: Box
    piece: str
    choice: Choice = Choice()
    chosen: tuple = ()
    factor: int = 1
    mask: str = ""
    ids: str = ""
    rows: tuple[int, int] = (0, 0)
    width: int = 0


def measure_block(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    """The first pass: what the operator wants to know of the picture, on a grid of its own."""
    given: Given = task.payload
    operator = recipe.operator
    stats = None
    failed = []
    halo = getattr(operator, "stats_radius", 0)
    reach = halo if chain.is_of_package(operator) else 0
    for seen in answers.tiles_of(opened(given), given.block, (CELL, CELL), halo, reach=reach):
        if seen.error:
            failed.append([*seen.tile, seen.error.reason, str(seen.error)])
            continue
        engine.beat()
        try:
            found = operator.stats(chain.own(operator, seen.pixels), seen.place, seen.valid)
        except Exception as e:
            # One tile must not take the others with it.
            if is_of_machine(e):
                raise
            failed.append([*seen.tile, "error", engine.sentence(e)])
        else:
            stats = merged_stats(operator, stats, found)
    # Also where nothing counted: a piece that is missing would be measured again by the next run.
    pieces.write_piece(folder, given.piece, pieces.packed_stats(stats), {"failed": failed})
    return engine.Summary()


def merged_stats(operator: Any, stats: Any, more: Any) -> Any:
    """Two of an operator's stats as one; None where neither counts."""
    if stats is None or more is None:
        return more if stats is None else stats
    return operator.merge(stats, more)


def paint_block(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    """The mask, as the operator gives it; regions of it; the block's piece of the overview."""
    given: Given = task.payload
    raster = opened(given)
    painted = _Painted(recipe, given, raster)
    answered = answers.of_tiles if recipe.blend == "crop" else answers.blended
    for seen in answered(recipe, raster, given.block, given.chosen):
        engine.beat()  # a limit of time is of one tile
        painted.add(seen)
    arrays = {"overview": painted.overview.total}
    mask = painted.mask
    block = given.block
    if painted.labels is not None:
        found, numbers = _own_regions(painted, painted.labels, raster.width)
        arrays |= found
        # Before the piece: what is there is taken for whole, labels and all.
        folder.put(f"{given.piece}.labels.tif", mosaic.tiff(numbers))
    elif recipe.fill_holes:
        holes = _holes_in(mask, block)
        arrays |= _regions_of(holes, block, raster.width, recipe.hole_connectivity)
    elif recipe.has_labels:
        objects = _foreground(mask, block)
        arrays |= _regions_of(objects, block, raster.width, recipe.connectivity)
    pieces.write_piece(folder, given.piece, arrays, {"failed": painted.failed}, mask)
    return engine.Summary()


class _Painted:
    """The mask of a block, as its tiles come in: None while none could be read."""

    def __init__(self, recipe: Recipe, given: Given, raster: Any):
        self.recipe = recipe
        self.block = given.block
        bands = 3 if raster.bands >= 3 else 1
        self.overview = overlay.Overview(given.block, given.factor, bands)
        self.mask: np.ndarray | None = None
        self.failed: list[list] = []
        # Of an operator that gives objects: its labels, halo and all, and where the block is in
        # them.
        size_wh = raster.width, raster.height
        outer = grid.grown(self.block, recipe.halo, size_wh, recipe.least_wh)
        self.inner = grid.inside(self.block, outer)
        # [:1:-1] of x, y, w, h is (h, w).
        self.labels = np.zeros(outer[:1:-1], np.int32) if recipe.own_labels else None

    def add(self, seen: SeenTile) -> None:
        if seen.error:
            self.failed.append([*seen.tile, seen.error.reason, str(seen.error)])
            self.overview.add(seen.tile, None, None)
            return
        answer = masks.as_mask(seen.answer, seen.pixels.shape[:2], self.recipe.own_labels)
        result = answer.mask
        valid = _both(seen.valid, answer.known)
        valid = None if valid is None else valid[seen.place]
        self.overview.add(seen.tile, seen.pixels[seen.place], valid)
        if self.recipe.own_labels:
            self.labels = result
            self.inner = seen.place
            result = (result > 0).view(np.uint8)
        nodata = NODATA[str(result.dtype)]
        # The kind of mask is known when the first tile has answered; all others must keep to it.
        if self.mask is None:
            self.mask = np.full(self.block[:1:-1], nodata, result.dtype)
        elif self.mask.dtype != result.dtype:
            told = f"the operator gives {self.mask.dtype} for one tile"
            raise ValueError(f"{told} and {result.dtype} for another")
        part = result[seen.place]
        at = grid.inside(seen.tile, self.block)
        self.mask[at] = part if valid is None else np.where(valid, part, nodata)


def _both(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    """Pixels that are valid by both; None: all."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _own_regions(
    painted: _Painted, labels: np.ndarray, width: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Regions and edges of an operator's own labels; the labels, numbered from 1 without a gap."""
    core = labels[painted.inner]
    if painted.mask is not None:
        # What is nodata is no object, whatever the operator says of it.
        core = np.where(painted.mask == 1, core, 0)
    found = components.regions(core, core > 0, *painted.block[:2], width)
    # both=True: the operator's own labels overlap from
    # block to block, so either side may know better.
    edges = components.edges(labels, painted.inner, found["label"], both=True)
    # A table by label: to look each pixel up in a dict would take minutes.
    number = np.zeros(int(core.max(initial=0)) + 1, np.int32)
    number[found["label"]] = np.arange(1, len(found["label"]) + 1)
    return found | edges, number[core]


def fill_block(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    """The picture's holes that lie in this block become foreground; then regions, as above."""
    given: Given = task.payload
    mask = pieces.mask_of(folder, given.mask)
    if mask is not None:
        holes = _holes_in(mask, given.block)
        labels, _ = components.components(holes, recipe.hole_connectivity)
        is_hole = pieces.ids_of(folder, given.ids, given.rows)[labels] > 0
        mask[is_hole & (mask == 0)] = 1
    objects = _foreground(mask, given.block)
    arrays = _regions_of(objects, given.block, given.width, recipe.connectivity)
    pieces.write_piece(folder, given.piece, arrays, {}, mask)
    return engine.Summary()


def number_block(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    """The block's part of the picture's labels; of the mask, without objects that are left out."""
    given: Given = task.payload
    mask = pieces.mask_of(folder, given.mask)
    if mask is not None:
        labels = _labels_in(recipe, folder, given, mask)
        labels = pieces.ids_of(folder, given.ids, given.rows)[labels]
        if recipe.objects:
            folder.put(f"{given.piece}.labels.tif", mosaic.tiff(labels))
        is_left_out = (labels == 0) & (mask != NODATA[str(mask.dtype)])
        mask[is_left_out] = 0
    pieces.write_piece(folder, given.piece, {}, {}, mask if recipe.min_area else None)
    return engine.Summary()


def _labels_in(recipe: Recipe, folder: Folder, given: Given, mask: np.ndarray) -> np.ndarray:
    """The labels of a block, as its regions are numbered."""
    if not recipe.own_labels:
        objects = _foreground(mask, given.block)
        return components.components(objects, recipe.connectivity)[0]
    labels = pieces.mask_of(folder, f"{given.mask.removesuffix('.tif')}.labels.tif")
    # They are written before the piece is there.
    assert labels is not None
    return labels


def lost_block(
    folder: Folder, task: engine.Task, loss: engine.Loss = engine.CRASHED
) -> engine.Summary:
    """The piece of a block whose process was lost."""
    given: Given = task.payload
    failed = [*given.block, *why_lost(loss).values()]
    pieces.write_piece(folder, given.piece, {}, {"failed": [failed]})
    return engine.Summary()


# Of arrays ---------------------------------------------------------------------------------------


def _foreground(mask: np.ndarray | None, block: Box) -> np.ndarray:
    """The mask with 0 where it has no data."""
    if mask is None:
        return np.zeros(block[:1:-1], np.uint8)
    is_nodata = mask == NODATA[str(mask.dtype)]
    if not is_nodata.any():
        return mask
    return np.where(is_nodata, 0, mask).astype(mask.dtype)


def _holes_in(mask: np.ndarray | None, block: Box) -> np.ndarray:
    """What is no foreground: a hole is a component of it that does not reach the picture's edge."""
    return (_foreground(mask, block) == 0).view(np.uint8)


def _regions_of(
    mask: np.ndarray, block: Box, width: int, connectivity: int
) -> dict[str, np.ndarray]:
    labels, _ = components.components(mask, connectivity)
    found = components.regions(labels, mask, *block[:2], width)
    whole = grid.inside(block, block)
    return found | components.edges(labels, whole, found["label"], both=False)


_last_opened = threading.local()


def opened(given: Given) -> Any:
    """The picture of a task, kept open for this thread's next one."""
    key = given.path, given.content, given.choice
    # One only: a raster of a server holds megabytes of blocks.
    if getattr(_last_opened, "key", None) != key:
        _last_opened.key = None
        _last_opened.raster = None
        _last_opened.raster = rasters.open_chosen(given.path, given.choice)
        _last_opened.key = key
    return _last_opened.raster
