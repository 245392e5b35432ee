"""The pictures of a run, cut into blocks of tiles: a whole block goes to one split."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from imgprep import hashing
from imgprep.dataset import Dataset
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.io import rasters
from imgprep.io.rasters import Choice
from imgprep.io.uris.fences import checked_path
from imgprep.redaction import redact_url
from imgprep.stages.segmentation import headers
from imgprep.tiles.windows import Box

COPIES = f"{PRIVATE}/tiles"


class PairBlock(NamedTuple):
    """Tiles of a picture that go to one split. path: of the picture, or of its tiled copy.

    choice: of its planes, where the file has many. bands, dtype: what the picture has of them.
    allow_hosts: private ones that its URLs may name.
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
    allow_hosts: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Does a PNG of 8 bits hold all of it?"""
        return self.dtype == "uint8" and self.bands in (1, 3)


def kept_type(blocks: Iterable[PairBlock]) -> str:
    """The type that holds the numbers of all pictures; "" where plain PNGs do."""
    wide = [block for block in blocks if not block.is_plain]
    return str(np.result_type(*{block.dtype for block in wide})) if wide else ""


def choice_of(pictures: Any, plane: Any, channels: Any) -> Choice:
    """What was said; else what the segmentation was told that made the masks."""
    if plane is None and channels is None and not isinstance(pictures, Mapping):
        options = _dataset_of(pictures).info["options"]
        plane = options.get("plane")
        channels = options.get("channels") or None
    return rasters.checked_choice(plane, channels)


def _dataset_of(pictures: Any) -> Dataset:
    return pictures if isinstance(pictures, Dataset) else Dataset(pictures)


def sources_of(pictures: Any, allow_hosts: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """(name, picture, mask) of each."""
    if isinstance(pictures, Mapping):
        seen: Counter[str] = Counter()
        for source, mask in pictures.items():
            # Named by what the picture is: a folder that was moved is dealt as before.
            name = f"{PurePath(source).stem}-{rasters.content(source, allow_hosts=allow_hosts)[:8]}"
            seen[name] += 1
            yield name if seen[name] == 1 else f"{name}-{seen[name]}", source, mask
        return
    ds = _dataset_of(pictures)
    home = Folder(ds.folder)
    for split in ds.splits:
        for row in ds.table(split, ["image_id", "source", "mask"]).to_pylist():
            if row["mask"]:
                yield row["image_id"], row["source"], _own_mask(home, row["mask"])


def _own_mask(home: Folder, name: str) -> str:
    """The path of a mask that a dataset names. SourceError where it is none of its own files."""
    return home.full(name) if home.remote else checked_path(name, home.path)


def pair_blocks_of(
    choice: Choice,
    target: Folder,
    name: str,
    source: str,
    mask: str,
    *,
    tile: int,
    block: int,
    margin: int,
    allow_hosts: tuple[str, ...] = (),
) -> Iterator[PairBlock]:
    with (
        rasters.open_chosen(source, choice, allow_hosts=allow_hosts) as picture,
        rasters.open_numbers(mask, allow_hosts=allow_hosts) as truth,
    ):
        truth.check()
        if not choice.is_made:
            headers.refuse_planes(picture)
        size_wh = picture.width, picture.height
        true_wh = truth.width, truth.height
        if size_wh != true_wh:
            shown = redact_url(source)
            raise ValueError(f"{shown} has {size_wh} pixels, its mask {true_wh}")
        content = f"{picture.identity}\n{truth.identity}"
        kind = picture.bands, str(picture.dtype)
        path = source
        if choice.is_made:
            content += f"\n{choice}"
        if picture.is_turned:
            # Such files were read in another way before.
            content += "\nfrom black"
        if rasters.needs_copy(picture):
            copied = hashing.digest(picture.identity, *choice) if choice.is_made else ""
            path = target.full(f"{COPIES}/{copied or picture.identity}.tif")
    width, height = size_wh
    step = block * tile + margin
    for y in range(0, height - tile + 1, step):
        for x in range(0, width - tile + 1, step):
            w = min(block, (width - x) // tile) * tile
            h = min(block, (height - y) // tile) * tile
            box = x, y, w, h
            names = f"{name}-{x}-{y}", f"{content}\n{box}"
            yield PairBlock(*names, source, path, mask, box, choice, *kind, allow_hosts)
