"""Plain values as a hash; and the version by which a function of ours stands in a key."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

AnyOperator = TypeVar("AnyOperator", bound=Callable[..., Any])


def digest(*values: Any) -> str:
    """Hex hash of plain values (JSON), the same on every machine.

    >>> digest({"b": 1, "a": [1, 2]}) == digest({"a": [1, 2], "b": 1})
    True
    """
    try:
        text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=_refuse)
    except TypeError:  # {1: "a", "b": 2}
        raise ValueError("the names in a dict must be text") from None
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes, which are not held in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse(value: Any) -> Any:
    raise ValueError(f"{value!r} is no plain value (str, int, float, bool, None, list, dict)")


def versioned(number: int) -> Callable[[AnyOperator], AnyOperator]:
    """Give a function the attribute `version`: raise it whenever the pixels that it makes change.

    >>> versioned(2)(lambda image: image).version
    2
    """

    def mark(operator: AnyOperator) -> AnyOperator:
        vars(operator)["version"] = number
        return operator

    return mark
