"""Will the memory and the disk do? Asked before the first block."""

import os
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from imgprep import engine
from imgprep.dataset.files import Folder
from imgprep.io import rasters
from imgprep.stages.segmentation.block import BLOCK_PX
from imgprep.stages.segmentation.headers import Scene
from imgprep.stages.segmentation.recipe import Recipe
from imgprep.stages.segmentation.scratch import disk_of
from imgprep.words import number_of

# Bytes of a pixel beside its bands: grey, the mask, and what is compared with it.
OF_MASK = 3
# Labels, ids, and where runs of them start.
OF_LABELS = 13


def check_memory(recipe: Recipe, scenes: Sequence[Scene], max_memory_mb: int | None) -> None:
    """ValueError, with the numbers, where the blocks of all workers need more."""
    workers = max(1, engine.workers())
    largest = max((_block_bytes(recipe, scene) for scene in scenes), default=0)
    cache: Any = rasters.OPTIONS["GDAL_CACHEMAX"]
    memory = (workers * largest + cache) / (1 << 20)
    if scenes and max_memory_mb is not None and memory > max_memory_mb:
        width, height = recipe.tile_wh
        told = f"{workers} workers with tiles of {width} x {height} need about {memory:,.0f} MiB"
        fix = "give smaller tiles or fewer workers"
        raise ValueError(f"{told}, max_memory_mb is {max_memory_mb:,}: {fix}")


def _block_bytes(recipe: Recipe, scene: Scene) -> int:
    width, height = (_block_side(recipe, side) for side in recipe.tile_wh)
    pixels = min(width, scene.width) * min(height, scene.height)
    return pixels * (_pixel_bytes(scene) + OF_MASK + OF_LABELS * recipe.has_labels)


def _block_side(recipe: Recipe, tile: int) -> int:
    side = tile if recipe.own_labels else max(1, round(BLOCK_PX / tile)) * tile
    return side + 2 * recipe.halo


def _pixel_bytes(scene: Scene) -> int:
    return scene.bands * np.dtype(scene.dtype).itemsize


def check_disk(
    recipe: Recipe, folder: Folder, scenes: Sequence[Scene], max_disk_gb: float | None
) -> None:
    """ValueError, with the numbers, where masks, labels and copies need more."""
    sizes = sorted((_file_bytes(recipe, scene) for scene in scenes), reverse=True)
    if folder.remote:  # what a worker has in hand is here, no more
        sizes = sizes[: max(1, engine.workers())]
    else:
        os.makedirs(folder.path, exist_ok=True)
    needed = sum(sizes)
    free = shutil.disk_usage(disk_of(folder)).free
    limit = f"{free / (1 << 30):,.3g} GiB are free"
    allowed: float = free
    if max_disk_gb is not None and max_disk_gb * (1 << 30) < free:
        allowed = max_disk_gb * (1 << 30)
        limit = f"max_disk_gb is {max_disk_gb:g}"
    if needed > allowed:
        need = "needs" if len(scenes) == 1 else "need"
        told = f"{number_of(len(scenes), 'picture')} {need} about {needed / (1 << 30):,.3g} GiB of disk"
        raise ValueError(f"{told}, {limit}")


def _file_bytes(recipe: Recipe, scene: Scene) -> float:
    """Masks and labels, packed, as pieces and as files; and a copy, which packs less well."""
    packed = 0.25 + recipe.objects + 0.7 * _pixel_bytes(scene) * scene.copy
    return scene.width * scene.height * packed
