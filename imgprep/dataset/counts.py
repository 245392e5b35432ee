"""Outcomes of rows as numbers, and as a sentence."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from imgprep.words import number_of

STATUSES = ("ok", "placeholder", "failed")
SAID = 160  # characters of an error in a summary


def count(files: list[dict[str, Any]], split: str | None = None) -> dict[str, Any]:
    """`Dataset.counts` of the files of a manifest."""
    total: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for batch in files:
        if batch["config"] == "index" and split in (None, batch["split"]):
            total.update({k: batch["counts"].get(k, 0) for k in STATUSES})
            reasons.update(batch["counts"].get("reasons", {}))
    return {
        "rows": total.total(),
        **{k: total[k] for k in STATUSES},
        "reasons": dict(_commonest(reasons)),
    }


def summary(counts: dict[str, Any], noun: str = "picture") -> str:
    """One sentence: '1,180 of 1,200 pictures ready; 20 placeholders: http_404 9, timeout 5'."""
    text = f"{counts['ok']:,} of {number_of(counts['rows'], noun)} ready"
    bad = []
    if n := counts["placeholder"]:
        bad.append(number_of(n, "placeholder"))
    if n := counts["failed"]:
        bad.append(f"{n:,} failed")
    return f"{text}; {' and '.join(bad)}: {words(counts['reasons'])}" if bad else text


def error_words(error: str, times: int, failed: int) -> str:
    """The commonest error in its own words: '"f: KeyError: 'x'" on 55 of 60'.

    >>> error_words("f: ValueError: no", 2, 3)
    '"f: ValueError: no" on 2 of 3'
    """
    said = error if len(error) <= SAID else f"{error[: SAID - 1]}…"
    return f'"{said}" on {times:,} of {failed:,}'


def commonest_error(errors: Iterable[str]) -> tuple[str, int]:
    """The sentence that most of these are, and how many; ("", 0) where there is none."""
    said = Counter(error for error in errors if error)
    return said.most_common(1)[0] if said else ("", 0)


def words(reasons: dict[str, int]) -> str:
    """'http_404 9, timeout 5': the commonest first."""
    return ", ".join(f"{reason} {n:,}" for reason, n in _commonest(reasons))


# Then by name: equal counts in the order of their appearance would differ between runs.
def _commonest(reasons: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
