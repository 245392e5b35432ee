"""How hard a host may be asked: how many requests at once, how many a second, and when to leave it alone.

Bookkeeping only: no sockets and no clock of its own; `now` is always given, in seconds of one steady clock. A host that
never refuses is never slowed down: it gets `at_once` requests at once, as fast as it answers. One that answers 429
teaches two numbers, as a link teaches them to TCP: how many at once (halved, then rising by additions; Chiu and Jain
1989) and how many a second (nine tenths of what it bore in the last second, then rising again).
"""

import heapq
import itertools
import math
import random
from collections import deque
from email.utils import parsedate_to_datetime

LONGEST_PAUSE_S = 60.0  # a host that asks for more, at once or in sum without a single answer, is parked
REFUSED_ROUNDS = 5  # so often in a row may a host refuse; all refusals of one burst are one round
UNREACHABLE_TIMES = 10  # so often in a row may a host not answer at all
PARKED_S = 300.0  # then one request tries again: a worker outlives a host's bad minutes
BACKOFF_S = 1.0


def retry_after_s(text: str, unix_s: float) -> float | None:
    """The seconds that a Retry-After header asks for: "120", or an HTTP date seen from `unix_s`; else None.

    >>> retry_after_s("120", 0), retry_after_s("Thu, 01 Jan 1970 00:00:30 GMT", 10), retry_after_s("soon", 0)
    (120.0, 20.0, None)
    """
    try:
        seconds = float(text)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(text).timestamp() - unix_s, 0.0)
    except (ValueError, OverflowError):
        return None


def backoff_s(failures: int) -> float:
    """A wait before the next attempt: exponential, with full jitter, or what failed together comes back together."""
    return random.uniform(0, BACKOFF_S * 2 ** min(failures - 1, 5))


class Host:
    """What one worker knows of one host. at_once: this worker's share of the requests that may be open there."""

    def __init__(self, name: str, at_once: int):
        self.name, self.at_once = name, at_once
        self.limit = float(at_once)
        self.rate: float | None = None  # requests per second; None until the host has refused one
        self.active = 0
        self._warned = self._learned = False  # ever, and in this round
        self._known = False  # whether `rate` was found by going over it, not only guessed from a burst
        self._answers: deque[float] = deque(maxlen=1000)  # when the last ones came
        self._started_at = self._next_at = self._paused_until = self._parked_until = 0.0
        self._cut_at = -math.inf
        self._rounds = self._unreachable = 0
        self._paused_s = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until a request may start: 0 for now, infinity for "when one of the open ones has ended"."""
        if self.active >= int(self.limit):
            return math.inf
        return max(self._paused_until - now, self._next_at - now if self.rate else 0.0, 0.0)

    def parked(self, now: float) -> bool:
        """Whether the host is given up for the time being. A single request may try again when that time is over."""
        return now < self._parked_until

    def is_new(self) -> bool:
        """Whether nothing is known of it that would be a loss."""
        return not (self.active or self.rate or self._unreachable or self._parked_until) and self.limit == self.at_once

    def answered_since(self, then: float) -> bool:
        """Whether it has answered anything since."""
        return bool(self._answers) and self._answers[-1] > then

    def started(self, now: float) -> None:
        self.active += 1
        self._started_at = now
        if self.rate:  # 20 ms may be made up for: no loop wakes to the microsecond
            self._next_at = max(self._next_at, now - 0.02) + 1 / self.rate

    def ended(self) -> None:
        self.active -= 1

    def answered(self, now: float) -> None:
        """An answer that is no refusal (a 404 too): both numbers rise a little."""
        self._answers.append(now)
        self._rounds = self._unreachable = 0
        self._paused_s = self._parked_until = 0.0
        self.limit = min(self.at_once, self.limit + 1 / self.limit)  # one more after a round of answers
        if self.rate:
            # What a burst taught may be far too low (a leaky bucket lets 10 through, then 50 a second): it doubles each
            # second until the host refuses once more. From then on 1 % a second, later faster: hosts change.
            self.rate += 0.01 + 0.005 * (now - self._cut_at) ** 2 if self._known else 0.7

    def refused(self, now: float, started_at: float, retry_after_s: float | None = None) -> None:
        """429, or 503 with Retry-After: pause the whole host, and ask less from then on."""
        is_load = True
        if started_at >= self._cut_at:  # else it was under way when the host refused another one: the same round
            self._rounds += 1
            self._cut(now)
            self._learned = False
            # Where those that started after it are answered, it was this one row and not the load.
            is_load = self.rate is not None or started_at == self._started_at
        if is_load and not self._learned:
            self._learn(now)
        pause_s = BACKOFF_S * 2 ** (self._rounds - 1) if retry_after_s is None else retry_after_s
        is_too_long = pause_s > LONGEST_PAUSE_S
        pause_s += random.uniform(0, 0.1)  # two workers that were refused together come back apart
        if now + pause_s > self._paused_until:
            self._paused_s += now + pause_s - max(self._paused_until, now)
            self._paused_until = self._next_at = now + pause_s
        if is_too_long or self._paused_s > LONGEST_PAUSE_S + 1 or self._rounds >= REFUSED_ROUNDS:
            self._parked_until = now + max(pause_s, PARKED_S)

    def struggled(self, now: float, started_at: float) -> None:
        """A timeout or a 503 without a wish: fewer at once."""
        if started_at >= self._cut_at:
            self._cut(now)

    def unreachable(self, now: float) -> None:
        """No answer at all: no address, no connection, or silence."""
        self._unreachable += 1
        if self._unreachable >= UNREACHABLE_TIMES:
            self._parked_until = now + PARKED_S

    def _learn(self, now: float) -> None:
        """Set the rate by what the host bore in the last second; once in a round of refusals."""
        borne = 0.9 * sum(at > now - 1 for at in self._answers)
        if self.rate is not None:
            self._known = True
            self.rate = max(min(borne, 0.9 * self.rate), 0.7 * self.rate, 0.2)
        elif borne >= 9 or self._warned:  # else another worker had taken nearly all: the number would say nothing
            self.rate = max(borne, 1.0)
            self._known = any(now - 1 < at < now - 0.5 for at in self._answers)  # else it was only a burst
        self._learned = self._warned = True

    def _cut(self, now: float) -> None:
        self._cut_at = now
        self.limit = max(self.limit / 2, 1.0)


class Queue:
    """Rows that wait for their hosts. The hosts take turns, and one that waits holds up no other."""

    def __init__(self):
        self._rows: dict[Host, deque] = {}
        self._turns: deque[Host] = deque()  # hosts that may be able to start a row
        self._later: list[tuple] = []  # heap of (time, number, host, row or None)
        self._listed: set[Host] = set()  # hosts that are in _turns, or in _later without a row
        self._number = itertools.count()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, row, host: Host, *, first: bool = False) -> None:
        self._size += 1
        rows = self._rows.setdefault(host, deque())
        (rows.appendleft if first else rows.append)(row)
        self._list(host)

    def add_later(self, row, host: Host, at: float) -> None:
        self._size += 1
        heapq.heappush(self._later, (at, next(self._number), host, row))

    def ended(self, host: Host) -> None:
        """One of the host's open requests has ended, so another row of it may start."""
        host.ended()
        if host in self._rows:
            self._list(host)

    def pop(self, now: float):
        """The next (row, host) that may start, or None. A parked host's rows come too, for the caller to end them."""
        while self._later and self._later[0][0] <= now:
            _, _, host, row = heapq.heappop(self._later)
            if row is None:
                self._listed.discard(host)
                self._list(host)
            else:
                self._size -= 1
                self.add(row, host, first=True)
        while self._turns:
            host = self._turns.popleft()
            self._listed.discard(host)
            rows = self._rows.get(host)
            if not rows:
                self._rows.pop(host, None)
                continue
            wait_s = 0.0 if host.parked(now) else host.wait_s(now)
            if wait_s == 0:
                self._list(host)
                self._size -= 1
                return rows.popleft(), host
            if wait_s < math.inf:  # else `ended` lists it again
                self._listed.add(host)
                heapq.heappush(self._later, (now + wait_s, next(self._number), host, None))
        return None

    def wait_s(self, now: float) -> float:
        """Seconds until `pop` may have something new; infinity when only the end of an open request can bring that."""
        if self._turns:
            return 0.0
        return max(self._later[0][0] - now, 0.0) if self._later else math.inf

    def _list(self, host: Host) -> None:
        if host not in self._listed:
            self._listed.add(host)
            self._turns.append(host)
