"""One URL from the first request to its outcome."""

from dataclasses import dataclass
from typing import BinaryIO

from imgprep.io.web.addresses import Url


@dataclass(slots=True)
class Response:
    """The outcome of one URL. reason: "" or a word of `failures.REASONS`.

    error: one sentence, always the same one for the same answer.
    """

    body: bytes | None = None
    reason: str = ""
    error: str = ""
    http_status: int | None = None  # of the last answer; None without one
    attempts: int = 0  # requests, redirects and refusals among them
    etag: str = ""
    not_modified: bool = False
    opt_out: str = ""  # the header that says so, also where it is not honoured
    modified: str = ""  # Last-Modified, as the server says it
    total_bytes: int | None = None  # of the whole, also where a span was asked for


@dataclass(slots=True)
class Journey:
    """One URL on its way, over all its requests. The robots.txt of a site travels like one, too."""

    index: int  # the row's; -1: the robots.txt of a site
    first: Url
    url: Url  # where the redirects of this attempt have led
    etag: str = ""
    requests: int = 0
    failures: float = 0  # a refusal (429) counts half: it asks to wait
    hops: int = 0
    spent_s: float = 0.0  # by this attempt's earlier hops
    outcome: Response | None = None  # of the last attempt that failed
    span: tuple[int, int] | None = None  # the first byte wanted, and the one behind the last
    sink: BinaryIO | None = None  # where the body goes instead of into memory
    is_raw: bool = False  # take the body as it comes: its Content-Encoding is none that exists

    @property
    def is_robots(self) -> bool:
        return self.index < 0

    @property
    def is_at_home(self) -> bool:
        """Whether no redirect has led to another origin."""
        return (self.url.scheme, self.url.site) == (self.first.scheme, self.first.site)

    def begin_again(self, response: Response) -> None:
        """The attempt failed with this; the next one starts at the first URL."""
        # The bytes of the attempt that failed must not stand before those of the next.
        if self.sink is not None:
            self.sink.seek(0)
            self.sink.truncate()
        self.outcome = response
        # From the start: a redirect may have led to the mirror that is broken.
        self.url = self.first
        self.hops = 0
        self.spent_s = 0.0
