"""What a worker does with one block of a picture: read it once, run the operator on its tiles, write the block's part.

A block is some tiles, about 2048 x 2048 pixels. Its part is an .npz (regions, edges, overview, what failed) and mostly
a TIFF; the .npz comes last and says that the part is whole.
"""

import io
import json
import pickle
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgprep import engine
from imgprep.dataset.files import Folder
from imgprep.io import rasters
from imgprep.io.rasters import mosaic
from imgprep.io.uris import SourceError
from imgprep.stages.segmentation import answers, operators, overlay
from imgprep.tiles import components
from imgprep.tiles.components import Block

BLOCK, CELL = 2048, 512
NODATA = {"uint8": 255, "uint16": 65535}


@dataclass(frozen=True)
class Recipe:
    """All that decides what comes of a picture."""

    operator: Any
    tile_wh: tuple[int, int]
    halo: int
    connectivity: int
    min_area: int
    fill_holes: bool
    objects: bool
    blend: str = "crop"

    @property
    def least_wh(self) -> tuple[int, int]:
        """A model may take no less."""
        return getattr(self.operator, "least_wh", (0, 0))

    @property
    def own_labels(self) -> bool:
        return bool(getattr(self.operator, "instances", False))


def blocks(size_wh: tuple[int, int], tile_wh: tuple[int, int], *, single: bool = False) -> list[Block]:
    """Whole tiles, row by row; single: one each.

    >>> len(blocks((5000, 3000), (1024, 1024))), blocks((5000, 3000), (4096, 4096))[1]
    (6, (4096, 0, 904, 3000))
    """
    return cut((0, 0, *size_wh), [t if single else max(1, round(BLOCK / t)) * t for t in tile_wh])


def cut(box: Block, tile_wh: Any) -> list[Block]:
    x, y, w, h = box
    columns, rows = range(x, x + w, tile_wh[0]), range(y, y + h, tile_wh[1])
    return [(i, j, min(tile_wh[0], x + w - i), min(tile_wh[1], y + h - j)) for j in rows for i in columns]


def grown(box: Block, halo: int, size_wh: tuple[int, int], least_wh: tuple[int, int] = (0, 0)) -> Block:
    """With a halo around it, cut off at the picture's edge: what is beyond that is the operator's own affair.

    least_wh: what is smaller grows, towards where there is more of the picture.
    """
    found = []
    for at, length, size, least in zip(box[:2], box[2:], size_wh, least_wh, strict=True):
        low, high = max(0, at - halo), min(size, at + length + halo)
        if high - low < least:
            low = max(0, min(low, size - least))
            high = min(size, low + least)
        found.append((low, high - low))
    (x, w), (y, h) = found
    return x, y, w, h


def inside(box: Block, outer: Block) -> tuple[slice, slice]:
    """Rows and columns of a box in an array of `outer`."""
    x, y = box[0] - outer[0], box[1] - outer[1]
    return slice(y, y + box[3]), slice(x, x + box[2])


def tiles(raster: Any, block: Block, tile_wh: Any, halo: int, least_wh: Any = (0, 0)) -> Iterator[tuple]:
    """(tile, pixels with halo, valid or None, the tile's place in them, error or None), reading every pixel once.

    Where the block cannot be read as a whole, tile by tile, so that only those fail which lie on the damage.
    """
    size, whole = (raster.width, raster.height), None
    outer = grown(block, halo, size, least_wh)
    try:
        whole = raster.read(outer), raster.valid(outer)
    except SourceError:
        pass
    for tile in cut(block, tile_wh):
        around = grown(tile, halo, size, least_wh)
        try:
            if whole:
                at = inside(around, outer)
                pixels, valid = whole[0][at], None if whole[1] is None else whole[1][at]
            else:
                pixels, valid = raster.read(around), raster.valid(around)
        except SourceError as e:
            yield tile, None, None, None, e
        else:
            yield tile, pixels, valid, inside(tile, around), None


def measure(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    """Pass 1: what the operator wants to know of the picture, on a grid of its own."""
    given, stats, operator, failed = task.payload, None, recipe.operator, []
    for cell, pixels, valid, inner, error in tiles(
        _opened(given), given["block"], (CELL, CELL), getattr(operator, "stats_radius", 0)
    ):
        try:
            found = None if error else operator.stats(operators.own(operator, pixels), inner, valid)
        except Exception as e:  # one tile must not take the others with it
            found, error = None, SourceError("error", engine.sentence(e))
        if error:
            failed.append([*cell, error.reason, str(error)])
        elif found is not None:
            stats = found if stats is None else operator.merge(stats, found)
    packed = np.frombuffer(zlib.compress(pickle.dumps(stats), 1), np.uint8)
    write_part(folder, given["part"], {"stats": packed}, {"failed": failed})
    return engine.Summary()


def paint(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    """Pass 2: the mask, as the operator gives it; regions of it; the block's piece of the overview."""
    given, block = task.payload, task.payload["block"]
    raster, mask, failed, labels, inner = _opened(given), None, [], None, None
    overview = overlay.Overview(block, given["factor"], 3 if raster.bands >= 3 else 1)
    answered = answers.of_tiles if recipe.blend == "crop" else answers.blended
    for tile, pixels, valid, place, error, result in answered(recipe, raster, block, given["chosen"]):
        if error:
            failed.append([*tile, error.reason, str(error)])
            overview.add(tile, None, None)
            continue
        result = _checked(recipe, result, pixels.shape[:2])
        valid = None if valid is None else valid[place]
        overview.add(tile, pixels[place], valid)
        if recipe.own_labels:
            labels, inner, result = result, place, (result > 0).view(np.uint8)
        if mask is None:
            mask = np.full(block[:1:-1], NODATA[str(result.dtype)], result.dtype)
        elif mask.dtype != result.dtype:
            raise ValueError(f"the operator gives {mask.dtype} for one tile and {result.dtype} for another")
        at = inside(tile, block)
        mask[at] = result[place] if valid is None else np.where(valid, result[place], NODATA[str(result.dtype)])
    arrays, meta = {"overview": overview.total}, {"failed": failed}
    if recipe.own_labels:
        if labels is None:
            outer = grown(block, recipe.halo, (raster.width, raster.height), recipe.least_wh)
            labels, inner = np.zeros(outer[:1:-1], np.int32), inside(block, outer)
        core = np.where(mask == 1, labels[inner], 0) if mask is not None else labels[inner]
        found = components.regions(core, core > 0, block[0], block[1], raster.width)
        arrays |= found | components.edges(labels, inner, found["label"], both=True)
        number = np.zeros(int(core.max(initial=0)) + 1, np.int32)
        number[found["label"]] = np.arange(1, len(found["label"]) + 1)
        folder.put(f"{given['part']}.labels.tif", mosaic.tiff(number[core]))
    elif recipe.fill_holes:
        arrays |= _regions(_holes(mask, block), block, raster.width, 12 - recipe.connectivity)
    elif recipe.objects or recipe.min_area:
        arrays |= _regions(_objects(mask, block), block, raster.width, recipe.connectivity)
    write_part(folder, given["part"], arrays, meta, mask)
    return engine.Summary()


def fill(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    """The holes of the picture that lie in this block become foreground; then regions as in `paint`."""
    given, block = task.payload, task.payload["block"]
    mask = _mask(folder, given["mask"])
    if mask is not None:
        labels, _ = components.components(_holes(mask, block), 12 - recipe.connectivity)
        mask[(_ids(folder, given)[labels] > 0) & (mask == 0)] = 1
    arrays = _regions(_objects(mask, block), block, given["width"], recipe.connectivity)
    write_part(folder, given["part"], arrays, {}, mask)
    return engine.Summary()


def number(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    """The block's part of the picture's labels; and of the mask, without the objects that were left out."""
    given, block = task.payload, task.payload["block"]
    mask = _mask(folder, given["mask"])
    labels = None
    if mask is not None:
        if recipe.own_labels:
            labels = _mask(folder, f"{given['mask'].removesuffix('.tif')}.labels.tif")
        else:
            labels, _ = components.components(_objects(mask, block), recipe.connectivity)
        labels = _ids(folder, given)[labels]
        if recipe.objects:
            folder.put(f"{given['part']}.labels.tif", mosaic.tiff(labels))
        mask[(labels == 0) & (mask != NODATA[str(mask.dtype)])] = 0
    write_part(folder, given["part"], {}, {}, mask if recipe.min_area else None)
    return engine.Summary()


def read_stats(folder: Folder, name: str) -> tuple[Any, list]:
    """What `measure` found in a block, and what failed there."""
    part = read_part(folder, name)
    found = pickle.loads(zlib.decompress(part["stats"].tobytes())) if "stats" in part else None
    return found, part["meta"]["failed"]


def read_part(folder: Folder, name: str) -> dict[str, Any]:
    """The arrays of an .npz, and its `meta`."""
    with np.load(folder.full(f"{name}.npz")) as file:
        found = {n: file[n] for n in file.files}
    return found | {"meta": json.loads(found["meta"].tobytes())}


# The pieces ----------------------------------------------------------------------------------------------------------


def _checked(recipe: Recipe, result: Any, shape: tuple[int, int]) -> np.ndarray:
    """bool and probabilities become 0 and 1; and so do 0 and 255, as OpenCV has masks."""
    what = f"{result.dtype} {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
    if not isinstance(result, np.ndarray) or result.shape != shape:
        raise ValueError(f"the operator returned {what} for a tile of {shape}: it returns one number per pixel, (h, w)")
    if recipe.own_labels and result.dtype.kind in "iu":
        return result.astype(np.int32)
    if result.dtype.kind == "f":
        result = result >= 0.5
    if result.dtype == bool:
        result = result.view(np.uint8) if result.flags.c_contiguous else result.astype(np.uint8)
    if recipe.own_labels or str(result.dtype) not in NODATA:
        kinds = "int32 labels" if recipe.own_labels else "bool, uint8, uint16 or float32"
        raise ValueError(f"the operator returned {what}: a mask is {kinds}")
    return np.where(result == 255, np.uint8(1), result) if result.dtype == np.uint8 and result.max() == 255 else result


def _objects(mask: np.ndarray | None, block: Block) -> np.ndarray:
    if mask is None:
        return np.zeros(block[:1:-1], np.uint8)
    nodata = NODATA[str(mask.dtype)]
    return np.where(mask == nodata, 0, mask).astype(mask.dtype) if (mask == nodata).any() else mask


def _holes(mask: np.ndarray | None, block: Block) -> np.ndarray:
    """What is no foreground: a hole is such a component that does not reach the picture's edge."""
    return (_objects(mask, block) == 0).view(np.uint8)


def _regions(mask: np.ndarray, block: Block, width: int, connectivity: int) -> dict[str, np.ndarray]:
    labels, _ = components.components(mask, connectivity)
    found = components.regions(labels, mask, block[0], block[1], width)
    return found | components.edges(labels, inside(block, block), found["label"], both=False)


def no_regions(block: Block, *, both: bool) -> dict[str, np.ndarray]:
    """Of a block that has no part: its process died."""
    nothing = np.zeros((1 + both, 1), np.int64)
    sides = {"top": block[2], "bottom": block[2], "left": block[3], "right": block[3]}
    empty = components.regions(np.zeros((1, 1), np.int32), np.zeros((1, 1)), 0, 0, 1)
    return empty | {name: np.repeat(nothing, n, axis=1) for name, n in sides.items()}


def _ids(folder: Folder, given: dict[str, Any]) -> np.ndarray:
    """What the block's labels are called in the whole picture; 0 for those that are left out."""
    ids = np.load(folder.full(given["ids"]), mmap_mode="r")
    return np.concatenate([np.zeros(1, np.int32), ids[slice(*given["rows"])]])


def write_part(folder: Folder, part: str, arrays: dict, meta: dict, mask: np.ndarray | None = None) -> None:
    if mask is not None:
        nodata = NODATA[str(mask.dtype)]
        is_valid = mask != nodata
        meta = meta | {"dtype": str(mask.dtype), "valid": int(is_valid.sum())}
        meta["foreground"] = int(np.count_nonzero(mask)) - mask.size + meta["valid"]
        folder.put(f"{part}.tif", mosaic.tiff(mask, nodata))
    sink = io.BytesIO()
    np.savez(sink, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays)
    folder.put(f"{part}.npz", sink.getvalue())


def _mask(folder: Folder, name: str) -> np.ndarray | None:
    if folder.size(name) is None:
        return None
    with rasters.Raster(folder.full(name)) as part:
        return part.read()[..., 0]


_kept = threading.local()


def _opened(given: dict[str, Any]) -> Any:
    """The picture of a task, kept open for this thread's next one."""
    key = given["path"], given["identity"]
    if getattr(_kept, "key", None) != key:
        _kept.key, _kept.raster = None, None
        _kept.raster, _kept.key = rasters.open(given["path"]), key
    return _kept.raster
