"""What came of one request: its answer, or why there is none, and whether that may pass."""

from http.client import responses

import pycurl

from imgprep.io.web.journey import Response
from imgprep.io.web.routes import blocked
from imgprep.io.web.transfer import Transfer

CURL = {
    pycurl.E_COULDNT_RESOLVE_HOST: ("dns", "the name {host} has no address"),
    pycurl.E_COULDNT_CONNECT: ("refused", "{host} accepts no connection"),
    pycurl.E_OPERATION_TIMEDOUT: (
        "timeout",
        "{host} accepts no connection within connect_timeout_s={connect_s:g}",
    ),
    pycurl.E_FILESIZE_EXCEEDED: ("too_large", "the body is larger than max_bytes={limit}"),
    pycurl.E_PARTIAL_FILE: ("truncated", "the body ended before all of it had come"),
    pycurl.E_BAD_CONTENT_ENCODING: (
        "corrupt",
        "the body's Content-Encoding cannot be decoded",
    ),
    pycurl.E_PEER_FAILED_VERIFICATION: (
        "tls",
        "the certificate of {host} is not valid here; see SSL_CERT_FILE",
    ),
    pycurl.E_SSL_CACERT_BADFILE: (
        "tls",
        "the CA bundle that the environment names cannot be read",
    ),
}
BROKEN = ("reset", "{host} broke the answer off, or did not speak HTTP")
CODINGS = {"gzip", "x-gzip", "deflate", "br", "zstd", "identity", "none"}  # what curl decodes
TRANSIENT = {"reset", "truncated", "timeout", "too_slow", "dns", "http_408", "http_425"}  # and 5xx


def response(transfer: Transfer, code: int, text: str) -> Response:
    """The outcome of a request that has ended. code, text: what curl says, 0 and "" if well."""
    status = transfer.status
    url = transfer.journey.url
    found = Response(http_status=status, opt_out=transfer.opt_out)
    if transfer.verdict:
        found.reason, found.error = transfer.verdict
    # With a proxy only: a server of its own that says 407 is just another refusal.
    elif status == 407 and transfer.proxy:
        found.reason = "proxy"
        found.error = "the proxy asks for a user and password"
    # Only where we asked with an ETag: a 304 to anything else has no body, and nothing to keep.
    elif status == 304 and transfer.journey.etag:
        found.not_modified = True
        found.etag = transfer.header("etag") or transfer.journey.etag
    elif status is not None and not transfer.keep:
        found.reason = f"http_{status}"
        found.error = f"{url.host} answers {status} {responses.get(status, '')}".rstrip()
    elif code == 0 or (code == pycurl.E_WRITE_ERROR and transfer.keep):
        # The latter: bytes behind the end of a compressed body, which was all there.
        found.body = b"".join(transfer.chunks)
        found.etag = transfer.header("etag")
        found.modified = transfer.header("last-modified")
        found.total_bytes = _total(transfer)
    else:
        found.reason, found.error = _failure(transfer, code, text)
    return found


def _total(transfer: Transfer) -> int | None:
    """Of "bytes 0-99/2000" the 2000; else what has come."""
    whole = transfer.header("content-range").rpartition("/")[2]
    if transfer.status == 206:
        return int(whole) if whole.isdecimal() else None
    return transfer.size


def location(transfer: Transfer, found: Response) -> str:
    """Where the answer redirects to, or ""."""
    is_redirect = 300 <= (transfer.status or 0) < 400  # else a Location is a word about the answer
    if transfer.verdict or found.not_modified or not is_redirect:
        return ""
    # curl's own answer: it makes a relative Location whole by the URL that was asked.
    return transfer.curl.getinfo(pycurl.REDIRECT_URL) or ""


def is_coding_unknown(transfer: Transfer, code: int) -> bool:
    """Whether the body came under a Content-Encoding that is none: browsers ignore such a word."""
    if code != pycurl.E_BAD_CONTENT_ENCODING or transfer.journey.is_raw:
        return False
    names = transfer.header("content-encoding").lower().split(",")
    return not CODINGS & {name.strip() for name in names}


def may_pass(transfer: Transfer, found: Response) -> bool:
    """Whether another attempt may have another outcome."""
    # Where there is no answer the proxy may have given one, to CONNECT.
    status = transfer.status or transfer.curl.getinfo(pycurl.HTTP_CONNECTCODE)
    is_5xx = 500 <= status <= 599 and not transfer.verdict
    return is_5xx or found.reason in TRANSIENT


def _failure(transfer: Transfer, code: int, text: str) -> tuple[str, str]:
    url = transfer.journey.url
    no_way = (pycurl.E_COULDNT_RESOLVE_PROXY, pycurl.E_COULDNT_CONNECT)
    if transfer.proxy and (code in no_way or "CONNECT" in text):
        status = transfer.curl.getinfo(pycurl.HTTP_CONNECTCODE)
        said = f"the proxy answers {status}" if status else "the proxy cannot be reached"
        return "proxy", said
    # Every address was barred. Where one was opened and did not answer, that is the fault to tell.
    if code == pycurl.E_COULDNT_CONNECT and transfer.blocked and not transfer.opened:
        return blocked(url, transfer.blocked)
    # An EOF in the handshake is a connection that broke off, which may pass.
    is_handshake = code == pycurl.E_SSL_CONNECT_ERROR and "eof" not in text
    if is_handshake and not transfer.curl.getinfo(pycurl.OS_ERRNO):
        return "tls", f"{url.host} and this machine agree on no TLS connection"
    reason, sentence = CURL.get(code, BROKEN)
    connect_s = transfer.means.options.connect_timeout_s
    return reason, sentence.format(host=url.host, limit=transfer.limit, connect_s=connect_s)
