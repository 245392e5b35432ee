"""From each picture the original, a version for vision models, a thumbnail, and what other sizes are named."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from imgprep import budget, codec, geometry, images, metadata, stage, work
from imgprep.dataset import Dataset
from imgprep.folder import Folder
from imgprep.gather import Shape
from imgprep.parts import PartWriter, part_schema

COLUMNS = pa.schema(
    [("variant", pa.string()), ("outcome", pa.string()), ("quality", pa.int32()), ("source_sha256", pa.string())]
)
PASSED = ("JPEG", "PNG", "WEBP")  # what browsers show and vision models read


def build(
    source: str | Dataset | dict[str, pa.Table],
    out: str,
    *,
    vision: str | None = "default",
    vision_max_bytes: int | None = None,
    vision_max_side: int | None = None,
    thumbnail_side: int | None = 256,
    sizes: dict[str, dict[str, Any]] | None = None,
    keep_metadata: bool = False,
    max_pixels: int | None = codec.MAX_PIXELS,
    batch_size: int = 10_000,
    retry_failed: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
) -> Dataset | None:
    """Make every size of every picture of `source`, into one dataset folder with a config per size.

    source: a dataset folder, what `sources.read` gives, or one path that it reads (a folder of pictures …).
    The default config is `original`, the same bytes; then `vision`, `thumbnail`, and those of `sizes`. A row is a
    child of its picture (`parent_id`) with `variant`, `outcome` (copied, stripped: the same pixels without metadata,
    encoded), `quality` (null where nothing was encoded) and `source_sha256`.
    vision: whose limits, a name of `budget.PRESETS`, or None; vision_max_bytes (of the file) and vision_max_side
        stand in for them. thumbnail_side: the longest side in pixels, or None. Nothing is ever enlarged.
    sizes: name -> {"max_side", "max_bytes", "format" (JPEG, WEBP or PNG), "quality" (the highest, 95)}, all optional.
    keep_metadata: leave EXIF, XMP and comments in pictures that pass as they are.
    A picture that cannot be read is one failed row; a size that no quality reaches fails alone, with `over_budget`.
    Raises ValueError for a wrong option before any work, RunStopped as `stage.build`.
    """
    wanted = _sizes(vision, vision_max_bytes, vision_max_side, thumbnail_side, sizes or {})
    images.check_flags(keep_metadata=keep_metadata, retry_failed=retry_failed)
    images.check_max_pixels(max_pixels)
    load, rows = images.plan_source(source, out, new=[*COLUMNS.names, "parent_id", "index"])
    options = {"sizes": wanted, "keep_metadata": keep_metadata}
    plan = stage.Stage(
        name="variants",
        options=options,
        operation={"stage": "variants", "version": 1, **options},
        **rows,
        work=work.Work(
            PartWriter(Folder(out), part_schema(COLUMNS)), load, Variants(wanted, keep_metadata, max_pixels)
        ),
        shape=Shape(COLUMNS, children=True, configs=("original", *wanted)),
    )
    return stage.build(plan, out, batch_size=batch_size, retry_failed=retry_failed,
                       max_failed=max_failed, dry_run=dry_run)  # fmt: skip


@dataclass(frozen=True)
class Variants:
    """The sizes of each loaded picture, as rows of results. One decode feeds them all."""

    sizes: dict[str, dict[str, Any]]
    keep_metadata: bool
    max_pixels: int | None

    def __call__(self, loaded: Iterator[work.Loaded]) -> Iterator[dict[str, Any]]:
        for one in loaded:
            if one.reason or one.data is None:
                yield work.failed(one, one.reason or "empty", one.error or "there is no picture")
                continue
            try:
                rows = list(self._rows(one))
            except codec.DecodeError as e:  # as one row, also where only the last of its pixels are missing
                rows = [work.failed(one, e.reason, str(e))]
            yield from rows

    def _rows(self, one: work.Loaded) -> Iterator[dict[str, Any]]:
        h = codec.probe(one.data, max_pixels=self.max_pixels)
        shown = (h.width, h.height, h.format)
        first = work.picture_row(one.key, one.data, shown, child=0, variant="original", outcome="copied")
        more = {"source_sha256": first["sha256"]}
        yield first | more
        clean = metadata.clean(one.data, keep_metadata=self.keep_metadata, max_pixels=self.max_pixels)
        passed = [n for n, size in self.sizes.items() if clean and _fits(size, max(shown[:2]), h.format, len(clean))]
        made = self._decode(one.data, [size for n, size in self.sizes.items() if n not in passed])
        for child, (name, size) in enumerate(self.sizes.items(), 1):
            more |= {"variant": name, "child": child}
            if name in passed:
                outcome = "copied" if clean == one.data else "stripped"
                yield work.picture_row(one.key, clean, shown, outcome=outcome, **more)
                continue
            try:
                data, quality = _encode(_resized(made, size["max_side"]), size)
            except budget.OverBudget as e:
                yield work.failed(one, "over_budget", str(e), **more)
                continue
            e = codec.probe(data, max_pixels=None)
            yield work.picture_row(one.key, data, (e.width, e.height, e.format), outcome="encoded", quality=quality,
                                   **more)  # fmt: skip

    def _decode(self, data: bytes, sizes: list[dict[str, Any]]) -> list[np.ndarray]:
        """The picture at the least DCT scale that serves all of these sizes."""
        if not sizes:
            codec.check(data, max_pixels=self.max_pixels)
            return []
        sides = [size["max_side"] for size in sizes]
        # Small ones from twice their size: the area average is better than the DCT's. Large ones would cost too much.
        side = None if None in sides else max(2 * s if s <= 512 else s for s in sides)
        return [codec.decode(data, min_wh=side and (side, side), max_pixels=self.max_pixels)]


def _resized(made: list[np.ndarray], side: int | None) -> np.ndarray:
    """The first of `made` (the picture) within side x side, from the smallest of them that is at least twice that."""
    if side is None or max(made[0].shape[:2]) <= side:
        return made[0]
    base = min((image for image in made if max(image.shape[:2]) >= 2 * side), key=np.size, default=made[0])
    made.append(geometry.fit(base, (side, side)))
    return made[-1]


def _encode(image: np.ndarray, size: dict[str, Any]) -> tuple[bytes, int | None]:
    format = size["format"] or "JPEG"
    if format == "PNG":
        return codec.encode(image), None
    if size["max_bytes"] is None:
        return codec.encode(image, format, quality=size["quality"]), size["quality"]
    return budget.fit_bytes(image, size["max_bytes"], format=format, best=size["quality"])


def _fits(size: dict[str, Any], side: int, format: str, nbytes: int) -> bool:
    format = "JPEG" if format == "MPO" else format
    is_small = size["max_side"] is None or side <= size["max_side"]
    return is_small and nbytes <= (size["max_bytes"] or nbytes) and format in (size["format"] or PASSED)


def _sizes(
    vision: str | None, max_bytes: int | None, max_side: int | None, thumbnail: int | None, named: Any
) -> dict[str, dict[str, Any]]:
    """Every size but the original, complete. Raises ValueError for what no picture can have."""
    wanted: dict[str, dict[str, Any]] = {}
    if vision is not None:
        if vision not in budget.PRESETS:
            raise ValueError(f"vision is one of {', '.join(budget.PRESETS)}, or None, not {vision!r}")
        limit = budget.PRESETS[vision]
        wanted["vision"] = {"max_side": max_side or limit.max_side, "max_bytes": max_bytes or limit.file_bytes}
    if thumbnail is not None:
        wanted["thumbnail"] = {"max_side": thumbnail, "quality": 85}
    whole = {"max_side": None, "max_bytes": None, "format": None, "quality": 95}
    return {name: whole | size for name, size in (wanted | named).items()}
