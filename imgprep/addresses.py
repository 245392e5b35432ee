"""Web addresses: how a URL is read, what of it may be shown, and which hosts may be asked at all."""

import functools
import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin

import idna

AZURES_WIRE_SERVER = ipaddress.ip_address("168.63.129.16")  # public by its number, answers only inside their machines
NAT64 = ipaddress.ip_network("64:ff9b::/96")
SIGNED = re.compile(r"[?&](x-amz-signature|x-goog-signature|signature|sig)=", re.I)
SIGNATURE = re.compile(
    r"x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id"
    r"|sig|se|sp|sv|sr|ss|srt|st|spr|sip|skoid|sktid|skt|ske|sks|skv",
    re.I,
)
SECRET = re.compile(
    r"x-(amz|goog|oss|ms)-.*|.*(token|secret|signature|passw|passwd|password|credential|auth|key)|.*(access|key)id|sign?|hmac",
    re.I,
)
USERINFO = re.compile(r"^([a-z][a-z0-9+.-]*:[/\\]{2})[^/\\?#]*@", re.I)


class UrlError(ValueError):
    """No request can be made of this. `reason` is bad_url or unsupported_scheme; the text is one sentence."""

    def __init__(self, reason: str, sentence: str):
        super().__init__(sentence)
        self.reason = reason


class Url(NamedTuple):
    """A URL as it is asked for: ASCII, percent-encoded, without fragment, host in lower case, IPv4 as four numbers."""

    scheme: str
    userinfo: str  # with its "@", or ""
    host: str  # a name, or an IP address without brackets
    port: int
    path: str  # with its query

    @property
    def site(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def text(self) -> str:
        usual = self.port == {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{self.userinfo}{self.site.rpartition(':')[0] if usual else self.site}{self.path}"

    @property
    def ip(self) -> str | None:
        """The host, where that is an address."""
        return self.host if ":" in self.host or self.host.replace(".", "").isdigit() else None

    def joined(self, location: str) -> "Url":
        """Where a redirect to `location` leads. Raises UrlError."""
        try:
            return parse(urljoin(self.text, location.strip()))
        except ValueError as e:
            raise e if isinstance(e, UrlError) else UrlError("bad_url", "the redirect leads to no URL") from None


def parse(text: str | None) -> Url:
    """Read a URL as browsers do (the WHATWG standard). Raises UrlError.

    What must be is percent-encoded, "+" stays, a foreign host becomes punycode, "127.1" is 127.0.0.1.

    >>> parse("http://Bücher.example/a b+c/é.jpg?q=[x] y#top").text
    'http://xn--bcher-kva.example/a%20b+c/%C3%A9.jpg?q=[x]%20y'
    """
    if not isinstance(text, str) or not text.strip():
        raise UrlError("bad_url", "there is no URL")
    text = re.sub(r"[\t\r\n]", "", text.strip("".join(map(chr, range(33)))))
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if not colon or not re.fullmatch(r"[a-z][a-z0-9+-]*", scheme):
        raise UrlError("bad_url", "the URL does not begin with http:// or https://")
    if scheme not in ("http", "https"):
        raise UrlError("unsupported_scheme", f"only http and https are fetched, not {scheme}")
    rest, _, _ = rest.partition("#")
    rest, mark, query = rest.partition("?")
    slashes, authority, path = re.fullmatch(r"(/*)([^/]*)(.*)", rest.replace("\\", "/"), re.S).groups()
    if len(slashes) not in (1, 2):  # one slash is a slip that browsers mend, three are an empty host
        raise UrlError("bad_url", "the URL names no host")
    userinfo, at, hostport = authority.rpartition("@")
    host, port = re.fullmatch(r"(\[[^]]*\]|[^:]*)(.*)", hostport, re.S).groups()
    if not re.fullmatch(r"(:[0-9]{0,5})?", port) or (port[1:] and not 0 < int(port[1:]) < 65536):
        raise UrlError("bad_url", "the URL's port is no number from 1 to 65535")
    try:
        path = quote(path or "/", safe="%/:@!$&'()*+,;=~[]|")
        query = quote(query, safe="%/:@!$&()*+,;=~[]|^\\{}`?")
        userinfo = quote(userinfo, safe="%:!$&'()*+,;=~")
    except UnicodeEncodeError:
        raise UrlError("bad_url", "the URL holds half a character") from None
    number = int(port[1:] or {"http": 80, "https": 443}[scheme])
    return Url(scheme, userinfo + at, _host(host), number, path + mark + query)


def _host(text: str) -> str:
    try:
        if text.startswith("[") and "%" not in text:
            return str(ipaddress.IPv6Address(text[1:-1]))
        host = unquote(text, errors="strict")
        host = (host if host.isascii() else idna.encode(host, uts46=True).decode()).lower().removesuffix(".")
    except (ValueError, UnicodeError):  # idna.IDNAError is a UnicodeError
        raise UrlError("bad_url", "the URL's host is no name and no address") from None
    labels = host.split(".")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):  # 0x7f.1, 2130706433 and 0177.0.0.1 are addresses too
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            raise UrlError("bad_url", "the URL's host is no address") from None
    if len(host) > 253 or not all(re.fullmatch(r"[a-z0-9_-]{1,63}", label) for label in labels):
        raise UrlError("bad_url", "the URL's host is no name and no address" if host else "the URL names no host")
    return host


def redact(url: str) -> str:
    """The URL as it may be shown: without user and password, and with *** for what signs a request or is a key.

    >>> redact("https://me:pw@example.org/1.jpg?w=200&X-Amz-Signature=abc&token=1")
    'https://example.org/1.jpg?w=200&X-Amz-Signature=***&token=***'
    """
    is_signed = SIGNED.search(url)  # only then are `se`, `sp`, `policy` … parts of a signature

    def hidden(match: re.Match) -> str:
        name = unquote(match[2])
        is_secret = SECRET.fullmatch(name) or (is_signed and SIGNATURE.fullmatch(name))
        return f"{match[1]}{match[2]}=***" if is_secret else match[0]

    return re.sub(r"([?&#;])([^=&#;?]+)=([^&#;]*)", hidden, USERINFO.sub(r"\1", url))


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
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    if address.version == 6:
        hidden = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if address in NAT64:
            hidden = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.is_site_local:
            return False
        address = hidden or address
    doubtful = address.is_multicast or address.is_reserved or address == AZURES_WIRE_SERVER
    return address.is_global and not doubtful


class Hosts:
    """A list of hosts: names, "name:port", addresses, networks ("10.0.0.0/8"). Raises ValueError for anything else."""

    def __init__(self, entries: Iterable[str], option: str = "allow_hosts"):
        if isinstance(entries, str):
            raise ValueError(f"{option} is a list of hosts, not the text {entries!r}: write [{entries!r}]")
        self._entries = [self._read(entry, option) for entry in entries]

    def __bool__(self) -> bool:
        return bool(self._entries)

    def names(self, host: str, port: int, ip: str | None = None) -> bool:
        """Whether the list names this host (lower case), or `ip`, the address that it has."""
        addresses = []
        for text in {host, ip or host}:
            with suppress(ValueError):
                address = ipaddress.ip_address(text.partition("%")[0])
                addresses.append(getattr(address, "ipv4_mapped", None) or address)
        for entry, only_port in self._entries:
            is_it = entry == host if isinstance(entry, str) else any(a in entry for a in addresses)
            if is_it and only_port in (None, port):
                return True
        return False

    @staticmethod
    def _read(entry: str, option: str) -> tuple:
        with suppress(ValueError, AttributeError):
            return ipaddress.ip_network(entry.strip("[]"), strict=False), None
        with suppress(ValueError, TypeError):
            if not re.search(r"[/@?#\\]", entry):
                url = parse(f"http://{entry}")
                port = url.port if re.search(r":[0-9]+$", entry) else None
                return (ipaddress.ip_network(url.ip) if url.ip else url.host), port
        raise ValueError(f"{option}: {entry!r} is no host; write a name, 'name:port', an address or a network")
