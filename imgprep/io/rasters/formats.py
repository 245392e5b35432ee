"""Which one of GDAL's drivers may open a file, and what beside it may be read with it.

GDAL opens by content whatever it knows, and some of what it knows names other files and hosts (VRT,
WMTS, tile indexes). So the first bytes are looked at here, and GDAL is told the one driver.
"""

import os
from pathlib import Path
from typing import NamedTuple

from imgprep.io.uris import SourceError
from imgprep.io.uris.files import open_regular

FORMAT_HEAD_BYTES = 32
FORMAT_MAGIC = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51": "JP2OpenJPEG",
}
ZARR = (".zgroup", ".zarray", ".zmetadata", "zarr.json")
# What GDAL opens as pictures of their own when it finds them; each must be a plain TIFF.
PICTURES_BESIDE = (".ovr", ".OVR", ".msk", ".MSK", ".ovr.ovr", ".ovr.msk", ".msk.ovr")
TEXTS_BESIDE = (".aux.xml", ".ovr.aux.xml", ".msk.aux.xml")
FOREIGN_NAMES = (".aux", ".AUX")  # of ERDAS: names further files
OTHER_FILE = "OVERVIEW_FILE"  # what metadata names another file by
MOST_TEXT_BYTES = 64 << 20


class Readable(NamedTuple):
    """driver: GDAL's name, "" for none that is promised. beside: sidecars that count."""

    driver: str
    beside: tuple[str, ...] = ()


def driver_of(head: bytes) -> str:
    """The driver for a file that begins like this, "" where there is none.

    >>> driver_of(b"II*\\0"), driver_of(b"<VRTDataset")
    ('GTiff', '')
    """
    # RIFF is a container of many kinds: the word behind its length says which.
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in FORMAT_MAGIC.items() if head.startswith(magic)), "")


def readable(path: str) -> Readable:
    """How a path on this machine may be opened.

    SourceError where something beside it is not what it may be; OSError as `open` does.
    """
    if os.path.isdir(path):
        return Readable("Zarr" if _is_zarr(Path(path)) else "")
    with open_regular(path) as file:
        driver = driver_of(file.read(FORMAT_HEAD_BYTES))
    return Readable(driver, sidecars(path) if driver else ())


def sidecars(path: str) -> tuple[str, ...]:
    """The files beside a raster that belong to it: overviews, mask, metadata, its place on earth.

    SourceError for one that is a picture of another kind, leads elsewhere, or names other files.
    """
    stem, ending = os.path.splitext(path)
    # lexists: a link to nowhere is there, too, and has to be refused rather than missed.
    found = [path + end for end in (*PICTURES_BESIDE, *TEXTS_BESIDE) if os.path.lexists(path + end)]
    for name in found:
        _check_beside(path, name)
    worlds = [stem + end for end in _world_endings(ending) if os.path.lexists(stem + end)]
    for name in worlds:
        _check_beside(path, name)
    for end in FOREIGN_NAMES:
        for name in (path + end, stem + end):
            if (found or worlds) and os.path.lexists(name):
                raise _refused_source(name, "names further files")
    return (*found, *worlds)


def _world_endings(ending: str) -> list[str]:
    """.tif -> .tfw, .tifw, .wld, as GDAL looks for them; also in capitals."""
    plain = ending.lstrip(".")
    if len(plain) < 2:
        return []
    endings = [f".{plain[0]}{plain[-1]}w", f".{plain}w", ".wld"]
    return list(dict.fromkeys([*map(str.lower, endings), *map(str.upper, endings)]))


def _check_beside(path: str, name: str) -> None:
    home = os.path.realpath(os.path.dirname(path) or ".")
    target = os.path.realpath(name)
    # Beside the file or beside what a link to it names: a folder of links is common.
    if os.path.dirname(target) not in (home, os.path.dirname(os.path.realpath(path))):
        raise _refused_source(name, "leads to another folder")
    with open_regular(name) as file:
        if name.endswith(PICTURES_BESIDE):
            # What its metadata name is looked at where it is opened.
            if driver_of(file.read(FORMAT_HEAD_BYTES)) != "GTiff":
                raise _refused_source(name, "is no TIFF")
        elif OTHER_FILE.encode() in file.read(MOST_TEXT_BYTES).upper():
            raise _refused_source(name, "names another file")


def _refused_source(name: str, why: str) -> SourceError:
    told = f"{os.path.basename(name)!r}, which lies beside it, {why}: take it away"
    return SourceError("no_permission", told)


def _is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr whose all files lie in it."""
    home = os.path.realpath(folder)
    if not any((folder / name).is_file() for name in ZARR):
        return False
    for path in folder.rglob("*"):
        if path.is_symlink() and not os.path.realpath(path).startswith(home + os.sep):
            raise SourceError("no_permission", f"{path.name!r} in it leads to another folder")
    about = folder / ".zmetadata"
    # Kerchunk's form of it: a list of places in other files.
    if about.is_file() and b'"record_size"' in about.read_bytes():
        raise SourceError("no_permission", f"{folder.name!r} names pieces of other files")
    return True
