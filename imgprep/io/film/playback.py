"""Finding frames by their times: what nobody asked for is not decoded.

Packets are read in order. Those between two keyframes are decoded only where a frame that is asked
for may be among them; over long stretches the file is sought. What comes out is what decoding
everything would give: after a jump a frame counts only once the keyframe has come out as a whole
picture (an I-frame), else everything is decoded from the beginning.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

from imgprep.io.film.library import load_library
from imgprep.io.film.reel import Reel

WAITING_BYTES = 64 << 20  # of packets that wait until it is known whether they are decoded
FAR_GAPS = 3  # distances of keyframes: beyond, the file is sought instead of read
I_FRAME = 1
INDEXED = ("mov", "matroska", "avi")  # containers that say where their keyframes are


class Playback:
    """The frames of a reel from its beginning on, each found by the earliest time it may have.

    is_sparse: jump over what is not asked for; else decode everything.
    """

    def __init__(self, reel: Reel, *, is_sparse: bool = True):
        self.reel = reel
        self.is_sparse = is_sparse
        # Without an index a search guesses, and MPEG's streams have guessed times behind it.
        self.can_seek = is_sparse and reel.container.format.name.startswith(INDEXED)
        self._may_skip = is_sparse and reel.video.codec_context.name == "h264"
        self._gap = 0  # the longest distance of keyframes that was seen
        self._begin()

    def _begin(self) -> None:
        self._packets: Iterator[Any] = self.reel.packets()
        self._waiting: list[Any] = []  # read; decoded or dropped when it is known which
        self._waiting_bytes = 0
        self._due: deque[Any] = deque()  # to be decoded
        self._ready: deque[Any] = deque()
        self._has_ended = False
        self._is_sought = False
        self._sought_for: float | None = None  # the time that was sought last
        self._given: int | None = None  # time of the last frame that came out
        self._last_key: int | None = None
        self._jump: int | None = None  # the keyframe at which decoding begins anew
        self._unproven: int | None = None  # the same, until it has come out

    def next_at(self, pts: float) -> Any:
        """The first frame of that time or later, after those that were given; None at the end."""
        while True:
            frame = self._next(pts)
            if self._is_doubtful(frame):
                # Where a jump brings out other frames, all is decoded.
                self._restart(is_sparse=False)
                continue
            if frame is None or frame.pts >= pts:
                return frame

    def _restart(self, *, is_sparse: bool) -> None:
        self.is_sparse = is_sparse
        self._may_skip = self._may_skip and is_sparse
        self.can_seek = False
        self.reel.rewind()
        self._begin()

    def _is_doubtful(self, frame: Any) -> bool:
        """Might decoding everything have given something else?"""
        if self._unproven is None:
            return False
        if frame is None or frame.pts > self._unproven:
            return True
        if frame.pts < self._unproven:
            return False  # refers to what was jumped over; nobody asked for it
        self._unproven = None
        is_whole = frame.key_frame and int(frame.pict_type) == I_FRAME
        return not is_whole or bool(frame.is_corrupt)

    def _next(self, pts: float) -> Any:
        """The next frame that is decoded; None at the end."""
        while not self._ready:
            if self._due:
                self._decode(self._due.popleft(), pts)
            elif self._has_ended:
                return None
            else:
                self._read_until(pts)
        frame = self._ready.popleft()
        self._given = frame.pts
        return frame

    def _decode(self, packet: Any, pts: float) -> None:
        if self._jump is not None:
            self.reel.video.codec_context.flush_buffers()
            self._unproven = self._jump
            self._jump = None
        if self._may_skip:
            # No other picture needs such a one, and nobody asked for it. (Of H.265 and AV1 a higher
            # layer may need it.)
            is_early = packet is not None and packet.pts is not None and packet.pts < pts
            context = self.reel.video.codec_context
            context.skip_frame = "NONREF" if is_early else "DEFAULT"
        self._ready.extend(self.reel.decoded(packet))

    def _read_until(self, pts: float) -> None:
        """Read until something that is read may bring out a frame of that time."""
        # Once: a decoder may want more packets before it gives the first frame.
        if self._may_seek(pts):
            self._seek(int(pts))
            self._sought_for = pts
        for packet in self._packets:
            if not packet.size:
                break
            if not self._take(packet, pts):
                self._restart(is_sparse=True)
                return
            if self._may_seek(pts):
                return  # the distance of keyframes is known only now
            may_be_it = packet.pts is None or packet.pts >= pts
            if may_be_it or not self.is_sparse or self._waiting_bytes > WAITING_BYTES:
                self._move_waiting()
                if self._due:
                    return
        if self._is_sought:  # behind the last keyframe
            self._restart(is_sparse=True)
            return
        self._has_ended = True
        if self._jump is None:
            self._move_waiting()
            self._due.append(None)
        self._jump = None  # what waits behind a jump is seen before that time

    def _take(self, packet: Any, pts: float) -> bool:
        """Keep a packet, or what it makes needless. False where a search led too far."""
        if packet.is_keyframe and packet.pts is not None and self.is_sparse:
            self._note_gap(packet.pts)
            if packet.pts <= pts and (self._waiting or self._is_sought):
                self._waiting, self._waiting_bytes = [], 0
                self._jump = packet.pts
                self._is_sought = False
            elif self._is_sought:
                return False
        if not self._is_sought:  # what stands before a keyframe is of no use after a search
            self._waiting.append(packet)
            self._waiting_bytes += packet.size
        return True

    def _move_waiting(self) -> None:
        self._due.extend(self._waiting)
        self._waiting = []
        self._waiting_bytes = 0

    def _note_gap(self, pts: int) -> None:
        if self._last_key is not None:
            self._gap = max(self._gap, pts - self._last_key)
        self._last_key = pts

    def _may_seek(self, pts: float) -> bool:
        return self._sought_for != pts and not self._due and self._is_far(pts)

    def _is_far(self, pts: float) -> bool:
        if not self.can_seek or not self._gap or self._given is None:
            return False
        return pts - self._given > FAR_GAPS * self._gap

    def _seek(self, pts: int) -> None:
        av = load_library()
        try:
            self.reel.container.seek(pts, stream=self.reel.video)
        except av.error.FFmpegError:
            self._restart(is_sparse=True)
            return
        self._packets = self.reel.packets()
        self._waiting = []
        self._waiting_bytes = 0
        self._last_key = None
        self._is_sought = True
