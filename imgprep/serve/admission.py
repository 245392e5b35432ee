"""Who may come in, decided before a body is read: bytes in flight are bounded,
bodies capped, slow ones let go.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from imgprep.serve.answers import LONGEST_NUMBER, Refusal

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
BODYLESS = ("GET", "HEAD", "OPTIONS", "DELETE")
# A refused body is read on for so long, so silent, so much: a phone in a tunnel shall see the
# answer too.
LINGER_S = 30
MUTE_S = 15
LINGER_BYTES = 32 << 20
PIECE_BYTES = 1 << 20


class _Stop(BaseException):
    """Ends the app below from inside its `receive`: it must not be caught there as an Exception."""

    def __init__(self, refusal: Refusal):
        self.refusal = refusal


class Admission:
    """ASGI: the budget of bytes in flight.

    max_bytes: of one body. in_flight_bytes: of all bodies together; one that declares no length
    counts as the largest.
    streamed: (prefix of paths, bytes): bodies that are written away as they come, and their own
    limit.
    read_s: for a body, and its bytes over slowest_bytes_s more.
    """

    def __init__(
        self,
        app: Callable,
        *,
        max_bytes: int = 20_000_000,
        in_flight_bytes: int = 200_000_000,
        streamed: tuple[str, int] = ("", 0),
        read_s: float = 10,
        slowest_bytes_s: float = 20_000,
    ):
        self.app = app
        self.max_bytes = max_bytes
        self.room = in_flight_bytes
        self.in_flight_bytes = in_flight_bytes
        self.streamed = streamed
        self.read_s = read_s
        self.slowest_bytes_s = slowest_bytes_s

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in BODYLESS:
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"")
        prefix, streamed_bytes = self.streamed
        is_streamed = bool(prefix) and scope["path"].startswith(prefix)
        most = streamed_bytes if is_streamed else self.max_bytes
        # Without a length the most is assumed: chunked bodies would else come in past the budget.
        length = int(declared) if declared.isdigit() and len(declared) <= LONGEST_NUMBER else most
        if length > most:
            await refuse(send, _too_large(most), receive)
            return
        # What is written away as it comes holds one piece in memory, not its length.
        asked = min(length, PIECE_BYTES) if is_streamed else length
        if asked > self.room:
            told = Refusal("busy", "too many uploads at once", retry_after_s=1)
            await refuse(send, told, receive)
            return
        self.room -= asked
        try:
            await self._admitted(scope, receive, send, length, most)
        finally:
            self.room += asked

    async def _admitted(
        self, scope: Message, receive: Receive, send: Send, length: int, most: int
    ) -> None:
        """The app below, its body counted and timed."""
        now = asyncio.get_running_loop().time
        until = now() + self.read_s + length / self.slowest_bytes_s
        seen = 0
        is_read = False
        has_begun = False

        async def counted() -> Message:
            nonlocal seen, is_read
            if is_read:  # what comes now is a disconnect, which has no deadline
                return await receive()
            try:
                # A deadline for the whole body, not for each piece:
                # a byte a second would keep a place for ever.
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise _Stop(Refusal("too_slow", "the body came too slowly")) from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                is_read = not message.get("more_body", False)
                if seen > most:
                    raise _Stop(_too_large(most))
            return message

        async def told(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, counted, told)
        except _Stop as stop:
            if has_begun:
                return
            # Who was silent is not waited for again.
            is_sending = stop.refusal.reason != "too_slow"
            await refuse(send, stop.refusal, receive if is_sending else None)


def _too_large(most: int) -> Refusal:
    return Refusal("too_large", f"at most {most:,} bytes")


async def _linger(receive: Receive) -> None:
    """Read on and drop it: who is cut off while it sends sees a reset, and not the answer."""
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_S):
            while left > 0:
                async with asyncio.timeout(MUTE_S):
                    message = await receive()
                if not message.get("more_body"):
                    return
                left -= len(message["body"])
    except TimeoutError:
        pass


async def refuse(send: Send, refusal: Refusal, receive: Receive | None = None) -> None:
    """Send a refusal as a whole answer. receive: of a client that may still be sending."""
    body = json.dumps(refusal.body()).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-content-type-options": "nosniff",
        "connection": "close",
        **refusal.all_headers(),
    }
    raw = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    # The client has all of the answer; the connection stays until it has stopped sending.
    if receive is not None:
        await _linger(receive)
    await send({"type": "http.response.body", "body": b""})
