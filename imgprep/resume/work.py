"""What a worker does with one unit: load each picture, make its results, write the part."""

import contextlib
import functools
import hashlib
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imgprep import engine
from imgprep.dataset import Reader
from imgprep.dataset.files import Folder
from imgprep.io import uris
from imgprep.io.web import fetch
from imgprep.picture import codec
from imgprep.resume import parts

AHEAD_BYTES = 32 << 20  # bodies that wait for the decoder, per worker


@dataclass(frozen=True)
class Work:
    """One unit: load each picture, make its results, write the part. Raw bodies never leave this process."""

    parts: parts.PartWriter
    load: Any
    make: Any

    def __call__(self, task: engine.Task) -> engine.Summary:
        totals = {"attempts": 0, "unchanged": 0}
        with contextlib.closing(self.load(task.payload, totals)) as loaded:
            summary = self.parts.write(task, self.make(loaded))
        return summary + engine.Summary(**totals)


@dataclass
class Loaded:
    key: bytes
    data: bytes | None
    columns: dict[str, Any]
    reason: str = ""
    error: str = ""
    etag: str = ""
    opt_out: str = ""  # what the owner says, where that is not honoured


def failed(one: Loaded, reason: str, error: str, **more: Any) -> dict[str, Any]:
    return {"key": one.key, "child": -1, "done": False, "reason": reason, "error": error, "etag": "", **more}


def picture_row(key: bytes, data: bytes, header: Any, etag: str = "", child: int = -1, **more: Any) -> dict[str, Any]:
    width, height, format = header
    row = {"key": key, "child": child, "done": True, "reason": "", "error": "", "image": data, "etag": etag}
    row |= {"width": width, "height": height, "format": format, "nbytes": len(data)}
    return row | {"sha256": hashlib.sha256(data).hexdigest(), **more}


@dataclass(frozen=True)
class Urls:
    """Loads what sources name: URLs by the HTTP client, in a thread of its own; all else by `uris.read_bytes`."""

    options: tuple
    max_bytes: int
    share: float  # this worker's part of what one host is asked at once
    # A client is kept for one run: a host that was given up is asked again by the next.
    _unique: str = field(default_factory=lambda: os.urandom(8).hex())

    @staticmethod
    def of(options: dict[str, Any]) -> "Urls":
        checked = fetch.Fetcher(**options)  # a wrong option is told now, not by a worker
        checked.close()
        return Urls(tuple(sorted(options.items())), checked.options.max_bytes, 1 / max(1, engine.workers()))

    def __call__(self, payload: list, totals: dict[str, int]) -> Iterator[Loaded]:
        rows = [Loaded(key, None, columns, etag=etag) for key, (_, columns), etag in payload]
        where = [source for _, (source, _), _ in payload]
        kinds = [uris.scheme(source or "") for source in where]
        web = [i for i, kind in enumerate(kinds) if kind not in ("path", "store", "hf")]
        if web:
            client = _once(("fetcher", self._unique), self._client)
            answers = client.fetch([where[i] for i in web], [rows[i].etag for i in web])
            with contextlib.closing(_ahead(answers, lambda a: len(a[1].body or b""))) as waiting:
                for i, answer in waiting:
                    one = rows[web[i]]
                    totals["attempts"] += answer.attempts
                    # A good picture is not given up because its server has a bad day.
                    passing = one.etag and answer.reason not in ("", "http_404", "http_410", "opted_out", "robots")
                    if answer.not_modified or passing:
                        totals["unchanged"] += 1
                        continue
                    one.data, one.etag = answer.body, answer.etag or ""
                    one.reason, one.error, one.opt_out = answer.reason, answer.error, answer.opt_out
                    yield one
        with ThreadPoolExecutor(4) as pool:
            others = [i for i, kind in enumerate(kinds) if kind in ("path", "store", "hf")]
            for at in range(0, len(others), 8):  # at most 8 bodies are held
                chunk = others[at : at + 8]
                for i, answer in zip(chunk, pool.map(self._read, [where[i] for i in chunk]), strict=True):
                    totals["attempts"] += 1
                    rows[i].data, rows[i].reason, rows[i].error = answer
                    yield rows[i]

    def _client(self) -> fetch.Fetcher:
        return fetch.Fetcher(**dict(self.options), share=self.share)

    def _read(self, source: str) -> tuple[bytes | None, str, str]:
        try:
            return uris.read_bytes(source, max_bytes=self.max_bytes), "", ""
        except uris.SourceError as e:
            return None, e.reason, str(e)


@dataclass(frozen=True)
class Stored:
    """Loads pictures out of a dataset folder's files."""

    folder: Folder

    def __call__(self, payload: list, totals: dict[str, int]) -> Iterator[Loaded]:
        reader = Reader(self.folder, keep=2)
        for key, ((file, row), columns), _ in payload:
            yield Loaded(key, reader.picture(file, row), columns)


@dataclass(frozen=True)
class Original:
    """The bytes as they came, proven to be a whole picture."""

    max_pixels: int | None
    keep_truncated: bool

    def __call__(self, loaded: Iterator[Loaded]) -> Iterator[dict[str, Any]]:
        for one in loaded:
            if one.reason or one.data is None:
                yield failed(one, one.reason or "empty", one.error or "there is no picture")
                continue
            try:
                h = codec.check(one.data, max_pixels=self.max_pixels, keep_truncated=self.keep_truncated)
                if h.format == "HEIF":  # `image` is always something that Pillow alone opens
                    raise codec.DecodeError("unsupported_format", "a HEIC picture stays in `original`: give size_wh")
                yield picture_row(one.key, one.data, (h.width, h.height, h.format), one.etag, opt_out=one.opt_out)
            except codec.DecodeError as e:
                original = one.data if e.reason == "unsupported_format" else None
                yield failed(one, e.reason, str(e), original=original, nbytes=len(original or b""))


def unchanged(loaded: Iterator[Loaded]) -> Iterator[dict[str, Any]]:
    """The pictures of a dataset folder as they are."""
    for one in loaded:
        h = codec.probe(one.data, max_pixels=None)
        yield picture_row(one.key, one.data, (h.width, h.height, h.format))


class _Unencodable(Exception):
    """What a function made of one picture has no pixels, or too many for the format."""


@dataclass(frozen=True)
class Picture:
    """Decode, run the function, encode: rows of results for each picture."""

    fn: Callable
    format: str = "PNG"
    columns: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    children: bool = False
    batch: int | None = None
    name: str = ""
    min_wh: tuple[int, int] | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: int | None = codec.MAX_PIXELS
    keep_truncated: bool = False

    def __call__(self, loaded: Iterator[Loaded]) -> Iterator[dict[str, Any]]:
        if isinstance(self.fn, Function):
            self.fn.build()  # an unbuildable model is the user's mistake: it raises here, not on every row
        decoded = map(self._decode, loaded)
        if not self.batch:
            for one, image, bad in decoded:
                yield from [bad] if bad else self._rows(one, *self._call(image, one.columns))
            return
        waiting: list[tuple[Loaded, np.ndarray]] = []
        # Decoding goes on in a thread while the model works on the batch before.
        with contextlib.closing(_ahead(decoded, lambda d: 0 if d[1] is None else d[1].nbytes)) as ahead:
            for one, image, bad in ahead:
                if bad:
                    yield bad
                    continue
                waiting.append((one, image))
                if len(waiting) == self.batch:
                    yield from self._batch(waiting)
                    waiting = []
        if waiting:
            yield from self._batch(waiting)

    def _decode(self, one: Loaded) -> tuple[Loaded, np.ndarray | None, dict[str, Any] | None]:
        if one.reason or one.data is None:
            return one, None, failed(one, one.reason or "empty", one.error or "there is no picture")
        try:
            image = codec.decode(
                one.data,
                min_wh=self.min_wh,
                background=self.background,
                max_pixels=self.max_pixels,
                keep_truncated=self.keep_truncated,
            )
            return one, image, None
        except codec.DecodeError as e:
            return one, None, failed(one, e.reason, str(e))

    def _call(self, image: Any, columns: dict[str, Any]) -> tuple[Any, str]:
        try:
            return self.fn(image, **columns), ""
        except (Exception, SystemExit) as e:
            return None, self._said(e)

    def _said(self, error: BaseException) -> str:
        """One line. An address in it would make two runs differ."""
        try:
            text = str(error)
        except Exception:
            text = "(its message cannot be read)"
        text = re.sub(r" at 0x[0-9a-f]+", "", f"{self.name}: {type(error).__name__}: {text}")
        return " ".join(text.encode("utf-8", "replace").decode().split())[:300]

    def _batch(self, waiting: list[tuple[Loaded, np.ndarray]]) -> Iterator[dict[str, Any]]:
        columns = {c: [one.columns[c] for one, _ in waiting] for c in self.columns}
        results, error = self._call([image for _, image in waiting], columns)
        if not error and (not isinstance(results, list | tuple | np.ndarray) or len(results) != len(waiting)):
            raise ValueError(f"{self.name} got a list of {len(waiting)} pictures and must return as many results")
        if error and len(waiting) > 1:  # one picture must not take the others with it
            for pair in waiting:
                yield from self._batch([pair])
            return
        for (one, _), result in zip(waiting, results if not error else [None], strict=True):
            yield from self._rows(one, result, error)

    def _rows(self, one: Loaded, result: Any, error: str) -> Iterator[dict[str, Any]]:
        if error:
            yield failed(one, "error", error)
            return
        many = isinstance(result, list)
        if many and not self.children:
            raise ValueError(f"{self.name} returned a list: say children=True to make a row of each item")
        if many and not result:
            yield failed(one, "empty", f"{self.name} returned no rows for this picture")
        items = enumerate(result) if many else [(-1, result)]
        try:
            rows = [self._row(one, item, child) for child, item in items]
        except _Unencodable as e:  # also where it is one of many: a picture fails as one row
            rows = [failed(one, "error", f"{self.name}: {e}")]
        yield from rows

    def _row(self, one: Loaded, result: Any, child: int) -> dict[str, Any]:
        values = result if isinstance(result, dict) else {"image": result}
        image, more = values.get("image"), {k: _plain(v) for k, v in values.items() if k != "image"}
        unknown = [k for k in more if k not in self.extra]
        more = {"opt_out": one.opt_out, **more}
        if unknown:
            raise ValueError(f"{self.name} returned {unknown[0]!r}: declare it in features={{{unknown[0]!r}: …}}")
        if image is None and not isinstance(result, dict):
            raise ValueError(f"{self.name} returned None: it must return a picture, a dict or a list of dicts")
        if image is None:
            h = codec.probe(one.data, max_pixels=None)
            return picture_row(one.key, one.data, (h.width, h.height, h.format), child=child, **more)
        is_array = isinstance(image, np.ndarray) and image.ndim in (2, 3)
        if not is_array or image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)):
            what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"{self.name} returned {what}: a picture is uint8 of shape (H, W, 3), a mask (H, W)")
        try:
            data = codec.encode(image, self.format, quality=95 if self.format == "JPEG" else None)
        except ValueError as e:
            raise _Unencodable(str(e)) from None
        return picture_row(one.key, data, (image.shape[1], image.shape[0], self.format), child=child, **more)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


@dataclass(frozen=True)
class Function:
    """A class that is built once per worker, and called with each picture."""

    cls: type
    init: dict[str, Any]
    options: dict[str, Any]
    key: str
    _unique: str = field(default_factory=lambda: os.urandom(8).hex())

    def build(self) -> Callable:
        return _once(("function", self.key, self._unique), lambda: self.cls(**self.init))

    def __call__(self, image: Any, **columns: Any) -> Any:
        return self.build()(image, **self.options, **columns)


_kept: dict[str, tuple[Any, Any]] = {}


def _once(key: tuple, make: Callable[[], Any]) -> Any:
    """One object of a kind per process, kept from unit to unit: connections, a model. A new key replaces the old."""
    kind = key[0]
    if kind not in _kept or _kept[kind][0] != key:
        _kept[kind] = (key, make())
    return _kept[kind][1]


def _ahead(items: Iterator, size: Callable[[Any], int]) -> Iterator:
    """Iterate in a thread, up to AHEAD_BYTES ahead of the consumer."""
    done, room = object(), threading.Condition()
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    state = {"held": 0, "stop": False}

    def pump() -> None:
        try:
            with contextlib.closing(items) if hasattr(items, "close") else contextlib.nullcontext():
                for item in items:
                    with room:
                        state["held"] += size(item) + 1024
                        waiting.put((item, None))
                        while state["held"] > AHEAD_BYTES and not state["stop"]:
                            room.wait()
                    if state["stop"]:
                        return
            waiting.put((done, None))
        except BaseException as e:
            waiting.put((done, e))

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is done:
                return
            with room:
                state["held"] -= size(item) + 1024
                room.notify()
            yield item
    finally:
        with room:
            state["stop"] = True
            room.notify()
        thread.join()


def name_of(fn: Callable) -> str:
    """The name that a person knows a function by."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(fn, "__name__", type(fn).__name__)
