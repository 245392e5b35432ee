"""An entry of the column `tags`: what it holds, how it is made of what a tagger gives, how two
lists become one. Without Arrow: workers of the service make entries, and no tables.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from imgprep.redaction import redact_values

LONGEST_NAME = 120
MOST_PER_PICTURE = 1000  # a tagger that gives more has gone wrong
FIELDS = {
    "kind": "string",
    "name": "string",
    "score": "float32",
    "source": "string",
    "version": "string",
    "evidence": "string",  # JSON: box, point, lines … in shares of width and height; or ""
    "accepted": "bool",  # null: nobody looked
}
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")

TagEntry = dict[str, Any]


def entry(given: Any, *, source: str, version: str) -> TagEntry:
    """What a tagger gave, a name or a dict, as a whole entry. ValueError where it is neither."""
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise ValueError(
            f"a tagger gives names or {{'kind', 'name', 'score'}}, not {str(given)[:80]!r}"
        )
    score = given.get("score", 1.0)
    if not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(f"the score of {given['name']!r} is {score!r}: give a number")
    evidence = given.get("evidence") or ""
    return {
        "kind": plain_name(given.get("kind") or "tag"),
        "name": plain_name(given["name"]),
        "score": float(score),
        "source": given.get("source") or source,
        "version": str(given.get("version") or version),
        "evidence": evidence if isinstance(evidence, str) else json.dumps(redact_values(evidence)),
        "accepted": given.get("accepted"),
    }


def plain_name(name: str) -> str:
    """One line without control or direction characters; what is too long ends in …"""
    text = " ".join(CONTROL.sub(" ", name).split())
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def entry_key(one: TagEntry) -> tuple[str, str, str, str]:
    """What makes two entries the same: who says what. The score is what they may differ in."""
    return one["kind"], one["name"], one["source"], one["version"]


def unique(entries: Iterable[TagEntry]) -> list[TagEntry]:
    """One entry per tagger and name, the one with the highest score; at most MOST_PER_PICTURE."""
    found: dict[tuple[str, str, str, str], TagEntry] = {}
    for one in entries:
        if not one["name"]:  # nothing was left of it but control characters
            continue
        before = found.get(entry_key(one))
        if before is None or before["score"] < one["score"]:
            found[entry_key(one)] = one
    return list(found.values())[:MOST_PER_PICTURE]


def merged_entries(
    first: list[TagEntry] | None, second: list[TagEntry] | None
) -> list[TagEntry] | None:
    """Both lists; an entry that both have is the second's, but a decision of the first stays where
    it has none.
    """
    if first is None and second is None:
        return None
    found = {entry_key(one): one for one in first or []}
    for one in second or []:
        before = found.get(entry_key(one))
        if before is not None and one["accepted"] is None:
            one = one | {"accepted": before["accepted"]}
        found[entry_key(one)] = one
    return list(found.values())


def flat_entries(rows: Iterable[list[TagEntry] | None]) -> list[TagEntry]:
    """The entries of all rows, one after another."""
    return [one for row in rows for one in row or []]
