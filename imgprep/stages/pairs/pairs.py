"""The tiles of a block and their masks, as rows."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgprep.io import rasters
from imgprep.io.rasters import Choice
from imgprep.picture import codec
from imgprep.resume import make
from imgprep.resume.inputs import Wanted
from imgprep.resume.work import Loaded
from imgprep.stages.pairs.blocks import PairBlock
from imgprep.tiles import windows


def given_blocks(payload: list[Wanted], totals: dict[str, int]) -> Generator[Loaded, None, None]:
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
        hosts = block.allow_hosts
        with (
            rasters.open_chosen(block.path, choice, allow_hosts=hosts) as picture,
            rasters.open_numbers(block.mask, allow_hosts=hosts) as truth,
        ):
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
