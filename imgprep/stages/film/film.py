"""One film: which of its frames are taken, and the rows that they become."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from imgprep import engine
from imgprep.io.film import FilmError, Reel, chosen
from imgprep.io.film.facts import check_end, check_frames, facts_of
from imgprep.io.film.upright import fitted_within, still_of
from imgprep.picture import codec
from imgprep.resume import make
from imgprep.resume.inputs import Wanted
from imgprep.resume.options import check_flags
from imgprep.stages.film.work import FilmRow, fact_columns

SCENE_CHANGE = 0.1  # ffmpeg's own default


@dataclass(frozen=True)
class Wish:
    """Which frames are taken. way: every_s, scenes or keyframes."""

    way: str
    value: float | bool

    @staticmethod
    def of(every_s: Any, scenes: Any, keyframes: Any) -> "Wish":
        """What somebody asked for. ValueError where it is not one of the three."""
        check_flags(keyframes=keyframes)
        asked = {"every_s": every_s is not None, "scenes": scenes is not False}
        asked["keyframes"] = keyframes
        ways = [way for way, is_asked in asked.items() if is_asked]
        if len(ways) != 1:
            told = "say which frames: every_s=1, scenes=True or keyframes=True"
            raise ValueError(f"{told}; one of them, not {len(ways) or 'none'}")
        way = ways[0]
        if way == "every_s":
            _check_span("every_s", every_s, "a number of seconds above 0", 1e9)
            return Wish(way, float(every_s))
        if way == "scenes":
            value = SCENE_CHANGE if scenes is True else scenes
            _check_span("scenes", value, "true, or a share above 0 and up to 1", 1)
            return Wish(way, float(value))
        return Wish(way, True)

    def frames_of(self, reel: Reel) -> Iterator[Any]:
        """The frames of a film, as they are decoded."""
        if self.way == "every_s":
            return chosen.at_times(reel, self.value)
        if self.way == "scenes":
            return chosen.at_scenes(reel, self.value)
        return chosen.at_keyframes(reel)


def _check_span(name: str, value: Any, told: str, most: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= most:
        raise ValueError(f"{name} is {told}, not {value!r}")


@dataclass(frozen=True)
class FrameRows:
    """The frames of one film as rows."""

    wish: Wish
    max_side: int | None
    format: str
    max_frames: int | None
    max_pixels: int | None
    threads: int = 1

    def __call__(self, wanted: Wanted, file: BinaryIO) -> Iterator[FilmRow]:
        with Reel(file, threads=self.threads, max_pixels=self.max_pixels) as reel:
            reel.on_packet = engine.beat
            count = 0
            for frame in self.wish.frames_of(reel):
                if count == self.max_frames:
                    told = f"the film gives more than max_frames={count:,} frames"
                    raise FilmError("too_many_frames", f"{told}: the first ones are kept")
                yield self._row(wanted.key, reel, frame, count)
                count += 1
            if not count:
                check_frames(reel)
            check_end(reel)

    def _row(self, key: bytes, reel: Reel, frame: Any, count: int) -> FilmRow:
        image = still_of(frame, fitted_within(reel.square_wh, self.max_side), reel.turn)
        quality = 95 if self.format == "JPEG" else None
        data = codec.encode(image, self.format, quality=quality)
        header = image.shape[1], image.shape[0], self.format
        more: FilmRow = {
            "time_s": round(reel.seconds(frame.pts), 6),
            "is_keyframe": bool(frame.key_frame),
        }
        facts = fact_columns(facts_of(reel))
        return make.picture_row(key, data, header, child=count, **more, **facts)
