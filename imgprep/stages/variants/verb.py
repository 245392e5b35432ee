"""The verb: every size of every picture, a config for each."""

from dataclasses import asdict
from typing import Any

import pyarrow as pa

from imgprep import words
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.picture import augment as augmentation
from imgprep.picture import codec
from imgprep.resume import pins, stage
from imgprep.resume.inputs import Inputs
from imgprep.resume.options import (
    check_flags,
    check_known,
    check_max_bytes,
    check_max_frames,
    check_max_pixels,
    run_options,
)
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.shape import Shape
from imgprep.resume.source import Source, open_source
from imgprep.resume.work import Work
from imgprep.rows.left_behind import box_columns
from imgprep.stages.variants.sizes import sizes_of
from imgprep.stages.variants.variants import Variants

SIZES_VERSION = 1  # one more whenever the bytes of a size change
OF_SIZES = {
    "variant": pa.string(),
    "outcome": pa.string(),
    "quality": pa.int32(),
    "source_sha256": pa.string(),
}


def build(
    source: str | Dataset | dict[str, pa.Table],
    out: str,
    *,
    vision: str | None = "default",
    vision_max_bytes: int | None = None,
    vision_max_side: int | None = None,
    thumbnail_side: int | None = 256,
    sizes: dict[str, dict[str, Any]] | None = None,
    augment: dict[str, dict[str, Any]] | str | None = None,
    copies: int = 0,
    annotations: dict[str, str] | None = None,
    frames: str = "first",
    keep_metadata: bool = False,
    max_pixels: int | None = codec.MAX_PIXELS,
    max_bytes: int | None = None,
    max_frames: int | None = codec.MAX_FRAMES,
    batch_size: int = 10_000,
    retry_failed: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
) -> Dataset | None:
    """Make every size of every picture of `source`, into one dataset folder with a config per size.

    source: a dataset folder, what `sources.read` gives, or one path that it reads (a folder of
        pictures …).
    The default config is `original`, the same bytes; then `vision`, `thumbnail`, those of `sizes`,
    and `augmented`. A row is a child of its picture (`parent_id`) with `variant`, `outcome`
    (copied; stripped: the same pixels without metadata; encoded), `quality` (null where nothing was
    encoded) and `source_sha256`. Nothing is ever enlarged.
    vision: whose limits, a name of `budget.PRESETS`, or None; vision_max_bytes (of the file, not of
        its base64) and vision_max_side (of the longest side, in pixels, as are all of these) stand
        in for them.
    sizes: name -> {"max_side", "max_bytes", "format" (JPEG, WEBP or PNG), "quality" (the highest,
        95)}, all optional.
    augment, copies: so many copies by the transforms that `augment.pipeline` takes, within the
        vision size or that of sizes["augmented"]; the column `augmentation` says what was done.
    annotations: kind (`augment.ANNOTATION_KINDS`) -> column, in pixels of the original; they are
        scaled and move with the copies.
    frames: "first", or "all" of an animation; the column `frame` counts them.
    keep_metadata: keep EXIF in JPEGs. Else it is in the original only, as are XMP and comments; ICC
        profiles that are not sRGB are converted.
    max_pixels: pictures with more, by their header, are not decoded. max_bytes: nor those of more
        bytes; None: 64 MiB of what is fetched or read, any of a dataset folder. max_frames: nor
        animations of more, where all are taken; None: no limit. Raised, they try again what they
        refused, and nothing else.
    A picture that cannot be read is one failed row; a size that no quality reaches fails alone, as
    `over_budget`.
    Raises ValueError for a wrong option before any work, RunStopped as `stage.build`.
    """
    run = run_options(
        batch_size=batch_size,
        retry_failed=retry_failed,
        max_failed=max_failed,
        dry_run=dry_run,
    )
    check_flags(keep_metadata=keep_metadata)
    check_max_pixels(max_pixels)
    check_max_bytes(max_bytes)
    check_max_frames(max_frames)
    _check_children(frames, augment, copies)
    limits = {"max_bytes": vision_max_bytes, "max_side": vision_max_side}
    wanted = sizes_of(vision, limits, thumbnail_side, sizes or {}, with_copies=copies > 0)
    columns = _size_columns(frames, copies)
    notes = annotations or {}
    given = open_source(source, out, new=[*columns, "parent_id", "index"], max_bytes=max_bytes)
    _tell_boxes_left(given, notes)
    extra = _with_annotations(columns, notes, given.inputs)
    given = given.with_columns(list(notes.values()))
    options: dict[str, Any] = {
        "sizes": {name: asdict(size) for name, size in wanted.items()},
        "frames": frames,
        "keep_metadata": keep_metadata,
        "annotations": notes,
    }
    saved = augmentation.pipeline(augment) if augment else None
    if copies:
        options |= {"augment": saved, "copies": copies}
    made = Variants(wanted, frames, keep_metadata, max_pixels, max_frames, notes, saved, copies)
    version = pins.stage_version(Variants, SIZES_VERSION)
    writer = PartWriter(Folder(out), part_schema(extra, keep_original=True))
    plan = stage.Stage(
        name="variants",
        options=options,
        operation={"stage": "variants", "version": version, **options},
        inputs=given.inputs,
        earlier=given.earlier,
        circumstances={
            "max_pixels": max_pixels,
            "max_bytes": max_bytes,
            "max_frames": max_frames,
        },
        can_retry=True,
        work=Work(writer, given.load, made),
        shape=Shape(extra, children=True, keep_original=True, configs=("original", *wanted)),
    )
    return stage.build(plan, out, **run)


def _check_children(frames: Any, augment: Any, copies: Any) -> None:
    if frames not in ("first", "all"):
        raise ValueError(f"frames is 'first' or 'all', not {frames!r}")
    if type(copies) is not int or copies < 0 or bool(copies) != bool(augment):
        told = "augment names transforms and copies how many of each picture, 1 or more"
        raise ValueError(f"{told}, not {copies!r}")


def _tell_boxes_left(given: Source, annotations: dict[str, str]) -> None:
    """Say which columns hold places in the picture, that its sizes do not move."""
    for one in given.inputs.values():
        there = box_columns(one.rows.schema)
        left = [name for name in there if name not in annotations.values()]
        if left:
            columns = ", ".join(left)
            are = "is a column" if len(left) == 1 else "are columns"
            fix = "name them in annotations, and they are scaled"
            words.say(f"variants: {columns} {are} of places in the original: {fix}")
            return


def _size_columns(frames: str, copies: int) -> dict[str, pa.DataType]:
    found = dict(OF_SIZES)
    if frames == "all":
        found["frame"] = pa.int32()
    if copies:
        found["augmentation"] = pa.string()
    return found


def _with_annotations(
    columns: dict[str, pa.DataType], annotations: Any, inputs: dict[str, Inputs]
) -> pa.Schema:
    """The stage's columns, with those that hold annotations as the source has them."""
    if not isinstance(annotations, dict):
        raise ValueError(f"annotations is {{kind: column}}, not {annotations!r}")
    check_known("annotations", annotations, list(augmentation.ANNOTATION_KINDS))
    for column in annotations.values():
        for one in inputs.values():
            names = one.rows.column_names
            if column not in names:
                raise ValueError(words.no_column(column, names, "this table"))
    schema = next(iter(inputs.values())).rows.schema
    fields = [schema.field(column) for column in annotations.values()]
    return pa.schema([*fields, *columns.items()], schema.metadata)
