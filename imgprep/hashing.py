"""Plain values as a hash."""

import hashlib
import json
from typing import Any


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


def _refuse(value: Any) -> Any:
    raise ValueError(f"{value!r} is no plain value (str, int, float, bool, None, list, dict)")
