"""What a worker does with one unit, what it keeps from one to the next, and how it reads ahead."""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from imgprep import engine
from imgprep.resume.inputs import Wanted
from imgprep.resume.parts import PartWriter

AHEAD_BYTES = 32 << 20  # bodies that wait for the decoder, per worker
ITEM_BYTES = 1024  # what an item takes besides
Item = TypeVar("Item")


@dataclass
class Loaded:
    """The bytes of a row's picture, or why there are none."""

    key: bytes
    data: bytes | None
    columns: dict[str, Any]
    reason: str = ""
    error: str = ""
    etag: str = ""
    opt_out: str = ""  # what the owner says, where that is not honoured


Results = Iterator[dict[str, Any]]  # rows of `parts.RESULT`


class Loader(Protocol):
    """Loads the pictures of a unit, in any order, and counts what that took."""

    def __call__(
        self, payload: list[Wanted], totals: dict[str, int]
    ) -> Generator[Loaded, None, None]: ...


@dataclass(frozen=True)
class Work:
    """One unit: load each picture, make its results, write the part.

    Raw bodies never leave this process.
    """

    parts: PartWriter
    load: Loader
    make: Callable[[Iterator[Loaded]], Results]

    def __call__(self, task: engine.Task) -> engine.Summary:
        totals = {"attempts": 0, "unchanged": 0}
        # Within `closing`: when a result raises, the thread that fetches ahead must end with it.
        with contextlib.closing(self.load(task.payload, totals)) as loaded:
            summary = self.parts.write(task, self.make(loaded))
        return summary + engine.Summary(attempts=totals["attempts"], unchanged=totals["unchanged"])


_kept: dict[str, tuple[Any, Any]] = {}


def once(key: tuple[str, ...], make: Callable[[], Any]) -> Any:
    """One object of a kind per process, kept from unit to unit: connections, a model.

    A new key replaces the old.
    """
    # By its kind: of the newest one only, or a second model would stay in memory beside the first.
    kind = key[0]
    if kind not in _kept or _kept[kind][0] != key:
        _kept[kind] = (key, make())
    return _kept[kind][1]


def ahead(items: Iterator[Item], size: Callable[[Item], int]) -> Generator[Item, None, None]:
    """Iterate in a thread, up to AHEAD_BYTES ahead of the consumer."""
    pump = _Pump(items, size)
    thread = threading.Thread(target=pump.run, daemon=True)
    thread.start()
    try:
        while True:
            item, error = pump.waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            pump.taken(item)
            yield item
    # Also where the consumer stops early: a thread that waits for room would wait for ever.
    finally:
        pump.stop()
        thread.join()


_END = object()


class _Pump:
    """The thread that reads ahead, and what it has read."""

    def __init__(self, items: Iterator[Any], size: Callable[[Any], int]):
        self._items, self._size = items, size
        self.waiting: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._held = 0
        self._is_stopped = False

    def run(self) -> None:
        try:
            with contextlib.ExitStack() as stack:
                # Closed in this thread: a generator cannot
                # be closed from another one while it runs.
                if hasattr(self._items, "close"):
                    stack.callback(self._items.close)
                for item in self._items:
                    self._put(item)
                    if self._is_stopped:
                        return
            self.waiting.put((_END, None))
        except BaseException as e:
            self.waiting.put((_END, e))

    def _put(self, item: Any) -> None:
        with self._room:
            self._held += self._size(item) + ITEM_BYTES
            # Put first and then waited: an item larger than all the room must get through, too.
            self.waiting.put((item, None))
            while self._held > AHEAD_BYTES and not self._is_stopped:
                self._room.wait()

    def taken(self, item: Any) -> None:
        with self._room:
            self._held -= self._size(item) + ITEM_BYTES
            self._room.notify()

    def stop(self) -> None:
        with self._room:
            self._is_stopped = True
            self._room.notify()
