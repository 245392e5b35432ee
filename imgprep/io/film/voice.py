"""The sound of a ladder: evened out, encoded once for all renditions."""

from collections import deque
from fractions import Fraction
from typing import Any

from imgprep.io.film.library import load_library
from imgprep.io.film.rung import SOUND_HZ

AAC_SAMPLES = 1024
# Silence that is longer is made piece by piece; what is shorter the filters fill up.
LONG_S = 10
SILENT_PIECE_S = 1
Encoded = tuple[bytes, int, int]


class Voice:
    """Takes decoded sound, gives AAC at 48 kHz that begins with the first picture.

    Silence stands where the film has none. encoder: an open stream for AAC. What follows a long
    silence waits until the pictures have come so far: hours of it at once would fill the memory.
    """

    def __init__(self, source: Any, encoder: Any, first_s: Fraction):
        self._encoder = encoder
        self._source = source.codec_context
        self._time_base = Fraction(source.time_base)
        self._waiting: deque[Any] = deque()
        self._fed_s = Fraction(0)  # the end of what the filters have
        self._late = round(first_s / source.time_base)
        self.end_s = Fraction(0)
        graph = load_library().filter.Graph()
        layout = encoder.codec_context.layout.name
        steps = [
            graph.add_abuffer(template=source),
            graph.add("aresample", f"{SOUND_HZ}:async=1:first_pts=0"),
            graph.add("aformat", f"sample_fmts=fltp:channel_layouts={layout}"),
            graph.add("asetnsamples", f"n={AAC_SAMPLES}:p=0"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*steps).configure()
        self._graph = graph

    @property
    def is_waiting(self) -> bool:
        """Is there sound that the pictures have not come to?"""
        return bool(self._waiting)

    def take(self, frame: Any) -> None:
        """A frame of the film's sound; None: the end."""
        if frame is not None and frame.pts is not None:
            frame.pts -= self._late
        self._waiting.append(frame)

    def encoded(self, seen_s: Fraction) -> list[Encoded]:
        """What was not given yet, while the pictures have come as far as that."""
        found: list[Encoded] = []
        while self._waiting:
            start_s = self._start_of(self._waiting[0])
            if start_s - self._fed_s <= LONG_S:
                frame = self._waiting.popleft()
                found += self._through(frame)
                if frame is not None:
                    length_s = Fraction(frame.samples, frame.sample_rate)
                    self._fed_s = max(self._fed_s, start_s + length_s)
            elif self._fed_s > seen_s:
                break
            else:
                found += self._through(self._silence())
                self._fed_s += SILENT_PIECE_S
        return found

    def _start_of(self, frame: Any) -> Fraction:
        if frame is None or frame.pts is None:
            return self._fed_s
        return Fraction(frame.pts * frame.time_base)

    def _silence(self) -> Any:
        """As long as SILENT_PIECE_S, of the kind that the film has."""
        rate = self._source.sample_rate
        kind = self._source.format.name
        made = load_library().AudioFrame(
            format=kind, layout=self._source.layout.name, samples=rate * SILENT_PIECE_S
        )
        # Unsigned bytes have their nought in the middle.
        nought = b"\x80" if kind.startswith("u8") else b"\x00"
        for plane in made.planes:
            plane.update(nought * plane.buffer_size)
        made.sample_rate = rate
        # The filters were told the film's own.
        made.time_base = self._time_base
        made.pts = round(self._fed_s / self._time_base)
        return made

    def _through(self, frame: Any) -> list[Encoded]:
        """What a frame brings out of filters and encoder."""
        self._graph.push(frame)
        found = []
        for even in self._evened():
            found += self._encoder.encode(even)
        if frame is None:
            found += self._encoder.encode(None)
        return [self._noted(packet) for packet in found]

    def _evened(self) -> list[Any]:
        av = load_library()
        frames = []
        while True:
            try:
                frames.append(self._graph.pull())
            except (av.error.BlockingIOError, av.error.EOFError):
                return frames

    def _noted(self, packet: Any) -> Encoded:
        start = round(packet.pts * packet.time_base * SOUND_HZ)
        self.end_s = Fraction(start + AAC_SAMPLES, SOUND_HZ)
        return bytes(packet), start, AAC_SAMPLES
