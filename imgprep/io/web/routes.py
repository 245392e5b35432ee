"""The way to a host: which addresses may be asked, through which proxy, with which certificates."""

import functools
import ipaddress
import os
import re
import socket
import urllib.request
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import certifi

from imgprep.io.web.addresses import Url, is_public

BUNDLES = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
# getaddrinfo blocks; the loop that drives curl must not.
LOOKUPS = ThreadPoolExecutor(4, "imgprep-dns")
# Servers of this process that stand in for others: "host:port" of URLs -> where they listen.
STAND_INS: dict[str, str] = {}


class Routes:
    """The proxies that the environment names now, and the private hosts that are allowed."""

    def __init__(self, allow_hosts: Iterable[str]):
        if isinstance(allow_hosts, str):
            what = f"allow_hosts is a list of hosts, not the text {allow_hosts!r}"
            raise ValueError(f"{what}: write [{allow_hosts!r}]")
        # In curl's words, and from here: curl would read lower-case http_proxy alone.
        self._proxies = urllib.request.getproxies_environment()  # type: ignore[attr-defined]
        self.named = tuple(allow_hosts)
        self._names: set[str] = set()
        self._networks: list[Any] = []
        for entry in self.named:
            text = str(entry).strip("[]").lower()
            with suppress(ValueError):
                self._networks.append(ipaddress.ip_network(text, strict=False))
                continue
            if not isinstance(entry, str) or not re.fullmatch(r"[a-z0-9_.-]+", text):
                fix = "write a name, an address or a network"
                raise ValueError(f"allow_hosts: {entry!r} is no host; {fix}")
            self._names.add(text)

    def may_connect(self, url: Url, ip: str) -> bool:
        """Whether this address may be asked for this URL."""
        if is_public(ip) or url.host in self._names:
            return True
        address = ipaddress.ip_address(ip)
        # An IPv4 network that is allowed holds for its form in IPv6, too.
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)

    def proxy(self, url: Url) -> str:
        """The proxy for this URL, or "". This machine is never asked through one (as in Go)."""
        is_here = re.fullmatch(r"(.+\.)?localhost|::1|127\.[0-9.]+", url.host)
        passes_by = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
        if is_here or passes_by(url.site, self._proxies):
            return ""
        return self._proxies.get(url.scheme) or self._proxies.get("all") or ""

    def addresses(self, url: Url, proxy: str) -> list[str] | None:
        """What to check before a request: an address in the URL; behind a proxy a name's, too.

        None: not known yet. Without a proxy a name's addresses are checked when curl connects.
        A proxy looks the name up once more, itself.
        """
        if url.is_address:
            return [url.host]
        if not proxy or url.host in self._names:
            return []
        lookup = _lookup(url.host)
        return lookup.result() if lookup.done() else None


@functools.lru_cache(10_000)
def _lookup(name: str) -> Future:
    return LOOKUPS.submit(_resolve, name)


def _resolve(name: str) -> list[str]:
    """The addresses of a name; [] where only the proxy knows it."""
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError:
        return []


def blocked(url: Url, addresses: Sequence[str]) -> tuple[str, str]:
    """The reason and the sentence for a host that may not be asked."""
    address = min(addresses)  # the order in which they are tried is chance
    who = address if url.is_address else f"{url.host} has the address {address}, which"
    return "blocked_address", f"{who} is not public; name it in allow_hosts if it may be asked"


def ca_bundle() -> str:
    """The file of trusted certificates that the environment names (BUNDLES), else certifi's."""
    for name in BUNDLES:
        path = os.environ.get(name)
        if not path:
            continue
        if not os.path.isfile(path):
            fix = "name a CA bundle, or unset it"
            raise ValueError(f"{name}={path} in the environment is no file: {fix}")
        return path
    return certifi.where()


def authorization(variable: str | None) -> str:
    """The value of the environment variable of this name, "" for None.

    It stays out of every message.
    """
    if variable is None:
        return ""
    if not isinstance(variable, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        what = "the name of an environment variable, not the value itself"
        raise ValueError(f"authorization_env is {what}")
    value = os.environ.get(variable, "")
    # A line break in it would be a header of its own.
    if not re.fullmatch(r"[ -~]+", value):
        fix = f"set {variable} in the environment to one line, like 'Bearer …'"
        raise ValueError(f"authorization_env: {fix}")
    return value
