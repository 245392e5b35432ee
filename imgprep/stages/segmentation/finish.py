"""What is made of a picture's pieces in the end: its files,
its figures, the row that names them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from imgprep import engine
from imgprep.dataset.files import Folder
from imgprep.io import rasters
from imgprep.io.rasters import mosaic
from imgprep.picture import codec
from imgprep.resume import make
from imgprep.resume.parts import PartWriter
from imgprep.resume.work import Loaded
from imgprep.stages.segmentation import measures, overlay, pieces, polygons
from imgprep.stages.segmentation.canvas import Canvas, get_json, put_json
from imgprep.stages.segmentation.copies import raise_if_full, why_lost
from imgprep.stages.segmentation.headers import Scene
from imgprep.stages.segmentation.pieces import NODATA, TILES
from imgprep.stages.segmentation.recipe import Recipe
from imgprep.stages.segmentation.scratch import local_file, local_files, made_file
from imgprep.tiles import grid
from imgprep.tiles.windows import Box

MEASURES = ("iou", "dice", "precision", "recall", "f1", "pq")
# What can be said without objects.
OF_MASKS = MEASURES[:2]
# What is said where the truth is of classes.
CLASS_MEASURES = [
    ("accuracy", pa.float64()),
    ("mean_iou", pa.float64()),
    (
        "classes",
        pa.list_(
            pa.struct(
                [
                    ("class", pa.int64()),
                    ("iou", pa.float64()),
                    ("dice", pa.float64()),
                    ("pixels", pa.int64()),
                    ("truth", pa.int64()),
                ]
            )
        ),
    ),
]
# Column -> the folder of its files.
OUTPUTS = {"mask": "masks", "labels": "labels", "objects": "objects", "geojson": "objects"}


class Made(NamedTuple):
    """What a task says: which of a picture's files or figures."""

    what: str
    canvas: Canvas


def make_file(recipe: Recipe, folder: Folder, task: engine.Task) -> engine.Summary:
    """One file or figure of a picture."""
    made: Made = task.payload
    MAKERS[made.what](recipe, folder, made.canvas)
    return engine.Summary()


def lost_picture(
    folder: Folder, task: engine.Task, loss: engine.Loss = engine.CRASHED
) -> engine.Summary:
    """The row of a picture whose process was lost."""
    put_json(folder, f"{task.payload.canvas.home}/row.json", why_lost(loss))
    return engine.Summary()


# Files -------------------------------------------------------------------------------------------


def _count_pieces(recipe: Recipe, folder: Folder, canvas: Canvas) -> None:
    """counts.json: what the pieces say. And the mask as one file, where there is any."""
    last = [pieces.about_piece(folder, canvas.piece(canvas.masks, b)) for b in canvas.blocks]
    dtypes = {one["dtype"] for one in last if "dtype" in one}
    if len(dtypes) > 1:
        told = " and ".join(sorted(dtypes))
        raise ValueError(f"the operator gives {told}: a mask is of one kind")
    dtype = dtypes.pop() if dtypes else ""
    if dtype:
        _stitch(folder, canvas, "mask", dtype)
    valid = sum(one.get("valid", 0) for one in last)
    foreground = sum(one.get("foreground", 0) for one in last)
    counts = {"dtype": dtype, "foreground": foreground / max(1, valid)}
    counts |= _failures(recipe, folder, canvas)
    put_json(folder, f"{canvas.home}/counts.json", counts)


def _failures(recipe: Recipe, folder: Folder, canvas: Canvas) -> dict[str, Any]:
    failed = []
    for name in canvas.asked:
        for block in canvas.blocks:
            failed += pieces.about_piece(folder, canvas.piece(name, block)).get("failed", [])
    # A block may fail twice, and its tiles count once.
    lost = {tile for one in failed for tile in grid.cut(_box(one), recipe.tile_wh)}
    reasons = Counter(one[4] for one in failed)
    return {
        "tiles": sum(len(grid.cut(block, recipe.tile_wh)) for block in canvas.blocks),
        "failed_tiles": len(lost),
        "failed_example": failed[0][5] if failed else "",
        "failed_reason": reasons.most_common(1)[0][0] if failed else "",
    }


def _box(failed: list) -> Box:
    x, y, w, h = failed[:4]
    return x, y, w, h


def _labels(recipe: Recipe, folder: Folder, canvas: Canvas) -> None:
    _stitch(folder, canvas, "labels", "int32")


def _stitch(folder: Folder, canvas: Canvas, column: str, dtype: str) -> None:
    """One file of the pieces of a mask, or of labels."""
    scene = canvas.scene
    name = canvas.masks if column == "mask" else "labels"
    ending = ".tif" if column == "mask" else ".labels.tif"
    files = {f"{canvas.piece(name, block)}{ending}": block for block in canvas.blocks}
    there = {file: block for file, block in files.items() if folder.size(file)}
    made = made_file(folder, f"{canvas.home}/{column}.tif")
    try:
        with local_files(folder, list(there)) as paths, made as target:
            mosaic.stitch(
                [(path, *block) for path, block in zip(paths, there.values(), strict=True)],
                target,
                size_wh=scene.size_wh,
                dtype=dtype,
                nodata=NODATA[dtype] if column == "mask" else None,
                crs=scene.crs,
                transform=scene.transform,
            )
    except Exception:
        raise_if_full(folder)
        raise


# Figures -----------------------------------------------------------------------------------------


def _outline_objects(recipe: Recipe, folder: Folder, canvas: Canvas) -> None:
    with local_file(folder, f"{canvas.home}/labels.tif") as labels:
        polygons.write_objects(labels, folder.full(f"{canvas.home}/objects"))


def _truth(recipe: Recipe, folder: Folder, canvas: Canvas) -> None:
    """truth.json: how well the objects, or the mask, agree with what is true."""
    if recipe.truth_of == "classes":
        put_json(folder, f"{canvas.home}/truth.json", _of_classes_true(folder, canvas))
        return
    ours = "labels" if recipe.objects else "mask"
    scene = canvas.scene
    with local_file(folder, f"{canvas.home}/{ours}.tif") as path:
        found = measures.evaluate(path, scene.truth, objects=True, allow_hosts=scene.allow_hosts)
    names = MEASURES if recipe.objects else OF_MASKS
    put_json(folder, f"{canvas.home}/truth.json", {name: found[name] for name in names})


def _of_classes_true(folder: Folder, canvas: Canvas) -> dict[str, Any]:
    """The columns of CLASS_MEASURES: of every class that is in the mask or in the truth."""
    scene = canvas.scene
    with local_file(folder, f"{canvas.home}/mask.tif") as mask:
        found = measures.evaluate(mask, scene.truth, allow_hosts=scene.allow_hosts)
    classes = [{"class": number, **figures} for number, figures in found["classes"].items()]
    return {
        "accuracy": found["accuracy"],
        "mean_iou": found["mean_iou"],
        "classes": classes,
    }


def _overlay(recipe: Recipe, folder: Folder, canvas: Canvas) -> None:
    scene = canvas.scene
    small = overlay.overview(scene.size_wh, scene.factor, _overviews(folder, canvas))
    with local_file(folder, f"{canvas.home}/mask.tif") as mask:
        drawn = overlay.of_mask(small, mask)
    folder.put(f"{canvas.home}/overlay.jpg", drawn)


def _overviews(folder: Folder, canvas: Canvas) -> Iterator[tuple[Box, Any]]:
    for block in canvas.blocks:
        arrays, _ = pieces.read_piece(folder, canvas.piece("mask", block))
        if "overview" in arrays:
            yield block, arrays["overview"]


# Rows --------------------------------------------------------------------------------------------


def _row(recipe: Recipe, folder: Folder, canvas: Canvas) -> None:
    """row.json, when the files are in their places."""
    counts = get_json(folder, f"{canvas.home}/counts.json") or {}
    reason = counts.pop("failed_reason")
    dtype = counts.pop("dtype")
    # Looked at in the end too: a file that was written over meanwhile gave parts of two pictures.
    if _has_changed(canvas.scene):
        told = "the source changed while it was read: run it again"
        row = {"reason": "changed", "error": told}
    elif not dtype:
        row = {"reason": reason, "error": counts["failed_example"]}
    else:
        row = counts | _files_and_figures(recipe, folder, canvas)
    put_json(folder, f"{canvas.home}/row.json", row)


def _has_changed(scene: Scene) -> bool:
    try:
        now = rasters.scene_identity(scene.source, allow_hosts=scene.allow_hosts)
        return now != scene.content
    except Exception:
        # It is gone; every store has errors of its own.
        return True


def _files_and_figures(recipe: Recipe, folder: Folder, canvas: Canvas) -> dict[str, Any]:
    scene = canvas.scene
    row: dict[str, Any] = {"mask": _moved(folder, canvas, "mask.tif", OUTPUTS["mask"])}
    if recipe.objects:
        # Its metadata alone: the number of rows stands there.
        table = pq.read_metadata(folder.open(f"{canvas.home}/objects.parquet"))
        row["count"] = table.num_rows
        row["labels"] = _moved(folder, canvas, "labels.tif", OUTPUTS["labels"])
        row["objects"] = _moved(folder, canvas, "objects.parquet", OUTPUTS["objects"])
        # Its name says whether it is of the globe, or of pixels.
        there = folder.size(f"{canvas.home}/objects.geojson") is not None
        geojson = "objects.geojson" if there else "objects.pixels.geojson"
        row["geojson"] = _moved(folder, canvas, geojson, OUTPUTS["geojson"])
    row |= {
        "source_width": scene.width,
        "source_height": scene.height,
        "bands": scene.bands,
        "dtype": scene.dtype,
        "crs": scene.crs,
    }
    measured = get_json(folder, f"{canvas.home}/truth.json") or {}
    return row | canvas.row | measured


def _moved(folder: Folder, canvas: Canvas, made: str, place: str) -> str:
    """The file in its place, named by its content: readers of an earlier version keep theirs."""
    before = f"{canvas.home}/{made}"
    opened: Any = folder.open(before)
    with open(opened, "rb") if isinstance(opened, str) else opened as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    ending = made.partition(".")[2]
    # Readers of the version before hold the file by its old name.
    name = f"{place}/{canvas.scene.name}-{sha[:12]}.{ending}"
    folder.move(before, name)
    return name


MAKERS = {
    "mask": _count_pieces,
    "labels": _labels,
    "objects": _outline_objects,
    "truth": _truth,
    "overlay": _overlay,
    "row": _row,
}
# The last file that each of them leaves behind.
LEFT_BY = {
    "mask": "counts.json",
    "labels": "labels.tif",
    "objects": "objects.parquet",
    "truth": "truth.json",
    "overlay": "overlay.jpg",
    "row": "row.json",
}


@dataclass(frozen=True)
class SceneRows:
    """A unit of rows: what `_row` left for each picture."""

    parts: PartWriter
    folder: Folder

    def __call__(self, task: engine.Task) -> engine.Summary:
        rows = (self._result(wanted.key, wanted.where) for wanted in task.payload)
        return self.parts.write(task, rows)

    def _result(self, key: bytes, scene: Scene) -> dict[str, Any]:
        home = f"{TILES}/{scene.key}"
        row: dict[str, Any] = {"reason": scene.reason, "error": scene.error}
        if not scene.reason:
            row = json.loads(self.folder.get(f"{home}/row.json") or b"{}")
        if row.get("reason"):
            return make.failed(Loaded(key, None, {}), row["reason"], row["error"])
        data = self.folder.get(f"{home}/overlay.jpg") or b""
        header = codec.probe(data)
        size = header.width, header.height, header.format
        return make.picture_row(key, data, size, **row)
