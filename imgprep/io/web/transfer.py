"""One HTTP request on a curl handle: what it sends, what it lets in, when it is late, and what came of it."""

import socket
from dataclasses import dataclass
from http.client import responses

import pycurl

from imgprep.io.web.addresses import Url
from imgprep.io.web.optout import robots_tag

MIB = 2**20
HELD_BYTES = 128 * MIB  # bodies under way hold no more than this together, but for the oldest of them
SPEED_WINDOW_S = 5.0  # the lowest speed is judged over this
DRAIN_BYTES = 64 * 1024  # of an error page: reading it is cheaper than making another connection
ROBOTS_BYTES = 500 * 1024  # RFC 9309
DNS_CACHE_S = 300
SUPPRESS_CONNECT_HEADERS = 265  # CURLOPT_…, which pycurl does not name

CURL = {
    pycurl.E_COULDNT_RESOLVE_HOST: ("dns", "the name {host} has no address"),
    pycurl.E_COULDNT_CONNECT: ("refused", "{host} accepts no connection"),
    pycurl.E_OPERATION_TIMEDOUT: ("timeout", "{host} accepts no connection within connect_timeout_s={connect_s:g}"),
    pycurl.E_FILESIZE_EXCEEDED: ("too_large", "the body is larger than max_bytes={limit}"),
    pycurl.E_PARTIAL_FILE: ("truncated", "the body ended before all of it had come"),
    pycurl.E_BAD_CONTENT_ENCODING: ("corrupt", "the body's Content-Encoding cannot be decoded"),
    pycurl.E_PEER_FAILED_VERIFICATION: ("tls", "the certificate of {host} is not valid here; see SSL_CERT_FILE"),
    pycurl.E_SSL_CACERT_BADFILE: ("tls", "the CA bundle that the environment names cannot be read"),
}
TRANSIENT = {"reset", "truncated", "timeout", "too_slow", "dns", "http_408", "http_425"}  # and 5xx


@dataclass(slots=True)
class Response:
    """The outcome of one URL. reason: "" or a word of `reasons.REASONS`. error: one sentence, always the same one."""

    body: bytes | None = None
    reason: str = ""
    error: str = ""
    http_status: int | None = None  # of the last answer; None without one
    attempts: int = 0  # requests, redirects and refusals among them
    etag: str = ""
    not_modified: bool = False
    opt_out: str = ""  # the header that says so, also where it is not honoured


@dataclass(slots=True)
class Row:
    """One URL on its way, over all its requests."""

    index: int  # -1: the robots.txt of a site
    first: Url
    url: Url  # where the redirects of this attempt have led
    etag: str = ""
    requests: int = 0
    failures: float = 0  # a refusal (429) counts half: it asks to wait
    hops: int = 0
    spent_s: float = 0.0  # by this attempt's earlier hops
    outcome: Response | None = None  # of the last attempt that failed


class Transfer:
    """One request on a curl handle. `fetcher`: the `fetch.Fetcher` that holds the options."""

    def __init__(self, fetcher, row: Row, host, proxy: str, now: float):
        self.fetcher, self.row, self.host, self.proxy = fetcher, row, host, proxy
        self.started = now
        self.begun = self.window_at = fetcher.clock_s()
        self.status: int | None = None
        self.status_line = b""
        self.headers: dict[str, list[str]] = {}
        self.chunks: list[bytes] = []
        self.size = self.window_size = 0
        self.keep = False  # whether the body is wanted
        self.is_paused = False
        self.verdict: tuple[str, str] | None = None
        self.opt_out = ""
        self.opened, self.blocked = False, []
        self.limit = fetcher.max_bytes if row.index >= 0 else min(ROBOTS_BYTES, fetcher.max_bytes)
        self.curl = curl = pycurl.Curl()
        curl.transfer = self
        curl.setopt(pycurl.URL, row.url.text)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # a picture that is given up ends only itself
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.BUFFERSIZE, 128 * 1024)
        curl.setopt(pycurl.USERAGENT, fetcher.user_agent)
        curl.setopt(pycurl.HTTPHEADER, self._headers())
        curl.setopt(pycurl.ACCEPT_ENCODING, "")  # decode what comes; what is asked for is in _headers
        curl.setopt(pycurl.MAXFILESIZE_LARGE, fetcher.max_bytes)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(fetcher.connect_timeout_s * 1000)))
        again = row.outcome is not None and row.outcome.reason == "dns"
        curl.setopt(pycurl.DNS_CACHE_TIMEOUT, 0 if again else DNS_CACHE_S)  # curl remembers failures too
        curl.setopt(pycurl.PROXY, proxy)
        curl.setopt(pycurl.NOPROXY, "")  # PROXY alone decides
        curl.setopt(SUPPRESS_CONNECT_HEADERS, 1)
        curl.setopt(pycurl.CAINFO, fetcher.ca_bundle)
        curl.setopt(pycurl.PROXY_CAINFO, fetcher.ca_bundle)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        curl.setopt(pycurl.HEADERFUNCTION, self._on_header)
        curl.setopt(pycurl.WRITEFUNCTION, self._on_body)

    def _headers(self) -> list[str]:
        row = self.row
        lines = ["Accept-Encoding: identity"]  # pictures are compressed already
        if row.etag:
            lines.append(f"If-None-Match: {row.etag}")
        same_origin = (row.url.scheme, row.url.site) == (row.first.scheme, row.first.site)
        if self.fetcher.authorization and same_origin and row.index >= 0:
            lines.append(f"Authorization: {self.fetcher.authorization}")
        return lines

    def _open_socket(self, purpose, address):
        # Here and not before: whatever a name resolves to, and however late, this is the address that is connected to.
        if not self.proxy and not self.fetcher.routes.may_connect(self.row.url, address.addr[0]):
            self.blocked.append(address.addr[0])
            return pycurl.SOCKET_BAD
        self.opened = True
        return socket.socket(address.family, address.socktype, address.protocol)

    def _on_header(self, line: bytes) -> int | None:
        if line.startswith(b"HTTP/"):
            self.status_line, self.headers = line, {}
        elif not line.strip() and self.status is None:  # else the trailers of a chunked body
            return self._on_head()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        self.headers.setdefault(name.strip().lower(), []).append("".join(filter(str.isprintable, value.strip())))
        return None

    def _on_head(self) -> int | None:
        """All headers have come: decide whether the body is wanted."""
        status = int((self.status_line.split(None, 2) + [b"0"])[1])
        if status < 200:
            return None
        self.status, self.window_at = status, self.fetcher.clock_s()
        self.keep = 200 <= status < 300
        if (self.keep or status == 304) and self.row.index >= 0:
            tag = robots_tag(self.headers.get("x-robots-tag", []), self.fetcher.agent)
            reserved = self.header("tdm-reservation") == "1"
            self.opt_out = f"X-Robots-Tag: {tag}" if tag else "TDM-Reservation: 1" if reserved else ""
            if (tag and self.fetcher.opt_out) or (reserved and self.fetcher.tdm_reservation):
                self.verdict = ("opted_out", f"{self.row.url.host} opts out: {self.opt_out}")
                return -1
        return None

    def _on_body(self, chunk: bytes) -> int | None:
        if not self.keep:
            self.size += len(chunk)
            return None if self.size <= DRAIN_BYTES else -1
        if self.size + len(chunk) > self.limit:  # decompressed; curl itself counts what comes over the wire
            self.verdict = self._failure(pycurl.E_FILESIZE_EXCEEDED, "")
            return -1
        if self.fetcher.held_bytes + len(chunk) > HELD_BYTES and not self.fetcher.is_oldest(self):
            self.is_paused = True
            return pycurl.WRITEFUNC_PAUSE
        self.size += len(chunk)
        self.fetcher.held_bytes += len(chunk)
        self.chunks.append(chunk)
        return None

    def resume(self) -> None:
        """Go on with a body that had to wait for room; its deadlines begin anew."""
        if self.is_paused:
            self.is_paused = False
            self.begun = self.window_at = self.fetcher.clock_s()
            self.curl.pause(pycurl.PAUSE_CONT)

    def spent_s(self) -> float:
        return self.fetcher.clock_s() - self.begun

    def is_late(self) -> bool:
        """Whether a deadline has passed. The one for the connection is curl's."""
        f, spent_s = self.fetcher, self.spent_s()
        if self.is_paused:
            return False
        if spent_s > f.timeout_s - self.row.spent_s:
            self.verdict = ("timeout", f"the answer was not complete within timeout_s={f.timeout_s:g}")
        elif self.status is None:
            sent_s = self.curl.getinfo(pycurl.PRETRANSFER_TIME)
            if sent_s and spent_s - sent_s > f.first_byte_timeout_s:
                sentence = f"{self.row.url.host} did not answer within first_byte_timeout_s={f.first_byte_timeout_s:g}"
                self.verdict = ("timeout", sentence)
        elif f.clock_s() - self.window_at > SPEED_WINDOW_S:
            if self.size - self.window_size < f.min_bytes_per_s * SPEED_WINDOW_S:
                self.verdict = ("too_slow", f"the body came with less than min_bytes_per_s={f.min_bytes_per_s:g}")
            self.window_at, self.window_size = f.clock_s(), self.size
        return self.verdict is not None

    def header(self, name: str) -> str:
        """The first value of a header, or ""."""
        return self.headers.get(name, [""])[0]

    def response(self, code: int, text: str) -> tuple[Response, bool]:
        """What came of it, and whether to try again."""
        status, host = self.status, self.row.url.host
        response = Response(http_status=status, opt_out=self.opt_out)
        if self.verdict:
            response.reason, response.error = self.verdict
        elif status == 407 and self.proxy:
            response.reason, response.error = "proxy", "the proxy asks for a user and password"
        elif status == 304 and self.row.etag:
            response.not_modified, response.etag = True, self.header("etag") or self.row.etag
        elif status is not None and not self.keep:
            response.reason = f"http_{status}"
            response.error = f"{host} answers {status} {responses.get(status, '')}".rstrip()
        elif code == 0:
            response.body, response.etag = b"".join(self.chunks), self.header("etag")
        else:
            response.reason, response.error = self._failure(code, text)
        is_5xx = 500 <= (status or self.curl.getinfo(pycurl.HTTP_CONNECTCODE)) <= 599 and not self.verdict
        return response, is_5xx or response.reason in TRANSIENT

    def _failure(self, code: int, text: str) -> tuple[str, str]:
        url = self.row.url
        if self.proxy and (code in (pycurl.E_COULDNT_RESOLVE_PROXY, pycurl.E_COULDNT_CONNECT) or "CONNECT" in text):
            status = self.curl.getinfo(pycurl.HTTP_CONNECTCODE)
            return "proxy", f"the proxy answers {status}" if status else "the proxy cannot be reached"
        if code == pycurl.E_COULDNT_CONNECT and self.blocked and not self.opened:
            return blocked(url, self.blocked)
        if code == pycurl.E_SSL_CONNECT_ERROR and not self.curl.getinfo(pycurl.OS_ERRNO) and "eof" not in text:
            return "tls", f"{url.host} and this machine agree on no TLS connection"
        reason, sentence = CURL.get(code, ("reset", "{host} broke the answer off, or did not speak HTTP"))
        return reason, sentence.format(host=url.host, limit=self.limit, connect_s=self.fetcher.connect_timeout_s)


def blocked(url: Url, addresses: list[str]) -> tuple[str, str]:
    """The reason and the sentence for a host that may not be asked."""
    address = min(addresses)  # the order in which they are tried is chance
    who = address if url.is_address else f"{url.host} has the address {address}, which"
    return "blocked_address", f"{who} is not public; name it in allow_hosts if it may be asked"
