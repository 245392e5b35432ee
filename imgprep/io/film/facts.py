"""What is known of a film, and what is wrong with one that was read to its end."""

import re
from dataclasses import dataclass
from typing import Any

from imgprep.io.film.reel import FilmError, Reel
from imgprep.io.film.upright import DEGREES, turned_wh

# Of the stated length may be missing at the end: rounding, a last frame.
EARLY_S = 0.75
EARLY_SHARE = 0.02


@dataclass(frozen=True)
class FilmFacts:
    """What is known of a film when its first frame is decoded.

    width, height: as shown, in square pixels, upright. rate: mean frames per second, or None where
    it is not stated. turned_by: degrees clockwise that make it upright. note: "" or what was chosen
    among several. duration_s: as stated, or None. audio_…: of the sound that a player takes.
    """

    width: int
    height: int
    codec: str
    duration_s: float | None
    rate: float | None
    turned_by: int
    note: str
    audio_codec: str | None
    audio_duration_s: float | None
    audio_rate: int | None
    audio_channels: int | None


def facts_of(reel: Reel) -> FilmFacts:
    """The facts of a film whose first frame was looked at (`Reel.begin`)."""
    width, height = turned_wh(reel.square_wh, reel.turn)
    sound = reel.audio.codec_context if reel.audio is not None else None
    rate = reel.video.average_rate
    duration_s = stream_s(reel.video)
    if duration_s is None:
        duration_s = _container_s(reel)
    return FilmFacts(
        width=width,
        height=height,
        codec=reel.video.codec_context.codec.name,
        duration_s=duration_s,
        rate=round(float(rate), 3) if rate else None,
        turned_by=DEGREES[reel.turn],
        note=reel.others,
        audio_codec=sound.codec.name if sound else None,
        audio_duration_s=stream_s(reel.audio) if sound else None,
        audio_rate=sound.sample_rate if sound else None,
        audio_channels=sound.layout.nb_channels if sound else None,
    )


def stream_s(stream: Any) -> float | None:
    """How long a stream is, by the film's own word."""
    said = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if said:
        hours, minutes, seconds = said.groups()
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    # Matroska states the length of a file: of a stream ffmpeg may say that, where sound is longer.
    if stream.duration and not stream.container.format.name.startswith("matroska"):
        return float(stream.duration * stream.time_base)
    return None


def _container_s(reel: Reel) -> float | None:
    return reel.container.duration / 1e6 if reel.container.duration else None


def check_frames(reel: Reel) -> None:
    """FilmError for a film that gave no frame."""
    if reel.video.frames:
        told = f"the film promises {reel.video.frames:,} frames and holds none"
        raise FilmError("truncated", told)
    told = "no frame of the film can be decoded"
    raise FilmError("corrupt", f"{told}: {reel.damage}" if reel.damage else told)


def check_length(seconds: float, max_hours: float | None) -> None:
    """FilmError for a film that is longer than is wanted."""
    if max_hours is not None and seconds > 3600 * max_hours:
        told = f"the film is {seconds / 3600:,.1f} hours long"
        raise FilmError("too_long", f"{told}, more than max_hours={max_hours:g}")


def check_end(reel: Reel) -> None:
    """FilmError for a film that was read to its end, and ended early or was damaged."""
    stated = stream_s(reel.video)
    if stated is None and reel.audio is None:
        stated = _container_s(reel)
    had = 0.0 if reel.seen_pts is None else reel.seconds(reel.seen_pts)
    if stated is not None and had < stated - max(EARLY_S, EARLY_SHARE * stated):
        told = f"the film ends after {had:.2f} s of {stated:.2f} s"
        raise FilmError("truncated", f"{told}: the frames until there are kept")
    if reel.damage:
        told = "the film is damaged, frames may be missing or smeared"
        raise FilmError("corrupt", f"{told}: {reel.damage}")


def checked_note(reel: Reel, *, keep_truncated: bool) -> str:
    """What was wrong with a film whose ladder is kept all the same. Raises FilmError for others."""
    try:
        check_end(reel)
    except FilmError as e:
        if e.reason == "truncated" and not keep_truncated:
            raise FilmError("truncated", str(e).partition(":")[0]) from None
        return str(e)
    return ""
