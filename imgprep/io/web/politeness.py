"""How hard a host may be asked: how many requests at once, how many a second, when none.

Bookkeeping only: no sockets and no clock of its own; `now` is always given, in seconds of one
steady clock. A host that never refuses is never slowed down: it gets `at_once` requests at once, as
fast as it answers. One that answers 429 teaches two numbers, as a link teaches them to TCP: how
many at once (halved, then rising by additions; Chiu and Jain 1989) and how many a second (nine
tenths of what it bore in the last second, then rising slowly at first, later faster).
"""

import heapq
import itertools
import math
import random
from collections import deque
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_PAUSE_S = 60.0  # a host that asks for more is parked
REFUSED_ROUNDS = 5  # so often in a row may a host refuse; all refusals of one burst are one round
UNREACHABLE_TIMES = 10  # so often in a row may a host not answer at all
PARKED_S = 300.0  # then it is tried again: a worker outlives a host's bad minutes
BACKOFF_S = 1.0
# At least, after a first refusal: what came before may be one burst, or mostly another worker's.
FIRST_RATE = 12.0


def retry_after_s(text: str, unix_s: float) -> float | None:
    """The seconds that a Retry-After header asks for: "120", or an HTTP date seen from `unix_s`.

    >>> retry_after_s("120", 0), retry_after_s("Thu, 01 Jan 1970 00:00:30 GMT", 10)
    (120.0, 20.0)
    >>> retry_after_s("soon", 0)
    """
    if text.isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - unix_s, 0.0)
    except (ValueError, OverflowError):
        return None


def backoff_s(failures: float) -> float:
    """A wait before the next attempt: exponential, with full jitter.

    Without that, what failed together would come back together.
    """
    return random.uniform(0, BACKOFF_S * 2 ** min(failures - 1, 5))


class Host:
    """What one worker knows of one host. at_once: its share of the requests open there."""

    def __init__(self, at_once: int):
        self.at_once = at_once
        self.limit = float(at_once)
        self.rate: float | None = None  # requests per second; None until the host has refused one
        self.active = 0
        self._answers: deque[float] = deque(maxlen=1000)  # when the last ones came
        self._next_at = 0.0
        self._paused_until = 0.0
        self._parked_until = 0.0
        self._cut_at = -math.inf
        self._rounds = 0
        self._unreachable = 0

    def wait_s(self, now: float) -> float:
        """Seconds until a request may start; infinity for "when one of the open ones has ended"."""
        if self.active >= int(self.limit):
            return math.inf
        return max(self._paused_until - now, self._next_at - now, 0.0)

    def parked(self, now: float) -> bool:
        """Whether the host is given up for the time being."""
        return now < self._parked_until

    def started(self, now: float) -> None:
        self.active += 1
        if self.rate:
            # 20 ms may be made up for: no loop wakes to the microsecond.
            self._next_at = max(self._next_at, now - 0.02) + 1 / self.rate

    def ended(self) -> None:
        self.active -= 1

    def answered(self, now: float) -> None:
        """An answer that is no refusal (a 404 too): both numbers rise a little."""
        self._answers.append(now)
        # Any answer ends a row of refusals or of silence.
        self._rounds = 0
        self._unreachable = 0
        self._parked_until = 0.0
        # One more after a round of answers.
        self.limit = min(self.at_once, self.limit + 1 / self.limit)
        if self.rate:
            # By 3 % a second, later faster: what was learned may be too low, and hosts change.
            self.rate += 0.03 + 0.006 * (now - self._cut_at) ** 2

    def refused(self, now: float, started_at: float, retry_after_s: float | None = None) -> None:
        """429, or 503 with Retry-After: pause the whole host, and ask less from then on."""
        # Else it was under way when the host refused another one: the same round.
        if started_at >= self._cut_at:
            self._rounds += 1
            self._cut_at = now
            # Once for each burst: 30 refusals of requests under way would halve it thirty times.
            self.limit = max(self.limit / 2, 1.0)
            self.rate = self._lower_rate(now)
        pause_s = retry_after_s
        if pause_s is None:
            pause_s = BACKOFF_S * 2 ** (self._rounds - 1)
        if pause_s > LONGEST_PAUSE_S or self._rounds >= REFUSED_ROUNDS:
            self._parked_until = now + max(pause_s, PARKED_S)
        # Two workers that were refused together come back apart.
        until = now + pause_s + random.uniform(0, 0.1)
        self._paused_until = max(self._paused_until, until)

    def _lower_rate(self, now: float) -> float:
        """Nine tenths of what the host bore in the last second; not all lost at once, either."""
        borne = 0.9 * sum(at > now - 1 for at in self._answers)
        if not self.rate:
            return max(borne, FIRST_RATE)
        # Never below 0.7 of what it was: one bad second is not to cost a minute of climbing.
        return max(min(borne, 0.9 * self.rate), 0.7 * self.rate, 0.2)

    def struggled(self, now: float, started_at: float) -> None:
        """A timeout or a 503 without a wish: fewer at once."""
        if started_at >= self._cut_at:
            self._cut_at = now
            self.limit = max(self.limit / 2, 1.0)

    def unreachable(self, now: float) -> None:
        """No answer at all: no address, no connection, or silence."""
        self._unreachable += 1
        if self._unreachable >= UNREACHABLE_TIMES:
            self._parked_until = now + PARKED_S


class Queue:
    """Rows that wait for their hosts. Hosts take turns, and one that waits holds up no other."""

    def __init__(self) -> None:
        self._rows: dict[Host, deque] = {}  # in the order of their turns
        self._later: list[tuple] = []  # heap of (time, number, row, host)
        self._number = itertools.count()

    def __bool__(self) -> bool:
        return bool(self._rows or self._later)

    def add(self, row: Any, host: Host, *, first: bool = False) -> None:
        rows = self._rows.setdefault(host, deque())
        if first:
            rows.appendleft(row)
        else:
            rows.append(row)

    def add_later(self, row: Any, host: Host, at: float) -> None:
        heapq.heappush(self._later, (at, next(self._number), row, host))

    def pop(self, now: float) -> tuple[Any, Host] | None:
        """The next (row, host) that may start, or None.

        A parked host's rows come too, for the caller to end them.
        """
        while self._later and self._later[0][0] <= now:
            _, _, row, host = heapq.heappop(self._later)
            self.add(row, host, first=True)
        for host, rows in self._rows.items():
            if host.parked(now) or host.wait_s(now) == 0:
                row = rows.popleft()
                # To the end of the order: each host has its turn.
                del self._rows[host]
                if rows:
                    self._rows[host] = rows
                return row, host
        return None

    def wait_s(self, now: float) -> float:
        """Seconds until `pop` may have something new.

        Infinity when only the end of an open request can bring that.
        """
        waits = [host.wait_s(now) for host in self._rows]
        if self._later:
            waits.append(self._later[0][0] - now)
        return max(min(waits, default=math.inf), 0.0)
