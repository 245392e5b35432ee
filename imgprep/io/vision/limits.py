"""Requests and tokens per minute, kept by the client:
a request that the service would refuse is not sent.
"""

import asyncio
import time
from collections import deque

MINUTE_S = 60.0
CLOCK_MARGIN = 1 / 500  # of the window: two clocks are not one
AT_ONCE = 0.1  # of a minute's worth goes out together: services also look at seconds


class Allowance:
    """At most `per_window` units in any window of time, and no burst of more than a tenth of it.

    A service counts a request when it arrives, which is known to be before its answer: so what was
    taken counts from `answered` on, and until then all the time.
    """

    def __init__(self, per_window: float, *, window_s: float = MINUTE_S):
        if per_window <= 0:
            raise ValueError(f"a limit is above 0, not {per_window!r}")
        self.most, self._window_s = per_window, window_s * (1 + CLOCK_MARGIN)
        self._rate, self._size = per_window / window_s, max(1.0, per_window * AT_ONCE)
        self._level, self._at = self._size, time.monotonic()
        self._answered: deque[tuple[float, float]] = deque()
        self._counted = 0.0  # on their way, and answered within the window

    async def take(self, units: float) -> float:
        """Wait until so many units may go, and take them; gives how many.

        More than the whole limit goes alone.
        """
        # Else a picture larger than the limit would wait for ever.
        units = min(units, self.most)
        while (wait := self._wait(units)) > 0:
            await asyncio.sleep(wait)
        self._level -= units
        self._counted += units
        return units

    def answered(self, units: float) -> None:
        """What was taken has arrived."""
        self._answered.append((time.monotonic(), units))

    def _wait(self, units: float) -> float:
        now = time.monotonic()
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now
        while self._answered and self._answered[0][0] <= now - self._window_s:
            self._counted -= self._answered.popleft()[1]
        # 1e-6: sums of floats.
        if self._counted + units > self.most + 1e-6:
            return self._answered[0][0] + self._window_s - now + 1e-3 if self._answered else 0.01
        # A request larger than a burst goes when the burst is whole.
        missing = min(units, self._size) - self._level
        return missing / self._rate if missing > 1e-9 else 0.0
