"""How much a host is asked, against hosts with limits, on a clock of the test's own: minutes pass in milliseconds."""

import heapq
import itertools
import math
import random
from collections import deque

import pytest

from imgprep.io.web.politeness import PARKED_S, Host, Queue, backoff_s, retry_after_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("0", 0), ("120", 120)],
        *[(text, None) for text in ("", "soon", "nan", "-3", "Thu, 99 Jan 1970 00:00:00 GMT")],
        *[("Thu, 01 Jan 1970 00:02:00 GMT", 20), ("Thu, 01 Jan 1970 00:00:00 GMT", 0)],
    ],
)
def test_retry_after_is_seconds_or_a_date(text, seconds):
    assert retry_after_s(text, 100.0) == seconds


def test_waits_grow_and_are_spread_from_nothing_to_the_whole():
    assert all(0 <= backoff_s(1) <= 1 and 0 <= backoff_s(3) <= 4 and backoff_s(50) <= 32 for _ in range(200))
    assert max(backoff_s(3) for _ in range(200)) > 3 and min(backoff_s(3) for _ in range(200)) < 1


def test_a_host_that_never_refuses_is_never_slowed_down():
    host = Host(8)
    for _ in range(8):
        assert host.wait_s(0) == 0
        host.started(0)
    assert host.wait_s(0) == math.inf
    for n in range(100_000):
        host.ended()
        host.answered(n * 1e-4)
        assert host.wait_s(n * 1e-4) == 0
        host.started(n * 1e-4)
    assert host.rate is None


def test_one_burst_of_refusals_halves_once_and_answers_bring_it_back_one_by_one():
    host = Host(8)
    for _ in range(8):
        host.started(0)
    for n in range(8):
        host.ended()
        host.refused(1 + n / 100, started_at=0)
    assert host.limit == 4
    rises = [host.limit]
    for n in range(60):
        host.answered(10 + n)
        rises.append(host.limit)
    assert rises[4] < 5.1 and rises[-1] == 8 and rises == sorted(rises)


def test_the_rate_is_nine_tenths_of_what_was_borne_and_rises_again():
    host = Host(8)
    for n in range(40):
        host.started(n / 40)
        host.ended()
        host.answered(n / 40)
    host.started(1)
    host.ended()
    host.refused(1, 1, 0)
    assert host.rate == pytest.approx(36, abs=1)
    starts, now = 0, 3.0
    while now < 4.0:
        if host.wait_s(now) == 0:
            host.started(now)
            host.ended()
            starts += 1
        now += 0.001
    assert 35 <= starts <= 38
    rate = host.rate
    host.answered(5)
    assert rate < host.rate < 1.05 * rate


def test_a_timeout_halves_too_down_to_one():
    host = Host(8)
    for at in range(1, 6):
        host.struggled(at, started_at=at)
    assert host.limit == 1 and host.rate is None and host.wait_s(9) == 0


def test_retry_after_pauses_the_host_for_so_long():
    host = Host(8)
    host.started(5)
    host.ended()
    host.refused(6, 5, retry_after_s=7)
    assert 7 <= host.wait_s(6) <= 7.2 and not host.parked(6)
    assert host.wait_s(13.2) == 0


@pytest.mark.parametrize(("retry_after", "refusals"), [(61, 1), (25, 5), (0, 5), (None, 5)])
def test_a_host_that_only_refuses_is_parked_and_later_tried_once(retry_after, refusals):
    host, now = Host(8), 100.0
    for _ in range(refusals):
        assert not host.parked(now)
        now += host.wait_s(now) + 0.01
        host.started(now)
        host.ended()
        host.refused(now, now, retry_after)
    assert host.parked(now) and host.parked(now + PARKED_S - 1)
    later = now + PARKED_S + 100
    assert not host.parked(later) and host.wait_s(later) == 0
    host.refused(later, later, retry_after)
    assert host.parked(later)
    host.answered(later + 1)
    assert not host.parked(later + 1)


def test_an_answer_in_between_forgives():
    host = Host(8)
    for n in range(50):
        host.refused(n * 10, n * 10, 1)
        host.answered(n * 10 + 2)
        host.unreachable(n * 10 + 3)
        assert not host.parked(n * 10 + 4)


def test_a_dead_host_is_parked_after_ten_tries():
    host = Host(8)
    parked = []
    for _ in range(10):
        parked.append(host.parked(1))
        host.unreachable(1)
    assert not any(parked) and host.parked(2)


def test_hosts_take_turns_and_none_holds_up_another():
    queue, busy, free = Queue(), Host(1), Host(2)
    for n in range(3):
        queue.add(f"busy {n}", busy)
        queue.add(f"free {n}", free)
    started = []
    while found := queue.pop(0):
        found[1].started(0)
        started.append(found[0])
    assert started == ["busy 0", "free 0", "free 1"] and queue
    assert queue.wait_s(0) == math.inf
    free.ended()
    assert queue.pop(0) == ("free 2", free)
    busy.refused(0, 0, 5)
    busy.ended()
    assert queue.pop(0) is None and 5 <= queue.wait_s(0) <= 5.2
    assert queue.pop(5.2) == ("busy 1", busy)


def test_a_row_that_waits_comes_when_its_time_has_come():
    queue, host = Queue(), Host(8)
    queue.add_later("late", host, 3)
    queue.add("now", host)
    queue.add("first", host, first=True)
    assert [queue.pop(0)[0], queue.pop(0)[0], queue.pop(0)] == ["first", "now", None]
    assert queue and queue.wait_s(1) == 2
    assert queue.pop(3)[0] == "late" and not queue


class Limited:
    """A host that allows 8 requests at once and 50 a second, in one of the ways that such limits are made."""

    def __init__(self, kind: str, retry_after: float | None):
        self.kind, self.retry_after = kind, retry_after
        self.open = self.refused = self.asked = 0
        self.times: deque[float] = deque()
        self.tokens, self.filled_at = 50.0, 0.0

    def admits(self, now: float) -> bool:
        while self.times and (self.times[0] <= now - 1 or (self.kind == "fixed" and int(self.times[0]) < int(now))):
            self.times.popleft()
        self.tokens = min(self.tokens + (now - self.filled_at) * 50, 50)
        self.filled_at = now
        fine = self.open < 8 and (self.tokens >= 1 if self.kind == "bucket" else len(self.times) < 50)
        self.asked += 1
        self.refused += not fine
        if fine or self.kind == "strict":  # a strict one counts what it refuses
            self.times.append(now)
        self.tokens -= fine
        return fine


def play(server: Limited, rows: int, workers: int, round_trip_s: float, late_s: float, seed: int) -> tuple[int, float]:
    """Rows done and seconds taken, by so many workers with a share each, of which the second comes late_s later."""
    chance, number, events = random.Random(seed), itertools.count(), []
    random.seed(seed)
    queues = [(Queue(), Host(8 // workers)) for _ in range(workers)]
    for n in range(rows):
        queue, host = queues[n % workers]
        queue.add(n, host)
    now, done, last = 1.0, 0, 1.0
    wakes = [0.0] * workers
    for worker in range(workers):
        events.append((now + late_s * worker, next(number), worker, None))
    while events and now < 120:
        now, _, worker, ended = heapq.heappop(events)
        queue, host = queues[worker]
        if ended:
            row, started, fine = ended
            host.ended()
            if fine:
                server.open -= 1
                host.answered(now)
                done, last = done + 1, now
            else:
                host.refused(now, started, server.retry_after)
                queue.add(row, host)
        while found := queue.pop(now):
            if host.parked(now):
                return done, math.inf
            host.started(now)
            fine = server.admits(now)
            server.open += fine
            took = round_trip_s * (chance.uniform(0.8, 1.3) if fine else 0.7)
            heapq.heappush(events, (now + took, next(number), worker, (found[0], now, fine)))
        wake = now + queue.wait_s(now) + 0.001
        if wake < math.inf and not now < wakes[worker] <= wake:
            wakes[worker] = wake
            heapq.heappush(events, (wake, next(number), worker, None))
    return done, last - 1.0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("retry_after", [None, 1.0])
@pytest.mark.parametrize("kind", ["sliding", "strict", "fixed", "bucket"])
def test_a_host_that_allows_50_a_second_gives_400_pictures_and_few_refusals(kind, retry_after, workers):
    for round_trip_s, late_s in itertools.product((0.001, 0.02), (0, 0.3)):
        server = Limited(kind, retry_after)
        done, seconds = play(server, 400, workers, round_trip_s, late_s, seed=1)
        assert done == 400 and seconds < 15
        assert server.refused / server.asked < 0.05
