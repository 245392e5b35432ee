"""What the requests of one Fetcher share: room for their bodies, a clock for their deadlines."""

import math
import time
from collections.abc import Iterator
from typing import Any

from imgprep.io.web.options import MIB

HELD_BYTES = 128 * MIB  # bodies under way hold no more than this together, but for the oldest


class Room:
    """The requests under way, oldest first, and how many bytes of their bodies are held."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self._under_way: dict[Any, None] = {}
        self._paused_s = 0.0

    def __len__(self) -> int:
        return len(self._under_way)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._under_way))

    def enter(self, transfer: Any) -> None:
        self._under_way[transfer] = None

    def leave(self, transfer: Any) -> None:
        """Forget a request and the bytes it holds."""
        del self._under_way[transfer]
        self.held_bytes -= transfer.held_bytes

    def takes(self, transfer: Any, nbytes: int) -> bool:
        """Whether so many more bytes may come now. The oldest always may: so one always ends."""
        if self.held_bytes + nbytes > HELD_BYTES and next(iter(self._under_way)) is not transfer:
            return False
        self.held_bytes += nbytes
        return True

    def resume(self) -> None:
        """Let bodies go on that had to wait, where there is room again."""
        limit: float = math.inf  # for the oldest
        for transfer in self._under_way:
            if self.held_bytes < limit:
                transfer.resume()
            # From the second on: only with half of the room free,
            # so that bodies do not stop and go with each chunk.
            limit = HELD_BYTES / 2

    def clock_s(self) -> float:
        """A clock for deadlines: it stands still while the caller is busy."""
        return time.monotonic() - self._paused_s

    def stop_clock(self, since: float) -> None:
        """The caller was busy since then, by time.monotonic()."""
        self._paused_s += time.monotonic() - since
