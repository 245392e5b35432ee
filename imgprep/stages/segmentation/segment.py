"""`segment`: masks, objects and overlays of pictures of any size, tile by tile, as of the whole."""

import functools
import re
import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from imgprep import engine, hashing
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.engine.progress import tell_while
from imgprep.failures import RunStopped
from imgprep.io import rasters
from imgprep.io.rasters import Choice
from imgprep.io.web.routes import Routes
from imgprep.resume import fingerprint, stage
from imgprep.resume.inputs import Inputs
from imgprep.resume.kept import named_by_kept
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.shape import Shape
from imgprep.resume.source import check_apart
from imgprep.stages.segmentation import chain, headers, inputs, recipe
from imgprep.stages.segmentation.finish import CLASS_MEASURES, MEASURES, OUTPUTS, SceneRows
from imgprep.stages.segmentation.headers import Scene
from imgprep.stages.segmentation.passes import passes_of
from imgprep.stages.segmentation.pieces import TILES
from imgprep.stages.segmentation.recipe import Recipe
from imgprep.stages.segmentation.scratch import is_filled, remove_tree
from imgprep.words import say

SEGMENT_COLUMNS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in OUTPUTS),
        # Objects.
        ("count", pa.int64()),
        # Share of the valid pixels.
        ("foreground", pa.float64()),
        ("threshold", pa.float64()),
        # What the threshold was chosen from, in 256 bins at most.
        ("histogram", pa.list_(pa.int64())),
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
# Raise it when the same answers of an operator make other masks or files.
SEGMENT_VERSION = 2
# Pictures whose failed tiles are told one by one.
TOLD = 10


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
    timeout_s: float | None = engine.PICTURE_TIMEOUT_S,
    truth: str | Sequence[str] | None = None,
    truth_of: str = "objects",
    plane: int | None = None,
    channels: Sequence[int] | None = None,
    allow_hosts: Sequence[str] = (),
    retry_failed: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
) -> Dataset | None:
    """Segment pictures that need not fit in memory into the dataset folder `out`: one row each.

    source: a path or URI (s3:// az:// gs:// https://), a list of them, a folder of pictures, or
        what `sources.read` gives. Strips, PNG, JPEG and pictures on servers are read once, into a
        tiled copy that is removed at the end.
    operator: see `help(imgprep.segmentation)`: a number, words ("otsu-tissue", "median 5"), a
        function, a model, a list of steps.
    tile_wh: (width, height) of the operator's tiles; None: 1024, or what a model is made for.
    halo: pixels around a tile that it sees too; None: its radius.
    approximate: accept an operator without a bound (watershed), or less halo than the radius.
    blend: "crop" leaves the halo's answers out; "gaussian" and "hann" weigh probabilities
        (float32) where tiles and their halos overlap: see imgprep.tiles.windows.
    num_gpus: of each worker, on Ray.
    connectivity: 4 or 8. min_area: objects of fewer pixels are left out, holes having been filled
        first (fill_holes). objects: also label them.
    max_memory_mb, max_disk_gb: refused, with the numbers, where more is needed. A process in which
        an operator of your own takes more memory is ended.
    timeout_s: for each tile of an operator of your own, in a process that is ended then: its block
        is nodata, and says `took_too_long`. Ours are held to one that you give, too.
    truth: rasters of the true objects' ids, one for each picture; the name of a column of the
        tables; or of a folder "*_labels.png", which stands beside each picture. The columns iou,
        dice, precision, recall, f1 and pq say then what `measures.evaluate` finds. truth_of:
        "objects", or "classes" where its numbers are those of classes: the columns are accuracy,
        mean_iou and classes (iou, dice and pixels of each), then.
    plane, channels: of files with many planes (OME-TIFF and other TIFFs of many pages): the
        number of one, from 0; or channels alone: the planes that become bands, in that order. Of
        any picture: channels are its bands that the operator gets. Without them a picture of many
        planes is a row that lists them.
    allow_hosts: hosts with private addresses that a URL may name, as in images.download.
    retry_failed: try the pictures again that have no mask. One with a mask, of which some tiles
        failed, is done.

    Columns: mask, labels name files in `out`: cloud-optimised TIFFs with the picture's CRS and
    transform (mask: 0, classes, nodata where the picture has none or a tile could not be read;
    labels: the objects' ids, in raster order of their first pixels); and objects, geojson what
    `polygons.write_objects` makes of the labels. `image` shows the mask on the picture in small.
    Masks do not depend on tiles, engine or workers, unless that is approximate.
    Memory: a block for each worker; and while objects are merged, ten numbers for each piece of
    one in each block. Raises ValueError for a wrong option before any work, RunStopped where over
    max_failed of rows or tiles fail.
    """
    steps = recipe.checked_recipe(
        operator,
        tile_wh=tile_wh,
        halo=halo,
        approximate=approximate,
        blend=blend,
        connectivity=connectivity,
        min_area=min_area,
        fill_holes=fill_holes,
        objects=objects,
        truth_of=truth_of,
    )
    folder = _checked_folder(out, num_gpus)
    limits = engine.Limits(timeout_s, max_memory_mb)
    check_apart(source, out)
    choice = rasters.checked_choice(plane, channels)
    operation, reusable = _operation(steps, choice)
    tables = inputs.tables_of(source, truth)
    key = hashing.digest(operation)
    most = max(headers.MAX_BLOCK_BYTES, (max_memory_mb or 0) << 20)
    looking = headers.Looking(key, Routes(allow_hosts).named, choice, most)
    with tell_while("segment: looking at the pictures"):
        scenes = headers.scenes_of(tables, truth, looking)
    _tell_before(steps, scenes)
    columns = SEGMENT_COLUMNS
    if truth is not None and truth_of == "classes":
        columns = pa.schema([*SEGMENT_COLUMNS, *CLASS_MEASURES])
    options = {k: v for k, v in operation.items() if k not in ("stage", "version")}
    plan = stage.Stage(
        name="segment",
        options=options | {"operator": chain.operator_name(steps.operator)},
        operation=operation,
        inputs={split: _scene_inputs(tables[split], some) for split, some in scenes.items()},
        work=SceneRows(PartWriter(folder, part_schema(columns)), folder),
        shape=Shape(columns),
        threads=True,
        passes=passes_of(steps, folder, limits, num_gpus=num_gpus, max_disk_gb=max_disk_gb),
        is_begun=functools.partial(is_filled, folder, TILES),
        circumstances={"timeout_s": timeout_s, "max_memory_mb": max_memory_mb},
        reusable=reusable,
        can_retry=True,
        names_files=tuple(OUTPUTS),
    )
    run: dict[str, Any] = {"retry_failed": retry_failed, "max_failed": max_failed, "dry_run": dry_run}
    found = stage.build(plan, out, **run)
    if found is not None:
        _tidy(folder, found)
        _tell_failed(found, max_failed)
    return found


def _scene_inputs(table: pa.Table, scenes: list[Scene]) -> Inputs:
    return Inputs(table, [scene.identity for scene in scenes], where=scenes)


def _operation(steps: Recipe, choice: Choice) -> tuple[dict[str, Any], str]:
    """All that changes a mask, to be hashed; and why results may not be reused, or ""."""
    operation: dict[str, Any] = {
        "stage": "segment",
        "version": SEGMENT_VERSION,
        "connectivity": steps.connectivity,
        "min_area": steps.min_area,
        "fill_holes": steps.fill_holes,
        "objects": steps.objects,
        "tile_wh": list(steps.tile_wh),
        "halo": steps.halo,
        "blend": steps.blend,
    }
    if steps.truth_of != "objects":
        operation["truth_of"] = steps.truth_of
    if choice.is_made:
        operation["plane"] = choice.plane
        operation["channels"] = list(choice.channels)
    try:
        operation["operator"] = fingerprint.function(steps.operator)
    except fingerprint.Unhashable as e:
        # A name that no other run has: what cannot be hashed is never reused.
        operation["operator"] = uuid.uuid4().hex
        return operation, f"{chain.operator_name(steps.operator)} uses something that {e}"
    return operation, ""


def _checked_folder(out: str, num_gpus: Any) -> Folder:
    if isinstance(num_gpus, bool) or not isinstance(num_gpus, int | float) or num_gpus < 0:
        raise ValueError(f"num_gpus is how many GPUs each worker has, not {num_gpus!r}")
    return Folder(out)


def _tell_before(steps: Recipe, scenes: dict[str, list[Scene]]) -> None:
    """What a person should know of the pictures and the model before the work begins."""
    good = [scene for some in scenes.values() for scene in some if not scene.reason]
    _tell_small(good, steps.tile_wh)
    _tell_scaling(steps.operator, good)


def _tell_scaling(operator: Any, good: list[Scene]) -> None:
    """A model that gets other numbers than it was trained with gives a mask all the same."""
    for step in chain.steps_of(operator):
        if hasattr(step, "scaling_told") and hasattr(step, "spec"):
            for dtype in sorted({scene.dtype for scene in good}):
                say(step.scaling_told(dtype))


def _tell_small(good: list[Scene], tile_wh: tuple[int, int]) -> None:
    width, height = tile_wh
    if good and all(scene.width <= width and scene.height <= height for scene in good):
        told = f"no picture is larger than a tile of {width} x {height}"
        say(f"{told}: each is done as a whole")


def _tidy(folder: Folder, found: Dataset) -> None:
    """Remove the pieces, and files of earlier versions that no row names."""
    remove_tree(folder, TILES)
    rows = pa.concat_tables([found.table(split, list(OUTPUTS)) for split in found.splits])
    named = named_by_kept(folder, list(OUTPUTS))
    for column in OUTPUTS:
        named.update(rows[column].to_pylist())
    # Only names of ours, with a hash: what a person put there stays.
    ours = re.compile(r".+-[0-9a-f]{12}\.(tif|parquet|(pixels\.)?geojson)")
    for place in set(OUTPUTS.values()):
        for name in folder.list(place):
            if ours.fullmatch(name) and f"{place}/{name}" not in named:
                folder.delete(f"{place}/{name}")


def _tell_failed(found: Dataset, max_failed: float) -> None:
    columns = ["image_id", "tiles", "failed_tiles", "failed_example"]
    rows = pa.concat_tables([found.table(split, columns) for split in found.splits])
    bad = [row for row in rows.to_pylist() if row["failed_tiles"]]
    for row in bad[:TOLD]:
        share = f"{row['failed_tiles']:,} of {row['tiles']:,}"
        what = f"{share} tiles failed and are nodata in the mask"
        say(f"{row['image_id']}: {what}; {row['failed_example']}")
    worst = max(bad, key=lambda row: row["failed_tiles"] / row["tiles"], default=None)
    if worst and worst["failed_tiles"] > max_failed * worst["tiles"]:
        what = f"more than max_failed={max_failed} of the tiles of {worst['image_id']} failed"
        raise RunStopped(f"{what}, in {found.folder}")
