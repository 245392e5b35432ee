"""(tile, mask) pairs for training, cut out of huge pictures.

No pixel's surroundings cross from one split into another.
"""

import functools
import os
import shutil
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from imgprep import engine, hashing
from imgprep.dataset import Dataset
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.io import rasters
from imgprep.io.rasters import Choice
from imgprep.picture import codec
from imgprep.resume import make, pins, stage
from imgprep.resume.inputs import Inputs, Wanted
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.passes import Pass
from imgprep.resume.shape import Shape
from imgprep.resume.work import Loaded, Work
from imgprep.rows import splits
from imgprep.stages.segmentation import headers
from imgprep.tiles import windows
from imgprep.tiles.windows import Box

COPIES = f"{PRIVATE}/tiles"
PAIR_SHARES = {"train": 0.8, "test": 0.2}


def write(
    pictures: Mapping[str, str] | Dataset | str,
    out: str,
    *,
    tile: int = 256,
    block: int = 4,
    margin: int = 64,
    min_foreground: float = 0.0,
    shares: Mapping[str, float] = PAIR_SHARES,
    seed: int = 0,
    plane: int | None = None,
    channels: Sequence[int] | None = None,
    dry_run: bool = False,
) -> Dataset | None:
    """Write tiles and their masks as the dataset folder `out`: image, mask, x, y, foreground.

    pictures: what `segmentation.segment` made, or {URI of a picture: URI of its mask}.
    Pictures are cut into blocks of `block` x `block` tiles of `tile` x `tile` pixels, `margin`
    pixels apart; a whole block goes to one split, by the hash of its place and the seed. So no
    tile of one split is nearer than `margin` to a tile of another.
    min_foreground: share of a tile's pixels, from 0 to 1, that the mask must have marked; others
    are left out.
    plane, channels: of files with many planes, as in `segment`; None: what `segment` was told.
    `image` is what a person sees: 8 bits as they are, 16 bits divided by 257; 3 bands, or the
    first of fewer. Where pictures have more than that, a column `pixels` has all of it, (bands, h,
    w) of whole numbers, as torch lays them.
    What is left over at the right and the lower edge is not used. Each block without a tile is a
    row of `failures`. Large pictures that are not tiled (strips, PNG, JPEG)
    are copied once into tiles, for the time of the run.
    Raises ValueError for a wrong option, and where a split would stay empty.
    """
    _check_pairs(tile, block, margin, min_foreground)
    target = Folder(out)
    choice = _choice_of(pictures, plane, channels)
    cut = functools.partial(_blocks_of, choice, target, tile=tile, block=block, margin=margin)
    found: dict[str, PairBlock] = {}
    for name, source, mask in _sources(pictures):
        found |= {block.image_id: block for block in cut(name, source, mask)}
    if not found:
        told = f"no picture has a tile of {tile} x {tile} pixels"
        raise ValueError(f"{told}: choose a smaller tile")
    chosen = _dealt(found, shares, seed)
    pixels = _kept_type(found.values())
    schema = _pair_features(pixels).arrow_schema
    options = {"tile": tile, "block": block, "margin": margin, "min_foreground": min_foreground}
    plan = stage.Stage(
        name="pairs",
        options=options | {"shares": dict(shares), "seed": seed},
        operation={
            "stage": "pairs",
            "tile": tile,
            "min_foreground": min_foreground,
            "version": pins.stage_version(Cut, 1),
            **({"pixels": pixels} if pixels else {}),
        },
        inputs={split: _pair_inputs(some) for split, some in chosen.items()},
        work=Work(PartWriter(target, part_schema(schema)), _given_blocks, Cut(tile, min_foreground, pixels)),
        shape=Shape(schema, children=True),
        passes=[Pass("copies", _copies, functools.partial(_copy, target), _lost_copy)],
    )
    try:
        return stage.build(plan, out, max_failed=1.0, dry_run=dry_run)
    finally:
        shutil.rmtree(target.full(COPIES), ignore_errors=True)


class PairBlock(NamedTuple):
    """Tiles of a picture that go to one split. path: of the picture, or of its tiled copy.

    choice: of its planes, where the file has many. bands, dtype: what the picture has of them.
    """

    image_id: str
    identity: str
    source: str
    path: str
    mask: str
    box: Box
    choice: Choice = Choice()
    bands: int = 3
    dtype: str = "uint8"

    @property
    def is_plain(self) -> bool:
        """Does a PNG of 8 bits hold all of it?"""
        return self.dtype == "uint8" and self.bands in (1, 3)


def _kept_type(blocks: Iterable[PairBlock]) -> str:
    """The type that holds the numbers of all pictures; "" where plain PNGs do."""
    wide = [block for block in blocks if not block.is_plain]
    return str(np.result_type(*{block.dtype for block in wide})) if wide else ""


def _choice_of(pictures: Any, plane: Any, channels: Any) -> Choice:
    """What was said; else what the segmentation was told that made the masks."""
    if plane is None and channels is None and not isinstance(pictures, Mapping):
        options = _dataset_of(pictures).info["options"]
        plane = options.get("plane")
        channels = options.get("channels") or None
    return rasters.checked_choice(plane, channels)


def _dataset_of(pictures: Any) -> Dataset:
    return pictures if isinstance(pictures, Dataset) else Dataset(pictures)


def _check_pairs(tile: Any, block: Any, margin: Any, min_foreground: Any) -> None:
    for name, value, least in (("tile", tile, 1), ("block", block, 1), ("margin", margin, 0)):
        if type(value) is not int or value < least:
            raise ValueError(f"{name} is a whole number from {least}, not {value!r}")
    if isinstance(min_foreground, bool) or not 0 <= min_foreground <= 1:
        told = "a share of a tile's pixels, from 0 to 1"
        raise ValueError(f"min_foreground is {told}, not {min_foreground!r}")


def _pair_features(pixels: str) -> Any:
    from datasets import Features, Image, List, Value

    columns = {
        "x": Value("int32"),
        "y": Value("int32"),
        "mask": Image(),
        "foreground": Value("float32"),
    }
    if pixels:
        columns["pixels"] = List(List(List(Value(pixels))))
    return Features(columns)


def _dealt(
    found: dict[str, PairBlock], shares: Mapping[str, float], seed: int
) -> dict[str, list[PairBlock]]:
    """The blocks of each split. ValueError where one is empty."""
    names = list(found)
    whole = {"all": pa.table({"image_id": names, "source": names})}
    chosen = {}
    for split, table in splits.split(whole, shares, seed=seed).items():
        if not table.num_rows:
            told = f"none of the {len(found)} blocks falls into the split {split!r}"
            raise ValueError(f"{told}: choose smaller blocks (block, tile) or another seed")
        chosen[split] = [found[name] for name in table["image_id"].to_pylist()]
    return chosen


def _pair_inputs(some: list[PairBlock]) -> Inputs:
    columns = {"image_id": [b.image_id for b in some], "source": [b.source for b in some]}
    return Inputs(pa.table(columns), [b.identity for b in some], where=some)


def _sources(pictures: Any) -> Iterator[tuple[str, str, str]]:
    """(name, picture, mask) of each."""
    if isinstance(pictures, Mapping):
        seen: Counter[str] = Counter()
        for source, mask in pictures.items():
            # Named by what the picture is: a folder that was moved is dealt as before.
            name = f"{PurePath(source).stem}-{rasters.content(source)[:8]}"
            seen[name] += 1
            yield name if seen[name] == 1 else f"{name}-{seen[name]}", source, mask
        return
    ds = _dataset_of(pictures)
    home = Folder(ds.folder)
    for split in ds.splits:
        for row in ds.table(split, ["image_id", "source", "mask"]).to_pylist():
            if row["mask"]:
                yield row["image_id"], row["source"], home.full(row["mask"])


def _blocks_of(
    choice: Choice,
    target: Folder,
    name: str,
    source: str,
    mask: str,
    *,
    tile: int,
    block: int,
    margin: int,
) -> Iterator[PairBlock]:
    with rasters.open_chosen(source, choice) as picture, rasters.open(mask) as truth:
        if not choice.is_made:
            headers.refuse_planes(picture)
        size_wh = picture.width, picture.height
        true_wh = truth.width, truth.height
        if size_wh != true_wh:
            raise ValueError(f"{source} has {size_wh} pixels, its mask {true_wh}")
        content = f"{picture.identity}\n{truth.identity}"
        kind = picture.bands, str(picture.dtype)
        path = source
        if choice.is_made:
            content += f"\n{choice}"
        if rasters.needs_copy(picture):
            copied = hashing.digest(picture.identity, *choice) if choice.is_made else ""
            path = target.full(f"{COPIES}/{copied or picture.identity}.tif")
            if target.remote:
                told = f"{source} is not tiled, so a copy is needed"
                raise ValueError(f"{told}: let out be a local folder")
    width, height = size_wh
    step = block * tile + margin
    for y in range(0, height - tile + 1, step):
        for x in range(0, width - tile + 1, step):
            w = min(block, (width - x) // tile) * tile
            h = min(block, (height - y) // tile) * tile
            box = x, y, w, h
            names = f"{name}-{x}-{y}", f"{content}\n{box}"
            yield PairBlock(*names, source, path, mask, box, choice, *kind)


# Copies of pictures without tiles ----------------------------------------------------------------


def _copies(given: list[PairBlock]) -> dict[str, Any]:
    """Each picture once, however many blocks it has."""
    wanted = {}
    for block in given:
        if block.path != block.source:
            name = f"{COPIES}/{os.path.basename(block.path)}"
            wanted[name] = block.source, name, block.choice
    return wanted


def _copy(target: Folder, task: engine.Task) -> engine.Summary:
    source, name, choice = task.payload
    path = target.full(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if choice.is_made:
        rasters.copy_chosen(source, choice, path)
    else:
        rasters.copy(source, path)
    return engine.Summary()


def _lost_copy(task: engine.Task) -> engine.Summary:
    """Nothing is left behind: the blocks of that picture say that it is not there."""
    return engine.Summary()


# Rows --------------------------------------------------------------------------------------------


def _given_blocks(payload: list[Wanted], totals: dict[str, int]) -> Generator[Loaded, None, None]:
    for wanted in payload:
        yield Loaded(wanted.key, None, {"block": wanted.where})


@dataclass(frozen=True)
class Cut:
    """The tiles of blocks, as rows of results."""

    tile: int
    min_foreground: float
    # The type of the column that keeps what a PNG cannot.
    pixels: str = ""

    def __call__(self, loaded: Iterator[Loaded]) -> Iterator[dict[str, Any]]:
        told = f"no tile has {self.min_foreground:.0%} of its pixels in the mask"
        for one in loaded:
            try:
                rows = list(self._rows(one.key, one.columns["block"]))
            except rasters.SourceError as e:
                rows = [make.failed(one, e.reason, str(e))]
            yield from rows or [make.failed(one, "no_foreground", told)]

    def _rows(self, key: bytes, block: PairBlock) -> Iterator[dict[str, Any]]:
        side = self.tile
        # A copy has what was chosen, and no more.
        choice = block.choice if block.path == block.source else Choice()
        with rasters.open_chosen(block.path, choice) as picture, rasters.open(block.mask) as truth:
            whole = picture.read(block.box)
            pixels = _eight_bits(whole)
            masks = truth.read(block.box)[..., 0]
            nodata = truth.nodata
        if masks.dtype != np.uint8:
            told = f"a mask has classes of 8 bits, this one {masks.dtype}"
            raise rasters.SourceError("unsupported_format", told)
        n = 0
        for left, top, _, _ in windows.windows(block.box[2:], (side, side), 0):
            at = slice(top, top + side), slice(left, left + side)
            mask = masks[at]
            is_marked = (mask != 0) & (mask != nodata)
            share = np.count_nonzero(is_marked) / mask.size
            if share < self.min_foreground:
                continue
            kept: dict[str, Any] = {}
            if self.pixels:
                kept["pixels"] = _as_planes(whole[at], self.pixels)
            x = block.box[0] + left
            y = block.box[1] + top
            data = codec.encode(np.ascontiguousarray(pixels[at]))
            png = codec.encode(np.ascontiguousarray(mask))
            yield make.picture_row(
                key,
                data,
                (side, side, "PNG"),
                child=n,
                mask={"bytes": png, "path": f"{x}-{y}.png"},
                x=x,
                y=y,
                foreground=share,
                **kept,
            )
            n += 1


def _as_planes(pixels: np.ndarray, kind: str) -> list:
    """(bands, h, w) as lists, of a tile (h, w, bands)."""
    return list(pixels.transpose(2, 0, 1).astype(kind).tolist())


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) or (h, w) uint8."""
    if pixels.dtype not in (np.uint8, np.uint16):
        told = f"tiles are pictures of 8 or 16 bits, not {pixels.dtype}"
        raise rasters.SourceError("unsupported_format", told)
    pixels = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., 0]
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
