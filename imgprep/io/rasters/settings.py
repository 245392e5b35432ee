"""GDAL as we use it: rasterio under options that keep memory flat and servers from hanging us."""

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

OPTIONS: dict[str, Any] = {
    # Not GDAL's default for its cache, which is 5 % of the machine's memory and reads like a leak.
    "GDAL_CACHEMAX": 16 << 20,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # A mosaic keeps the parts of a row of blocks open, not 450, and reads them in one thread:
    # memory stays flat.
    "GDAL_MAX_DATASET_POOL_SIZE": 32,
    "VRT_NUM_THREADS": 1,
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
    "GDAL_HTTP_LOW_SPEED_TIME": 30,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
    # Warnings would go to stderr past Python.
    "CPL_LOG": os.devnull,
}


@contextlib.contextmanager
def gdal(**more: Any) -> Iterator[Any]:
    """rasterio with the options above, in this thread. ValueError where it is not installed."""
    rasterio = _rasterio()
    options = OPTIONS | more
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    if endpoint.netloc:  # boto's name for it; GDAL has others
        options["AWS_S3_ENDPOINT"] = endpoint.netloc
        options["AWS_VIRTUAL_HOSTING"] = "FALSE"
        options["AWS_HTTPS"] = "YES" if endpoint.scheme == "https" else "NO"
    with rasterio.Env(**options):
        yield rasterio


@functools.cache
def _rasterio() -> Any:
    try:
        import rasterio.shutil
    except ImportError:
        raise ValueError("rasters need `pip install imgprep[tiles]`") from None
    # Most pictures have no place on earth. (catch_warnings is not for threads.)
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    return rasterio
