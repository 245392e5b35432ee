"""From each picture the original, a version for vision models, a thumbnail, and what other sizes are named."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from imgprep import words
from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.picture import augment as augmentation
from imgprep.picture import budget, codec, geometry, metadata
from imgprep.resume import make, pins, stage
from imgprep.resume.inputs import Inputs
from imgprep.resume.options import check_flags, check_known, check_max_pixels
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.shape import Shape
from imgprep.resume.source import open_source
from imgprep.resume.work import Loaded, Work

COLUMNS = {"variant": pa.string(), "outcome": pa.string(), "quality": pa.int32(), "source_sha256": pa.string()}
NAMED = r"(?!(original|failures|metadata|index|data|default|all)$)[a-z][a-z0-9_]{0,39}"  # what a config may be called
SIZE = {"max_side": None, "max_bytes": None, "format": None, "quality": 95}
PASSED = ("JPEG", "MPO", "PNG", "WEBP")  # what browsers show and vision models read


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
    batch_size: int = 10_000,
    retry_failed: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
) -> Dataset | None:
    """Make every size of every picture of `source`, into one dataset folder with a config per size.

    source: a dataset folder, what `sources.read` gives, or one path that it reads (a folder of pictures …).
    The default config is `original`, the same bytes; then `vision`, `thumbnail`, those of `sizes`, and `augmented`. A
    row is a child of its picture (`parent_id`) with `variant`, `outcome` (copied; stripped: the same pixels without
    metadata; encoded), `quality` (null where nothing was encoded) and `source_sha256`. Nothing is ever enlarged.
    vision: whose limits, a name of `budget.PRESETS`, or None; vision_max_bytes (of the file, not of its base64) and
        vision_max_side (of the longest side, in pixels, as are all of these) stand in for them.
    sizes: name -> {"max_side", "max_bytes", "format" (JPEG, WEBP or PNG), "quality" (the highest, 95)}, all optional.
    augment, copies: so many copies by the transforms that `augment.pipeline` takes, within the vision size or that of
        sizes["augmented"]; the column `augmentation` says what was done.
    annotations: kind (`augment.KINDS`) -> column, in pixels of the original; they are scaled and move with the copies.
    frames: "first", or "all" of an animation; the column `frame` counts them.
    keep_metadata: keep EXIF in JPEGs. Else it is in the original only, as are XMP and comments; ICC profiles that are
        not sRGB are converted.
    A picture that cannot be read is one failed row; a size that no quality reaches fails alone, as `over_budget`.
    Raises ValueError for a wrong option before any work, RunStopped as `stage.build`.
    """
    check_flags(keep_metadata=keep_metadata, retry_failed=retry_failed)
    check_max_pixels(max_pixels)
    if frames not in ("first", "all"):
        raise ValueError(f"frames is 'first' or 'all', not {frames!r}")
    if type(copies) is not int or copies < 0 or bool(copies) != bool(augment):
        raise ValueError(f"augment names transforms and copies how many of each picture, 1 or more, not {copies!r}")
    vision_limits = {"max_bytes": vision_max_bytes, "max_side": vision_max_side}
    wanted = _sizes(vision, vision_limits, thumbnail_side, sizes or {}, with_copies=copies > 0)
    columns = COLUMNS | ({"frame": pa.int32()} if frames == "all" else {})
    columns |= {"augmentation": pa.string()} if copies else {}
    given = open_source(source, out, new=[*columns, "parent_id", "index"])
    extra = _with_annotations(columns, annotations or {}, given.inputs)
    given = given.with_columns(list((annotations or {}).values()))
    options = {"sizes": wanted, "frames": frames, "keep_metadata": keep_metadata, "annotations": annotations or {}}
    options |= {"augment": augmentation.pipeline(augment), "copies": copies} if copies else {}
    sized = Variants(**options | {"max_pixels": max_pixels})
    plan = stage.Stage(
        name="variants",
        options=options,
        operation={"stage": "variants", "version": pins.stage_version(Variants, 1), **options},
        inputs=given.inputs,
        earlier=given.earlier,
        work=Work(PartWriter(Folder(out), part_schema(extra, keep_original=True)), given.load, sized),
        shape=Shape(extra, children=True, keep_original=True, configs=("original", *wanted)),
    )
    return stage.build(plan, out, batch_size=batch_size, retry_failed=retry_failed,
                       max_failed=max_failed, dry_run=dry_run)  # fmt: skip


@dataclass(frozen=True)
class Variants:
    """The sizes of each loaded picture, as rows of results. One decode feeds them all."""

    sizes: dict[str, dict[str, Any]]
    frames: str
    keep_metadata: bool
    max_pixels: int | None
    annotations: dict[str, str] = field(default_factory=dict)
    augment: dict[str, Any] | None = None
    copies: int = 0

    def __call__(self, loaded: Iterator[Loaded]) -> Iterator[dict[str, Any]]:
        run = self.augment and augmentation.compose(self.augment, list(self.annotations))
        for one in loaded:
            try:
                if one.reason or one.data is None:
                    raise codec.DecodeError(one.reason or "empty", one.error or "there is no picture")
                rows = list(self._rows(one, run))
            except codec.DecodeError as e:  # one row, also where it is a later frame that is damaged
                original = one.data if e.reason == "unsupported_format" else None
                more = {"original": original, "nbytes": len(original or b""), **one.columns}
                rows = [make.failed(one, e.reason, str(e), **more)]
            yield from rows

    def _rows(self, one: Loaded, run: Any) -> Iterator[dict[str, Any]]:
        h = codec.probe(one.data, max_pixels=self.max_pixels)
        header = h.width, h.height, h.format
        first = make.picture_row(one.key, one.data, header, child=0, variant="original", outcome="copied")
        if h.format == "HEIF":  # `image` is always something that Pillow alone opens
            first |= {"image": None, "original": one.data}
        shared = {"source_sha256": first["sha256"], **one.columns}
        yield first | shared
        exif = metadata.exif_segment(one.data) if self.keep_metadata else b""
        passed = [name for name, size in self.sizes.items() if name != "augmented" and _fits(size, header, 0)]
        clean = passed and metadata.clean(one.data, keep_metadata=self.keep_metadata, max_pixels=self.max_pixels)
        passed = [name for name in passed if clean and _fits(self.sizes[name], header, len(clean))]
        notes = {kind: one.columns[column] for kind, column in self.annotations.items()}
        wanted = [(name, copy) for name in self.sizes for copy in range(self.copies if name == "augmented" else 1)]
        sides = [size["max_side"] for name, size in self.sizes.items() if name not in passed]
        for frame, image in enumerate(self._decoded(one.data, sides)):
            made = {max(image.shape[:2]): image} if sides else {}
            for child, (name, copy) in enumerate(wanted, 1 + frame * len(wanted)):
                row = shared | {"variant": name, "child": child, "frame": frame}
                if name in passed:
                    row["outcome"] = "copied" if clean == one.data else "stripped"
                    format = "JPEG" if h.format == "MPO" and clean != one.data else h.format
                    yield make.picture_row(one.key, clean, (h.width, h.height, format), **row)
                    continue
                try:
                    small = _resized(made, self.sizes[name]["max_side"])
                    moved = augmentation.scaled(notes, header[:2], small.shape[1::-1])
                    if name == "augmented":  # from a seed that depends on nothing but these numbers
                        seed = hashlib.sha256(f"{first['sha256']} {frame} {copy}".encode()).digest()[:4]
                        copied = augmentation.apply(run, small, moved, int.from_bytes(seed))
                        small, moved, row["augmentation"] = copied
                    data, row["quality"] = _encode(small, self.sizes[name], exif)
                except ValueError as e:  # over budget, not to be augmented, too long a side for the format
                    yield make.failed(one, getattr(e, "reason", "error"), str(e), **row)
                    continue
                e = codec.probe(data, max_pixels=None)
                row |= {column: moved[kind] for kind, column in self.annotations.items()}
                yield make.picture_row(one.key, data, (e.width, e.height, e.format), outcome="encoded", **row)

    def _decoded(self, data: bytes, sides: list[int | None]) -> Iterator[np.ndarray | None]:
        """The picture, or its frames, at the least DCT scale that serves sizes with these sides."""
        if self.frames == "all" and sides:
            yield from codec.frames(data, max_pixels=self.max_pixels)
        elif sides:
            # Small ones from more than their size, as the DCT's average is a box; for large ones that would cost much.
            side = None if None in sides else max(s * 3 // 2 if s <= 512 else s for s in sides)
            yield codec.decode(data, min_wh=side and (side, side), max_pixels=self.max_pixels)
        else:
            codec.check(data, max_pixels=self.max_pixels)
            yield None


def _resized(made: dict[int, np.ndarray], side: int | None) -> np.ndarray:
    """The picture within side x side, from the smallest of `made` (longest side -> picture) that is twice as long."""
    whole = max(made)
    side = min(side or whole, whole)
    if side not in made:
        made[side] = geometry.shrink(made[min((s for s in made if s >= 2 * side), default=whole)], side)
    return made[side]


def _encode(image: np.ndarray, size: dict[str, Any], exif: bytes) -> tuple[bytes, int | None]:
    format, quality = size["format"] or "JPEG", size["quality"]
    exif = exif if format == "JPEG" else b""
    if format == "PNG":
        return codec.encode(image), None
    if size["max_bytes"] is None:
        data = codec.encode(image, format, quality=quality, is_full_chroma=True)
    else:
        data, quality = budget.fit_bytes(image, max(0, size["max_bytes"] - len(exif)), format=format, best=quality)
    return data[:2] + exif + data[2:] if exif else data, quality


def _fits(size: dict[str, Any], header: tuple[int, int, str], nbytes: int) -> bool:
    width, height, format = header
    within = max(width, height) <= (size["max_side"] or max(width, height)) and nbytes <= (size["max_bytes"] or nbytes)
    return within and (format == size["format"] if size["format"] else format in PASSED)


def _sizes(
    vision: str | None, limits: dict[str, int | None], thumbnail: int | None, named: Any, *, with_copies: bool
) -> dict[str, dict[str, Any]]:
    """Every size but the original, complete. Raises ValueError for what no picture can have."""
    wanted: dict[str, dict[str, Any]] = {}
    if vision is not None:
        if vision not in budget.PRESETS:
            raise ValueError(f"vision is one of {', '.join(budget.PRESETS)}, or None, not {vision!r}")
        preset = {"max_side": budget.PRESETS[vision].max_side, "max_bytes": budget.PRESETS[vision].file_bytes}
        wanted["vision"] = preset | {k: v for k, v in limits.items() if v is not None}
    if thumbnail is not None:
        wanted["thumbnail"] = {"max_side": thumbnail, "quality": 85}
    if not isinstance(named, dict) or not all(isinstance(size, dict) for size in named.values()):
        raise ValueError(f"sizes is {{name: {{'max_side': 800, …}}}}, not {named!r}")
    wanted |= {name: wanted.get(name, {}) | size for name, size in named.items()}
    if with_copies:
        wanted["augmented"] = {"max_side": wanted.get("vision", {}).get("max_side")} | named.get("augmented", {})
    for name, size in wanted.items():
        what = f"sizes[{name!r}]"
        if not re.fullmatch(NAMED, str(name)):
            raise ValueError(f"{name!r} cannot name a size: use small letters, digits and _, and no word of ours")
        if name == "augmented" and not with_copies:
            raise ValueError("the size 'augmented' is of the copies: give augment and copies, or another name")
        check_known(what, size, list(SIZE))
        for key in ("max_side", "max_bytes", "quality"):
            if size.get(key) is not None and (type(size[key]) is not int or size[key] < 1):
                raise ValueError(f"{what}: {key} is a whole number above 0, not {size[key]!r}")
        if size.get("format") not in (None, "JPEG", "WEBP", "PNG") or (size.get("quality") or 1) > 100:
            raise ValueError(f"{what}: format is JPEG, WEBP or PNG, and quality at most 100, not {size!r}")
        if size.get("format") == "PNG" and size.get("max_bytes"):
            raise ValueError(f"{what}: a PNG has no quality to lower: leave max_bytes out, or take JPEG or WEBP")
    return {name: SIZE | {k: v for k, v in size.items() if v is not None} for name, size in wanted.items()}


def _with_annotations(columns: dict[str, pa.DataType], annotations: Any, inputs: dict[str, Inputs]) -> pa.Schema:
    """The stage's columns, with those that hold annotations as the source has them."""
    if not isinstance(annotations, dict):
        raise ValueError(f"annotations is {{kind: column}}, not {annotations!r}")
    check_known("annotations", annotations, list(augmentation.KINDS))
    for column, one in ((c, i) for c in annotations.values() for i in inputs.values()):
        if column not in one.rows.column_names:
            raise ValueError(words.no_column(column, one.rows.column_names, "this table"))
    schema = next(iter(inputs.values())).rows.schema
    return pa.schema([*map(schema.field, annotations.values()), *columns.items()], schema.metadata)
