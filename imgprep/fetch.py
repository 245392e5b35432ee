"""The HTTP edge: many URLs at once, and for each its bytes, or the reason why there are none. libcurl on one thread.

Safe by default: http and https only; public addresses only, checked when the connection is made, so that a name that
changes its address gains nothing; deadlines and caps on everything (`transfer`); few and patient requests per host
(`politeness`); opt-outs honoured (`optout`).
"""

import math
import re
import selectors
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat

import pycurl

from imgprep.addresses import Url, UrlError, identity, parse, redact
from imgprep.optout import Robots
from imgprep.politeness import LONGEST_PAUSE_S, Host, Queue, backoff_s, retry_after_s
from imgprep.routes import Routes, authorization, ca_bundle
from imgprep.transfer import HELD_BYTES, MIB, Response, Row, Transfer, blocked

__all__ = ["Fetcher", "Response", "identity", "redact"]

USER_AGENT = "imgprep/0.1 (+https://example.org/put-your-contact-in-user_agent)"
ROWS_AHEAD = 1000  # rows that wait for their hosts: no bodies, only URLs
HOSTS_KNOWN = 10_000
ABORTED_BY_CALLBACK = 11  # CURLM_…, which pycurl does not name
SILENT = {"timeout", "dns", "refused", "reset"}  # reasons without any answer, where there is no status either


class Fetcher:
    """Fetches URLs politely. Keeps connections, DNS, TLS sessions and what it learned of each host until `close`.

    attempts: for what may pass: 408, 425, 5xx, resets, short bodies, timeouts, DNS. A 429 counts half: it asks to wait.
    per_host, in_flight: requests at once. share: this worker's part of per_host, but never less than one request.
    timeout_s: connection, redirects and body. min_bytes_per_s: judged over 5 s. max_bytes: also when decompressed.
    allow_hosts: hosts with private addresses that may be asked: names, "name:port", addresses, networks.
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
        self._robots: dict[str, Robots | Response | list[Row]] = {}  # per site: rules, why there are none, or who waits
        self._queue: Queue | None = None  # while fetch runs
        self._done: deque[tuple[int, Response]] = deque()
        self._open()

    def _open(self) -> None:
        self.held_bytes = 0  # in bodies under way
        self._free: list[Transfer] = []
        self._active: dict[Transfer, None] = {}  # oldest first
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * self.in_flight)
        # Not CurlMulti.select: it ends at file number 1023, and a notebook's kernel may have more.
        self._selector: selectors.BaseSelector | None = selectors.DefaultSelector()

    def fetch(self, urls: Iterable[str], etags: Iterable[str] | None = None) -> Iterator[tuple[int, Response]]:
        """Yield (index, Response) for each URL, in the order in which they end.

        Pulls `urls` as it goes. While the caller is busy with a response nothing is started and no deadline runs, so at
        most `in_flight` bodies are held. etags: per URL the ETag of what is there already, or ""; what has not changed
        comes as `not_modified`.
        """
        if self._queue is not None or self._selector is None:
            raise RuntimeError("this Fetcher is closed, or busy with another fetch")
        self._queue = Queue()
        if len(self._hosts) > HOSTS_KNOWN:  # a worker lives as long as the run
            self._hosts = {site: host for site, host in self._hosts.items() if not host.is_new()}
            self._robots.clear()
            self.routes.forget()
        rows = enumerate(zip(urls, repeat("")) if etags is None else zip(urls, etags, strict=True))  # noqa: B905
        more = True
        try:
            while more or self._active or self._queue:
                while more and len(self._queue) + len(self._done) < ROWS_AHEAD:
                    index, row = next(rows, (-1, None))
                    more = row is not None
                    if row:
                        self._take(index, *row)
                self._begin()
                if not self._done:
                    self._drive()
                while self._done:
                    left_at = time.monotonic()
                    yield self._done.popleft()
                    busy_s = time.monotonic() - left_at
                    for transfer in self._active:
                        transfer.held_up(busy_s)
        except GeneratorExit:
            raise
        except BaseException as e:
            self._shut()  # an interrupt may have come anywhere, in the middle of curl's work or ours
            self._open()
            if isinstance(e, pycurl.error) and e.args[0] == ABORTED_BY_CALLBACK:
                raise KeyboardInterrupt from None  # `_watch` raises nothing itself; curl swallows what interrupts it
            raise
        finally:
            self._abandon()

    def close(self) -> None:
        """Close every connection. May be called twice."""
        if self._selector is not None:
            self._shut()
            self._selector = None
            self.routes.close()

    def _shut(self) -> None:
        for transfer in [*self._active, *self._free]:
            with suppress(pycurl.error):
                self._multi.remove_handle(transfer.curl)
            transfer.curl.close()
        self._active.clear()
        self._multi.close()
        self._selector.close()
        for host in self._hosts.values():
            host.active = 0

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def is_oldest(self, transfer: Transfer) -> bool:
        return next(iter(self._active)) is transfer

    # Before a request

    def _take(self, index: int, text: str, etag: str | None) -> None:
        try:
            url = parse(text)
        except UrlError as e:
            self._done.append((index, Response(reason=e.reason, error=str(e))))
            return
        etag = etag if isinstance(etag, str) and re.fullmatch(r"[!-~]+", etag) else ""
        self._queue.add(Row(index, url, url, etag), self._host(url))

    def _host(self, url: Url) -> Host:
        if url.site not in self._hosts:
            self._hosts[url.site] = Host(url.site, self.per_host)
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
                url = row.url._replace(userinfo="", path="/robots.txt")
                row = Row(-1, url, url)
            transfer = self._free.pop() if self._free else Transfer(self)
            transfer.begin(row, host, proxy, now)
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
        elif rules and not rules.allow(url.path):
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

    def _watch(self, what: int, fd: int, multi, data) -> None:
        if what == pycurl.POLL_REMOVE:
            with suppress(KeyError, ValueError):  # ValueError: the selector is closed
                self._selector.unregister(fd)
            return
        events = selectors.EVENT_READ if what & pycurl.POLL_IN else 0
        events |= selectors.EVENT_WRITE if what & pycurl.POLL_OUT else 0
        try:
            self._selector.modify(fd, events)
        except KeyError:
            self._selector.register(fd, events)

    def _drive(self) -> None:
        """Wait until something comes, let curl work on it, and see who has ended or is late."""
        now = time.monotonic()
        queue_s = self._queue.wait_s(now) if len(self._active) < self.in_flight else math.inf
        tick_s = 0.05 if self._active else 1.0  # how late a deadline may be kept
        curl_ms = self._multi.timeout()
        timer_at = now + curl_ms / 1000 if curl_ms >= 0 else math.inf
        for key, events in self._selector.select(max(0.0, min(queue_s, tick_s, timer_at - now))):
            mask = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
            mask |= pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0
            self._multi.socket_action(key.fd, mask)
        now = time.monotonic()
        if timer_at <= now:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for curl, code, text in [*((curl, 0, "") for curl in good), *bad]:
                self._ended(curl.transfer, code, text, now)
        for transfer in [t for t in self._active if t.is_late(now)]:
            self._ended(transfer, 0, "", now)
        for n, transfer in enumerate(self._active):
            if n == 0 or self.held_bytes < HELD_BYTES / 2:
                transfer.resume(now)

    def _abandon(self) -> None:
        """Forget what is under way; the connections of unfinished requests are closed."""
        for transfer in list(self._active):
            self._release(transfer)
        self._robots = {site: known for site, known in self._robots.items() if not isinstance(known, list)}
        self._done.clear()
        self._queue = None

    def _release(self, transfer: Transfer) -> None:
        self._multi.remove_handle(transfer.curl)
        del self._active[transfer]
        self._queue.ended(transfer.host)
        self.held_bytes -= sum(map(len, transfer.chunks))
        transfer.chunks = []
        self._free.append(transfer)

    # After a request

    def _ended(self, transfer: Transfer, code: int, text: str, now: float) -> None:
        """Tell the host what came of a request, and decide what is next for its row."""
        row, host, spent_s = transfer.row, transfer.host, now - transfer.begun
        response, again = transfer.response(code, text, now)
        self._release(transfer)
        row.elapsed_s += spent_s
        row.spent_s += spent_s
        if response is None:
            row.requests -= 1
            self._queue.add(row, host, first=True)
            return
        status = response.http_status
        wait_s = retry_after_s(transfer.header("retry-after"), time.time())
        if status == 429 or (status == 503 and wait_s is not None):
            self._refused(transfer, response, wait_s, now)
            return
        if status == 503 or response.reason in ("timeout", "too_slow"):
            host.struggled(now, transfer.started)
        if status is None and response.reason in SILENT:
            host.unreachable(now)
        elif status not in (None, 503):
            host.answered(now)
        if status in (301, 302, 303, 307, 308) and transfer.header("location"):
            self._redirect(row, transfer.header("location"), status)
        elif again and row.failures + 1 < self.attempts:
            row.failures += 1
            row.outcome, row.url, row.hops, row.spent_s = response, row.first, 0, 0.0
            self._queue.add_later(row, self._host(row.first), now + backoff_s(row.failures))
        else:
            self._end(row, response)

    def _refused(self, transfer: Transfer, response: Response, wait_s: float | None, now: float) -> None:
        """The host asked to wait: it is left alone for so long, and the row goes to the end of its queue."""
        row, host = transfer.row, transfer.host
        is_rows_own = row.refusals > 0 and host.answered_since(row.refused_at)  # and others are answered
        row.refusals += 1
        row.refused_at, row.outcome, row.spent_s = now, response, 0.0
        if not is_rows_own:
            host.refused(now, transfer.started, wait_s)
        if row.refusals >= 2 * self.attempts:
            self._end(row, response)
        elif is_rows_own:
            self._queue.add_later(row, host, now + max(backoff_s(row.refusals), min(wait_s or 0, LONGEST_PAUSE_S)))
        else:
            self._queue.add(row, host)

    def _redirect(self, row: Row, location: str, status: int) -> None:
        row.hops += 1
        response = Response(http_status=status)
        try:
            url = row.url.joined(location)
        except UrlError as e:
            response.reason, response.error = e.reason, f"{row.url.host} redirects, but {e}"
        else:
            if row.hops <= self.max_redirects:
                row.url = url
                self._queue.add(row, self._host(url), first=True)
                return
            response.reason = "too_many_redirects"
            response.error = f"more redirects than max_redirects={self.max_redirects}; the last leads to {url.host}"
        self._end(row, response)

    def _end(self, row: Row, response: Response) -> None:
        if row.index >= 0:
            response.attempts, response.elapsed_s = row.requests, row.elapsed_s
            response.final_url = redact(row.url.text)
            self._done.append((row.index, response))
            return
        waiting = self._robots[row.first.site]
        self._robots[row.first.site] = _rules(response, self.agent)
        for other in reversed(waiting):
            self._queue.add(other, self._host(other.url), first=True)


def _rules(response: Response, agent: str) -> Robots | Response:
    """What a robots.txt says. Where there is none all is allowed; a server that cannot say forbids it (RFC 9309)."""
    if not response.reason:
        return Robots(response.body.decode("utf-8", "replace"), agent)
    if 400 <= (response.http_status or 0) < 500 and response.http_status != 429:
        return Robots("", agent)
    if response.http_status:
        response.reason = "robots"
    return response


def _number(name: str, value: float, least: float, *, whole: bool = False) -> float:
    is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not is_number or not least <= value < math.inf:
        raise ValueError(f"{name} is a {'whole ' if whole else ''}number of at least {least:g}, not {value!r}")
    return value
