"""Rasters that cannot be read by windows cheaply are copied once, streamed, into a tiled TIFF."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imgprep.io import uris
from imgprep.io.rasters.raster import Raster
from imgprep.io.rasters.remote import download_scene
from imgprep.io.rasters.settings import gdal

WHOLE_PX = 2048 * 2048  # what has fewer pixels may as well be decoded whole
TILE = 512
TIFF: dict[str, Any] = {
    "driver": "GTiff",
    "TILED": "YES",
    "BLOCKXSIZE": TILE,
    "BLOCKYSIZE": TILE,
    "BIGTIFF": "IF_SAFER",
    "COMPRESS": "ZSTD",
    "ZSTD_LEVEL": 1,
}


def needs_copy(raster: Raster) -> bool:
    """Would tiles of it be decoded again and again?

    So with strips, PNG and JPEG of more than WHOLE_PX pixels.
    """
    block_w, block_h = raster.blocks
    is_tiled = block_w < raster.width and block_w * block_h <= WHOLE_PX
    return not is_tiled and raster.width * raster.height > WHOLE_PX


def copy_tiled(uri: str, target: str, *, allow_hosts: Sequence[str] = ()) -> None:
    """Write a file beside `target` and rename it: a local, tiled TIFF of the same pixels.

    A URL or an object is downloaded, in one request; what has strips is converted, streamed.
    Memory: a row of tiles.
    """
    with files_beside(uri, target, allow_hosts=allow_hosts) as (source, part, made):
        with Raster(source) as raster:
            if needs_copy(raster):
                _convert(raster, made)
                os.replace(made, part)
        os.replace(part, target)


@contextlib.contextmanager
def files_beside(
    uri: str, target: str, *, allow_hosts: Sequence[str] = ()
) -> Iterator[tuple[str, str, str]]:
    """(a path to read from, where a download lies, where to write) for a copy into `target`.

    A URL or an object is downloaded, in one request. What lies beside `target` in the end goes.
    """
    part = f"{target}.{os.getpid()}.part"
    made = f"{target}.{os.getpid()}.tif"
    try:
        if uris.scheme(uri) != "path":
            download_scene(uri, part, allow_hosts=allow_hosts)
            uri = part
        yield uri, part, made
    finally:
        for left in (part, made):
            Path(left).unlink(missing_ok=True)


def _convert(raster: Raster, target: str) -> None:
    dataset = raster.dataset
    dtype = dataset.dtypes[0]
    # By whole rows of tiles: narrower pieces would decode the strips, or a PNG from its top, again
    # and again.
    swath = raster.width * TILE * dataset.count * np.dtype(dtype).itemsize
    options = {**TIFF, "PREDICTOR": _predictor(dtype)}
    # Kept as it was: the numbers are not turned round here but where they are read.
    if raster.is_turned:
        options["PHOTOMETRIC"] = "MINISWHITE"
    with gdal(GDAL_SWATH_SIZE=swath) as rasterio:
        rasterio.shutil.copy(dataset, target, **options)


def _predictor(dtype: str) -> int:
    """TIFF's number for how a pixel is told by its neighbour: 3 floats, 2 integers, 1 not."""
    if dtype.startswith("float"):
        return 3
    return 2 if dtype in ("uint8", "uint16", "int16", "uint32", "int32") else 1
