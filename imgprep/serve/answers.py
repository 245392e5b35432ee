"""Every answer is an outcome: a reason of the closed list, a sentence, and the status of each door.

And what clients send as text: whole numbers, JSON.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any

from imgprep.redaction import redact

# Reasons of the datasets -> HTTP status. A picture never makes a 5xx but for its deadline.
STATUS = {
    "too_large": 413,
    "not_an_image": 415,
    "unsupported_format": 415,
    "missing_extra": 415,
    "too_slow": 408,
    "missing_file": 404,
    "timeout": 504,
    # What a dataset never says: a door's own words.
    "busy": 503,
    "wrong_option": 422,
    "no_such_operation": 404,
    "no_key": 401,
    "not_allowed": 403,
    "too_many_requests": 429,
    "conflict": 409,
}
UNPROCESSABLE = 422
LONGEST_NUMBER = 18  # digits; of 4,300 and more Python makes no number


def whole_number(text: str) -> int | None:
    """A number of a client's, as plain digits; None for all else.

    >>> whole_number("12"), whole_number("-1"), whole_number("²"), whole_number("9" * 5000)
    (12, None, None, None)
    """
    is_plain = text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
    return int(text) if is_plain else None


def read_json(text: str | bytes) -> Any:
    """JSON of a client's.

    ValueError where it is none; also for NaN and Infinity, half a character, and what is nested
    deeper than it can be read: none of that could be told again as JSON.
    """
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    # Half a character: JSON can spell it, but no answer of ours could repeat it as UTF-8.
    if "\\ud" in str(text).lower():
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


@dataclass
class Refusal(Exception):
    """An answer that is no result: reason, sentence, and how long to wait before it is worth trying again."""

    reason: str
    sentence: str
    retry_after_s: float | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.sentence

    @property
    def status(self) -> int:
        """The HTTP status of the reason; what is wrong with a picture is 422.

        >>> Refusal("truncated", "").status, Refusal("busy", "").status
        (422, 503)
        """
        return STATUS.get(self.reason, UNPROCESSABLE)

    def body(self) -> dict[str, Any]:
        return {"reason": self.reason, "error": redact(self.sentence)}

    def all_headers(self) -> dict[str, str]:
        """Its headers, with Retry-After in whole seconds, at least 1."""
        if self.retry_after_s is None:
            return self.headers
        # At least 1: "0" is taken by clients for "at once", and they would come in a circle.
        return self.headers | {"Retry-After": str(max(1, math.ceil(self.retry_after_s)))}


@dataclass(frozen=True)
class Result:
    """What an operation made of an object: bytes and their type."""

    body: bytes
    media_type: str
