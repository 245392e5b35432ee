"""The HTTP edge: many URLs at once, and for each its bytes, or the reason why there are none.

libcurl on one thread. Safe by default: http and https only; public addresses only, checked when the
connection is made, so that a name that changes its address gains nothing; deadlines and caps on
everything (`transfer`); few and patient requests per host (`politeness`); opt-outs honoured
(`optout`, `robots`).
"""

import math
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, BinaryIO

import pycurl

from imgprep.io.web import outcome
from imgprep.io.web.journey import Response
from imgprep.io.web.options import Options
from imgprep.io.web.room import Room
from imgprep.io.web.routes import Routes, authorization, ca_bundle
from imgprep.io.web.schedule import Schedule
from imgprep.io.web.transfer import Means, Transfer

FETCH_TICK_S = 0.05  # how late a deadline may be kept


class Fetcher(AbstractContextManager):
    """Fetches URLs politely. options: see `options.Options`.

    Keeps connections, DNS, TLS sessions and what it learned of each host until `close`. The
    environment gives the proxy (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) and the CA bundle
    (SSL_CERT_FILE, CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE).
    Raises ValueError for options that make no sense. For one thread at a time. No cookies, no
    HTTP/2.
    """

    def __init__(self, **options: Any):
        self.options = Options(**options)
        self.room = Room()
        # The environment is read here, once: a run must not change its way half through.
        routes = Routes(self.options.allow_hosts)
        secret = authorization(self.options.authorization_env)
        self._means = Means(self.options, routes, self.room, secret, ca_bundle())
        self._schedule = Schedule(self.options, routes)
        self._is_busy = False  # while fetch runs
        self._multi: Any = pycurl.CurlMulti()
        # Else curl closes connections that the next unit would have used again.
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * self.options.in_flight)

    def fetch(
        self, urls: Sequence[str], etags: Sequence[str] | None = None
    ) -> Iterator[tuple[int, Response]]:
        """Yield (index, Response) for each URL, in the order in which they end.

        While the caller is busy with a response nothing is started and no deadline runs, so at most
        `in_flight` bodies are held. etags: per URL the ETag of what is there already, or ""; what
        has not changed comes as `not_modified`.
        """
        etags = etags or [""] * len(urls)
        asked = [{"etag": etag or ""} for etag in etags]
        yield from self._travel(list(zip(urls, asked, strict=True)))

    def get(
        self, url: str, *, span: tuple[int, int] | None = None, sink: BinaryIO | None = None
    ) -> Response:
        """One URL, by the same rules. span: only these bytes, from the first to before the second.

        sink: a file that can be read and written, into which the body goes.
        """
        ((_, response),) = self._travel([(url, {"span": span, "sink": sink})])
        return response

    def _travel(self, asked: Sequence[tuple[str, Any]]) -> Iterator[tuple[int, Response]]:
        if self._is_busy or self._multi is None:
            raise RuntimeError("this Fetcher is closed, or busy with another fetch")
        self._is_busy = True
        schedule = self._schedule
        schedule.forget_hosts()
        try:
            for index, (url, how) in enumerate(asked):
                schedule.take(index, url, **how)
            while self.room or schedule:
                self._begin()
                if not schedule.done:
                    self._drive()
                while schedule.done:
                    left_at = time.monotonic()
                    yield schedule.done.popleft()
                    # The caller decodes meanwhile: the time belongs to no server.
                    self.room.stop_clock(left_at)
        # Also when the caller stops reading: what is under way would go on into nobody's hands.
        finally:
            self._abandon()

    def close(self) -> None:
        """Close every connection. May be called twice."""
        if self._multi is not None:
            self._multi.close()
            self._multi = None

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> None:
        """Start what the hosts and in_flight allow."""
        while len(self.room) < self.options.in_flight:
            now = time.monotonic()
            found = self._schedule.next(now)
            if found is None:
                return
            journey, host, proxy = found
            transfer = Transfer(self._means, journey, host, proxy, now)
            host.started(now)
            journey.requests += 1
            self.room.enter(transfer)
            self._multi.add_handle(transfer.curl)

    def _drive(self) -> None:
        """Wait until something comes, let curl work on it, and see who has ended or is late."""
        queue_s = math.inf
        if len(self.room) < self.options.in_flight:
            queue_s = self._schedule.queue.wait_s(time.monotonic())
        curl_ms = self._multi.timeout()
        # -1 is curl's word for "no opinion".
        curl_s = curl_ms / 1000 if curl_ms >= 0 else FETCH_TICK_S
        readable, writable, broken = self._multi.fdset()
        # select will do: no more than `in_flight` sockets are open.
        select.select(readable, writable, broken, min(queue_s, FETCH_TICK_S, curl_s))
        self._multi.perform()
        now = time.monotonic()
        _, good, bad = self._multi.info_read()
        for curl in good:
            self._ended(curl.transfer, 0, "", now)
        for curl, code, text in bad:
            self._ended(curl.transfer, code, text, now)
        # curl's own timeouts count the caller's time too, so the deadlines are looked at here.
        for transfer in self.room:
            if transfer.is_late():
                self._ended(transfer, 0, "", now)
        self.room.resume()

    def _ended(self, transfer: Transfer, code: int, text: str, now: float) -> None:
        """A request is over: what came of it goes to the schedule."""
        journey = transfer.journey
        response = outcome.response(transfer, code, text)
        # Before the release: they ask the handle, which is closed then.
        again = outcome.may_pass(transfer, response)
        location = outcome.location(transfer, response)
        spent_s = transfer.spent_s()
        journey.spent_s += spent_s
        self._release(transfer)
        is_early = spent_s < 0.9 * self.options.connect_timeout_s
        if code == pycurl.E_OPERATION_TIMEDOUT and is_early:
            # curl counted time in which the caller held us up.
            journey.requests -= 1
            self._schedule.queue.add(journey, transfer.host, first=True)
            return
        if outcome.is_coding_unknown(transfer, code):
            journey.is_raw = True
            self._schedule.queue.add(journey, transfer.host, first=True)
            return
        self._schedule.ended(transfer, response, again, location, now)

    def _abandon(self) -> None:
        """Forget what is under way; the connections of unfinished requests are closed."""
        for transfer in self.room:
            self._release(transfer)
        self._schedule.abandon()
        self._is_busy = False

    def _release(self, transfer: Transfer) -> None:
        with suppress(pycurl.error):  # an interrupt may have come before it was added
            self._multi.remove_handle(transfer.curl)
        self.room.leave(transfer)
        transfer.host.ended()
        transfer.curl.close()
