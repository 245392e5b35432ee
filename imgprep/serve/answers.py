"""Every answer is an outcome: a reason of the closed list, a sentence, and the status of each door."""

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
        return self.headers | {"Retry-After": str(max(1, math.ceil(self.retry_after_s)))}


@dataclass(frozen=True)
class Result:
    """What an operation made of an object: bytes and their type."""

    body: bytes
    media_type: str
