"""The results of pictures: the original as it came,
or what a function makes of the decoded picture.
"""

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from imgprep.failures import Failure, is_of_machine
from imgprep.picture import codec
from imgprep.redaction import redact
from imgprep.resume import work
from imgprep.resume.work import Loaded, Results

ERROR_CHARACTERS = 300
UNREADABLE = ("unsupported_format", "missing_extra")  # here: the bytes are kept


def failed(one: Loaded, reason: str, error: str, **more: Any) -> dict[str, Any]:
    """The result of a picture that could not be had, or not be worked on."""
    row = {"key": one.key, "child": -1, "done": False, "reason": reason, "etag": ""}
    # Here already: the part lies on the disk before anything else looks at the sentence.
    return {**row, "error": redact(error), **more}


def not_loaded(one: Loaded) -> dict[str, Any]:
    """The result of a row for which there are no bytes."""
    return failed(one, one.reason or "empty", one.error or "there is no picture")


def picture_row(
    key: bytes,
    data: bytes,
    header: tuple[int, int, str],
    etag: str = "",
    child: int = -1,
    **more: Any,
) -> dict[str, Any]:
    """The result of a picture. header: width and height as displayed, and format."""
    width, height, format = header
    return {
        "key": key,
        "child": child,
        "done": True,
        "reason": "",
        "error": "",
        "image": data,
        "etag": etag,
        "width": width,
        "height": height,
        "format": format,
        "nbytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        **more,
    }


@dataclass(frozen=True)
class Original:
    """The bytes as they came, proven to be a whole picture."""

    max_pixels: int | None
    keep_truncated: bool

    def __call__(self, loaded: Iterator[Loaded]) -> Results:
        for one in loaded:
            if one.reason or one.data is None:
                yield not_loaded(one)
                continue
            try:
                yield self._checked(one, one.data)
            except codec.DecodeError as e:
                original = one.data if e.reason in UNREADABLE else None
                nbytes = len(original or b"")
                yield failed(one, e.reason, str(e), original=original, nbytes=nbytes)

    def _checked(self, one: Loaded, data: bytes) -> dict[str, Any]:
        # Checked to the last byte, since the header of
        # a cut file is as good as that of a whole one.
        h = codec.check(data, max_pixels=self.max_pixels, keep_truncated=self.keep_truncated)
        if h.format == "HEIF":  # `image` is always something that Pillow alone opens
            told = "a HEIC picture stays in `original`: give size_wh"
            raise codec.DecodeError("unsupported_format", told)
        header = h.width, h.height, h.format
        return picture_row(one.key, data, header, one.etag, opt_out=one.opt_out)


def unchanged(loaded: Iterator[Loaded]) -> Results:
    """The pictures of a dataset folder as they are."""
    for one in loaded:
        data = one.data or b""
        h = codec.probe(data, max_pixels=None)
        yield picture_row(one.key, data, (h.width, h.height, h.format))


class _Unencodable(Exception):
    """What a function made of one picture has no pixels, or too many for the format."""


@dataclass(frozen=True)
class _Decoded:
    """A picture that was loaded; the result of one that could not be decoded."""

    one: Loaded
    image: np.ndarray | None = None
    bad: dict[str, Any] | None = None

    @property
    def nbytes(self) -> int:
        return 0 if self.image is None else self.image.nbytes


@dataclass(frozen=True)
class Picture:
    """Decode, run the function, encode: rows of results for each picture."""

    fn: Callable[..., Any]
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
    is_grey: bool = False  # the results have three equal channels, of which one is stored

    def __call__(self, loaded: Iterator[Loaded]) -> Results:
        if isinstance(self.fn, Function):
            self.fn.build()  # an unbuildable model is the user's mistake: it raises here, not on every row
        decoded = map(self._decode, loaded)
        yield from self._in_batches(decoded) if self.batch else self._one_by_one(decoded)

    def _decode(self, one: Loaded) -> _Decoded:
        if one.reason or one.data is None:
            return _Decoded(one, bad=not_loaded(one))
        try:
            image = codec.decode(
                one.data,
                min_wh=self.min_wh,
                background=self.background,
                max_pixels=self.max_pixels,
                keep_truncated=self.keep_truncated,
            )
        except codec.DecodeError as e:
            return _Decoded(one, bad=failed(one, e.reason, str(e)))
        return _Decoded(one, image)

    def _one_by_one(self, decoded: Iterator[_Decoded]) -> Results:
        for found in decoded:
            if found.bad:
                yield found.bad
                continue
            result, fault = self._call(found.image, found.one.columns)
            yield from self._rows(found.one, result, fault)

    def _in_batches(self, decoded: Iterator[_Decoded]) -> Results:
        waiting: list[_Decoded] = []
        # Decoding goes on in a thread while the model works on the batch before.
        with contextlib.closing(work.ahead(decoded, lambda found: found.nbytes)) as ahead:
            for found in ahead:
                if found.bad:
                    yield found.bad
                    continue
                waiting.append(found)
                if len(waiting) == self.batch:
                    yield from self._batch(waiting)
                    waiting = []
        if waiting:
            yield from self._batch(waiting)

    def _batch(self, waiting: list[_Decoded]) -> Results:
        columns = {c: [found.one.columns[c] for found in waiting] for c in self.columns}
        results, fault = self._call([found.image for found in waiting], columns)
        if fault and len(waiting) > 1:  # one picture must not take the others with it
            for found in waiting:
                # Again one by one: then the sentence is of the
                # picture that fails, and the rest is kept.
                yield from self._batch([found])
            return
        if fault:
            yield from self._rows(waiting[0].one, None, fault)
            return
        is_list = isinstance(results, list | tuple | np.ndarray)
        if not is_list or len(results) != len(waiting):
            got = f"{self.name} got a list of {len(waiting)} pictures"
            raise ValueError(f"{got} and must return as many results")
        for found, result in zip(waiting, results, strict=True):
            yield from self._rows(found.one, result, fault)

    def _call(self, image: Any, columns: dict[str, Any]) -> "tuple[Any, _Fault | None]":
        """What the function returns, or what it raises."""
        try:
            return self.fn(image, **columns), None
        # The function itself says what is wrong with the picture, in a word that is counted.
        except Failure as e:
            return None, _Fault(e.reason, _in_one_line(str(e)))
        # SystemExit too: a script's function may call exit(), which must not end the worker.
        except (Exception, SystemExit) as e:
            if is_of_machine(e):
                raise
            return None, _Fault("error", _told(self.name, e))

    def _rows(self, one: Loaded, result: Any, fault: "_Fault | None") -> Results:
        if fault:
            yield failed(one, *fault)
            return
        is_many = isinstance(result, list)
        if is_many and not self.children:
            raise ValueError(
                f"{self.name} returned a list: say children=True to make a row of each item"
            )
        if is_many and not result:
            yield failed(one, "empty", f"{self.name} returned no rows for this picture")
        items = enumerate(result) if is_many else [(-1, result)]
        try:
            # All of them before the first is given on: a
            # picture has its rows, or one failure, never both.
            rows = [self._row(one, item, child) for child, item in items]
        except _Unencodable as e:  # also where it is one of many: a picture fails as one row
            rows = [failed(one, "error", f"{self.name}: {e}")]
        yield from rows

    def _row(self, one: Loaded, result: Any, child: int) -> dict[str, Any]:
        values = result if isinstance(result, dict) else {"image": result}
        image = values.get("image")
        more = {"opt_out": one.opt_out}
        for name, value in values.items():
            if name == "image":
                continue
            if name not in self.extra:
                fix = f"declare it in features={{{name!r}: …}}"
                raise ValueError(f"{self.name} returned {name!r}: {fix}")
            more[name] = _plain_value(value)
        if image is None and not isinstance(result, dict):
            told = "it must return a picture, a dict or a list of dicts"
            raise ValueError(f"{self.name} returned None: {told}")
        if image is None:
            original = one.data or b""
            # max_pixels=None: the picture was decoded within the limit a moment ago.
            h = codec.probe(original, max_pixels=None)
            header = h.width, h.height, h.format
            return picture_row(one.key, original, header, child=child, **more)
        data = self._encoded(image)
        header = image.shape[1], image.shape[0], self.format
        return picture_row(one.key, data, header, child=child, **more)

    def _encoded(self, image: Any) -> bytes:
        is_array = isinstance(image, np.ndarray) and image.ndim in (2, 3)
        if not is_array or image.dtype != np.uint8 or image.shape[2:] not in ((), (1,), (3,)):
            what = type(image).__name__
            if isinstance(image, np.ndarray):
                what = f"{image.dtype} {image.shape}"
            told = "a picture is uint8 of shape (H, W, 3), a mask (H, W)"
            raise ValueError(f"{self.name} returned {what}: {told}")
        if image.ndim == 3 and (self.is_grey or image.shape[2] == 1):
            # One channel is stored for one that three repeat:
            # a third of the bytes, and the same pixels.
            image = np.ascontiguousarray(image[:, :, 0])
        try:
            return codec.encode(image, self.format, quality=95 if self.format == "JPEG" else None)
        except ValueError as e:
            raise _Unencodable(str(e)) from None


class _Fault(NamedTuple):
    """Why a function made nothing of a picture: a word of `failures.REASONS`, and a sentence."""

    reason: str
    sentence: str


def _told(name: str, error: BaseException) -> str:
    """What a function raised, in one line."""
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be read)"
    return _in_one_line(f"{name}: {type(error).__name__}: {text}")


def _in_one_line(text: str) -> str:
    # Two runs of one picture must give the same bytes, and an address is another in each process.
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return " ".join(text.encode("utf-8", "replace").decode().split())[:ERROR_CHARACTERS]


def _plain_value(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


@dataclass(frozen=True)
class Function:
    """A class that is built once per worker, and called with each picture."""

    cls: type
    init: dict[str, Any]
    options: dict[str, Any]
    key: str
    _unique: str = field(default_factory=lambda: os.urandom(8).hex())

    def build(self) -> Callable[..., Any]:
        built: Callable[..., Any] = work.once(
            ("function", self.key, self._unique), lambda: self.cls(**self.init)
        )
        return built

    def __call__(self, image: Any, **columns: Any) -> Any:
        return self.build()(image, **self.options, **columns)


def name_of(fn: Callable[..., Any]) -> str:
    """The name that a person knows a function by."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__name__", type(fn).__name__))
