"""The sound of a ladder: evened out, encoded once for all renditions."""

from fractions import Fraction
from typing import Any

from imgprep.io.film.library import load_library
from imgprep.io.film.rung import SOUND_HZ

AAC_SAMPLES = 1024
Encoded = tuple[bytes, int, int]


class Voice:
    """Takes decoded sound, gives AAC at 48 kHz that begins with the first picture.

    Silence stands where the film has none. encoder: an open stream for AAC.
    """

    def __init__(self, source: Any, encoder: Any, first_s: Fraction):
        self._encoder = encoder
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

    def take(self, frame: Any) -> list[Encoded]:
        """What a frame brings out; None: the end."""
        if frame is not None and frame.pts is not None:
            frame.pts -= self._late
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
