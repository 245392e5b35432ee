"""One HTTP request on a curl handle: what it sends, what it lets in, when it is late."""

import socket
from dataclasses import dataclass
from typing import Any

import pycurl

from imgprep.io.web.journey import Journey
from imgprep.io.web.options import Options
from imgprep.io.web.optout import robots_tag
from imgprep.io.web.politeness import Host
from imgprep.io.web.room import Room
from imgprep.io.web.routes import Routes

SPEED_WINDOW_S = 5.0  # the lowest speed is judged over this
DRAIN_BYTES = 64 * 1024  # of an error page: reading it is cheaper than making another connection
ROBOTS_BYTES = 500 * 1024  # RFC 9309
DNS_CACHE_S = 300
SUPPRESS_CONNECT_HEADERS = 265  # CURLOPT_…, which pycurl does not name


@dataclass(frozen=True)
class Means:
    """What all requests of one Fetcher share."""

    options: Options
    routes: Routes
    room: Room
    authorization: str
    ca_bundle: str


class Transfer:
    """One request on a curl handle. What came of it says `outcome.response`."""

    def __init__(self, means: Means, journey: Journey, host: Host, proxy: str, now: float):
        self.means = means
        self.journey = journey
        self.host = host
        self.proxy = proxy
        self.started = now
        self.begun = means.room.clock_s()
        self.window_at = self.begun
        self.window_size = 0
        self.status: int | None = None
        self.status_line = b""
        self.headers: dict[str, list[str]] = {}
        self.chunks: list[bytes] = []
        self.size = 0
        self.keep = False  # whether the body is wanted
        self.is_paused = False
        self.verdict: tuple[str, str] | None = None
        self.opt_out = ""
        self.opened = False
        self.blocked: list[str] = []
        self.limit = means.options.max_bytes
        if journey.is_robots:
            self.limit = min(ROBOTS_BYTES, self.limit)
        self.curl = _handle(self)

    @property
    def held_bytes(self) -> int:
        return sum(map(len, self.chunks))

    def open_socket(self, purpose: int, address: Any) -> Any:
        # Here and not before: whatever a name resolves to, and however late, this is the address
        # that is connected to.
        ip = address.addr[0]
        if not self.proxy and not self.means.routes.may_connect(self.journey.url, ip):
            self.blocked.append(ip)
            return pycurl.SOCKET_BAD
        self.opened = True
        return socket.socket(address.family, address.socktype, address.protocol)

    # What comes

    def on_header(self, line: bytes) -> int | None:
        # Each answer begins anew: of a 100, or of the proxy's CONNECT, nothing may stay.
        if line.startswith(b"HTTP/"):
            self.status_line = line
            self.headers = {}
        elif not line.strip() and self.status is None:  # else the trailers of a chunked body
            return self._on_head()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        # Printable only: a header ends in error texts and in the card.
        plain = "".join(filter(str.isprintable, value.strip()))
        self.headers.setdefault(name.strip().lower(), []).append(plain)
        return None

    def _on_head(self) -> int | None:
        """All headers have come: decide whether the body is wanted."""
        words = self.status_line.split(None, 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        # 100 Continue, 103 Early Hints: the answer is still to come.
        if status < 200:
            return None
        self.status = status
        self.window_at = self.means.room.clock_s()
        self.keep = 200 <= status < 300
        # Else 200 would bring all of a file of gigabytes for its last kilobytes.
        if status == 200 and self.journey.span is not None:
            what = "does not answer range requests: download it first"
            self.verdict = ("error", f"the server of {self.journey.url.host} {what}")
            return -1
        if (self.keep or status == 304) and not self.journey.is_robots and self._is_opted_out():
            self.verdict = ("opted_out", f"{self.journey.url.host} opts out: {self.opt_out}")
            # -1 ends the request: the bytes of one who opts out are not even downloaded.
            return -1
        return None

    def _is_opted_out(self) -> bool:
        """Notes what the owner says; whether that is honoured."""
        options = self.means.options
        tag = robots_tag(self.headers.get("x-robots-tag", []), options.agent)
        is_reserved = self.header("tdm-reservation") == "1"
        if tag:
            self.opt_out = f"X-Robots-Tag: {tag}"
        elif is_reserved:
            self.opt_out = "TDM-Reservation: 1"
        return bool(tag and options.opt_out) or (is_reserved and options.tdm_reservation)

    def on_body(self, chunk: bytes) -> int | None:
        if not self.keep:
            self.size += len(chunk)
            return None if self.size <= DRAIN_BYTES else -1
        # Decompressed; curl itself counts what comes over the wire.
        if self.size + len(chunk) > self.limit:
            self.verdict = ("too_large", f"the body is larger than max_bytes={self.limit}")
            return -1
        if self.journey.sink is not None:
            self.size += len(chunk)
            self.journey.sink.write(chunk)
            return None
        if not self.means.room.takes(self, len(chunk)):
            self.is_paused = True
            # curl keeps the chunk, and gives it again when the handle goes on.
            return pycurl.WRITEFUNC_PAUSE
        self.size += len(chunk)
        self.chunks.append(chunk)
        return None

    def header(self, name: str) -> str:
        """The first value of a header, or ""."""
        return self.headers.get(name, [""])[0]

    # When it is late

    def resume(self) -> None:
        """Go on with a body that had to wait for room; its deadlines begin anew."""
        if self.is_paused:
            self.is_paused = False
            self.begun = self.window_at = self.means.room.clock_s()
            self.curl.pause(pycurl.PAUSE_CONT)

    def spent_s(self) -> float:
        return self.means.room.clock_s() - self.begun

    def is_late(self) -> bool:
        """Whether a deadline has passed. The one for the connection is curl's."""
        # A body that waits for room is late by our fault.
        if self.is_paused:
            return False
        options = self.means.options
        spent_s = self.spent_s()
        # Less what its redirects took: timeout_s is of the URL, not of each hop.
        if spent_s > options.timeout_s - self.journey.spent_s:
            within = f"timeout_s={options.timeout_s:g}"
            self.verdict = ("timeout", f"the answer was not complete within {within}")
        elif self.status is None:
            # Counted from the sent request: the connection has a deadline of its own.
            sent_s = self.curl.getinfo(pycurl.PRETRANSFER_TIME)
            if sent_s and spent_s - sent_s > options.first_byte_timeout_s:
                within = f"first_byte_timeout_s={options.first_byte_timeout_s:g}"
                host = self.journey.url.host
                self.verdict = ("timeout", f"{host} did not answer within {within}")
        elif self.means.room.clock_s() - self.window_at > SPEED_WINDOW_S:
            self._check_speed()
        return self.verdict is not None

    def _check_speed(self) -> None:
        least = self.means.options.min_bytes_per_s
        if self.size - self.window_size < least * SPEED_WINDOW_S:
            self.verdict = ("too_slow", f"the body came with less than min_bytes_per_s={least:g}")
        self.window_at = self.means.room.clock_s()
        self.window_size = self.size


def _handle(transfer: Transfer) -> Any:
    """The curl handle that asks for it."""
    options = transfer.means.options
    journey = transfer.journey
    curl = pycurl.Curl()
    curl.transfer = transfer
    curl.setopt(pycurl.URL, journey.url.text)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    # Not HTTP/2: a picture that is given up ends only itself.
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    # Else libcurl raises SIGALRM for slow lookups, which only a main thread survives.
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.BUFFERSIZE, 128 * 1024)
    curl.setopt(pycurl.USERAGENT, options.user_agent)
    curl.setopt(pycurl.HTTPHEADER, _headers(transfer.means, journey))
    if not journey.is_raw:
        # Decode what comes; what is asked for is in _headers.
        curl.setopt(pycurl.ACCEPT_ENCODING, "")
    # By Content-Length, before a byte has come; `on_body` counts what comes without one.
    curl.setopt(pycurl.MAXFILESIZE_LARGE, options.max_bytes)
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(options.connect_timeout_s * 1000)))
    # curl remembers failures too, so after one the name is looked up anew.
    is_again = journey.outcome is not None and journey.outcome.reason == "dns"
    curl.setopt(pycurl.DNS_CACHE_TIMEOUT, 0 if is_again else DNS_CACHE_S)
    curl.setopt(pycurl.PROXY, transfer.proxy)
    curl.setopt(pycurl.NOPROXY, "")  # PROXY alone decides
    # The proxy's own headers would be taken for the server's.
    curl.setopt(SUPPRESS_CONNECT_HEADERS, 1)
    stand_ins = [f"{site}:{place}" for site, place in options.connect_to.items()]
    curl.setopt(pycurl.CONNECT_TO, stand_ins)
    curl.setopt(pycurl.CAINFO, transfer.means.ca_bundle)
    curl.setopt(pycurl.PROXY_CAINFO, transfer.means.ca_bundle)
    curl.setopt(pycurl.OPENSOCKETFUNCTION, transfer.open_socket)
    curl.setopt(pycurl.HEADERFUNCTION, transfer.on_header)
    curl.setopt(pycurl.WRITEFUNCTION, transfer.on_body)
    return curl


def _headers(means: Means, journey: Journey) -> list[str]:
    lines = ["Accept-Encoding: identity"]  # pictures are compressed already
    if journey.etag:
        lines.append(f"If-None-Match: {journey.etag}")
    if journey.span:
        first, behind = journey.span
        lines.append(f"Range: bytes={first}-{behind - 1}")
    # Never to where a redirect leads, nor for robots.txt, which is public.
    if means.authorization and journey.is_at_home and not journey.is_robots:
        lines.append(f"Authorization: {means.authorization}")
    return lines
