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

# IANA's registries of special-purpose addresses, whole, and multicast: what Python calls global
# differs from version to version. (2026-11)
SPECIAL = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server: public by its number, answers only inside
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
]
# No other IPv6 address is anyone's on the internet.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Anchored, and never to be changed: what `url_identity` leaves out is in the keys of results.
USERINFO = re.compile(r"^([a-z][a-z0-9+.-]*:[/\\]{2})[^/\\?#]*@", re.I)
BREAKS = re.compile(r"[\t\r\n]")  # browsers take them out of a URL, wherever they are
COPYING_TRACES = (
    " \x00\x85\xa0\xad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # of copying, at the ends
)
PLAIN = "%/:@!$&'()*+,;=~[]|?#"  # what stays as it is in a URL


class UrlError(Failure):
    """No request can be made of this: bad_url or unsupported_scheme."""


class Url(NamedTuple):
    """A URL as curl reads it.

    ASCII, percent-encoded, host in lower case, an IPv4 address as four numbers.
    """

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


def parse_url(text: str | None) -> Url:
    """Read a URL. Raises UrlError. What checks a URL and what asks for it is one parser, curl's.

    What must be is percent-encoded, "+" stays, a foreign host becomes punycode, "127.1" is
    127.0.0.1. Line breaks and tabs are taken out, as browsers do.

    >>> parse_url("http://Bücher.example/a b+c/é.jpg?q=[x] y").text
    'http://xn--bcher-kva.example/a%20b+c/%C3%A9.jpg?q=[x]%20y'
    """
    if not isinstance(text, str) or not text.strip():
        raise UrlError("bad_url", "there is no URL")
    text = BREAKS.sub("", text).strip().strip(COPYING_TRACES)
    # Of the text before anything is quoted: quoting would turn the colon's neighbours into %20.
    scheme = re.match(r"[a-z][a-z0-9+-]*(?=:)", text.lower())
    if not scheme:
        raise UrlError("bad_url", "the URL does not begin with http:// or https://")
    if scheme[0] not in ("http", "https"):
        raise UrlError("unsupported_scheme", f"only http and https are fetched, not {scheme[0]}")
    try:
        return _parsed(text, scheme[0])
    except (pycurl.error, ValueError) as e:  # idna's errors are ValueErrors
        raise UrlError("bad_url", f"the URL cannot be read: {e.args[-1]}") from None


def _parsed(text: str, scheme: str) -> Url:
    # Quoted first, as curl refuses spaces that browsers
    # send; `PLAIN` keeps what is encoded already.
    url = pycurl.CurlUrl(quote(text, safe=PLAIN))
    if not url.host.isascii():
        # UTS 46, what browsers do: "Bücher" and "bücher" are one host.
        url.host = idna.encode(url.host, uts46=True).decode()
        url = pycurl.CurlUrl(url.url)  # once more: it may be a number now
    # A dot at the end is the DNS root: the same host,
    # but another name in certificates and in limits.
    url.host = url.host.lower().rstrip(".")
    port = int(url.getpart(pycurl.UPART_PORT, pycurl.U_DEFAULT_PORT))
    whole = url.getpart(pycurl.UPART_URL, pycurl.U_NO_DEFAULT_PORT)
    found = Url(whole, scheme, url.host.strip("[]"), port)
    if found.is_address:
        ipaddress.ip_address(found.host)
    return found


def url_identity(url: str) -> str:
    """What names the content behind a URL: the URL without user, password and signature.

    Of S3, GCS, CloudFront, Azure. `token`, `key` and the like stay: they may be what tells two
    pictures apart.

    >>> url_identity("https://b.s3.amazonaws.com/1.jpg?X-Amz-Date=20260101&X-Amz-Signature=abc&v=2")
    'https://b.s3.amazonaws.com/1.jpg?v=2'
    """
    url = USERINFO.sub(r"\1", url)
    if not SIGNED.search(url):
        return url
    address, _, query = url.partition("?")
    names = {part: unquote(part.partition("=")[0]) for part in query.split("&")}
    # By their decoded names, kept as they are spelled:
    # a key must not change with the spelling of %2D.
    kept = "&".join(part for part in query.split("&") if not SIGNATURE.fullmatch(names[part]))
    return f"{address}?{kept}" if kept else address


@functools.lru_cache(4096)
def is_public(ip: str) -> bool:
    """Whether an address belongs to the public internet, also when IPv4 hides in IPv6.

    False for what is no address.

    >>> [is_public(ip) for ip in ("93.184.215.14", "10.0.0.1", "::ffff:127.0.0.1", "100.64.0.1")]
    [True, False, False, False]
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        # ::ffff:127.0.0.1 is 127.0.0.1 to a kernel, and so is a translated address behind NAT64.
        hidden = address.ipv4_mapped
        if address in NAT64:
            hidden = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if hidden is not None:
            return is_public(str(hidden))
        if address not in GLOBAL_UNICAST:
            return False
    return not any(address in network for network in SPECIAL)
