"""The HTTP edge: many URLs at once, and for each its bytes, or the reason why there are none. libcurl on one thread.

Safe by default: http and https only; public addresses only, checked when the connection is made, so that a name that
changes its address gains nothing; deadlines and caps on everything (`transfer`); few and patient requests per host
(`politeness`); opt-outs honoured (`optout`).
"""

import math
import re
import select
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress

import pycurl
from protego import Protego

import imgprep
from imgprep.io.web.addresses import Url, UrlError, identity, parse, redact
from imgprep.io.web.politeness import Host, Queue, backoff_s, retry_after_s
from imgprep.io.web.routes import Routes, authorization, ca_bundle
from imgprep.io.web.transfer import HELD_BYTES, MIB, Response, Row, Transfer, blocked

__all__ = ["Fetcher", "Response", "identity", "redact"]

USER_AGENT = f"imgprep/{imgprep.__version__} (no contact given)"
HOSTS_KNOWN = 10_000
TICK_S = 0.05  # how late a deadline may be kept
SILENT = {"timeout", "dns", "refused", "reset"}  # reasons without any answer, where there is no status either


class Fetcher(AbstractContextManager):
    """Fetches URLs politely. Keeps connections, DNS, TLS sessions and what it learned of each host until `close`.

    attempts: for what may pass: 408, 425, 5xx, resets, short bodies, timeouts, DNS. A 429 counts half: it asks to wait.
    per_host, in_flight: requests at once. share: this worker's part of per_host, but never less than one request.
    timeout_s: connection, redirects and body. min_bytes_per_s: judged over 5 s. max_bytes: also when decompressed.
    allow_hosts: hosts with private addresses that may be asked: names, addresses, networks.
    user_agent: who asks. It should carry a contact, so that a host's owner can write instead of shutting you out:
        "my-dataset/1.0 (me@university.edu)". Its first word is the name that X-Robots-Tag and robots.txt may use.
    opt_out, robots_txt, tdm_reservation: honour X-Robots-Tag, robots.txt, TDM-Reservation.
    authorization_env: the name of the environment variable with the value of an Authorization header, which is sent to
        the hosts of the URLs, never to another one to which they redirect.

    The environment gives the proxy (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) and the CA bundle (SSL_CERT_FILE,
    CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE).
    Raises ValueError for options that make no sense. For one thread at a time. No cookies, no HTTP/2.
    """

    def __init__(
        self,
        *,
        attempts: int = 3,
        per_host: int = 8,
        in_flight: int = 32,
        timeout_s: float = 60,
        connect_timeout_s: float = 10,
        first_byte_timeout_s: float = 20,
        min_bytes_per_s: float = 1000,
        max_bytes: int = 64 * MIB,
        max_redirects: int = 5,
        allow_hosts: Sequence[str] = (),
        user_agent: str = USER_AGENT,
        opt_out: bool = True,
        robots_txt: bool = False,
        tdm_reservation: bool = False,
        authorization_env: str | None = None,
        share: float = 1.0,
    ):
        self.attempts = _number("attempts", attempts, 1, whole=True)
        self.per_host = _number("per_host", per_host, 1, whole=True)
        self.per_host = max(1, int(self.per_host * min(_number("share", share, 0), 1)))
        self.in_flight = _number("in_flight", in_flight, 1, whole=True)
        self.timeout_s = _number("timeout_s", timeout_s, 0.001)
        self.connect_timeout_s = _number("connect_timeout_s", connect_timeout_s, 0.001)
        self.first_byte_timeout_s = _number("first_byte_timeout_s", first_byte_timeout_s, 0.001)
        self.min_bytes_per_s = _number("min_bytes_per_s", min_bytes_per_s, 0)
        self.max_bytes = _number("max_bytes", max_bytes, 1, whole=True)
        self.max_redirects = _number("max_redirects", max_redirects, 0, whole=True)
        for name, value in (("opt_out", opt_out), ("robots_txt", robots_txt), ("tdm_reservation", tdm_reservation)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} is true or false, not {value!r}")
        self.opt_out, self.robots_txt, self.tdm_reservation = opt_out, robots_txt, tdm_reservation
        if not isinstance(user_agent, str) or not re.fullmatch(r"[!-~][ -~]*", user_agent):
            raise ValueError(f"user_agent is one line of ASCII text, not {user_agent!r}")
        self.user_agent, self.agent = user_agent, re.split(r"[/ ]", user_agent.lower())[0]
        self.authorization, self.ca_bundle = authorization(authorization_env), ca_bundle()
        self.routes = Routes(allow_hosts)
        self._hosts: dict[str, Host] = {}
        self._robots: dict[str, Protego | Response | list[Row]] = {}  # per site: rules, why none, or who waits
        self._queue: Queue | None = None  # while fetch runs
        self._done: deque[tuple[int, Response]] = deque()
        self._busy_s = 0.0  # the caller with what we gave
        self.held_bytes = 0  # in bodies under way
        self._active: dict[Transfer, None] = {}  # oldest first
        self._multi: pycurl.CurlMulti | None = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * self.in_flight)

    def fetch(self, urls: Sequence[str], etags: Sequence[str] | None = None) -> Iterator[tuple[int, Response]]:
        """Yield (index, Response) for each URL, in the order in which they end.

        While the caller is busy with a response nothing is started and no deadline runs, so at most `in_flight` bodies
        are held. etags: per URL the ETag of what is there already, or ""; what has not changed comes as `not_modified`.
        """
        if self._queue is not None or self._multi is None:
            raise RuntimeError("this Fetcher is closed, or busy with another fetch")
        self._queue = Queue()
        if len(self._hosts) > HOSTS_KNOWN:  # a worker lives as long as the run
            self._hosts.clear()
            self._robots.clear()
        try:
            for index, (url, etag) in enumerate(zip(urls, etags or [""] * len(urls), strict=True)):
                self._take(index, url, etag)
            while self._active or self._queue or self._done:
                self._begin()
                if not self._done:
                    self._drive()
                while self._done:
                    left_at = time.monotonic()
                    yield self._done.popleft()
                    self._busy_s += time.monotonic() - left_at
        finally:
            self._abandon()

    def close(self) -> None:
        """Close every connection. May be called twice."""
        if self._multi is not None:
            self._multi.close()
            self._multi = None

    def __exit__(self, *_) -> None:
        self.close()

    def clock_s(self) -> float:
        """A clock for deadlines: it stands still while the caller is busy."""
        return time.monotonic() - self._busy_s

    def is_oldest(self, transfer: Transfer) -> bool:
        return next(iter(self._active)) is transfer

    # Before a request

    def _take(self, index: int, text: str, etag: str | None) -> None:
        try:
            url = parse(text)
        except UrlError as e:
            self._done.append((index, Response(reason=e.reason, error=str(e))))
        else:
            etag = etag if re.fullmatch(r"[!-~]+", etag or "") else ""
            self._queue.add(Row(index, url, url, etag), self._host(url))

    def _host(self, url: Url) -> Host:
        if url.site not in self._hosts:
            self._hosts[url.site] = Host(self.per_host)
        return self._hosts[url.site]

    def _begin(self) -> None:
        """Start what the hosts and in_flight allow."""
        while len(self._active) < self.in_flight:
            now = time.monotonic()
            found = self._queue.pop(now)
            if found is None:
                return
            row, host = found
            proxy = self.routes.proxy(row.url)
            if not self._is_clear(row, host, proxy, now):
                continue
            if self.robots_txt and row.index >= 0 and row.url.site not in self._robots:
                self._robots[row.url.site] = [row]
                url = parse(f"{row.url.scheme}://{row.url.site}/robots.txt")
                row = Row(-1, url, url)
            transfer = Transfer(self, row, host, proxy, now)
            host.started(now)
            row.requests += 1
            self._active[transfer] = None
            self._multi.add_handle(transfer.curl)

    def _is_clear(self, row: Row, host: Host, proxy: str, now: float) -> bool:
        """Whether nothing stands against the row's next request. If not, the row has ended or waits for an answer."""
        url = row.url
        rules = self._robots.get(url.site) if row.index >= 0 else None
        if host.parked(now):
            sentence = f"{url.host} refused or gave no answer too often in a row and was left alone"
            self._end(row, row.outcome or Response(reason="host_unavailable", error=sentence))
        elif isinstance(rules, list):
            rules.append(row)
        elif isinstance(rules, Response):
            self._end(row, Response(reason=rules.reason, error=f"robots.txt cannot be read: {rules.error}"))
        elif rules and not rules.can_fetch(url.text, self.agent):
            self._end(row, Response(reason="robots", error=f"robots.txt of {url.host} disallows this path"))
        elif (addresses := self.routes.addresses(url, proxy)) is None:
            self._queue.add_later(row, host, now + 0.02)
        elif barred := [ip for ip in addresses if not self.routes.may_connect(url, ip)]:
            reason, sentence = blocked(url, barred)
            self._end(row, Response(reason=reason, error=sentence))
        else:
            return True
        return False

    # While requests are under way

    def _drive(self) -> None:
        """Wait until something comes, let curl work on it, and see who has ended or is late."""
        queue_s = self._queue.wait_s(time.monotonic()) if len(self._active) < self.in_flight else math.inf
        curl_ms = self._multi.timeout()
        select.select(*self._multi.fdset(), min(queue_s, TICK_S, curl_ms / 1000 if curl_ms >= 0 else TICK_S))
        self._multi.perform()
        now = time.monotonic()
        _, good, bad = self._multi.info_read()
        for curl, code, text in [*((curl, 0, "") for curl in good), *bad]:
            self._ended(curl.transfer, code, text, now)
        for transfer in [t for t in self._active if t.is_late()]:
            self._ended(transfer, 0, "", now)
        for n, transfer in enumerate(self._active):
            if n == 0 or self.held_bytes < HELD_BYTES / 2:
                transfer.resume()

    def _abandon(self) -> None:
        """Forget what is under way; the connections of unfinished requests are closed."""
        for transfer in list(self._active):
            self._release(transfer)
        self._robots = {site: known for site, known in self._robots.items() if not isinstance(known, list)}
        self._done.clear()
        self._queue = None

    def _release(self, transfer: Transfer) -> None:
        with suppress(pycurl.error):  # an interrupt may have come before it was added
            self._multi.remove_handle(transfer.curl)
        del self._active[transfer]
        transfer.host.ended()
        self.held_bytes -= sum(map(len, transfer.chunks))
        transfer.curl.close()

    # After a request

    def _ended(self, transfer: Transfer, code: int, text: str, now: float) -> None:
        """Tell the host what came of a request, and decide what is next for its row."""
        row, host = transfer.row, transfer.host
        response, again = transfer.response(code, text)
        location = "" if transfer.verdict or response.not_modified else transfer.curl.getinfo(pycurl.REDIRECT_URL)
        row.spent_s += transfer.spent_s()
        self._release(transfer)
        if code == pycurl.E_OPERATION_TIMEDOUT and transfer.spent_s() < 0.9 * self.connect_timeout_s:
            row.requests -= 1  # curl counted time in which the caller held us up
            self._queue.add(row, host, first=True)
            return
        status = response.http_status
        wait_s = retry_after_s(transfer.header("retry-after"), time.time())
        is_refusal = status == 429 or (status == 503 and wait_s is not None)
        if is_refusal:
            host.refused(now, transfer.started, wait_s)
        elif status == 503 or response.reason in ("timeout", "too_slow"):
            host.struggled(now, transfer.started)
        elif status is None and response.reason in SILENT:
            host.unreachable(now)
        elif status is not None:
            host.answered(now)
        if location:
            self._redirect(row, location, status)
            return
        row.failures += 0.5 if is_refusal else 1
        if not (again or is_refusal) or row.failures >= self.attempts:
            self._end(row, response)
            return
        row.outcome, row.url, row.hops, row.spent_s = response, row.first, 0, 0.0
        if is_refusal:
            self._queue.add(row, self._host(row.url))
        else:
            self._queue.add_later(row, self._host(row.url), now + backoff_s(row.failures))

    def _redirect(self, row: Row, location: str, status: int) -> None:
        row.hops += 1
        try:
            url = parse(location)
        except UrlError as e:
            self._end(row, Response(reason=e.reason, error=f"{row.url.host} redirects, but {e}", http_status=status))
            return
        if row.hops > self.max_redirects:
            sentence = f"more redirects than max_redirects={self.max_redirects}; the last leads to {url.host}"
            self._end(row, Response(reason="too_many_redirects", error=sentence, http_status=status))
            return
        row.url = url
        self._queue.add(row, self._host(url), first=True)

    def _end(self, row: Row, response: Response) -> None:
        if row.index >= 0:
            response.attempts = row.requests
            self._done.append((row.index, response))
            return
        waiting = self._robots[row.first.site]
        self._robots[row.first.site] = _rules(response)
        for other in reversed(waiting):
            self._queue.add(other, self._host(other.url), first=True)


def _rules(response: Response) -> Protego | Response:
    """What a robots.txt says. Where there is none all is allowed; a server that cannot say forbids it (RFC 9309)."""
    if not response.reason:
        return Protego.parse(response.body.decode("utf-8", "replace"))
    if 400 <= (response.http_status or 0) < 500 and response.http_status != 429:
        return Protego.parse("")
    if response.http_status:
        response.reason = "robots"
    return response


def _number(name: str, value: float, least: float, *, whole: bool = False) -> float:
    is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not is_number or not least <= value < math.inf:
        raise ValueError(f"{name} is a {'whole ' if whole else ''}number of at least {least:g}, not {value!r}")
    return value
