"""The bytes of a film as an open file: of a path, an object of a store, or a URL."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import fsspec

from imgprep.io.film.guarded import GuardedFile
from imgprep.io.uris.bodies import unread
from imgprep.io.uris.files import open_regular
from imgprep.io.uris.places import OUTSIDE, SourceError, path_of, scheme
from imgprep.io.web.fetch import Fetcher
from imgprep.redaction import redact_url

STORE_BLOCK_BYTES = 4 << 20  # read at once of an object: a film is read in long runs


@dataclass(frozen=True)
class Films:
    """Opens what a row's source names, seekable. Files and objects are read only where a frame is.

    max_bytes: of a film that is fetched from a URL: it lies on this machine's disk while it is
    worked on. allow_hosts: hosts with private addresses that a URL may name.
    """

    max_bytes: int
    allow_hosts: tuple[str, ...] = ()
    connect_to: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def open(self, source: str) -> Iterator[GuardedFile]:
        """The film's file.

        Raises SourceError with the reasons of `uris.read_bytes`, or a server's.
        """
        with contextlib.ExitStack() as stack:
            kind = scheme(source)
            if source.startswith(OUTSIDE):
                shown = source.removeprefix(OUTSIDE)
                raise SourceError("no_permission", f"{shown!r} is outside of its folder")
            if kind == "http":
                file: Any = stack.enter_context(tempfile.TemporaryFile(prefix="imgprep-film-"))
                self._fetch(source, file)
            elif kind in ("path", "store"):
                file = stack.enter_context(_opened_file(source, kind))
            elif not kind:
                raise SourceError("bad_url", "the cell names no film")
            else:
                raise SourceError("unsupported_scheme", f"{redact_url(source)!r} is not read")
            yield GuardedFile(file, source)

    def _fetch(self, url: str, file: BinaryIO) -> None:
        options = {"max_bytes": self.max_bytes, "allow_hosts": self.allow_hosts}
        with Fetcher(**options, connect_to=self.connect_to, timeout_s=3600) as client:
            answer = client.get(url, sink=file)
        if answer.reason:
            raise SourceError(answer.reason, answer.error)


def _opened_file(source: str, kind: str) -> Any:
    try:
        if kind == "path":
            return open_regular(path_of(source))
        fs, path = fsspec.core.url_to_fs(source)
        return fs.open(path, "rb", block_size=STORE_BLOCK_BYTES)
    except SourceError:
        raise
    except Exception as e:
        raise unread(source, e) from e
