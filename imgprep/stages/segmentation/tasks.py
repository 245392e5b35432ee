"""What each pass of a segmentation has to do:
of the pictures as they stand, a file for each task.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from imgprep.dataset.files import Folder
from imgprep.stages.segmentation import block, copies, finish, limits
from imgprep.stages.segmentation.block import Given
from imgprep.stages.segmentation.canvas import Canvas, unfinished
from imgprep.stages.segmentation.headers import Scene
from imgprep.stages.segmentation.recipe import Recipe
from imgprep.tiles.windows import Box


@dataclass(frozen=True)
class Tasks:
    """Each method: the pictures that are still to be made -> {file: what its task is given}."""

    recipe: Recipe
    folder: Folder
    max_memory_mb: int | None
    max_disk_gb: float | None

    def copies(self, given: list[Scene]) -> dict[str, Any]:
        """Refuses, before any work, what memory or disk cannot hold."""
        scenes = unfinished(self.folder, given)
        limits.check_memory(self.recipe, scenes, self.max_memory_mb)
        limits.check_disk(self.recipe, self.folder, scenes, self.max_disk_gb)
        wanted = {}
        for scene in scenes:
            if scene.copy:
                name = copies.name_of_copy(scene)
                wanted[f"{name}.tif"] = copies.Copied(
                    scene.source, name, scene.choice, scene.allow_hosts
                )
        return wanted

    def cells(self, state: list[Canvas]) -> dict[str, Any]:
        wanted = {}
        for canvas in state:
            for box in block.cells_of(canvas.scene.size_wh):
                given = self._given(canvas, "histogram", box)
                wanted[f"{given.piece}.npz"] = given
        return wanted

    def blocks(self, state: list[Canvas]) -> dict[str, Any]:
        wanted = {}
        for canvas, box in _every_block(state):
            given = self._given(canvas, "mask", box)
            wanted[f"{given.piece}.npz"] = given
        return wanted

    def filling(self, state: list[Canvas]) -> dict[str, Any]:
        return self._again(state, "fill")

    def numbering(self, state: list[Canvas]) -> dict[str, Any]:
        return self._again(state, "labels")

    def _again(self, state: list[Canvas], name: str) -> dict[str, Any]:
        """The blocks once more: their masks, and what their regions are in the whole picture."""
        wanted = {}
        for canvas, box in _every_block(state):
            given = self._given(canvas, name, box)._replace(
                mask=f"{canvas.piece(canvas.masks, box)}.tif",
                ids=canvas.ids,
                rows=canvas.rows[box],
            )
            wanted[f"{given.piece}.npz"] = given
        return wanted

    @staticmethod
    def _given(canvas: Canvas, name: str, box: Box) -> Given:
        scene = canvas.scene
        return Given(
            path=scene.path,
            content=scene.content,
            block=box,
            piece=canvas.piece(name, box),
            choice=scene.choice,
            chosen=canvas.chosen,
            factor=scene.factor,
            width=scene.width,
        )

    def files(self, state: list[Canvas]) -> dict[str, Any]:
        wanted = _files_made("mask", state)
        if self.recipe.objects:
            wanted |= _files_made("labels", state)
        return wanted

    def figures(self, state: list[Canvas]) -> dict[str, Any]:
        """Of the pictures that have a mask."""
        there = [canvas for canvas in state if canvas.dtype]
        compared = [canvas for canvas in there if canvas.scene.truth]
        wanted = _files_made("overlay", there) | _files_made("truth", compared)
        if self.recipe.objects:
            wanted |= _files_made("objects", there)
        return wanted

    def rows(self, state: list[Canvas]) -> dict[str, Any]:
        return _files_made("row", state)


def _every_block(state: list[Canvas]) -> Iterator[tuple[Canvas, Box]]:
    for canvas in state:
        for box in canvas.blocks:
            yield canvas, box


def _files_made(what: str, state: list[Canvas]) -> dict[str, Any]:
    """One of a picture's files or figures, for each."""
    left = finish.LEFT_BY[what]
    # Where the regions of blocks stand is of no use any more, and may be long.
    return {f"{c.home}/{left}": finish.Made(what, replace(c, rows={})) for c in state}
