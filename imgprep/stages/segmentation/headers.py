"""The pictures of a segmentation, their headers read, and the rasters of what is true of them."""

import functools
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from imgprep import hashing
from imgprep.io import rasters, uris
from imgprep.io.rasters import Choice
from imgprep.io.uris import SourceError
from imgprep.redaction import redact_url
from imgprep.words import bytes_text, line

# The longer side of an overlay, at most.
OVERVIEW_PX = 1024
# A header takes a round trip each.
HEADER_READERS = 8
# Of a file's own tile, decoded.
MAX_BLOCK_BYTES = 512 << 20


@dataclass(frozen=True)
class Scene:
    """A picture to segment, its header read. `reason` and `error` say why that is not possible.

    name: of its files. key: of its parts; changes with the operation, the picture and the truth.
    path: what workers open; content: what is in there. copy: whether a tiled copy is needed.
    """

    source: str
    name: str
    key: str = ""
    path: str = ""
    content: str = ""
    width: int = 0
    height: int = 0
    bands: int = 0
    dtype: str = ""
    crs: str = ""
    transform: tuple[float, ...] | None = None
    copy: bool = False
    truth: str = ""
    # Of planes and channels, where the file has many.
    choice: Choice = Choice()
    # Private ones that its URL may name.
    allow_hosts: tuple[str, ...] = ()
    reason: str = ""
    error: str = ""

    @property
    def identity(self) -> str:
        return f"{self.name}\n{self.key}\n{self.reason}\n{self.error}"

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def factor(self) -> int:
        """How many pixels a pixel of the overview stands for, along a side."""
        return max(1, -(-max(self.size_wh) // OVERVIEW_PX))


@dataclass(frozen=True)
class Looking:
    """What all headers are read with: the operation's hash, the hosts that may be asked, ...

    choice: of planes and channels. max_block_bytes: what a file's own tile may take in memory.
    """

    operation: str
    allow_hosts: tuple[str, ...] = ()
    choice: Choice = Choice()
    max_block_bytes: int = MAX_BLOCK_BYTES


def scene_of(looking: Looking, name: str, source: str, truth: str) -> Scene:
    """The picture by its header.

    ValueError for a truth that cannot be read, or is of another one.
    """
    known = ""
    size_wh = None
    if truth:
        with rasters.open_numbers(truth, allow_hosts=looking.allow_hosts) as true:
            true.check()
            known = true.identity
            size_wh = true.width, true.height
    try:
        scene = _header(looking, known, Scene(source, name, truth=truth))
    except SourceError as e:
        return Scene(source, name, reason=e.reason, error=str(e))
    except Exception as e:
        # Every store has errors of its own.
        told = f"{redact_url(source)!r} cannot be read: {line(e)}"
        return Scene(source, name, reason="error", error=told)
    if size_wh and size_wh != scene.size_wh:
        told = f"{redact_url(truth)!r} has {size_wh} pixels, its picture {scene.size_wh}"
        raise ValueError(f"{told}: it is of another one")
    return scene


def _header(looking: Looking, known_truth: str, scene: Scene) -> Scene:
    source = scene.source
    if source.startswith(uris.OUTSIDE) or not source:
        reason = "missing_file" if source else "empty"
        raise SourceError(reason, f"there is no path or URI: {source!r}")
    allow_hosts = looking.allow_hosts
    with rasters.open_chosen(source, looking.choice, allow_hosts=allow_hosts) as raster:
        if not looking.choice.is_made:
            refuse_planes(raster)
        _refuse_huge_tiles(raster, looking.max_block_bytes)
        content = raster.identity
        is_far = uris.scheme(source) != "path"
        return replace(
            scene,
            # The truth counts as well: with another one the
            # measures are others, and they stand in the row.
            key=hashing.digest(looking.operation, content, known_truth, *_ways_of_reading(raster)),
            path=source,
            content=content,
            width=raster.width,
            height=raster.height,
            bands=raster.bands,
            dtype=str(raster.dtype),
            crs=raster.crs,
            transform=tuple(raster.transform) if raster.transform else None,
            copy=is_far or rasters.needs_copy(raster),
            choice=looking.choice,
            allow_hosts=allow_hosts,
        )


def _ways_of_reading(raster: rasters.Raster) -> list[str]:
    """Of files that were read in another way before."""
    return ["from black"] if raster.is_turned else []


def refuse_planes(raster: rasters.Raster) -> None:
    """SourceError where a file has many planes, and it is not said which is meant."""
    count = rasters.count_planes(raster)
    if count > 1:
        told = rasters.told_planes(raster, count)
        fix = f"plane=0 to {count - 1} chooses one, channels=[0, 1] several as bands"
        if raster.driver == "GIF":
            fix = "plane=0 takes the first, variants.build(frames='all') makes pictures of all"
        raise SourceError("unsupported_format", f"it has {told}: {fix}")


def _refuse_huge_tiles(raster: rasters.Raster, most: int) -> None:
    """A tile of the file is decoded whole, whatever is asked of it."""
    width, height = raster.blocks
    needed = width * height * np.dtype(raster.dtype).itemsize
    if needed > most:
        told = f"its own tiles of {width:,} x {height:,} pixels take {bytes_text(needed)} to decode"
        fix = "write it anew with smaller ones (gdal_translate -of COG), or give max_memory_mb"
        raise SourceError("too_many_pixels", f"{told}: {fix}")


def scenes_of(tables: dict[str, pa.Table], truth: Any, looking: Looking) -> dict[str, list[Scene]]:
    """The pictures of each split. ValueError for a truth that is not of its picture."""
    look_at = functools.partial(scene_of, looking)
    with ThreadPoolExecutor(HEADER_READERS) as pool:
        found = {
            split: list(pool.map(look_at, *_columns(table, truth)))
            for split, table in tables.items()
        }
    return _with_names(found)


def _columns(table: pa.Table, truth: Any) -> list[list[str]]:
    """The columns image_id, source, and the one of the truth; "" for a null."""
    column = truth if isinstance(truth, str) and truth in table.column_names else "truth"
    known = [""] * table.num_rows
    if truth is not None and column in table.column_names:
        known = table[column].to_pylist()
    columns = [table["image_id"].to_pylist(), table["source"].to_pylist(), known]
    return [[cell or "" for cell in column] for column in columns]


def _with_names(found: dict[str, list[Scene]]) -> dict[str, list[Scene]]:
    """Each with a name that a file can have, which no other has, from its id."""
    seen: Counter[str] = Counter()

    def with_name(scene: Scene) -> Scene:
        name = re.sub(r"[^\w.-]+", "_", scene.name).strip(".") or "picture"
        # Some file systems do not tell A from a.
        seen[name.lower()] += 1
        n = seen[name.lower()]
        return replace(scene, name=name if n == 1 else f"{name}-{n}")

    return {split: [with_name(scene) for scene in scenes] for split, scenes in found.items()}
