"""Which failures are tried again by the next run: what the network,
the machine or an option caused.

What the server said about that picture (404, 410, opted out), or what the picture is, stays until
`retry_failed`.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset.counts import words
from imgprep.dataset.files import PRIVATE, Folder

CIRCUMSTANCES = f"{PRIVATE}/circumstances.json"
# Nobody said anything about the picture: the host, the way to it, the machine or a key was at
# fault.
PASSING = {
    "dns",
    "refused",
    "reset",
    "tls",
    "proxy",
    "timeout",
    "too_slow",
    "host_unavailable",
    "http_401",
    "http_407",
    "http_408",
    "http_425",
    "http_429",
    "no_permission",
    "missing_extra",
    "changed",
    "killed",
}
# The host answered and sent this picture too slowly: as far as is known that is the picture's own
# way, so it stays until the option changes. A host that says nothing is `timeout` alone.
SLOW_BODY = "timeout of its body"
SLOW_BODY_SAYS = "the answer was not complete within"
# What a server says when it is itself in trouble.
SERVER_FAULT = re.compile(r"http_5\d\d")
# The option that refused a picture: another value may let it pass.
OPTION_OF = {
    "blocked_address": "allow_hosts",
    "too_large": "max_bytes",
    "too_many_pixels": "max_pixels",
    "too_many_frames": "max_frames",
    "too_long": "max_hours",
    "too_many_redirects": "max_redirects",
    "truncated": "keep_truncated",
    "opted_out": "opt_out",
    SLOW_BODY: "timeout_s",
    "timeout": "timeout_s",
    "robots": "robots_txt",
    "took_too_long": "timeout_s",
    "too_much_memory": "max_memory_mb",
}


def is_passing(reason: str) -> bool:
    """Was it the network's or the machine's fault, and not the picture's?

    >>> is_passing("timeout"), is_passing("http_503"), is_passing("http_404")
    (True, True, False)
    """
    return reason in PASSING or SERVER_FAULT.fullmatch(reason) is not None


def told_reasons(reasons: pa.Array, errors: pa.Array) -> pa.Array:
    """The reasons as they are judged here: a timeout by what its sentence says."""
    is_slow = pc.and_(pc.equal(reasons, "timeout"), pc.starts_with(errors, SLOW_BODY_SAYS))
    return pc.if_else(is_slow, SLOW_BODY, reasons)


def changed_reasons(now: dict[str, Any], before: dict[str, Any]) -> set[str]:
    """The reasons whose option is another one than before.

    An option that was not noted has not changed.
    """
    found = set()
    for reason, option in OPTION_OF.items():
        if option in now and option in before and now[option] != before[option]:
            found.add(reason)
    return found


def to_try(reasons: Iterable[str], changed: set[str]) -> set[str]:
    """Those of the reasons that are tried again."""
    return {reason for reason in reasons if reason in changed or is_passing(reason)}


def read_circumstances(folder: Folder) -> dict[str, Any]:
    """The options that the committed failures were made with; {} where nothing was noted."""
    try:
        found = json.loads(folder.get(CIRCUMSTANCES) or b"{}")
    except ValueError:  # damaged: nothing is known
        return {}
    return found if isinstance(found, dict) else {}


def write_circumstances(folder: Folder, now: dict[str, Any], reasons: Iterable[str]) -> None:
    """Note the options that refused a picture; without such pictures there is nothing to note."""
    options = sorted({OPTION_OF[reason] for reason in reasons if reason in OPTION_OF})
    noted = {name: now[name] for name in options if name in now}
    if noted:
        folder.put(CIRCUMSTANCES, json.dumps(noted, ensure_ascii=False).encode())
    elif folder.size(CIRCUMSTANCES) is not None:
        folder.delete(CIRCUMSTANCES)


def stay_sentence(reasons: dict[str, int]) -> str:
    """How many failures of earlier runs are taken as they are, and the words that try them again.

    >>> stay_sentence({"http_404": 1}).partition(": ")[0]
    '1 failure of an earlier run stays (http_404 1)'
    """
    n = sum(reasons.values())
    if not n:
        return ""
    what = "1 failure of an earlier run stays" if n == 1 else f"{n:,} failures of earlier runs stay"
    them = "it" if n == 1 else "them"
    fix = f"retry_failed=True tries {them} again, in a pipeline -p retry_failed=true"
    return f"{what} ({words(reasons)}): {fix}"
