"""A ladder of renditions for HLS: one decode, segments of four seconds that begin together.

Where no frame of the film is seen first at a multiple of four seconds, the frame that is being
seen is told again at that moment: what is seen does not change, and every segment but the last is
exactly four seconds long, whatever the film's rate, even or not.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from imgprep.io.film.facts import check_frames, check_length, facts_of
from imgprep.io.film.library import load_library
from imgprep.io.film.playlists import write_playlists
from imgprep.io.film.poster import POSTER_SHARE
from imgprep.io.film.reel import Reel
from imgprep.io.film.rung import SEGMENT_S, TICKS, Colours, Encoding, Rung
from imgprep.io.film.scrubbing import Scrubber
from imgprep.io.film.upright import FILTERS, SizeWh, matrix_of, still_of, turned_wh
from imgprep.io.film.voice import Voice

SEGMENT_TICKS = SEGMENT_S * TICKS
# Beside sound a picture is told again so often: an encoder is ahead by as much as a few pictures
# last, and each segment has to hold its own sound.
AGAIN_TICKS = TICKS // 4
# Sound that goes on for less after the last picture gets no segment of its own.
TAIL_S = Fraction(1, 4)
USUAL_RATE = Fraction(25)
UNKNOWN, BT709, BT601 = 2, 1, 6


@dataclass(frozen=True)
class LadderWish:
    """What is asked for. sides: the shorter side of each rendition, in pixels.

    max_hours: a longer film gets none; None: any does.
    """

    sides: tuple[int, ...]
    encoding: Encoding
    thumbnail_s: float | None
    max_hours: float | None = None


@dataclass
class LadderMade:
    """What was written. poster: (H, W, 3). renditions: facts of each, from small to large."""

    poster: np.ndarray
    duration_s: float
    segments: int
    renditions: list[dict[str, Any]]


def rung_sizes(size_wh: SizeWh, sides: tuple[int, ...]) -> list[SizeWh]:
    """Width and height of the renditions, even numbers, none larger than the film.

    >>> rung_sizes((1280, 720), (360, 1080)), rung_sizes((101, 301), (360,))
    ([(640, 360), (1280, 720)], [(100, 300)])
    """
    shorter = min(size_wh)
    found: dict[int, SizeWh] = {}
    for side in sorted(sides):
        scale = Fraction(min(side, shorter), shorter)
        width, height = (max(2, round(edge * scale) // 2 * 2) for edge in size_wh)
        found.setdefault(min(width, height), (width, height))
    return list(found.values())


class Ladder:
    """Writes the renditions of a film into a folder that is there and empty."""

    def __init__(self, reel: Reel, folder: str, wish: LadderWish):
        self.reel, self.folder, self.wish = reel, folder, wish
        self.rungs: dict[str, Rung] = {}
        self._scrubber: Scrubber | None = None
        self._voice: Voice | None = None
        self._early: list[Any] = []  # sound before the first picture
        self._turning: Any = None
        self._shown: Any = None
        self._shown_ticks = -1
        self._length = 0
        self._boundary = 0
        self._starts = 0
        self._poster: np.ndarray | None = None

    def write(self) -> LadderMade:
        """All of it. Raises Failure for the film, OSError for the disk."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            for kind, frame in self._decoded():
                if kind == "sound":
                    self._hear(frame)
                    continue
                if not self.rungs:
                    self._begin(frame)
                self._see(frame)
            if not self.rungs:
                check_frames(self.reel)
            return self._finish()

    def _close(self) -> None:
        for rung in self.rungs.values():
            with contextlib.suppress(Exception):
                rung.close()

    def _decoded(self) -> Iterator[tuple[str, Any]]:
        """The frames of picture and sound as they stand in the file."""
        for packet in self.reel.packets(with_sound=True):
            if packet.stream is self.reel.video:
                for frame in self.reel.decoded(packet if packet.size else None):
                    yield "picture", frame
            else:
                for frame in self.reel.heard(packet if packet.size else None):
                    yield "sound", frame

    def _begin(self, frame: Any) -> None:
        """Everything that has to be known of the film is, with its first frame."""
        reel = self.reel
        reel.begin(frame)
        # Before any work, and again with every frame: what a film states may be wrong.
        check_length(facts_of(reel).duration_s or 0, self.wish.max_hours)
        size_wh = turned_wh(reel.square_wh, reel.turn)
        self._rate = reel.video.average_rate or USUAL_RATE
        channels = reel.audio.codec_context.layout.nb_channels if reel.audio is not None else 0
        colours = _colours_of(frame)
        for width, height in rung_sizes(size_wh, self.wish.sides):
            name = f"{min(width, height)}p"
            self.rungs[name] = Rung(
                os.path.join(self.folder, name),
                (width, height),
                self.wish.encoding,
                self._rate,
                colours,
                channels=channels,
            )
        if self.wish.thumbnail_s:
            self._scrubber = Scrubber(self.folder, size_wh, self.wish.thumbnail_s)
        if channels:
            sound = next(iter(self.rungs.values())).sound
            first_s = reel.first_pts * Fraction(reel.video.time_base)
            self._voice = Voice(reel.audio, sound, first_s)
            for early in self._early:
                self._hear(early)
        stated = reel.container.duration or 0
        self._poster_ticks = round(POSTER_SHARE * stated / 1e6 * TICKS)

    def _hear(self, frame: Any) -> None:
        if self._voice is None:
            self._early.append(frame)
            return
        if frame is not None and frame.pts is not None:
            check_length(float(frame.pts * frame.time_base), self.wish.max_hours)
        self._voice.take(frame)
        self._go_on_hearing()

    def _go_on_hearing(self) -> None:
        if self._voice is None:
            return
        packets = self._voice.encoded(Fraction(self._shown_ticks, TICKS))
        for rung in self.rungs.values():
            rung.hear(packets)

    def _see(self, frame: Any) -> None:
        since = (frame.pts - self.reel.first_pts) * Fraction(self.reel.video.time_base)
        ticks = round(since * TICKS)
        if ticks <= self._shown_ticks:
            return  # out of order, or sooner than can be told apart
        check_length(float(since), self.wish.max_hours)
        self._length = round((frame.duration or 0) * Fraction(self.reel.video.time_base) * TICKS)
        upright = self._upright(frame)
        self._repeat_until(ticks)
        is_start = ticks == self._boundary
        self._show(upright, ticks, is_start=is_start)
        if self._poster is None or ticks <= self._poster_ticks:
            self._keep_poster(upright, ticks)

    def _repeat_until(self, ticks: int) -> None:
        """Begin the segments that begin while the frame before is seen."""
        while True:
            due = self._boundary
            if self._voice is not None and self._shown is not None:
                due = min(due, self._shown_ticks + AGAIN_TICKS)
            if due >= ticks:
                return
            self._show(self._shown, due, is_start=due == self._boundary)
            if due == self._boundary - SEGMENT_TICKS:
                # Over a long gap these are the only signs of life.
                self.reel.on_packet()
            if self._voice is not None and self._voice.is_waiting:
                # What it waits for has come nearer.
                self._go_on_hearing()

    def _show(self, upright: Any, ticks: int, *, is_start: bool) -> None:
        for rung in self.rungs.values():
            rung.show(upright, ticks, is_start=is_start)
        if self._scrubber is not None:
            self._scrubber.take(upright, ticks)
        if is_start:
            self._boundary += SEGMENT_TICKS
            self._starts += 1
        self._shown = upright
        self._shown_ticks = ticks

    def _keep_poster(self, upright: Any, ticks: int) -> None:
        """The first frame, and then the one at a tenth of the film."""
        is_due = ticks + max(self._length, 1) > self._poster_ticks
        if self._poster is None or is_due:
            size_wh = list(self.rungs.values())[-1].size_wh
            self._poster = still_of(upright, size_wh, 1)

    def _upright(self, frame: Any) -> Any:
        if self.reel.turn == 1:
            return frame
        if self._turning is None:
            self._turning = _turning_graph(frame, FILTERS[self.reel.turn])
        self._turning.push(frame)
        return self._turning.pull()

    def _finish(self) -> LadderMade:
        end = self._shown_ticks + (self._length or round(TICKS / self._rate))
        tail = round(TAIL_S * TICKS)
        check_length(end / TICKS, self.wish.max_hours)
        if self._voice is not None:
            self._hear(None)
            while self._voice.is_waiting:
                self._repeat_until(self._shown_ticks + SEGMENT_TICKS)
            sound_end = self._voice.end_s
            if sound_end * TICKS > end + tail:
                end = round(sound_end * TICKS)
        # The last picture stays while the sound goes on, or while it is said to be seen.
        self._repeat_until(end - tail)
        for rung in self.rungs.values():
            rung.finish()
        if self._scrubber is not None:
            self._scrubber.finish(end)
        end_s = Fraction(end, TICKS)
        renditions = write_playlists(self.folder, self.rungs, end_s, self._starts, self._rate)
        assert self._poster is not None
        return LadderMade(self._poster, float(end_s), self._starts, renditions)


def _colours_of(frame: Any) -> Colours:
    """As the film says; a matrix that it does not say is what players take it for."""
    said = int(frame.colorspace)
    is_yuv = said not in (0, UNKNOWN)
    matrix = said if is_yuv else matrix_of(frame) or BT601
    return Colours(matrix, int(frame.color_primaries), int(frame.color_trc))


def _turning_graph(frame: Any, filters: str) -> Any:
    graph = load_library().filter.Graph()
    steps = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format.name,
            time_base=frame.time_base,
        )
    ]
    for one in filters.split(","):
        name, _, value = one.partition("=")
        steps.append(graph.add(name, value or None))
    graph.link_nodes(*steps, graph.add("buffersink")).configure()
    return graph
