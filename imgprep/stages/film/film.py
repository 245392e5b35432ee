"""One film: which of its frames are taken, the rows that they become, and its ladder."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from imgprep import engine
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.io.film import chosen
from imgprep.io.film.facts import check_end, check_frames, checked_note, facts_of
from imgprep.io.film.guarded import GuardedFile
from imgprep.io.film.ladder import Ladder, LadderWish
from imgprep.io.film.reel import FilmError, Reel
from imgprep.io.film.upright import fitted_within, still_of
from imgprep.io.film.wishes import check_span
from imgprep.picture import codec
from imgprep.resume import make
from imgprep.resume.files_named import write_list
from imgprep.resume.inputs import Wanted
from imgprep.resume.options import check_flags
from imgprep.stages.film.work import FilmRow, fact_columns

SCENE_CHANGE = 0.1  # ffmpeg's own default
LADDERS = "ladders"  # the folder of finished ones; the others are made beside it
# What is in it has the name of one process and attempt. No later run goes on with that, so a run
# that begins removes what a killed one left.
UNFINISHED = f"{PRIVATE}/ladders"


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
            check_span("every_s", every_s, "a number of seconds above 0", 1e9)
            return Wish(way, float(every_s))
        if way == "scenes":
            value = SCENE_CHANGE if scenes is True else scenes
            check_span("scenes", value, "true, or a share above 0 and up to 1", 1)
            return Wish(way, float(value))
        return Wish(way, True)

    def frames_of(self, reel: Reel) -> Iterator[Any]:
        """The frames of a film, as they are decoded."""
        if self.way == "every_s":
            return chosen.at_times(reel, self.value)
        if self.way == "scenes":
            return chosen.at_scenes(reel, self.value)
        return chosen.at_keyframes(reel)


@dataclass(frozen=True)
class FrameRows:
    """The frames of one film as rows."""

    wish: Wish
    max_side: int | None
    format: str
    max_frames: int | None
    max_pixels: int | None
    threads: int = 1

    def __call__(self, wanted: Wanted, file: GuardedFile) -> Iterator[FilmRow]:
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


@dataclass(frozen=True)
class LadderRows:
    """The ladder of one film, as files and a row."""

    folder: Folder
    wish: LadderWish
    max_pixels: int | None
    threads: int = 1
    keep_truncated: bool = False

    def __call__(self, wanted: Wanted, file: GuardedFile) -> Iterator[FilmRow]:
        place = f"{LADDERS}/{wanted.key.hex()}"
        with Reel(file, threads=self.threads, max_pixels=self.max_pixels) as reel:
            reel.on_packet = engine.beat
            with _whole_folder(self.folder, place) as new:
                made = Ladder(reel, new, self.wish).write()
                note = checked_note(reel, keep_truncated=self.keep_truncated)
                write_list(new)
            facts = fact_columns(facts_of(reel))
        data = codec.encode(made.poster, "JPEG", quality=90)
        header = made.poster.shape[1], made.poster.shape[0], "JPEG"
        has_thumbnails = self.wish.thumbnail_s is not None
        columns: FilmRow = {
            **facts,
            "playlist": f"{place}/master.m3u8",
            "thumbnails": f"{place}/thumbnails.vtt" if has_thumbnails else None,
            "duration_s": round(made.duration_s, 6),
            "segments": made.segments,
            "renditions": made.renditions,
            "film_note": "; ".join(filter(None, (facts["film_note"], note))),
        }
        yield make.picture_row(wanted.key, data, header, **columns)


@contextlib.contextmanager
def _whole_folder(folder: Folder, place: str) -> Iterator[str]:
    """A new folder beside its place, moved there when the block ends without an error."""
    new = folder.full(f"{UNFINISHED}/{os.getpid()}-{uuid.uuid4().hex}")
    os.makedirs(new)
    try:
        yield new
        target = folder.full(place)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)  # of a run that died before it noted this one
        os.rename(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
