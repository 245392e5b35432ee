"""Rasters somewhere else, read by pieces: a URL by the client of downloads, an object by its store.

GDAL itself asks no server.
"""

import contextlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, BinaryIO

from imgprep import hashing
from imgprep.io import uris
from imgprep.io.uris import SourceError
from imgprep.io.web.fetch import Fetcher
from imgprep.io.web.journey import Response
from imgprep.redaction import redact_url
from imgprep.words import line

BLOCK = 256 << 10  # read at once: a round trip costs as much as so many bytes
KEPT_BLOCKS = 64
SCENE_TIMEOUT_S = (
    86_400.0  # a slide of gigabytes has its time; what stands still is given up before
)
MOST_BYTES = 1 << 44
# What object stores and web servers call the mark of a version.
VERSIONS = ("etag", "last-modified", "last_modified", "lastmodified", "mtime", "updated")
SCHEMES = ("s3", "s3a", "az", "abfs", "abfss", "gs", "gcs", "http", "https")


class Remote:
    """A file somewhere else. size: its bytes. Keeps the blocks that were read last.

    Raises SourceError, with the reason that a download would have.
    """

    def __init__(self, uri: str, allow_hosts: Sequence[str] = (), *, look: bool = True):
        self.uri = uri
        self.size = 0
        self.marks: dict[str, str] = {}
        self.failure: SourceError | None = None  # what GDAL was not told
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._fetcher: Fetcher | None = None
        if uri.partition("://")[0].lower() not in SCHEMES:
            what = f"rasters are read from paths and {', '.join(SCHEMES)}"
            raise SourceError("unsupported_scheme", f"{redact_url(uri)!r}: {what}")
        if uris.scheme(uri) == "http":
            self._fetcher = Fetcher(
                allow_hosts=allow_hosts,
                timeout_s=SCENE_TIMEOUT_S,
                max_bytes=MOST_BYTES,
                in_flight=1,
            )
        try:
            if look:
                self.size, self.marks = self._look()
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> str:
        """What changes when the content does: size, and ETag or time."""
        # All names that services have for it: a store answers with one of them.
        return hashing.digest(self.size, *(self.marks.get(name, "") for name in VERSIONS))

    def _look(self) -> tuple[int, dict[str, str]]:
        if self._fetcher is not None:
            # With the size comes the first block, where GDAL
            # begins anyway: one request for two answers.
            found = self._checked(self._fetcher.get(self.uri, span=(0, BLOCK)))
            if found.total_bytes is None:
                raise SourceError("error", f"the server of {redact_url(self.uri)!r} tells no size")
            self._blocks[0] = found.body or b""
            return found.total_bytes, {"etag": found.etag, "last-modified": found.modified}
        info = self._of_store(lambda fs, path: fs.info(path))
        marks = {name.lower(): str(value) for name, value in info.items()}
        return int(info.get("size") or 0), marks

    def read_span(self, first: int, behind: int) -> bytes:
        """The bytes from `first` to before `behind`, as far as there are any."""
        behind = min(behind, self.size)
        found = []
        at = first
        while at < behind:
            number = at // BLOCK
            block = self._block(number)
            piece = block[at - number * BLOCK : behind - number * BLOCK]
            if not piece:
                # Shorter than was said: another file has taken its place.
                raise SourceError("changed", "the source changed while it was read: run it again")
            found.append(piece)
            at += len(piece)
        return b"".join(found)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            first = number * BLOCK
            self._blocks[number] = self._ask(first, min(first + BLOCK, self.size))
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _ask(self, first: int, behind: int) -> bytes:
        if self._fetcher is not None:
            return self._checked(self._fetcher.get(self.uri, span=(first, behind))).body or b""
        return self._of_store(lambda fs, path: fs.cat_file(path, start=first, end=behind))

    def download(self, target: str) -> None:
        """Write all of it into a file, in one request."""
        if self._fetcher is None:
            self._of_store(lambda fs, path: fs.get_file(path, target))
            return
        with open(target, "wb+") as sink:
            self._checked(self._fetcher.get(self.uri, sink=sink))

    def _checked(self, found: Response) -> Response:
        if not found.reason:
            return found
        shown = redact_url(self.uri)
        status = found.http_status or 0
        # In the words that a path has, too: a row's reason
        # must not depend on where its picture lies.
        if status in (404, 410):
            raise SourceError("missing_file", f"there is no {shown!r}")
        if status in (401, 403):
            raise SourceError("no_permission", f"{shown!r} may not be read")
        if found.reason == "http_416":
            raise SourceError("empty", f"{shown!r} has no bytes")
        if status >= 500:
            told = f"the server of {shown!r} answers {status}: try again later"
            raise SourceError(found.reason, told)
        if found.reason in ("dns", "refused"):
            raise SourceError(found.reason, f"{shown!r} cannot be reached: {found.error}")
        raise SourceError(found.reason, found.error)

    def _of_store(self, ask: Any) -> Any:
        import fsspec

        shown = redact_url(self.uri)
        try:
            return ask(*fsspec.core.url_to_fs(self.uri, use_listings_cache=False))
        except FileNotFoundError as e:
            raise SourceError("missing_file", f"there is no {shown!r}") from e
        except PermissionError as e:
            raise SourceError("no_permission", f"{shown!r} may not be read") from e
        except Exception as e:  # every store has errors of its own
            reason = "no_permission" if "Credential" in type(e).__name__ else "error"
            raise SourceError(reason, f"{shown!r} cannot be read: {line(e)}") from e

    def opener(self, path: str, mode: str = "rb") -> BinaryIO:
        """What rasterio opens files by: only this one is there, nothing lies beside it."""
        # GDAL looks for sidecars and tries to write .aux.xml: neither is there.
        if path != RASTER_NAME or "w" in mode:
            raise FileNotFoundError(path)
        return Cursor(self)  # type: ignore[return-value]

    def close(self) -> None:
        if self._fetcher is not None:
            self._fetcher.close()


def download_scene(uri: str, target: str, *, allow_hosts: Sequence[str] = ()) -> None:
    """Write a remote raster into a file, in one request; servers without ranges will do."""
    with contextlib.closing(Remote(uri, allow_hosts, look=False)) as remote:
        remote.download(target)


RASTER_NAME = "raster"  # as rasterio knows it


class Cursor:
    """A place in a remote file, as Python's files have it. A failure ends the file and is kept."""

    def __init__(self, remote: Remote):
        self._remote = remote
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        behind = self._remote.size if size < 0 else self._at + size
        try:
            data = self._remote.read_span(self._at, behind)
        except SourceError as e:
            self._remote.failure = e
            # An empty answer, as an exception would be lost
            # within GDAL; `failure` says it afterwards.
            return b""
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._remote.size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        pass

    def __enter__(self) -> "Cursor":
        return self

    def __exit__(self, *_: object) -> None:
        pass
