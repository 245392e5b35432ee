"""Which URL is asked for next, and what happens to one whose request has ended."""

import re
import time
from collections import deque
from typing import Any

from imgprep.io.web.addresses import Url, UrlError, parse_url
from imgprep.io.web.journey import Journey, Response
from imgprep.io.web.options import Options
from imgprep.io.web.politeness import Host, Queue, backoff_s, retry_after_s
from imgprep.io.web.robots import Robots
from imgprep.io.web.routes import Routes, blocked
from imgprep.io.web.transfer import Transfer

HOSTS_KNOWN = 10_000
DNS_PAUSE_S = 0.02
SILENT_HOST = {
    "timeout",
    "dns",
    "refused",
    "reset",
}  # reasons without any answer, so without a status


class Schedule:
    """URLs on their way, the hosts they wait for, and the outcomes nobody has taken yet."""

    def __init__(self, options: Options, routes: Routes):
        self.options = options
        self.routes = routes
        self.done: deque[tuple[int, Response]] = deque()
        self.queue = Queue()
        self._hosts: dict[str, Host] = {}
        self._robots = Robots(options.agent)

    def __bool__(self) -> bool:
        return bool(self.queue or self.done)

    def forget_hosts(self) -> None:
        """Where there are very many: a worker lives as long as the run."""
        if len(self._hosts) > HOSTS_KNOWN:
            self._hosts.clear()
            self._robots.forget()

    def abandon(self) -> None:
        """Forget what is under way."""
        self._robots.abandon()
        self.done.clear()
        self.queue = Queue()

    def take(self, index: int, text: str, *, etag: str = "", **more: Any) -> None:
        """A new URL. One that cannot be read has ended already. more: of `Journey`."""
        try:
            url = parse_url(text)
        except UrlError as e:
            self.done.append((index, Response(reason=e.reason, error=str(e))))
            return
        # An ETag with spaces or beyond ASCII would break the
        # header; without one the picture just comes anew.
        is_plain = re.fullmatch(r"[!-~]+", etag)
        journey = Journey(index, url, url, etag if is_plain else "", **more)
        self.queue.add(journey, self._host(url))

    def _host(self, url: Url) -> Host:
        if url.site not in self._hosts:
            self._hosts[url.site] = Host(self.options.at_once)
        return self._hosts[url.site]

    # Before a request

    def next(self, now: float) -> tuple[Journey, Host, str] | None:
        """What may be asked for now, of which host, through which proxy. None: nothing yet."""
        while True:
            found = self.queue.pop(now)
            if found is None:
                return None
            journey, host = found
            proxy = self.routes.proxy(journey.url)
            if not self._is_clear(journey, host, proxy, now):
                continue
            asks_first = self.options.robots_txt and not journey.is_robots
            if asks_first and not self._robots.knows(journey.url.site):
                journey = self._robots.ask(journey)
            return journey, host, proxy

    def _is_clear(self, journey: Journey, host: Host, proxy: str, now: float) -> bool:
        """Whether nothing stands against the next request. If not, it has ended, or waits."""
        url = journey.url
        if host.parked(now):
            said = f"{url.host} refused or gave no answer too often in a row and was left alone"
            alone = Response(reason="host_unavailable", error=said)
            self._end(journey, journey.outcome or alone)
            return False
        if not journey.is_robots:
            if self._robots.wait(journey):
                return False
            if refusal := self._robots.refusal(journey):
                self._end(journey, refusal)
                return False
        addresses = self.routes.addresses(url, proxy)
        if addresses is None:
            self.queue.add_later(journey, host, now + DNS_PAUSE_S)
            return False
        barred = [ip for ip in addresses if not self.routes.may_connect(url, ip)]
        if barred:
            reason, sentence = blocked(url, barred)
            self._end(journey, Response(reason=reason, error=sentence))
            return False
        return True

    # After a request

    def ended(
        self, transfer: Transfer, response: Response, again: bool, location: str, now: float
    ) -> None:
        """Tell the host what came of a request, and decide what is next for its URL.

        again: another attempt may have another outcome. location: where a redirect leads, or "".
        """
        journey = transfer.journey
        is_refusal = _tell(transfer, response, now)
        if location:
            self._redirect(journey, location, response.http_status)
            return
        journey.failures += 0.5 if is_refusal else 1
        is_over = journey.failures >= self.options.attempts
        if is_over or not (again or is_refusal):
            self._end(journey, response)
            return
        journey.begin_again(response)
        host = self._host(journey.url)
        if is_refusal:
            self.queue.add(journey, host)
        # A refusal has its pause in the host; what failed else waits by itself, at random.
        else:
            self.queue.add_later(journey, host, now + backoff_s(journey.failures))

    def _redirect(self, journey: Journey, location: str, status: int | None) -> None:
        journey.hops += 1
        try:
            url = parse_url(location)
        except UrlError as e:
            said = f"{journey.url.host} redirects, but {e}"
            self._end(journey, Response(reason=e.reason, error=said, http_status=status))
            return
        if journey.hops > self.options.max_redirects:
            most = f"max_redirects={self.options.max_redirects}"
            said = f"more redirects than {most}; the last leads to {url.host}"
            many = Response(reason="too_many_redirects", error=said, http_status=status)
            self._end(journey, many)
            return
        journey.url = url
        # At the front: it is the same attempt, and its deadline runs.
        self.queue.add(journey, self._host(url), first=True)

    def _end(self, journey: Journey, response: Response) -> None:
        if not journey.is_robots:
            response.attempts = journey.requests
            self.done.append((journey.index, response))
            return
        waiting = self._robots.told(journey.first.site, response)
        # From behind and each to the front, so they stand in the order in which they came.
        for other in reversed(waiting):
            self.queue.add(other, self._host(other.url), first=True)


def _tell(transfer: Transfer, response: Response, now: float) -> bool:
    """Let the host learn from an answer; whether it was a refusal, which asks to wait."""
    host = transfer.host
    status = response.http_status
    # Wall-clock time: an HTTP date is one.
    wait_s = retry_after_s(transfer.header("retry-after"), time.time())
    is_refusal = status == 429 or (status == 503 and wait_s is not None)
    if is_refusal:
        host.refused(now, transfer.started, wait_s)
    elif status == 503 or response.reason in ("timeout", "too_slow"):
        host.struggled(now, transfer.started)
    elif status is None and response.reason in SILENT_HOST:
        host.unreachable(now)
    elif status is not None:
        host.answered(now)
    return is_refusal
