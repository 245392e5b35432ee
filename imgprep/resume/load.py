"""The pictures of a unit: from URLs, paths, objects and rows of datasets,
or out of a dataset folder's files.
"""

import contextlib
import os
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from imgprep import engine
from imgprep.dataset import Reader
from imgprep.dataset.files import Folder
from imgprep.io import uris
from imgprep.io.web import fetch
from imgprep.io.web.options import Options
from imgprep.io.web.routes import STAND_INS
from imgprep.resume import work
from imgprep.resume.inputs import Wanted
from imgprep.resume.work import Loaded

READ_AT_ONCE = 8  # bodies of files and objects that are held
READERS = 4
NOT_WEB = ("path", "store", "hf")
GONE = ("", "http_404", "http_410", "opted_out", "robots")  # answers that hold, also in a refresh


@dataclass(frozen=True)
class Urls:
    """Loads what sources name: URLs by the HTTP client, in a thread of its own;
    all else by `uris.read_bytes`.
    """

    options: tuple[tuple[str, Any], ...]
    checked: Options
    # A client is kept for one run: a host that was given up is asked again by the next.
    _unique: str = field(default_factory=lambda: os.urandom(8).hex())

    @staticmethod
    def of(options: dict[str, Any]) -> "Urls":
        # The sample's server takes any free port, and stands in for the one in the table.
        if STAND_INS:
            options = {"connect_to": dict(STAND_INS), **options}
        checked = fetch.Fetcher(**options)  # a wrong option is told now, not by a worker
        checked.close()
        return Urls(tuple(sorted(options.items())), checked.options)

    def most_at_once(self, payload: Iterable[Wanted]) -> int | None:
        """Of more workers each would still ask a host once, and all together too often."""
        is_web = any(uris.scheme(wanted.where or "") == "http" for wanted in payload)
        return self.checked.per_host if is_web else None

    @property
    def circumstances(self) -> dict[str, Any]:
        """The options by which a picture may be refused: see `resume.again`."""
        return {
            "allow_hosts": list(self.checked.allow_hosts),
            "max_bytes": self.checked.max_bytes,
            "max_redirects": self.checked.max_redirects,
            "timeout_s": self.checked.timeout_s,
            "opt_out": self.checked.opt_out,
            "robots_txt": self.checked.robots_txt,
        }

    def __call__(
        self, payload: list[Wanted], totals: dict[str, int]
    ) -> Generator[Loaded, None, None]:
        web: list[Wanted] = []
        others: list[Wanted] = []
        for wanted in payload:
            is_other = uris.scheme(wanted.where or "") in NOT_WEB
            part = others if is_other else web
            part.append(wanted)
        # The web first: its answers come while the servers are slow anyway, files never wait.
        if web:
            yield from self._fetched(web, totals)
        yield from self._read(others, totals)

    def _fetched(
        self, wanted: list[Wanted], totals: dict[str, int]
    ) -> Generator[Loaded, None, None]:
        client = work.once(("fetcher", self._unique), self._client)
        answers = client.fetch([w.where for w in wanted], [w.etag for w in wanted])
        ahead = work.ahead(answers, lambda found: len(found[1].body or b""))
        with contextlib.closing(ahead) as waiting:
            for i, answer in waiting:
                totals["attempts"] += answer.attempts
                # A good picture is not given up because its server has a bad day.
                is_passing = wanted[i].etag and answer.reason not in GONE
                if answer.not_modified or is_passing:
                    totals["unchanged"] += 1
                    continue
                yield Loaded(
                    wanted[i].key,
                    answer.body,
                    wanted[i].columns,
                    reason=answer.reason,
                    error=answer.error,
                    etag=answer.etag or "",
                    opt_out=answer.opt_out,
                )

    def _client(self) -> fetch.Fetcher:
        return fetch.Fetcher(**dict(self.options), share=engine.share())

    def _read(self, wanted: list[Wanted], totals: dict[str, int]) -> Generator[Loaded, None, None]:
        # By small chunks: `map` would read all of a unit at once and hold every body.
        with ThreadPoolExecutor(READERS) as pool:
            for at in range(0, len(wanted), READ_AT_ONCE):
                chunk = wanted[at : at + READ_AT_ONCE]
                totals["attempts"] += len(chunk)
                yield from pool.map(self._read_one, chunk)

    def _read_one(self, wanted: Wanted) -> Loaded:
        one = Loaded(wanted.key, None, wanted.columns, etag=wanted.etag)
        try:
            one.data = uris.read_bytes(wanted.where, max_bytes=int(self.checked.max_bytes))
        except uris.SourceError as e:
            one.reason, one.error = e.reason, str(e)
        return one


def local_file(where: Any, load: Any = None) -> str:
    """The file of this machine that a row is made of,
    by its `Wanted.where`; "" where it is none.
    """
    if isinstance(where, str):
        return uris.path_of(where) if uris.scheme(where) == "path" else ""
    if isinstance(load, Stored):
        return "" if load.folder.remote else load.folder.full(where[0])
    return local_file(getattr(where, "source", ""))  # of a raster


@dataclass(frozen=True)
class Stored:
    """Loads pictures out of a dataset folder's files."""

    folder: Folder
    max_bytes: int | None = None

    def __call__(
        self, payload: list[Wanted], totals: dict[str, int]
    ) -> Generator[Loaded, None, None]:
        # Two files: a unit's rows come from one, and at a border from the next.
        reader = Reader(self.folder, keep=2)
        for wanted in payload:
            file, row = wanted.where
            one = Loaded(wanted.key, reader.picture(file, row), wanted.columns)
            if self.max_bytes is not None and len(one.data or b"") > self.max_bytes:
                told = f"the picture has more than {self.max_bytes:,} bytes"
                one.data, one.reason, one.error = None, "too_large", told
            yield one
