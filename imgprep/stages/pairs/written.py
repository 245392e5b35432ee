"""`write`: pairs for training as a dataset folder."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.engine.progress import tell_while
from imgprep.io.web.routes import Routes
from imgprep.resume import pins, stage
from imgprep.resume.inputs import Inputs
from imgprep.resume.parts import PartWriter, part_schema
from imgprep.resume.shape import Shape
from imgprep.resume.work import Work
from imgprep.rows import splits
from imgprep.stages.pairs import blocks, copies
from imgprep.stages.pairs.blocks import PairBlock
from imgprep.stages.pairs.pairs import Cut, given_blocks
from imgprep.stages.segmentation.scratch import is_filled, remove_tree

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
    allow_hosts: Sequence[str] = (),
    retry_failed: bool = False,
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
    allow_hosts: hosts with private addresses that a URL may name, as in images.download.
    retry_failed: try the blocks again that have no tile.
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
    hosts = Routes(allow_hosts).named
    choice = blocks.choice_of(pictures, plane, channels)
    cut = functools.partial(
        blocks.pair_blocks_of,
        choice,
        target,
        tile=tile,
        block=block,
        margin=margin,
        allow_hosts=hosts,
    )
    found: dict[str, PairBlock] = {}
    given = list(blocks.sources_of(pictures, hosts))
    if not given:
        raise ValueError("there is no picture with a mask in what is given")
    with tell_while("pairs: looking at the pictures"):
        for name, source, mask in given:
            found |= {one.image_id: one for one in cut(name, source, mask)}
    if not found:
        told = f"no picture has a tile of {tile} x {tile} pixels"
        raise ValueError(f"{told}: choose a smaller tile")
    chosen = _dealt(found, shares, seed)
    pixels = blocks.kept_type(found.values())
    schema = _pair_features(pixels).arrow_schema
    options = {"tile": tile, "block": block, "margin": margin, "min_foreground": min_foreground}
    tiles_of_blocks = Cut(tile, min_foreground, pixels)
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
        work=Work(PartWriter(target, part_schema(schema)), given_blocks, tiles_of_blocks),
        shape=Shape(schema, children=True),
        can_retry=True,
        is_begun=functools.partial(is_filled, target, blocks.COPIES),
        passes=[copies.copying(target)],
    )
    try:
        run: dict[str, Any] = {"retry_failed": retry_failed, "max_failed": 1.0, "dry_run": dry_run}
        return stage.build(plan, out, **run)
    finally:
        remove_tree(target, blocks.COPIES)


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


def _dealt(found: dict[str, PairBlock], shares: Mapping[str, float], seed: int) -> dict[str, list[PairBlock]]:
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
