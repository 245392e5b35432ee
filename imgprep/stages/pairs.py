"""(tile, mask) pairs for training, cut out of huge pictures, with splits that no pixel's surroundings cross."""

import functools
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.io import rasters
from imgprep.picture import codec
from imgprep.resume import pins, stage, work
from imgprep.resume.gather import Shape
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.rows import splits
from imgprep.tiles import windows

COPIES = f"{PRIVATE}/tiles"
SHARES = {"train": 0.8, "test": 0.2}


def write(
    pictures: Mapping[str, str] | Dataset | str,
    out: str,
    *,
    tile: int = 256,
    block: int = 4,
    margin: int = 64,
    min_foreground: float = 0.0,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    dry_run: bool = False,
) -> Dataset | None:
    """Write tiles of `tile` x `tile` pixels and their masks as the dataset folder `out`: image, mask, x, y, foreground.

    pictures: what `segmentation.segment` made, or {URI of a picture: URI of its mask}.
    Pictures are cut into blocks of `block` x `block` tiles, `margin` pixels apart; a whole block goes to one split, by
    the hash of its place and the seed. So no tile of one split is nearer than `margin` to a tile of another.
    min_foreground: share of a tile's pixels, from 0 to 1, that the mask must have marked; others are left out.
    Pixels are those of the picture: 8 bits as they are, 16 bits divided by 257; 3 bands, or the first of fewer. What is
    left over at the right and the lower edge is not used. Each block without a tile is a row of `failures`.
    Large pictures that are not tiled (strips, PNG, JPEG) are copied once into tiles, for the time of the run.
    Raises ValueError for a wrong option, and where a split would stay empty.
    """
    for name, value, least in (("tile", tile, 1), ("block", block, 1), ("margin", margin, 0)):
        if type(value) is not int or value < least:
            raise ValueError(f"{name} is a whole number from {least}, not {value!r}")
    if isinstance(min_foreground, bool) or not 0 <= min_foreground <= 1:
        raise ValueError(f"min_foreground is a share of a tile's pixels, from 0 to 1, not {min_foreground!r}")
    from datasets import Features, Image, Value

    extra = Features({"x": Value("int32"), "y": Value("int32"), "mask": Image(), "foreground": Value("float32")})
    target = Folder(out)
    cut = functools.partial(_blocks, copies=target.full(COPIES), tile=tile, block=block, margin=margin)
    blocks = [b for pair in _pairs(pictures) for b in cut(*pair)]
    if not blocks:
        raise ValueError(f"no picture has a tile of {tile} x {tile} pixels: choose a smaller tile")
    names = [b["image_id"] for b in blocks]
    dealt = splits.split({"all": pa.table({"image_id": names, "source": names})}, shares, seed=seed)
    by_name = dict(zip(names, blocks, strict=True))
    chosen = {s: [by_name[n] for n in t["image_id"].to_pylist()] for s, t in dealt.items()}
    for name, some in chosen.items():
        if not some:
            told = f"none of the {len(blocks)} blocks falls into the split {name!r}"
            raise ValueError(f"{told}: choose smaller blocks (block, tile) or another seed")
    options = {"tile": tile, "block": block, "margin": margin, "min_foreground": min_foreground}
    schema = extra.arrow_schema
    plan = stage.Stage(
        name="pairs",
        options=options | {"shares": dict(shares), "seed": seed},
        operation={
            "stage": "pairs",
            "tile": tile,
            "min_foreground": min_foreground,
            "version": pins.stage_version(Cut, 1),
        },
        rows={s: pa.table({k: [b[k] for b in some] for k in ("image_id", "source")}) for s, some in chosen.items()},
        identities={s: [b["identity"] for b in some] for s, some in chosen.items()},
        inputs={s: stage.Listed(some) for s, some in chosen.items()},
        nbytes=dict.fromkeys(chosen),
        work=work.Work(PartWriter(target, part_schema(schema)), _given, Cut(tile, min_foreground)),
        shape=Shape(schema, children=True),
        ready=_copy,
    )
    try:
        return stage.build(plan, out, max_failed=1.0, dry_run=dry_run)
    finally:
        shutil.rmtree(target.full(COPIES), ignore_errors=True)


def _pairs(pictures: Any) -> Iterator[tuple[str, str, str]]:
    """(name, picture, mask) of each."""
    if isinstance(pictures, Mapping):
        seen: Counter[str] = Counter()
        for source, mask in pictures.items():
            # Named by what the picture is: a folder that was moved is dealt as before.
            name = f"{PurePath(source).stem}-{rasters.content(source)[:8]}"
            seen[name] += 1
            yield name if seen[name] == 1 else f"{name}-{seen[name]}", source, mask
        return
    ds = pictures if isinstance(pictures, Dataset) else Dataset(pictures)
    for split in ds.splits:
        for row in ds.table(split, ["image_id", "source", "mask"]).to_pylist():
            if row["mask"]:
                yield row["image_id"], row["source"], Folder(ds.folder).full(row["mask"])


def _blocks(
    name: str, source: str, mask: str, *, copies: str, tile: int, block: int, margin: int
) -> Iterator[dict[str, Any]]:
    with rasters.open(source) as picture, rasters.open(mask) as truth:
        width, height = size = picture.width, picture.height
        if size != (truth.width, truth.height):
            raise ValueError(f"{source} has {size} pixels, its mask {(truth.width, truth.height)}")
        content = f"{picture.identity}\n{truth.identity}"
        path = f"{copies}/{picture.identity}.tif" if rasters.needs_copy(picture) else source
        if "://" in path and path != source:
            raise ValueError(f"{source} is not tiled, so a copy is needed: let out be a local folder")
    for y in range(0, height - tile + 1, block * tile + margin):
        for x in range(0, width - tile + 1, block * tile + margin):
            w, h = (min(block, (s - at) // tile) * tile for s, at in ((width, x), (height, y)))
            given = {"source": source, "path": path, "mask": mask, "box": (x, y, w, h)}
            yield {"image_id": f"{name}-{x}-{y}", "identity": f"{content}\n{x, y, w, h}", **given}


def _copy(inputs: list[dict[str, Any]]) -> None:
    for source, path in {(given["source"], given["path"]) for given in inputs}:
        if path != source:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            rasters.copy(source, path)


def _given(payload: list, totals: dict[str, int]) -> Iterator[work.Loaded]:
    yield from (work.Loaded(key, None, given) for key, given, _ in payload)


@dataclass(frozen=True)
class Cut:
    """The tiles of blocks, as rows of results."""

    tile: int
    min_foreground: float

    def __call__(self, loaded: Iterator[work.Loaded]) -> Iterator[dict[str, Any]]:
        for one in loaded:
            try:
                rows = list(self._rows(one))
            except rasters.SourceError as e:
                rows = [work.failed(one, e.reason, str(e))]
            told = f"no tile has {self.min_foreground:.0%} of its pixels in the mask"
            yield from rows or [work.failed(one, "no_foreground", told)]

    def _rows(self, one: work.Loaded) -> Iterator[dict[str, Any]]:
        box, side, n = one.columns["box"], self.tile, 0
        with rasters.open(one.columns["path"]) as picture, rasters.open(one.columns["mask"]) as truth:
            pixels, masks, nodata = _eight_bits(picture.read(box)), truth.read(box)[..., 0], truth.nodata
        if masks.dtype != np.uint8:
            raise rasters.SourceError("unsupported_format", f"a mask has classes of 8 bits, this one {masks.dtype}")
        for left, top, _, _ in windows.windows(box[2:], (side, side), 0):
            at = slice(top, top + side), slice(left, left + side)
            mask = masks[at]
            share = np.count_nonzero((mask != 0) & (mask != nodata)) / mask.size
            if share >= self.min_foreground:
                data = codec.encode(np.ascontiguousarray(pixels[at]))
                x, y = box[0] + left, box[1] + top
                more = {"mask": {"bytes": codec.encode(np.ascontiguousarray(mask)), "path": f"{x}-{y}.png"}}
                more |= {"x": x, "y": y, "foreground": share}
                yield work.picture_row(one.key, data, (side, side, "PNG"), child=n, **more)
                n += 1


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) or (h, w) uint8."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise rasters.SourceError("unsupported_format", f"tiles are pictures of 8 or 16 bits, not {pixels.dtype}")
    pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
