"""Files of many planes: OME-TIFF and other TIFFs of many pages, and GIFs of many frames.

Which plane is meant has to be said: one of fifteen, taken in silence, is a wrong picture.
"""

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from imgprep.io.rasters.raster import Raster, Window, checked_window, open_raster
from imgprep.io.rasters.settings import gdal
from imgprep.io.rasters.tiled import TIFF, TILE, files_beside
from imgprep.io.uris import SourceError
from imgprep.words import number_of

# Channels whose names are told.
PLANES_NAMED = 8


class Choice(NamedTuple):
    """plane: of a file of many, from 0. channels: its bands, from 0, in the order wanted.

    Without a plane, channels of a file of many planes are planes of one band each.
    """

    plane: int | None = None
    channels: tuple[int, ...] = ()

    @property
    def is_made(self) -> bool:
        return self.plane is not None or bool(self.channels)


def checked_choice(plane: Any = None, channels: Any = None) -> Choice:
    """ValueError where one of them is no number of a plane, or no list of such."""
    if plane is not None and (type(plane) is not int or plane < 0):
        raise ValueError(f"plane is a number from 0, not {plane!r}")
    if channels is None:
        return Choice(plane)
    is_list = isinstance(channels, list | tuple) and len(channels) > 0
    if not is_list or any(type(n) is not int or n < 0 for n in channels):
        raise ValueError(f"channels is a list of numbers from 0, as [0, 2], not {channels!r}")
    return Choice(plane, tuple(channels))


def count_planes(raster: Raster) -> int:
    """How many pictures of one size the file has, one behind the other; 1 for most.

    Pages of other sizes, as of a pyramid, are no planes.
    """
    if not isinstance(getattr(raster, "_opened", None), dict):
        # Openslide's.
        return 1
    dataset = raster.dataset
    if raster.driver == "GIF":
        return dataset.count
    pages = len(dataset.subdatasets) if raster.driver == "GTiff" else 0
    if pages < 2:
        return 1
    with raster.page(1) as second:
        return pages if (second.width, second.height) == (raster.width, raster.height) else 1


def told_planes(raster: Raster, count: int) -> str:
    """What the planes are, in words: "15 planes of 80 x 64 (OME-TIFF: 3 channels, 5 z, 1 t)"."""
    told = f"{count:,} planes of {raster.width} x {raster.height}"
    said = raster.dataset.tags().get("TIFFTAG_IMAGEDESCRIPTION", "")
    sizes = dict(re.findall(r'Size([CZT])="(\d+)"', said))
    if len(sizes) < 3:
        return told
    order = re.search(r'DimensionOrder="(\w+)"', said)
    names = re.findall(r'<Channel [^>]*Name="([^"]*)"', said)[:PLANES_NAMED]
    channels = number_of(int(sizes["C"]), "channel")
    about = f"{channels}, {sizes['Z']} z, {sizes['T']} t"
    if order:
        about += f", in the order {order[1]}"
    if names:
        about += f"; {', '.join(names)}"
    return f"{told} (OME-TIFF: {about})"


def open_chosen(uri: str, choice: Choice, *, allow_hosts: Sequence[str] = ()) -> Raster:
    """A raster of the planes and bands of this choice; as `rasters.open` where there is none.

    SourceError with .reason unsupported_format where the file does not have them.
    """
    if choice.is_made:
        return Chosen(uri, choice, allow_hosts=allow_hosts)
    return open_raster(uri, allow_hosts=allow_hosts)


class Chosen(Raster):
    """Some planes or bands of a file as one raster. It has no smaller levels."""

    def __init__(self, uri: str, choice: Choice, *, allow_hosts: Sequence[str] = ()):
        super().__init__(uri, allow_hosts=allow_hosts)
        count = count_planes(self)
        wanted = choice.channels
        self._parts = [self.dataset]
        if self.driver == "GIF" and choice.plane:
            # A frame is drawn on those before it, and GDAL does not draw.
            told = "only the first frame of a GIF can be read here"
            fix = "variants.build(frames='all') makes pictures of all"
            raise SourceError("unsupported_format", f"{told}: {fix}")
        if count > 1 and choice.plane is None and self.driver != "GIF":
            self._check("channel", wanted, count)
            self._open_pages(wanted)
            self._take_bands([0])
            self.bands = len(wanted)
            return
        else:
            self._check("plane", [choice.plane or 0], count)
            if choice.plane:
                self._open_pages([choice.plane])
        if wanted:
            self._check("channel", wanted, len(self._bands))
            self._take_bands(wanted)

    def _check(self, name: str, wanted: Sequence[int], count: int) -> None:
        wrong = [n for n in wanted if n >= count]
        if wrong:
            has = f"has {count:,}, from 0 to {count - 1:,}"
            shown = os.path.basename(self.uri.split("?")[0])
            told = f"there is no {name} {wrong[0]} in {shown!r}: it {has}"
            raise SourceError("unsupported_format", told)

    def _open_pages(self, pages: Sequence[int]) -> None:
        self._parts = [self.page(page) for page in pages]
        first = self._parts[0]
        for part in self._parts:
            if (part.shape, part.dtypes[0]) != (first.shape, first.dtypes[0]):
                told = f"the planes of {self.uri!r} are not of one size and type"
                raise SourceError("unsupported_format", told)
        nodata, crs, transform = self.nodata, self.crs, self.transform
        self._opened = {0: first, **dict(enumerate(self._parts[1:], 1))}
        self._describe(first)
        # A page seldom repeats where its file lies.
        self.crs = self.crs or crs
        self.transform = self.transform or transform
        self.nodata = nodata if self.nodata is None else self.nodata

    def _take_bands(self, wanted: Sequence[int]) -> None:
        if self._palette is not None:
            told = "colours of a palette are no channels"
            raise SourceError("unsupported_format", f"{self.uri!r}: {told}")
        self._bands = [self._bands[n] for n in wanted]
        self.bands = len(self._bands)

    @property
    def levels(self) -> list[tuple[int, int]]:  # type: ignore[override]
        return [(self.width, self.height)]

    def read(self, window: Window | None = None, level: int = 0) -> np.ndarray:
        box = checked_window(window, self.width, self.height)
        found = []
        # One after another through the base class, which knows palettes, masks and what is damaged.
        for part in self._parts:
            self._opened[0] = part
            found.append(super().read(box))
        self._opened[0] = self._parts[0]
        return found[0] if len(found) == 1 else np.concatenate(found, 2)

    def close(self) -> None:
        for part in getattr(self, "_parts", ()):
            part.close()
        super().close()


def copy_chosen(uri: str, choice: Choice, target: str, *, allow_hosts: Sequence[str] = ()) -> None:
    """Write a file beside `target` and rename it: a local, tiled TIFF of the chosen planes.

    Memory: a row of tiles. A file of a server is downloaded first.
    """
    with files_beside(uri, target, allow_hosts=allow_hosts) as (source, _, made):
        with Chosen(source, choice) as raster:
            _write_rows(raster, made)
        os.replace(made, target)


def _write_rows(raster: Raster, target: str) -> None:
    about: dict[str, Any] = {
        "width": raster.width,
        "height": raster.height,
        "count": raster.bands,
        "dtype": raster.dtype,
        "nodata": raster.nodata,
    }
    with gdal() as rasterio, rasterio.open(target, "w", **TIFF, **about) as out:
        for y in range(0, raster.height, TILE):
            box = 0, y, raster.width, min(TILE, raster.height - y)
            place = rasterio.windows.Window(*box)
            out.write(raster.read(box).transpose(2, 0, 1), window=place)
            valid = raster.valid(box)
            if valid is not None and raster.nodata is None:
                out.write_mask(valid, window=place)
