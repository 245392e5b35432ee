"""Where things lie in the store of a service, and what they are served as."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from imgprep.io.film.sniff import FILM_TYPES
from imgprep.io.stores import Store
from imgprep.serve.operations import job_id

OBJECT_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "HEIF": "image/heif",
    "JPEG2000": "image/jp2",
    **FILM_TYPES,
}
# Files of a result that is several, by our own names: no client's.
FILE_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4s": "video/iso.segment",
    ".mp4": "video/mp4",
    ".vtt": "text/vtt",
    ".jpg": "image/jpeg",
}
UNKNOWN_TYPE = "application/octet-stream"
RESULT_FILES = "files"
SENT_BYTES = 1 << 20  # what is held in memory at once, however large the film is


@dataclass(frozen=True)
class StoredBytes:
    """Bytes that lie in a store."""

    store: Store
    place: str
    nbytes: int
    media_type: str

    def read(self, start: int, stop: int) -> bytes:
        """Raises FileNotFoundError where they are not there any more."""
        return self.store.get_range(self.place, start, stop) if stop > start else b""

    async def pieces(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """What is from start to before stop, in order."""
        stop = self.nbytes if stop is None else stop
        for at in range(start, stop, SENT_BYTES):
            yield await asyncio.to_thread(self.read, at, min(stop, at + SENT_BYTES))


def place_of(name: str) -> str:
    return f"objects/{name[:2]}/{name}"


def result_place(job: str) -> str:
    return f"results/{job[:2]}/{job}"


def file_place(job: str, path: str) -> str:
    """Where a file of a result lies that is several: a ladder's."""
    return f"{RESULT_FILES}/{job[:2]}/{job}/{path}"


def result_places(job: str, record: dict[str, Any]) -> list[str]:
    """Where all the bytes of a result lie."""
    return [result_place(job), *(file_place(job, path) for path in record.get(RESULT_FILES, {}))]


def stored_type(record: dict[str, Any], place: str) -> str:
    """The type of bytes that a record names."""
    if place.startswith(f"{RESULT_FILES}/"):
        return file_type(place)
    return record.get("media_type") or OBJECT_TYPES.get(record.get("format", ""), UNKNOWN_TYPE)


def file_type(path: str) -> str:
    """What a file of a ladder is served as."""
    return FILE_TYPES.get(PurePosixPath(path).suffix, UNKNOWN_TYPE)


def is_film(record: dict[str, Any]) -> bool:
    """Is an object's record that of a film?"""
    return record.get("media") == "film"


def poster_id(name: str) -> str:
    """The result that is the picture of a film."""
    return job_id("poster", {}, name)
