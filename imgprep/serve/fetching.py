"""`?url=`: a picture from elsewhere, only from hosts that are named,
only through the checked fetcher.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from imgprep.io.web.fetch import Fetcher
from imgprep.serve.answers import Refusal


def fetched(url: str, *, allow_hosts: Sequence[str], max_bytes: int, timeout_s: float) -> bytes:
    """The bytes at a URL of one of these hosts.

    Redirects are not followed: they may lead elsewhere.

    Refusal with the fetcher's reason, or not_allowed. Blocks: for a thread.
    """
    host = urlsplit(url).hostname or ""
    if host not in allow_hosts:
        raise Refusal(
            "not_allowed", f"pictures are fetched from named hosts only; {host!r} is none"
        )
    options: dict[str, Any] = {
        "max_bytes": max_bytes,
        "timeout_s": timeout_s,
        "attempts": 1,
        # Not even one: a host that is named may send us to one that is not.
        "max_redirects": 0,
    }
    with Fetcher(allow_hosts=allow_hosts, **options) as fetcher:
        ((_, response),) = fetcher.fetch([url])
    if response.reason or response.body is None:
        raise Refusal(response.reason or "empty", response.error)
    return response.body
