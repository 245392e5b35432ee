"""What tells one version of a raster from another, without reading all of it."""

import hashlib
import os
from pathlib import Path
from typing import Any

from imgprep import hashing
from imgprep.io import uris

ENDS_BYTES = 1 << 20
# What object stores and web servers call the mark of a version.
VERSIONS = ("etag", "last-modified", "last_modified", "lastmodified", "mtime", "updated")


def identity(uri: str) -> str:
    """What changes when the content does.

    Size, time and the ends of a file; size and ETag of an object or a URL.
    """
    if uris.scheme(uri) != "path":
        fs, path = filesystem(uri)
        info = fs.info(path)
        known = {name.lower(): str(value) for name, value in info.items()}
        return hashing.digest(info.get("size"), *(known.get(name, "") for name in VERSIONS))
    if os.path.isdir(uri):
        stats = {name: path.stat() for name, path in _files(uri)}
        return hashing.digest([[n, s.st_size, s.st_mtime_ns] for n, s in stats.items()])
    info = os.stat(uri)
    return hashing.digest(info.st_size, info.st_mtime_ns, _ends(uri))


def content(uri: str) -> str:
    """What the picture is, wherever it lies and whenever it was written.

    Size and ends of a file; `identity` elsewhere. Of a folder (Zarr) the names and sizes of its
    files.
    """
    if uris.scheme(uri) != "path":
        return identity(uri)
    if os.path.isdir(uri):
        return hashing.digest([[name, path.stat().st_size] for name, path in _files(uri)])
    return hashing.digest(os.stat(uri).st_size, _ends(uri))


def filesystem(uri: str) -> tuple[Any, str]:
    """fsspec's filesystem of a URI, and the path in it."""
    import fsspec

    return fsspec.core.url_to_fs(uri, use_listings_cache=False)


def _files(folder: str) -> list[tuple[str, Path]]:
    """(path in the folder, path) of each file of a Zarr, sorted."""
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), path) for path in found]


def _ends(path: str) -> str:
    """Hash of a file's first and last MiB."""
    with Path(path).open("rb") as file:
        ends = hashlib.blake2b(file.read(ENDS_BYTES), digest_size=16)
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - ENDS_BYTES))
        ends.update(file.read(ENDS_BYTES))
    return ends.hexdigest()
