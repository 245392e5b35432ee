"""GDAL as we use it: rasterio under options that keep memory flat and servers from hanging us."""

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator
from typing import Any

from imgprep.words import extra

OPTIONS: dict[str, Any] = {
    # Not GDAL's default for its cache, which is 5 % of the machine's memory and reads like a leak.
    "GDAL_CACHEMAX": 16 << 20,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # A mosaic keeps the parts of a row of blocks open, not 450, and reads them in one thread:
    # memory stays flat.
    "GDAL_MAX_DATASET_POOL_SIZE": 32,
    "VRT_NUM_THREADS": 1,
    # GDAL asks no server: `remote` does. No file has this name.
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "/vsicurl/none",
    # Warnings would go to stderr past Python.
    "CPL_LOG": os.devnull,
}


@contextlib.contextmanager
def gdal(**more: Any) -> Iterator[Any]:
    """rasterio with the options above, in this thread. ValueError where it is not installed."""
    rasterio = _rasterio()
    with rasterio.Env(**{**OPTIONS, **more}):
        yield rasterio


@functools.cache
def _rasterio() -> Any:
    try:
        import rasterio.shutil
    except ImportError:
        raise ValueError(f"rasters need `{extra('tiles')}`") from None
    # Most pictures have no place on earth. (catch_warnings is not for threads.)
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    return rasterio
