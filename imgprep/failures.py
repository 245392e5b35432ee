"""Why a row is not ok, the closed list of words that `reason` holds;
and how a run says that it ended.
"""

import errno
import re


class Told:
    """An exception that is no fault in the code: a notebook shows its sentence, not a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"{type(self).__name__}: {self}"]


class RunStopped(Told, RuntimeError):
    """Nearly everything failed alike, or more than `max_failed` allows. A command exits with 3."""


class Interrupted(Told, KeyboardInterrupt):
    """The stop button, or Ctrl-C, during a stage. What is done is kept."""


class Failure(ValueError):
    """The data's mistake: it becomes the outcome of its row, and never ends a run.

    reason: a word of REASONS, or http_ and a status; any other word raises ValueError.
    str(): one sentence, the same one every time.
    """

    def __init__(self, reason: str, sentence: str):
        super().__init__(known_reason(reason), sentence)  # both, so that it can be pickled
        self.reason = reason

    def __str__(self) -> str:
        return self.args[1]


def known_reason(word: str) -> str:
    """The word itself, when it is one of the closed list.

    >>> known_reason("http_404")
    'http_404'
    """
    if word in REASONS and "*" not in word or re.fullmatch(r"http_\d{3}", word):
        return word
    raise ValueError(f"{word!r} is no reason: imgprep.failures.REASONS has the list")


# The machine's, whoever was at work when they came.
FULL_DISK = {errno.ENOSPC, errno.EDQUOT}


def is_of_machine(error: BaseException) -> bool:
    """Is it no picture's fault, so that it ends the run? A full disk."""
    return isinstance(error, OSError) and error.errno in FULL_DISK


REASONS = {
    "bad_url": "the cell is empty or no URL can be read from it",
    "unsupported_scheme": "only http, https, object-store URIs and paths are read",
    "blocked_address": "the host is private, loopback or link-local and not named in allow_hosts",
    "dns": "the host name does not resolve",
    "refused": "the host refused the connection",
    "reset": "the connection was cut",
    "tls": "the host's certificate or TLS handshake is not valid",
    "proxy": "the proxy did not pass the request on",
    "timeout": "the connection, the first byte or the whole body took too long",
    "too_slow": "the body came more slowly than the lowest speed allowed",
    "too_large": "the body is larger than max_bytes",
    "too_many_redirects": "more redirects than max_redirects",
    "http_*": "the server answered with this status, for example http_404",
    "host_unavailable": "the host kept refusing and was left alone for the rest of the run",
    "opted_out": "the owner opted out of machine learning (X-Robots-Tag or TDM-Reservation)",
    "robots": "robots.txt disallows the page",
    "missing_file": "no such file or object",
    "no_permission": "the file or object may not be read",
    "empty": "there are no bytes",
    "not_an_image": "the content is not a picture",
    "not_a_film": "the content is not a film, or has sound and no picture",
    "unsupported_format": "a picture, but of a format that cannot be decoded here",
    "missing_extra": (
        "this machine lacks a package that the picture or its place needs; it is named"
    ),
    "truncated": "the body or the picture ends early",
    "corrupt": "the body's encoding or the picture's data is damaged",
    "too_many_pixels": "more pixels than max_pixels, by its header",
    "too_many_frames": "more frames or pages than max_frames",
    "too_long": "the film is longer than max_hours",
    "over_budget": "no quality and size of the picture has so few bytes",
    "no_answer": "the results of the batch do not have this request",
    "declined": "the model declined to answer about the picture, or its answer was filtered",
    "no_json": "the answer is not the JSON that was asked for",
    "out_of_budget": "the tokens that a run may spend were spent",
    "no_foreground": "no tile of this block has as much foreground as was asked for",
    "changed": "the source changed while it was read",
    "error": "the function raised an exception on this picture",
    "crashed": "the process died on this picture, twice",
    "killed": "the process was ended from outside: no memory on the machine, or by somebody",
    "took_too_long": "the function took longer than timeout_s on this picture",
    "too_much_memory": "the process took more than max_memory_mb on this picture",
}
