"""`segment`: masks, objects and overlays of pictures of any size, tile by tile, the same as of the whole picture."""

import functools
import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from imgprep import hashing
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.failures import RunStopped
from imgprep.io import rasters
from imgprep.resume import fingerprint, stage
from imgprep.resume.gather import Shape
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.stages.segmentation import block, headers, operators, overlay
from imgprep.stages.segmentation.block import Recipe
from imgprep.stages.segmentation.passes import MEASURES, OUTPUTS, TILES, Passes, Results
from imgprep.tiles import windows
from imgprep.words import say

COLUMNS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in OUTPUTS),
        ("count", pa.int64()),  # objects
        ("foreground", pa.float64()),  # share of the valid pixels
        ("threshold", pa.float64()),
        ("histogram", pa.list_(pa.int64())),  # what the threshold was chosen from, in 256 bins at most
        ("histogram_range", pa.list_(pa.float64())),
        ("source_width", pa.int32()),
        ("source_height", pa.int32()),
        ("bands", pa.int32()),
        ("dtype", pa.string()),
        ("crs", pa.string()),
        ("tiles", pa.int32()),
        ("failed_tiles", pa.int32()),
        ("failed_example", pa.string()),
        *((name, pa.float64()) for name in MEASURES),
    ]
)


def segment(
    source: str | Sequence[str] | dict[str, pa.Table],
    out: str,
    operator: Any = "otsu-tissue",
    *,
    tile_wh: Sequence[int] | None = None,
    halo: int | None = None,
    approximate: bool = False,
    blend: str = "crop",
    connectivity: int = 8,
    min_area: int = 0,
    fill_holes: bool = False,
    objects: bool = True,
    num_gpus: float = 0,
    max_memory_mb: int | None = None,
    max_disk_gb: float | None = None,
    truth: str | Sequence[str] | None = None,
    allow_hosts: Sequence[str] = (),
    max_failed: float = 0.5,
    dry_run: bool = False,
) -> Dataset | None:
    """Segment pictures that need not fit in memory into the dataset folder `out`: one row per picture.

    source: a path or URI (s3:// az:// gs:// https://), a list of them, a folder of pictures, or what `sources.read`
        gives. Strips, PNG, JPEG and pictures on servers are read once, into a tiled copy that is removed at the end.
    operator: see imgprep.operators: a number, words ("otsu-tissue", "median 5"), a function, a model, a list of steps.
    tile_wh: (width, height) of the operator's tiles; None: 1024, or what a model is made for. halo: pixels around a
        tile that it sees too; None: its radius. approximate: accept an operator without a bound (watershed), or less
        halo than the radius. blend: "crop" leaves the halo's answers out; "gaussian" and "hann" weigh probabilities
        (float32) where tiles and their halos overlap: see imgprep.blending. num_gpus: of each worker, on Ray.
    connectivity: 4 or 8. min_area: objects of fewer pixels are left out, holes having been filled first (fill_holes).
    objects: also label them. max_memory_mb, max_disk_gb: refused, with the numbers, where more is needed.
    truth: rasters of the true objects' ids, one for each picture; the name of a column of the tables; or of a folder
        "*_labels.png", which stands beside each picture. The columns iou, dice, precision, recall, f1 and pq say then
        what `measures.evaluate` finds.
    allow_hosts: hosts with private addresses that a URL may name, as in images.download.

    Columns: mask, labels name files in `out`: cloud-optimised TIFFs with the picture's CRS and transform
    (mask: 0, classes, nodata where the picture has none or a tile could not be read; labels: the objects' ids, in
    raster order of their first pixels); and objects, geojson what `polygons.write` makes of the labels. `image` shows
    the mask on the picture in small. Masks do not depend on tiles, engine or workers, unless that is approximate.
    Memory: a block for each worker; and while objects are merged, ten numbers for each piece of one in each block.
    Raises ValueError for a wrong option before any work, RunStopped where over max_failed of rows or tiles fail.
    """
    step = operators.named(operator)
    tile_wh = _pair(getattr(step, "tile_wh", (1024, 1024)) if tile_wh is None else tile_wh)
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity is 4 or 8, not {connectivity!r}")
    if isinstance(min_area, bool) or not isinstance(min_area, int) or min_area < 0:
        raise ValueError(f"min_area is a number of pixels, not {min_area!r}")
    halo = _halo(step, halo, tile_wh, approximate)
    recipe = Recipe(step, tile_wh, halo, connectivity, min_area, fill_holes, objects, blend)
    if fill_holes and recipe.own_labels:
        raise ValueError("fill_holes is for masks: this operator gives objects of its own")
    _check_blend(recipe)
    if isinstance(num_gpus, bool) or not isinstance(num_gpus, int | float) or num_gpus < 0:
        raise ValueError(f"num_gpus is how many GPUs each worker has, not {num_gpus!r}")
    folder = Folder(out)
    if folder.remote:
        raise ValueError(f"{out} is a URI: segment into a local folder, then publish that")
    operation = {"stage": "segment", "connectivity": connectivity, "min_area": min_area, "fill_holes": fill_holes}
    operation |= {"objects": objects, "tile_wh": list(tile_wh), "halo": halo, "blend": blend}
    reusable = ""
    try:
        operation["operator"] = fingerprint.function(step)
    except fingerprint.Unhashable as e:
        operation["operator"], reusable = uuid.uuid4().hex, f"{operators.name_of(step)} uses something that {e}"
    tables = headers.read(source, truth)
    plans = headers.plan(tables, truth, hashing.digest(operation), allow_hosts)
    good = [p for plan in plans.values() for p in plan if not p.reason]
    if good and all(p.width <= tile_wh[0] and p.height <= tile_wh[1] for p in good):
        say(f"no picture is larger than a tile of {tile_wh[0]} x {tile_wh[1]}: each is done as a whole")
    passes = Passes(recipe, folder, num_gpus, max_memory_mb, max_disk_gb)
    plan = stage.Stage(
        name="segment",
        options={k: v for k, v in operation.items() if k != "stage"} | {"operator": operators.name_of(step)},
        operation=operation,
        rows=tables,
        identities={s: [p.identity for p in plan] for s, plan in plans.items()},
        inputs={s: stage.Listed(plan) for s, plan in plans.items()},
        nbytes=dict.fromkeys(tables),
        work=Results(PartWriter(folder, part_schema(COLUMNS)), folder),
        shape=Shape(COLUMNS),
        threads=True,
        ready=passes.ready,
        reusable=reusable,
    )
    found = stage.build(plan, out, max_failed=max_failed, dry_run=dry_run)
    if found is not None:
        _tidy(folder, found)
        _tell_failed(found, max_failed)
    return found


def preview(
    source: str,
    operator: Any = "otsu-tissue",
    *,
    window: Sequence[int] | None = None,
    fill_holes: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Try the operator on a window (x, y, width, height), None: 1024 x 1024 in the middle, of the (first) picture.

    Returns the window and its overlay, both (h, w, 3) uint8. What an operator decides over the whole picture it decides
    here over the window alone, so the whole may look different.
    """
    step = operators.named(operator)
    first = next(iter(headers.read(source).values()))["source"][0].as_py()
    with rasters.open(first) as raster:
        w, h = min(1024, raster.width), min(1024, raster.height)
        x, y, w, h = window or ((raster.width - w) // 2, (raster.height - h) // 2, w, h)
        pixels, valid = raster.read((x, y, w, h)), raster.valid((x, y, w, h))
    chosen = ()
    if operators.is_two_pass(step):
        cells = [block.inside(c, (0, 0, w, h)) for c in block.cut((0, 0, w, h), (block.CELL, block.CELL))]
        stats = [s for c in cells if (s := step.stats(pixels, c, valid)) is not None]
        chosen = (step.choose(functools.reduce(step.merge, stats) if stats else None),)
    mask = step(pixels, *chosen)
    mask = (mask >= 0.5 if mask.dtype.kind == "f" else mask).astype(np.int32)
    if fill_holes:
        from scipy import ndimage

        mask[ndimage.binary_fill_holes(mask) & (mask == 0)] = 1
    shown = overlay.rgb(pixels.astype(np.float32))
    return shown, overlay.draw(shown, mask, None if valid is None else ~valid)


# Planning ------------------------------------------------------------------------------------------------------------


def _pair(value: Any) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or [type(v) for v in value] != [int, int] or min(value) < 64:
        raise ValueError(f"tile_wh is [width, height] of a tile in pixels, at least 64, not {value!r}")
    return tuple(value)


def _halo(operator: Callable, halo: Any, tile_wh: tuple[int, int], approximate: bool) -> int:
    """How far a tile reads beyond itself. ValueError where the answer would differ from the whole picture's."""
    name, radius = operators.name_of(operator), getattr(operator, "radius", halo)
    if halo is not None and (type(halo) is not int or halo < 0):
        raise ValueError(f"halo is a number of pixels, not {halo!r}")
    if radius is None and not hasattr(operator, "radius"):
        what = "how far a pixel's answer depends on others"
        raise ValueError(f"{name} does not state {what}: set {name}.radius = 0 (or the pixels), or give halo")
    if radius is None and not approximate:
        raise ValueError(f"{name} looks without a bound, so tiles change its result: approximate=True accepts that")
    if halo is not None and radius is not None and halo < radius and not approximate:
        what = f"{name} looks {radius} pixels around, halo={halo} would change its result at the tiles' borders"
        raise ValueError(f"{what}: leave halo out, or say approximate=True")
    found = halo if halo is not None else 128 if radius is None else radius
    if getattr(operator, "instances", False):
        found = max(found, 1)  # what both sides of a border see says which objects are one
    if found > min(tile_wh):
        raise ValueError(f"a halo of {found} pixels is more than a tile: make tile_wh {list(tile_wh)} larger")
    return found


def _check_blend(recipe: Recipe) -> None:
    if recipe.blend not in windows.BLENDS:
        raise ValueError(f"blend is {', '.join(map(repr, windows.BLENDS))}, not {recipe.blend!r}")
    if recipe.blend == "crop":
        return
    told = f"blend={recipe.blend!r} weighs probabilities"
    ours = type(recipe.operator).__module__ == operators.__name__
    if ours or recipe.own_labels or not getattr(recipe.operator, "has_probabilities", True):
        raise ValueError(f"{told}, {operators.name_of(recipe.operator)} gives none")
    if not recipe.halo:
        raise ValueError(f"{told} where tiles overlap: give halo, half of what they are to share")


# Afterwards ----------------------------------------------------------------------------------------------------------


def _tidy(folder: Folder, found: Dataset) -> None:
    """Remove the parts, and files of earlier versions that no row names."""
    shutil.rmtree(folder.full(TILES), ignore_errors=True)
    rows = pa.concat_tables([found.table(s, list(OUTPUTS)) for s in found.splits])
    named = {name for column in OUTPUTS for name in rows[column].to_pylist()}
    for place in set(OUTPUTS.values()):
        for name in folder.list(place):
            if re.fullmatch(r".+-[0-9a-f]{12}\.(tif|parquet|geojson)", name) and f"{place}/{name}" not in named:
                folder.delete(f"{place}/{name}")


def _tell_failed(found: Dataset, max_failed: float) -> None:
    columns = ["image_id", "tiles", "failed_tiles", "failed_example"]
    rows = pa.concat_tables([found.table(s, columns) for s in found.splits]).to_pylist()
    bad = [r for r in rows if r["failed_tiles"]]
    for row in bad[:10]:
        what = f"{row['failed_tiles']:,} of {row['tiles']:,} tiles failed and are nodata in the mask"
        say(f"{row['image_id']}: {what}; {row['failed_example']}")
    worst = max(bad, key=lambda r: r["failed_tiles"] / r["tiles"], default=None)
    if worst and worst["failed_tiles"] > max_failed * worst["tiles"]:
        what = f"more than max_failed={max_failed} of the tiles of {worst['image_id']} failed"
        raise RunStopped(f"{what}, in {found.folder}")
