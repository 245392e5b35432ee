"""The passes of a segmentation over all pictures that are missing, and what is made of a picture's parts in the end."""

import errno
import functools
import hashlib
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imgprep import engine, hashing
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.engine.progress import Progress
from imgprep.io import rasters
from imgprep.io.rasters import mosaic
from imgprep.io.uris import SourceError
from imgprep.picture import codec
from imgprep.resume import work
from imgprep.resume.parts import PartWriter
from imgprep.stages.segmentation import block as tiling
from imgprep.stages.segmentation import measures, operators, overlay, polygons
from imgprep.stages.segmentation.block import Recipe
from imgprep.stages.segmentation.headers import Picture
from imgprep.tiles import borders
from imgprep.tiles.components import Block
from imgprep.words import line, say

TILES = f"{PRIVATE}/tiles"
MEASURES = ("iou", "dice", "precision", "recall", "f1", "pq")
OUTPUTS = {"mask": "masks", "labels": "labels", "objects": "objects", "geojson": "objects"}  # column: folder


class Passes:
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
        pictures = self._copied(pictures)
        chosen: dict[str, tuple] = {p.key: () for p in pictures}
        found: dict[str, Any] = {}
        if operators.is_two_pass(recipe.operator):
            grid = tiling.BLOCK, tiling.BLOCK
            todo = [(p, b, {}) for p in pictures for b in tiling.blocks(p.size_wh, grid)]
            self._blocks("stats", tiling.measure, todo)
            for p in [*pictures]:
                stats, failed = None, []
                for block in tiling.blocks(p.size_wh, grid):
                    more, lost = tiling.read_stats(self.folder, self._part(p, "stats", block))
                    stats = more if stats is None else stats if more is None else recipe.operator.merge(stats, more)
                    failed += lost
                if failed:
                    what = f"{len(failed):,} tiles did not count for what is chosen for the whole picture"
                    say(f"{p.name}: {what}; {failed[0][5]}")
                if failed and stats is None:
                    _put_row(self.folder, p, {"reason": failed[0][4], "error": failed[0][5]})
                    pictures.remove(p)
                    continue
                chosen[p.key] = (recipe.operator.choose(stats),)
                found[p.key] = _histogram(recipe.operator, stats)
        blocks = {p.key: tiling.blocks(p.size_wh, recipe.tile_wh, single=recipe.own_labels) for p in pictures}
        todo = [(p, b) for p in pictures for b in blocks[p.key]]
        self._blocks("mask", tiling.paint, [(p, b, {"chosen": chosen[p.key], "factor": p.factor}) for p, b in todo])
        masks, names = "mask", ["mask"]
        if recipe.fill_holes:
            places = {p.key: self._merge(p, blocks[p.key], masks, holes=True) for p in pictures}
            self._blocks("fill", tiling.fill, self._named(todo, places, masks))
            masks, names = "fill", [*names, "fill"]
        if recipe.objects or recipe.min_area:
            places = {p.key: self._merge(p, blocks[p.key], masks) for p in pictures}
            self._blocks("labels", tiling.number, self._named(todo, places, masks))
            masks, names = "labels" if recipe.min_area else masks, [*names, "labels"]
        finish = []
        for p in pictures:
            cut = chosen[p.key][0] if chosen[p.key] else operators.known_cut(recipe.operator)
            row = {"threshold": float(cut) if isinstance(cut, int | float) else None, **found.get(p.key, {})}
            place = {"part": f"{TILES}/{p.key}/row", "picture": p, "blocks": blocks[p.key], "masks": masks}
            finish.append(place | {"row": row, "passes": names})
        self._do("pictures", _finish, finish)

    def _copied(self, pictures: list[Picture]) -> list[Picture]:
        """The pictures, where need be as tiled files of this machine; without those that could not be copied."""
        parts = {p: f"{TILES}/copies/{p.content}" for p in pictures if p.copy}
        self._do("copies", _copy, [{"source": p.source, "part": part} for p, part in parts.items()])
        lost = {p: tiling.read_part(self.folder, part)["meta"] for p, part in parts.items()}
        for p, why in lost.items():
            if why:
                _put_row(self.folder, p, why)
        local = {p: replace(p, path=self.folder.full(f"{part}.tif")) for p, part in parts.items()}
        return [local.get(p, p) for p in pictures if not lost.get(p)]

    def _named(self, todo: list, places: dict, masks: str) -> Iterator[tuple]:
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
        tasks = [engine.Task(hashing.digest(part), given) for part, given in parts.items()]
        asks = fn in (tiling.measure, tiling.paint)  # the operator; other passes need no model
        job = engine.Job(
            fn=functools.partial(fn, self.recipe, self.folder),
            split=_alone,
            failed=functools.partial(_lost, self.folder),
            folder=self.folder,
            run_id=f"{self.id}-{name}",
            once=asks and getattr(self.recipe.operator, "once", False),
            num_gpus=self.num_gpus * asks,
            threads=operators.is_ours(self.recipe.operator),
        )
        if not tasks:
            return
        progress = Progress(f"segment: {name}", len(tasks), "blocks" if "block" in tasks[0].payload else "files")
        try:
            for _, summary in engine.run(tasks, job):
                progress.update(1, summary.reasons, summary.task_s)
        finally:
            progress.close()

    @staticmethod
    def _part(p: Picture, name: str, block: Block) -> str:
        return f"{TILES}/{p.key}/{name}/{block[1]}-{block[0]}"

    def _merge(self, p: Picture, blocks: list, name: str, *, holes: bool = False) -> dict[Block, tuple]:
        """Which regions are one object: writes the ids that they get; returns where those of each block stand."""
        both = self.recipe.own_labels
        parts = [tiling.read_part(self.folder, self._part(p, name, b)) for b in blocks]
        tables = [tiling.no_regions(b, both=both) | part for b, part in zip(blocks, parts, strict=True)]
        connectivity = 12 - self.recipe.connectivity if holes else self.recipe.connectivity
        found, part, starts = borders.merge_blocks(blocks, tables, p.size_wh, connectivity, both=both)
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
            limit = f"max_disk_gb is {self.max_disk_gb:g}" if allowed < free else f"{free / 2**30:,.3g} GiB are free"
            raise ValueError(f"{len(pictures)} pictures need about {disk / 2**30:,.3g} GiB of disk, {limit}")


def _alone(task: engine.Task) -> list[engine.Task]:
    return [task]


def _put_row(folder: Folder, picture: Picture, row: dict[str, Any]) -> None:
    folder.put(f"{TILES}/{picture.key}/row.json", json.dumps(row).encode())


def _histogram(operator: Any, stats: Any) -> dict[str, Any]:
    """What a threshold was chosen from, in 256 bins at most."""
    found = operator.histogram(stats) if hasattr(operator, "histogram") else None
    if found is None:
        return {}
    counts, edges = np.histogram(found[1], bins=min(256, len(found[0])), weights=found[0])
    return {"histogram": counts.astype(int).tolist(), "histogram_range": [float(edges[0]), float(edges[-1])]}


# In a worker ---------------------------------------------------------------------------------------------------------


def _copy(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    given = task.payload
    os.makedirs(os.path.dirname(folder.full(given["part"])), exist_ok=True)
    why = {}
    try:
        rasters.copy(given["source"], folder.full(f"{given['part']}.tif"))
    except Exception as e:  # GDAL's, or the store's
        _raise_if_full(folder)
        why = {"reason": e.reason if isinstance(e, SourceError) else "error", "error": line(e)}
    tiling.write_part(folder, given["part"], {}, why)
    return engine.Summary()


def _lost(folder: Folder, task: engine.Task) -> engine.Summary:
    """A task whose process died, twice."""
    given = task.payload
    why = {"reason": "crashed", "error": "the process that worked on this died, twice"}
    if "picture" in given:
        _put_row(folder, given["picture"], why)
    if "block" in given:
        why = {"failed": [[*given["block"], *why.values()]]}
    tiling.write_part(folder, given["part"], {}, why)
    return engine.Summary()


def _raise_if_full(folder: Folder) -> None:
    if shutil.disk_usage(folder.path).free < 1 << 20:  # GDAL does not say so
        raise OSError(errno.ENOSPC, "no space left on the disk")


def _finish(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    """The picture's files from its parts, and the row that names them."""
    given = task.payload
    p, blocks = given["picture"], given["blocks"]
    home = f"{TILES}/{p.key}"
    first = {b: f"{home}/mask/{b[1]}-{b[0]}" for b in blocks}
    last = {b: tiling.read_part(folder, f"{home}/{given['masks']}/{b[1]}-{b[0]}")["meta"] for b in blocks}
    every = [f"{home}/{name}/{b[1]}-{b[0]}" for name in given["passes"] for b in blocks]
    failed = [f for part in every for f in tiling.read_part(folder, part)["meta"].get("failed", [])]
    row: dict[str, Any] = {"tiles": sum(len(tiling.cut(b, recipe.tile_wh)) for b in blocks)}
    lost = {tile for f in failed for tile in tiling.cut(f[:4], recipe.tile_wh)}  # a block may fail twice
    row |= {"failed_tiles": len(lost), "failed_example": failed[0][5] if failed else ""}
    dtypes = {m["dtype"] for m in last.values() if "dtype" in m}
    if len(dtypes) > 1:
        raise ValueError(f"the operator gives {' and '.join(sorted(dtypes))}: a mask is of one kind")
    try:
        changed = rasters.identity(p.source) != p.content
    except Exception:  # it is gone; every store has errors of its own
        changed = True
    if changed or not dtypes:
        reason, error = "changed", "the source changed while it was read: run it again"
        if not changed:
            reason, error = Counter(f[4] for f in failed).most_common(1)[0][0], failed[0][5]
        row = {"reason": reason, "error": error}
    else:
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
        each = ((b, tiling.read_part(folder, part).get("overview")) for b, part in first.items())
        small = overlay.overview(p.size_wh, p.factor, ((b, part) for b, part in each if part is not None))
        folder.put(f"{home}/overlay.jpg", overlay.of_mask(small, folder.full(row["mask"])))
    _put_row(folder, p, row)
    tiling.write_part(folder, given["part"], {}, {})
    return engine.Summary()


def _tiff(folder: Folder, p: Picture, column: str, part: str, blocks: list, dtype: str, nodata: int | None) -> str:
    ending = ".labels.tif" if column == "labels" else ".tif"
    names = [(f"{TILES}/{p.key}/{part}/{b[1]}-{b[0]}{ending}", b) for b in blocks]
    made = folder.full(f"{TILES}/{p.key}/{column}.tif")
    parts = [(folder.full(n), *b) for n, b in names if folder.size(n)]
    try:
        mosaic.stitch(parts, made, size_wh=p.size_wh, dtype=dtype, nodata=nodata, crs=p.crs, transform=p.transform)
    except Exception:
        _raise_if_full(folder)
        raise
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

    def __call__(self, task: engine.Task) -> engine.Summary:
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
