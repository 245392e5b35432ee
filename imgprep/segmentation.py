"""`segment`: masks, objects and overlays of pictures of any size, tile by tile, the same as of the whole picture."""

import functools
import hashlib
import json
import os
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imgprep import (
    RunStopped,
    blending,
    codec,
    components,
    engine,
    fingerprint,
    measures,
    mosaic,
    operators,
    overlays,
    polygons,
    rasters,
    sources,
    stage,
    tiling,
    uris,
    work,
)
from imgprep.addresses import redact
from imgprep.dataset import Dataset
from imgprep.folder import PRIVATE, Folder
from imgprep.gather import Shape
from imgprep.parts import PartWriter, part_schema
from imgprep.progress import Progress, say
from imgprep.tables import line
from imgprep.tiling import Recipe
from imgprep.uris import SourceError

TILES = f"{PRIVATE}/tiles"
OVERVIEW_PX = 1024
MEASURES = ("iou", "dice", "precision", "recall", "f1", "pq")
OUTPUTS = {"mask": "masks", "labels": "labels", "objects": "objects", "geojson": "objects"}  # column: folder
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

    Columns: mask, labels name files in `out`: cloud-optimised TIFFs with the picture's CRS and transform
    (mask: 0, classes, nodata where the picture has none or a tile could not be read; labels: the objects' ids, in
    raster order of their first pixels); and objects, geojson what `polygons.write` makes of the labels. `image` shows
    the mask on the picture in small. Masks do not depend on tiles, engine or workers, unless that is approximate.
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
    tables = _tables(source, truth)
    key = fingerprint.digest(operation)
    with ThreadPoolExecutor(8) as pool:
        plans = {s: list(pool.map(functools.partial(Picture.of, key), *_rows(t, truth))) for s, t in tables.items()}
    pictures = [p for plan in plans.values() for p in plan]
    _name(pictures)
    good = [p for p in pictures if not p.reason]
    if good and all(p.width <= tile_wh[0] and p.height <= tile_wh[1] for p in good):
        say(f"no picture is larger than a tile of {tile_wh[0]} x {tile_wh[1]}: each is done as a whole")
    run = _Run(recipe, folder, num_gpus, max_memory_mb, max_disk_gb)
    plan = stage.Stage(
        name="segment",
        options={k: v for k, v in operation.items() if k != "stage"} | {"operator": operators.name_of(step)},
        operation=operation,
        rows=tables,
        identities={s: [p.identity for p in plan] for s, plan in plans.items()},
        inputs={s: _Pictures(plan) for s, plan in plans.items()},
        nbytes=dict.fromkeys(tables),
        work=Results(PartWriter(folder, part_schema(COLUMNS)), folder),
        shape=Shape(COLUMNS),
        threads=True,
        ready=run.ready,
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
    first = next(iter(_tables(source, None).values()))["source"][0].as_py()
    with rasters.open(first) as raster:
        w, h = min(1024, raster.width), min(1024, raster.height)
        x, y, w, h = window or ((raster.width - w) // 2, (raster.height - h) // 2, w, h)
        pixels, valid = raster.read((x, y, w, h)), raster.valid((x, y, w, h))
    chosen = ()
    if operators.is_two_pass(step):
        cells = [tiling.inside(c, (0, 0, w, h)) for c in tiling.cut((0, 0, w, h), (tiling.CELL, tiling.CELL))]
        stats = [s for c in cells if (s := step.stats(pixels, c, valid)) is not None]
        chosen = (step.choose(functools.reduce(step.merge, stats) if stats else None),)
    mask = step(pixels, *chosen)
    mask = (mask >= 0.5 if mask.dtype.kind == "f" else mask).astype(np.int32)
    if fill_holes:
        from scipy import ndimage

        mask[ndimage.binary_fill_holes(mask) & (mask == 0)] = 1
    shown = overlays.rgb(pixels.astype(np.float32))
    return shown, overlays.draw(shown, mask, None if valid is None else ~valid)


# Planning ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A source, its header read. `reason` and `error` say why it cannot be segmented."""

    source: str
    name: str
    key: str = ""
    path: str = ""
    content: str = ""
    width: int = 0
    height: int = 0
    bands: int = 0
    dtype: str = ""
    crs: str = ""
    transform: tuple[float, ...] | None = None
    copy: bool = False
    truth: str = ""
    reason: str = ""
    error: str = ""

    @staticmethod
    def of(operation: str, name: str, source: str, truth: str) -> "Picture":
        try:
            if source.startswith(uris.OUTSIDE) or not source:
                raise SourceError("missing_file" if source else "empty", f"there is no path or URI: {source!r}")
            with rasters.open(source) as r:
                content = r.identity
                key = fingerprint.digest(operation, content, truth and rasters.identity(truth))
                copy = uris.scheme(source) != "path" or (isinstance(r, rasters.Raster) and rasters.needs_copy(r))
                return Picture(source, name, key, source, content, r.width, r.height, r.bands, str(r.dtype), r.crs,
                               r.transform and tuple(r.transform), copy, truth)  # fmt: skip
        except SourceError as e:
            return Picture(source, name, reason=e.reason, error=str(e))
        except OSError as e:
            return Picture(source, name, reason="error", error=f"{redact(source)!r} cannot be read: {line(e)}")

    @property
    def identity(self) -> str:
        return f"{self.name}\n{self.key}\n{self.reason}\n{self.error}"

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def factor(self) -> int:
        return max(1, -(-max(self.size_wh) // OVERVIEW_PX))


class _Pictures:
    def __init__(self, pictures: list[Picture]):
        self.pictures = pictures

    def take(self, rows: list[int]) -> list[Picture]:
        return [self.pictures[row] for row in rows]


def _tables(source: Any, truth: Any) -> dict[str, pa.Table]:
    if isinstance(source, dict) or _is_folder(source):
        tables = source if isinstance(source, dict) else sources.read({"train": os.fspath(source)})
        beside = os.path.basename(truth) if isinstance(truth, str) else ""
        if beside.startswith("*"):
            return {split: _with_truth(table, beside[1:]) for split, table in tables.items()}
        names = {name for table in tables.values() for name in table.column_names}
        if truth is not None and truth not in names:
            known = ", ".join(sorted(names))
            raise ValueError(f"truth is '*' and the end of the files' names here, or a column ({known}), not {truth!r}")
        return tables
    given = ([v] if isinstance(v, str | os.PathLike) else v or [] for v in (source, truth))
    paths, true = (list(map(os.fspath, paths)) for paths in given)
    if not paths:
        raise ValueError("no pictures: name at least one path or URI")
    if true and len(true) != len(paths):
        raise ValueError(f"{len(true)} truths for {len(paths)} pictures: give one for each")
    names, seen = [Path(p.split("?")[0]).stem for p in paths], Counter()
    ids = [n if seen.update([n]) or seen[n] == 1 else f"{n}-{seen[n]}" for n in names]
    columns = {"image_id": ids, "source": list(map(uris.absolute, paths))}
    columns |= {"truth": list(map(uris.absolute, true))} if true else {}
    return {"train": pa.table({n: pa.array(c, pa.string()) for n, c in columns.items()})}


def _with_truth(table: pa.Table, ending: str) -> pa.Table:
    """The pictures, each with the file beside it whose name has this ending; those files are no pictures themselves."""
    pictures = table.filter([not source.endswith(ending) for source in table["source"].to_pylist()])
    beside = [os.path.splitext(source)[0] + ending for source in pictures["source"].to_pylist()]
    return pictures.append_column("truth", pa.array([p if os.path.exists(p) else "" for p in beside], pa.string()))


def _is_folder(source: Any) -> bool:
    return isinstance(source, str | os.PathLike) and os.path.isdir(source) and Path(source).suffix != ".zarr"


def _rows(table: pa.Table, truth: Any) -> list[list[str]]:
    """The columns image_id, source, and the one of the truth."""
    column = truth if isinstance(truth, str) and truth in table.column_names else "truth"
    known = table[column].to_pylist() if truth is not None and column in table.column_names else [""] * table.num_rows
    return [[c or "" for c in cells] for cells in (table["image_id"].to_pylist(), table["source"].to_pylist(), known)]


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
    if recipe.blend not in blending.BLENDS:
        raise ValueError(f"blend is {', '.join(map(repr, blending.BLENDS))}, not {recipe.blend!r}")
    if recipe.blend == "crop":
        return
    told = f"blend={recipe.blend!r} weighs probabilities"
    ours = type(recipe.operator).__module__ == operators.__name__
    if ours or recipe.own_labels or not getattr(recipe.operator, "has_probabilities", True):
        raise ValueError(f"{told}, {operators.name_of(recipe.operator)} gives none")
    if not recipe.halo:
        raise ValueError(f"{told} where tiles overlap: give halo, half of what they are to share")


def _name(pictures: list[Picture]) -> None:
    """File names that differ, from the ids."""
    seen: Counter = Counter()
    for picture in pictures:
        name = re.sub(r"[^\w.-]+", "_", picture.name).strip(".") or "picture"
        seen[name.lower()] += 1
        n = seen[name.lower()]
        object.__setattr__(picture, "name", name if n == 1 else f"{name}-{n}")


# Computing -----------------------------------------------------------------------------------------------------------


class _Run:
    """The passes over all pictures that are missing: each is one job of the engine, resumed by the parts it left."""

    def __init__(
        self, recipe: Recipe, folder: Folder, num_gpus: float, max_memory_mb: int | None, max_disk_gb: float | None
    ):
        self.recipe, self.folder, self.id, self.num_gpus = recipe, folder, uuid.uuid4().hex, num_gpus
        self.max_memory_mb, self.max_disk_gb = max_memory_mb, max_disk_gb

    def ready(self, given: list[Picture]) -> None:
        pictures = [p for p in given if not p.reason]
        recipe = self.recipe
        self._check_limits(pictures)
        copies = [{"source": p.source, "part": f"{TILES}/copies/{p.content}"} for p in pictures if p.copy]
        self._do("copies", _copy, copies)
        local = self.folder.full(f"{TILES}/copies")
        pictures = [replace(p, path=f"{local}/{p.content}.tif") if p.copy else p for p in pictures]
        chosen: dict[str, tuple] = {p.key: () for p in pictures}
        found: dict[str, Any] = {}
        if operators.is_two_pass(recipe.operator):
            grid = tiling.BLOCK, tiling.BLOCK
            todo = [(p, b, {}) for p in pictures for b in tiling.blocks(p.size_wh, grid)]
            self._blocks("stats", tiling.measure, todo)
            for p in pictures:
                parts = (self._part(p, "stats", block) for block in tiling.blocks(p.size_wh, grid))
                each = (stats for part in parts if (stats := tiling.read_stats(self.folder, part)) is not None)
                stats = functools.reduce(recipe.operator.merge, each, next(each, None))
                chosen[p.key] = (recipe.operator.choose(stats),)
                found[p.key] = _histogram(recipe.operator, stats)
        blocks = {p.key: tiling.blocks(p.size_wh, recipe.tile_wh, single=recipe.own_labels) for p in pictures}
        todo = [(p, b) for p in pictures for b in blocks[p.key]]
        self._blocks("mask", tiling.paint, [(p, b, {"chosen": chosen[p.key], "factor": p.factor}) for p, b in todo])
        masks = regions = "mask"
        if recipe.fill_holes:
            places = {p.key: self._merge(p, blocks[p.key], regions, holes=True) for p in pictures}
            self._blocks("fill", tiling.fill, self._named(todo, places, masks))
            masks = regions = "fill"
        if recipe.objects or recipe.min_area:
            places = {p.key: self._merge(p, blocks[p.key], regions) for p in pictures}
            self._blocks("labels", tiling.number, self._named(todo, places, masks))
            masks = "labels" if recipe.min_area else masks
        finish = []
        for p in pictures:
            cut = chosen[p.key][0] if chosen[p.key] else None
            row = {"threshold": float(cut) if isinstance(cut, int | float) else None, **found.get(p.key, {})}
            place = {"part": f"{TILES}/{p.key}/row", "picture": p, "blocks": blocks[p.key], "masks": masks}
            finish.append(place | {"row": row})
        self._do("pictures", _finish, finish)

    def _named(self, todo: list, places: dict, masks: str) -> list:
        for p, block in todo:
            rows = places[p.key][block]
            given = {"ids": f"{TILES}/{p.key}/{masks}.npy", "rows": rows, "mask": f"{self._part(p, masks, block)}.tif"}
            yield p, block, given | {"width": p.width}

    def _blocks(self, name: str, fn: Callable, todo: Any) -> None:
        tasks = []
        for p, block, more in todo:
            part = self._part(p, name, block)
            tasks.append({"path": p.path, "identity": p.content, "block": block, "part": part, **more})
        self._do(name, fn, tasks)

    def _do(self, name: str, fn: Callable, todo: list[dict[str, Any]]) -> None:
        parts = {given["part"]: given for given in todo}  # a file that is listed twice is done once
        for folder in {os.path.dirname(part) for part in parts}:
            for there in self.folder.list(folder):
                parts.pop(f"{folder}/{there.removesuffix('.npz')}", None)
        tasks = [engine.Task(fingerprint.digest(part), given) for part, given in parts.items()]
        asks = fn in (tiling.measure, tiling.paint)  # the operator; other passes need no model
        job = engine.Job(
            fn=functools.partial(fn, self.recipe, self.folder),
            split=_alone,
            failed=functools.partial(tiling.lost, self.folder),
            folder=self.folder,
            run_id=f"{self.id}-{name}",
            once=asks and getattr(self.recipe.operator, "once", False),
            num_gpus=self.num_gpus * asks,
            threads=_is_ours(self.recipe.operator),
        )
        if not tasks:
            return
        progress = Progress(f"segment: {name}", len(tasks), "blocks" if "block" in tasks[0].payload else "files")
        try:
            for _, summary in engine.run(tasks, job):
                progress.update(1, summary.get("reasons", {}), summary["task_s"])
        finally:
            progress.close()

    @staticmethod
    def _part(p: Picture, name: str, block: components.Block) -> str:
        return f"{TILES}/{p.key}/{name}/{block[1]}-{block[0]}"

    def _merge(self, p: Picture, blocks: list, name: str, *, holes: bool = False) -> dict[components.Block, tuple]:
        """Which regions are one object; writes the ids that the regions get, and the objects' table."""
        both = self.recipe.own_labels
        parts = [tiling.read_part(self.folder, self._part(p, name, b)) for b in blocks]
        tables = [tiling.no_regions(b, both=both) | part for b, part in zip(blocks, parts, strict=True)]
        connectivity = 12 - self.recipe.connectivity if holes else self.recipe.connectivity
        found, part, starts = components.merge(blocks, tables, p.size_wh, connectivity, both=both)
        keep = found["area"] >= self.recipe.min_area
        if holes:
            keep = (found["x0"] > 0) & (found["y0"] > 0) & (found["x1"] < p.width) & (found["y1"] < p.height)
        ids = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
        with self.folder.create(lambda _: f"{TILES}/{p.key}/{name}.npy") as sink:
            np.save(sink, ids[part])
        return {b: (int(starts[n]), int(starts[n + 1])) for n, b in enumerate(blocks)}

    def _check_limits(self, pictures: list[Picture]) -> None:
        """ValueError, with the numbers, where the memory or the disk will not do."""
        tile, halo, workers = self.recipe.tile_wh, self.recipe.halo, max(1, engine.workers())
        sides = [max(1, round(tiling.BLOCK / t)) * t + 2 * halo for t in tile]
        if self.recipe.own_labels:
            sides = [t + 2 * halo for t in tile]
        disk = memory = 0
        for p in pictures:
            w, h = min(sides[0], p.width), min(sides[1], p.height)
            # The pixels, grey, mask and, of objects, labels, ids and runs.
            pixel = p.bands * np.dtype(p.dtype).itemsize
            each = w * h * (pixel + 3 + 13 * (self.recipe.objects or self.recipe.min_area > 0))
            memory = max(memory, workers * each / 2**20 + rasters.OPTIONS["GDAL_CACHEMAX"] / 2**20)
            # Masks and labels as parts and as files, packed.
            disk += p.width * p.height * (0.25 + self.recipe.objects + 0.7 * pixel * p.copy)
        if self.max_memory_mb is not None and memory > self.max_memory_mb:
            what = f"{workers} workers with tiles of {tile[0]} x {tile[1]} need about {memory:,.0f} MiB"
            raise ValueError(f"{what}, max_memory_mb is {self.max_memory_mb:,}: give smaller tiles or fewer workers")
        os.makedirs(self.folder.path, exist_ok=True)
        free = shutil.disk_usage(self.folder.path).free
        allowed = min(free, free if self.max_disk_gb is None else self.max_disk_gb * 2**30)
        if disk > allowed:
            limit = f"max_disk_gb is {self.max_disk_gb:g}" if allowed < free else f"{free / 2**30:,.1f} GiB are free"
            raise ValueError(f"{len(pictures)} pictures need about {disk / 2**30:,.3g} GiB of disk, {limit}")


def _alone(task: engine.Task) -> list[engine.Task]:
    return [task]


def _is_ours(operator: Any) -> bool:
    steps = operator.steps if isinstance(operator, operators.Chain) else [operator]
    return all(type(step).__module__.startswith("imgprep.") for step in steps)


def _histogram(operator: Any, stats: Any) -> dict[str, Any]:
    """What a threshold was chosen from, in 256 bins at most."""
    found = operator.histogram(stats) if hasattr(operator, "histogram") else None
    if found is None:
        return {}
    counts, edges = np.histogram(found[1], bins=min(256, len(found[0])), weights=found[0])
    return {"histogram": counts.astype(int).tolist(), "histogram_range": [float(edges[0]), float(edges[-1])]}


# In a worker ---------------------------------------------------------------------------------------------------------


def _copy(recipe: Recipe, folder: Folder, task: engine.Task) -> dict[str, Any]:
    given = task.payload
    os.makedirs(os.path.dirname(folder.full(given["part"])), exist_ok=True)
    rasters.copy(given["source"], folder.full(f"{given['part']}.tif"))
    tiling._write(folder, given["part"], {}, {})
    return {}


def _finish(recipe: Recipe, folder: Folder, task: engine.Task) -> dict[str, Any]:
    """The picture's files from its parts, and the row that names them."""
    given = task.payload
    p, blocks = given["picture"], given["blocks"]
    home = f"{TILES}/{p.key}"
    first = {b: f"{home}/mask/{b[1]}-{b[0]}" for b in blocks}
    last = {b: tiling.read_part(folder, f"{home}/{given['masks']}/{b[1]}-{b[0]}")["meta"] for b in blocks}
    failed = [f for part in first.values() for f in tiling.read_part(folder, part)["meta"]["failed"]]
    row: dict[str, Any] = {"tiles": sum(len(tiling.cut(b, recipe.tile_wh)) for b in blocks)}
    row |= {"failed_tiles": len(failed), "failed_example": failed[0][5] if failed else ""}
    dtypes = {m["dtype"] for m in last.values() if "dtype" in m}
    if len(dtypes) > 1:
        raise ValueError(f"the operator gives {' and '.join(sorted(dtypes))}: a mask is of one kind")
    changed = rasters.identity(p.source) != p.content
    if changed or not dtypes:
        reason, error = "changed", "the source changed while it was read: run it again"
        if not changed:
            reason, error = Counter(f[4] for f in failed).most_common(1)[0][0], failed[0][5]
        row = {"reason": reason, "error": error}
    else:
        os.makedirs(folder.full("masks"), exist_ok=True)
        dtype = dtypes.pop()
        row["mask"] = _tiff(folder, p, "mask", given["masks"], blocks, dtype, tiling.NODATA[dtype])
        if recipe.objects:
            row["labels"] = _tiff(folder, p, "labels", "labels", blocks, "int32", None)
            row["count"] = polygons.write(folder.full(row["labels"]), folder.full(f"{home}/objects"))
            for column, ending in (("objects", "parquet"), ("geojson", "geojson")):
                row[column] = _moved(folder, f"{home}/objects.{ending}", "objects", p.name)
        valid = sum(m.get("valid", 0) for m in last.values())
        row["foreground"] = sum(m.get("foreground", 0) for m in last.values()) / max(1, valid)
        row |= {"source_width": p.width, "source_height": p.height, "bands": p.bands, "dtype": p.dtype, "crs": p.crs}
        row |= given["row"]
        if p.truth:
            found = measures.evaluate(folder.full(row["labels" if recipe.objects else "mask"]), p.truth, objects=True)
            row |= {name: found[name] for name in MEASURES[: None if recipe.objects else 2]}
        small = ((b, tiling.read_part(folder, part)["overview"]) for b, part in first.items())
        small = tiling.overview(p.size_wh, p.factor, small)
        folder.put(f"{home}/overlay.jpg", overlays.of_mask(small, folder.full(row["mask"])))
    folder.put(f"{home}/row.json", json.dumps(row).encode())
    tiling._write(folder, given["part"], {}, {})
    return {}


def _tiff(folder: Folder, p: Picture, column: str, part: str, blocks: list, dtype: str, nodata: int | None) -> str:
    ending = ".labels.tif" if column == "labels" else ".tif"
    names = [(f"{TILES}/{p.key}/{part}/{b[1]}-{b[0]}{ending}", b) for b in blocks]
    made = folder.full(f"{TILES}/{p.key}/{column}.tif")
    parts = [(folder.full(n), *b) for n, b in names if folder.size(n)]
    mosaic.stitch(parts, made, size_wh=p.size_wh, dtype=dtype, nodata=nodata, crs=p.crs, transform=p.transform)
    return _moved(folder, f"{TILES}/{p.key}/{column}.tif", OUTPUTS[column], p.name)


def _moved(folder: Folder, made: str, place: str, name: str) -> str:
    """Where a file belongs: its name says what is in it, so that readers of an earlier version keep theirs."""
    with open(folder.full(made), "rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    name = f"{place}/{name}-{sha[:12]}.{made.rpartition('.')[2]}"
    os.makedirs(folder.full(place), exist_ok=True)
    os.replace(folder.full(made), folder.full(name))
    return name


@dataclass(frozen=True)
class Results:
    """A unit of rows: what `_finish` left for each picture."""

    parts: PartWriter
    folder: Folder

    def __call__(self, task: engine.Task) -> dict[str, Any]:
        return self.parts.write(task, (self._row(key, picture) for key, picture, _ in task.payload))

    def _row(self, key: bytes, p: Picture) -> dict[str, Any]:
        row = {"reason": p.reason, "error": p.error}
        if not p.reason:
            row = json.loads(self.folder.get(f"{TILES}/{p.key}/row.json"))
        if row.get("reason"):
            return work.failed(work.Loaded(key, None, {}), row["reason"], row["error"])
        data = self.folder.get(f"{TILES}/{p.key}/overlay.jpg")
        h = codec.probe(data)
        return work.picture_row(key, data, (h.width, h.height, h.format), **row)


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
