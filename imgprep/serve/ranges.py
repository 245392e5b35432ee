"""Bytes of the store as an answer: all of them, or the range that is asked for, piece by piece."""

import asyncio
from collections.abc import AsyncIterator

from fastapi.responses import Response, StreamingResponse

from imgprep.serve.answers import whole_number
from imgprep.serve.places import SENT_BYTES, StoredBytes
from imgprep.serve.refusals import STRICT


def asked_span(asked: str, size: int) -> tuple[int, int] | None:
    """What a header `Range: bytes=a-b` asks for, as start and stop; None for everything.

    A range that nobody understands, or of several parts, is none. start >= stop: there is no such
    range.

    >>> asked_span("bytes=5-7", 10), asked_span("bytes=-3", 10), asked_span("bytes=1-2,4-5", 10)
    ((5, 8), (7, 10), None)
    """
    kind, _, span = asked.partition("=")
    first, _, last = span.partition("-")
    begin = whole_number(first)
    end = whole_number(last)
    is_understood = (begin is not None or not first) and (end is not None or not last)
    # As RFC 9110 has it: what is not understood is no range, and all is sent.
    if kind != "bytes" or not is_understood or begin is end is None:
        return None
    if begin is None:
        return max(0, size - (end or 0)), size
    return begin, size if end is None else min(size, end + 1)


async def answer_range(stored: StoredBytes, asked: str, headers: dict[str, str]) -> Response:
    """200, or 206 with what `asked`, a Range header, says; 416 where there is no such range.

    Raises FileNotFoundError, before anything is sent, where the bytes are gone.
    """
    headers = STRICT | {"Accept-Ranges": "bytes"} | headers
    size = stored.nbytes
    span = asked_span(asked, size)
    start, stop = span or (0, size)
    if span is not None and start >= stop:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    status = 200 if span is None else 206
    kind = stored.media_type
    # The first piece is read here: what is gone can still be told.
    first = await asyncio.to_thread(stored.read, start, min(stop, start + SENT_BYTES))
    if stop - start <= SENT_BYTES:
        return Response(first, status, headers, kind)
    headers["Content-Length"] = str(stop - start)
    return StreamingResponse(_first_and_more(first, stored, start, stop), status, headers, kind)


async def _first_and_more(first: bytes, stored: StoredBytes, start: int, stop: int) -> AsyncIterator[bytes]:
    yield first
    async for piece in stored.pieces(start + len(first), stop):
        yield piece
