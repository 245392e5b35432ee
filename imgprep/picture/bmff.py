"""The boxes that HEIC, AVIF and JPEG 2000 are made of."""

from collections.abc import Iterator
from typing import NamedTuple


class Part(NamedTuple):
    """A box: what it is, and where its content is."""

    kind: bytes
    start: int
    end: int


def parts(
    data: bytes,
    start: int = 0,
    end: int | None = None,
) -> Iterator[Part]:
    """The boxes between two places; the last may end behind the data.

    Ends where no box can be: at a length that is too short for its own head.
    """
    at = start
    end = len(data) if end is None else min(end, len(data))
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4])
        kind = data[at + 4 : at + 8]
        head = 8
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
            head = 16
        elif size == 0:
            # Up to the end of the file.
            size = end - at
        if size < head:
            return
        yield Part(kind, at + head, at + size)
        at += size


def within(
    data: bytes,
    outer: Part | None,
    kind: bytes,
    skip: int = 0,
) -> Part | None:
    """The first box of this kind inside another, or in the file. skip: bytes before the boxes."""
    start = outer.start + skip if outer else 0
    end = outer.end if outer else None
    found = (part for part in parts(data, start, end) if part.kind == kind)
    return next(found, None)
