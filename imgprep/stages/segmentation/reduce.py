"""What the blocks of a pass have come to: a threshold for the picture,
which regions are one object.

It runs in the process that called `segment`, between two passes.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imgprep.dataset.files import Folder
from imgprep.io.rasters import Choice
from imgprep.stages.segmentation import block, chain, copies, pieces
from imgprep.stages.segmentation.canvas import Canvas, get_json, put_json, unfinished
from imgprep.stages.segmentation.headers import Scene
from imgprep.stages.segmentation.recipe import Recipe
from imgprep.tiles import borders
from imgprep.words import say

# What a row keeps of a histogram, at most.
HISTOGRAM_BINS = 256


@dataclass(frozen=True)
class Reduce:
    """Each method: the pictures as a pass was given them -> as the next one is to see them."""

    recipe: Recipe
    folder: Folder

    def begun(self, given: list[Scene]) -> list[Canvas]:
        """The pictures with their blocks; without those that could not be copied."""
        found = []
        for scene in unfinished(self.folder, given):
            row = {"threshold": chain.known_cut(self.recipe.operator)}
            canvas = Canvas(scene, row=row)
            # What a run that was killed could not do is tried again.
            self.folder.delete(f"{canvas.home}/row.json")
            if scene.copy:
                name = copies.name_of_copy(scene)
                if self.folder.size(f"{name}.tif") is None:
                    why = get_json(self.folder, f"{name}.json") or {}
                    put_json(self.folder, f"{canvas.home}/row.json", why)
                    continue
                path = self.folder.full(f"{name}.tif")
                # The copy has what was chosen, and no more.
                scene = replace(scene, path=path, choice=Choice())
            single = self.recipe.own_labels
            boxes = block.blocks_of(scene.size_wh, self.recipe.tile_wh, single=single)
            found.append(replace(canvas, scene=scene, blocks=boxes))
        return found

    def chosen(self, state: list[Canvas]) -> list[Canvas]:
        """With what the operator decides over the whole picture; without those that failed."""
        found = []
        for canvas in state:
            stats, failed = self._stats(canvas)
            if failed:
                told = "tiles did not count for what is chosen for the whole picture"
                say(f"{canvas.scene.name}: {len(failed):,} {told}; {failed[0][5]}")
            if failed and stats is None:
                why = {"reason": failed[0][4], "error": failed[0][5]}
                put_json(self.folder, f"{canvas.home}/row.json", why)
                continue
            cut = self.recipe.operator.choose(stats)
            is_number = isinstance(cut, int | float)
            row = {"threshold": float(cut) if is_number else None}
            row |= _shown_histogram(self.recipe.operator, stats)
            found.append(replace(canvas, chosen=(cut,), row=row))
        return found

    def _stats(self, canvas: Canvas) -> tuple[Any, list[list]]:
        """What the operator found in all blocks, and the tiles that failed there."""
        stats = None
        failed = []
        for box in block.cells_of(canvas.scene.size_wh):
            arrays, about = pieces.read_piece(self.folder, canvas.piece("histogram", box))
            failed += about["failed"]
            if "stats" in arrays:
                more = pieces.unpacked_stats(arrays)
                stats = block.merged_stats(self.recipe.operator, stats, more)
        return stats, failed

    def painted(self, state: list[Canvas]) -> list[Canvas]:
        after = [_after(canvas, "mask") for canvas in state]
        if self.recipe.fill_holes:
            return [self._with_holes(canvas) for canvas in after]
        return self._with_objects(after)

    def filled(self, state: list[Canvas]) -> list[Canvas]:
        return self._with_objects([_after(canvas, "fill") for canvas in state])

    def numbered(self, state: list[Canvas]) -> list[Canvas]:
        # Without a least area the mask stays as it is, and is not written again.
        has_mask = self.recipe.min_area > 0
        return [_after(canvas, "labels", has_mask=has_mask) for canvas in state]

    def _with_holes(self, canvas: Canvas) -> Canvas:
        """Holes are what touches no edge of the picture, of all that is no foreground."""
        found, part, starts = self._merged(canvas, self.recipe.hole_connectivity)
        width, height = canvas.scene.size_wh
        is_hole = (found["x0"] > 0) & (found["y0"] > 0)
        is_hole &= (found["x1"] < width) & (found["y1"] < height)
        return self._with_ids(canvas, is_hole, part, starts)

    def _with_objects(self, state: list[Canvas]) -> list[Canvas]:
        if not self.recipe.has_labels:
            return state
        found = []
        for canvas in state:
            objects, part, starts = self._merged(canvas, self.recipe.connectivity)
            is_large = objects["area"] >= self.recipe.min_area
            found.append(self._with_ids(canvas, is_large, part, starts))
        return found

    def _merged(self, canvas: Canvas, connectivity: int) -> tuple:
        """Which regions of blocks are one of the picture's: see borders.merge_blocks."""
        both = self.recipe.own_labels
        tables = []
        for box in canvas.blocks:
            arrays, _ = pieces.read_piece(self.folder, canvas.piece(canvas.masks, box))
            tables.append(pieces.no_regions(box, both=both) | arrays)
        size_wh = canvas.scene.size_wh
        return borders.merge_blocks(canvas.blocks, tables, size_wh, connectivity, both=both)

    def _with_ids(
        self, canvas: Canvas, keep: np.ndarray, part: np.ndarray, starts: np.ndarray
    ) -> Canvas:
        """The ids that the regions of each block get, 0 for those that are not kept, as a file."""
        # Numbered without a gap, in the raster order of their first pixels.
        ids = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
        name = f"{canvas.home}/{canvas.masks}.npy"
        pieces.put_ids(self.folder, name, ids[part])
        bounds = zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        return replace(canvas, ids=name, rows=dict(zip(canvas.blocks, bounds, strict=True)))

    def counted(self, state: list[Canvas]) -> list[Canvas]:
        found = []
        for canvas in self.alive(state):
            counts = get_json(self.folder, f"{canvas.home}/counts.json") or {}
            found.append(replace(canvas, dtype=counts["dtype"]))
        return found

    def alive(self, state: list[Canvas]) -> list[Canvas]:
        """Without those on which a process died: they have their rows."""
        return [c for c in state if self.folder.size(f"{c.home}/row.json") is None]


def _after(canvas: Canvas, name: str, *, has_mask: bool = True) -> Canvas:
    masks = name if has_mask else canvas.masks
    return replace(canvas, masks=masks, asked=(*canvas.asked, name))


def _shown_histogram(operator: Any, stats: Any) -> dict[str, Any]:
    """What a threshold was chosen from."""
    found = operator.histogram(stats) if hasattr(operator, "histogram") else None
    if found is None:
        return {}
    heights, levels = found
    bins = min(HISTOGRAM_BINS, len(heights))
    counts, edges = np.histogram(levels, bins=bins, weights=heights)
    return {
        "histogram": counts.astype(int).tolist(),
        "histogram_range": [float(edges[0]), float(edges[-1])],
    }
