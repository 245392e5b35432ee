"""Web addresses: how a URL is read, what names its content, which hosts may be asked at all."""

import functools
import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote, unquote

import idna
import pycurl

from imgprep.failures import Failure
from imgprep.redaction import SIGNATURE, SIGNED

AZURES_WIRE_SERVER = ipaddress.ip_address("168.63.129.16")  # public by its number, answers only inside their machines
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Anchored, and never to be changed: what `identity` leaves out is in the keys of results.
USERINFO = re.compile(r"^([a-z][a-z0-9+.-]*:[/\\]{2})[^/\\?#]*@", re.I)


class UrlError(Failure):
    """No request can be made of this: bad_url or unsupported_scheme."""


class Url(NamedTuple):
    """A URL as curl reads it: ASCII, percent-encoded, host in lower case, an IPv4 address as four numbers."""

    text: str
    scheme: str
    host: str  # a name, or an IP address without brackets
    port: int

    @property
    def site(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_address(self) -> bool:
        return re.fullmatch(r"[0-9.]+|.*:.*", self.host) is not None


def parse(text: str | None) -> Url:
    """Read a URL. Raises UrlError. What checks a URL and what asks for it is one parser, curl's.

    What must be is percent-encoded, "+" stays, a foreign host becomes punycode, "127.1" is 127.0.0.1.

    >>> parse("http://Bücher.example/a b+c/é.jpg?q=[x] y").text
    'http://xn--bcher-kva.example/a%20b+c/%C3%A9.jpg?q=[x]%20y'
    """
    if not isinstance(text, str) or not text.strip():
        raise UrlError("bad_url", "there is no URL")
    scheme = re.match(r"[a-z][a-z0-9+-]*(?=:)", text.strip().lower())
    if not scheme:
        raise UrlError("bad_url", "the URL does not begin with http:// or https://")
    if scheme[0] not in ("http", "https"):
        raise UrlError("unsupported_scheme", f"only http and https are fetched, not {scheme[0]}")
    try:
        url = pycurl.CurlUrl(quote(text.strip(), safe="%/:@!$&'()*+,;=~[]|?#"))
        if not url.host.isascii():
            url.host = idna.encode(url.host, uts46=True).decode()
            url = pycurl.CurlUrl(url.url)  # once more: it may be a number now
        url.host = url.host.lower().rstrip(".")
        port = int(url.getpart(pycurl.UPART_PORT, pycurl.U_DEFAULT_PORT))
        found = Url(url.getpart(pycurl.UPART_URL, pycurl.U_NO_DEFAULT_PORT), scheme[0], url.host.strip("[]"), port)
        if found.is_address:
            ipaddress.ip_address(found.host)
    except (pycurl.error, ValueError) as e:  # idna's errors are ValueErrors
        raise UrlError("bad_url", f"the URL cannot be read: {e.args[-1]}") from None
    return found


def identity(url: str) -> str:
    """What names the content behind a URL: the URL without user, password and signature (S3, GCS, CloudFront, Azure).

    `token`, `key` and the like stay: they may be what tells two pictures apart.

    >>> identity("https://b.s3.amazonaws.com/1.jpg?X-Amz-Date=20260101&X-Amz-Signature=abc&v=2")
    'https://b.s3.amazonaws.com/1.jpg?v=2'
    """
    url = USERINFO.sub(r"\1", url)
    if not SIGNED.search(url):
        return url
    address, _, query = url.partition("?")
    kept = "&".join(p for p in query.split("&") if not SIGNATURE.fullmatch(unquote(p.partition("=")[0])))
    return f"{address}?{kept}" if kept else address


@functools.lru_cache(4096)
def is_public(ip: str) -> bool:
    """Whether an address belongs to the public internet, also when IPv4 hides in IPv6. False for what is no address.

    >>> [is_public(ip) for ip in ("93.184.215.14", "10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "100.64.0.1")]
    [True, False, False, False, False]
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    if address.version == 6:
        if address.is_site_local or address.sixtofour or address.teredo:
            return False
        hidden = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else address.ipv4_mapped
        address = hidden or address
    doubtful = address.is_multicast or address.is_reserved or address == AZURES_WIRE_SERVER
    return address.is_global and not doubtful
