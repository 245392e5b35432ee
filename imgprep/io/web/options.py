"""The options of a download, checked once: how hard hosts are asked, how long, how much is kept."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import imgprep

MIB = 2**20
USER_AGENT = f"imgprep/{imgprep.__version__} (no contact given)"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a `Fetcher` is told. Raises ValueError, naming the option, for what makes no sense.

    attempts: for what may pass: 408, 425, 5xx, resets, short bodies, timeouts, DNS. A 429 counts
        half: it asks to wait.
    per_host, in_flight: requests at once. share: this worker's part of per_host, but never less
        than one request.
    timeout_s: connection, redirects and body. min_bytes_per_s: judged over 5 s. max_bytes: also
        when decompressed.
    allow_hosts: hosts with private addresses that may be asked: names, addresses, networks.
    user_agent: who asks. It should carry a contact, so that a host's owner can write instead of
        shutting you out: "my-dataset/1.0 (me@university.edu)". Its first word is the name that
        X-Robots-Tag and robots.txt may use.
    opt_out, robots_txt, tdm_reservation: honour X-Robots-Tag, robots.txt, TDM-Reservation.
    authorization_env: the name of the environment variable with the value of an Authorization
        header, which is sent to the hosts of the URLs, never to another one to which they redirect.
    connect_to: {"host:port": "host:port"}: what URLs of the first is asked of the second, as curl's
        --connect-to; for servers that stand in for others, as in the demo.
    """

    attempts: int = 3
    per_host: int = 8
    in_flight: int = 32
    timeout_s: float = 60
    connect_timeout_s: float = 10
    first_byte_timeout_s: float = 20
    min_bytes_per_s: float = 1000
    max_bytes: int = 64 * MIB
    max_redirects: int = 5
    allow_hosts: Sequence[str] = ()
    user_agent: str = USER_AGENT
    opt_out: bool = True
    robots_txt: bool = False
    tdm_reservation: bool = False
    authorization_env: str | None = None
    connect_to: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("attempts", "per_host", "in_flight", "max_bytes"):
            self._check_number(name, 1, whole=True)
        self._check_number("max_redirects", 0, whole=True)
        for name in ("timeout_s", "connect_timeout_s", "first_byte_timeout_s"):
            self._check_number(name, 0.001)
        for name in ("min_bytes_per_s", "share"):
            self._check_number(name, 0)
        for name in ("opt_out", "robots_txt", "tdm_reservation"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ValueError(f"{name} is true or false, not {value!r}")
        for place in (*self.connect_to, *self.connect_to.values()):
            if not re.fullmatch(r".+:\d+", place):
                raise ValueError(f"connect_to maps host:port to host:port, not {place!r}")
        agent = self.user_agent
        if not isinstance(agent, str) or not re.fullmatch(r"[!-~][ -~]*", agent):
            raise ValueError(f"user_agent is one line of ASCII text, not {agent!r}")

    def _check_number(self, name: str, least: float, *, whole: bool = False) -> None:
        value = getattr(self, name)
        kinds = (int,) if whole else (int, float)
        is_number = isinstance(value, kinds) and not isinstance(value, bool)
        if is_number and least <= value < math.inf:
            return
        kind = "whole number" if whole else "number"
        raise ValueError(f"{name} is a {kind} of at least {least:g}, not {value!r}")

    @property
    def at_once(self) -> int:
        """How many requests this worker may have open at one host."""
        # Rounded down: all workers together must not have more than per_host.
        return max(1, int(self.per_host * min(self.share, 1)))

    @property
    def agent(self) -> str:
        """The name by which robots.txt and X-Robots-Tag may speak to us."""
        return re.split(r"[/ ]", self.user_agent.lower())[0]
