"""What tells one version of a raster from another, without reading all of it."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from imgprep import hashing
from imgprep.io import uris
from imgprep.io.rasters.formats import sidecars
from imgprep.io.rasters.remote import Remote

ENDS_BYTES = 1 << 20


def scene_identity(uri: str, *, allow_hosts: Sequence[str] = ()) -> str:
    """What changes when the content does.

    Size, time and the ends of a file, and of the sidecars that count; size and ETag of an object
    or a URL.
    """
    if uris.scheme(uri) != "path":
        with contextlib.closing(Remote(uri, allow_hosts)) as remote:
            return remote.identity
    if os.path.isdir(uri):
        stats = {name: path.stat() for name, path in _files(uri)}
        return hashing.digest([[n, s.st_size, s.st_mtime_ns] for n, s in stats.items()])
    path = uris.path_of(uri)
    info = os.stat(path)
    marks = [info.st_size, info.st_mtime_ns, _ends(path)]
    for name in sidecars(path):
        beside = os.stat(name)
        marks.append([os.path.splitext(name)[1], beside.st_size, beside.st_mtime_ns])
    return hashing.digest(*marks)


def content(uri: str, *, allow_hosts: Sequence[str] = ()) -> str:
    """What the picture is, wherever it lies and whenever it was written.

    Size and ends of a file; `scene_identity` elsewhere. Of a folder (Zarr) the names and sizes of
    its files.
    """
    if uris.scheme(uri) != "path":
        return scene_identity(uri, allow_hosts=allow_hosts)
    if os.path.isdir(uri):
        return hashing.digest([[name, path.stat().st_size] for name, path in _files(uri)])
    path = uris.path_of(uri)
    # By their endings: the same picture under another name is the same picture.
    beside = [[os.path.splitext(name)[1], _ends(name)] for name in sidecars(path)]
    return hashing.digest(os.stat(path).st_size, _ends(path), *beside)


def _files(folder: str) -> list[tuple[str, Path]]:
    """(path in the folder, path) of each file of a Zarr, sorted."""
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), path) for path in found]


def _ends(path: str) -> str:
    """Hash of a file's first and last MiB."""
    with Path(path).open("rb") as file:
        ends = hashlib.blake2b(file.read(ENDS_BYTES), digest_size=16)
        size = os.fstat(file.fileno()).st_size
        # Both ends, since an editor that changes one pixel seldom keeps size, time and both MiB.
        file.seek(max(0, size - ENDS_BYTES))
        ends.update(file.read(ENDS_BYTES))
    return ends.hexdigest()
