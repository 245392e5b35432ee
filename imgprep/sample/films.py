"""Three small films made of photographs: with cuts and sound;
of a phone that lay; of uneven rate.
"""

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imgprep.sample import packshot
from imgprep.words import extra

SCENES = ("coffee.png", "chelsea.png", "rocket.jpg")
SCENE_S = 3
RATE = 24
WIDE_WH = (640, 360)
SOUND_RATE = 48_000
TONES_HZ = (440, 660, 550)  # one for each scene
FILM_TICK_S = Fraction(1, 90_000)


def make_films(folder: str | Path) -> None:
    """Write them into a new folder; one that is there stays as it is. Needs the extra `video`."""
    folder = Path(folder)
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".films-", dir=folder.parent) as work:
        new = Path(work, "new")
        new.mkdir()
        _write_tour(new / "tour.mp4")
        _write_lying(new / "phone.mov")
        _write_uneven(new / "screen.mkv")
        new.rename(folder)


def _write_tour(file: Path) -> None:
    """A cut every three seconds, each scene with a tone of its own."""
    frames = [frame for name in SCENES for frame in _panned(name, WIDE_WH, SCENE_S * RATE)]
    times = [Fraction(number, RATE) for number in range(len(frames))]
    parts = [_tone(hertz) for hertz in TONES_HZ]
    write_film(file, frames, times, sound=np.concatenate(parts))


def _write_lying(file: Path) -> None:
    """Stored on its side, with the turn that players make."""
    frames = [np.rot90(frame) for frame in _panned("rocket.jpg", (180, 320), 2 * RATE)]
    times = [Fraction(number, RATE) for number in range(len(frames))]
    write_film(file, frames, times, turned_by=90)


def _write_uneven(file: Path) -> None:
    """As screens are recorded: a frame only where something has changed."""
    frames = list(_panned("clock_motion.png", (320, 240), 30))
    times = [Fraction(number * number, 150) for number in range(len(frames))]
    write_film(file, frames, times)


def _panned(
    name: str,
    size_wh: tuple[int, int],
    count: int,
) -> Iterator[np.ndarray]:
    """A window that moves over a photograph."""
    width, height = size_wh
    photo = packshot.photograph(name)
    scale = 1.25 * max(width / photo.shape[1], height / photo.shape[0])
    large = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for number in range(count):
        left = (large.shape[1] - width) * number // count
        top = (large.shape[0] - height) * number // count
        yield np.ascontiguousarray(large[top : top + height, left : left + width])


def _tone(hertz: int) -> np.ndarray:
    times = np.arange(SCENE_S * SOUND_RATE) / SOUND_RATE
    return (0.2 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def write_film(
    file: str | Path,
    frames: list[np.ndarray],
    times: list[Fraction],
    *,
    sound: np.ndarray | None = None,
    turned_by: int = 0,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    tick_s: Fraction = FILM_TICK_S,
    **options: str,
) -> None:
    """A film of (H, W, 3) uint8 RGB frames, each shown from its time in seconds on.

    sound: one channel of float32 at 48 kHz. turned_by: degrees clockwise, for players. pixels,
    tick_s, options: of the encoder; it works in one thread, so that a film is the same everywhere.
    """
    try:
        import av
    except ImportError:
        raise ValueError(f"films need `{extra('video')}`") from None
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=_encoding(codec) | options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.time_base = tick_s
        stream.codec_context.time_base = tick_s
        stream.codec_context.thread_count = 1
        if turned_by:
            stream.set_display_rotation(-turned_by)
        voice = None
        if sound is not None:
            voice = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for image, at in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = round(at / tick_s)
            frame.time_base = tick_s  # the stream's own is the file's, once that is begun
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if voice is not None and sound is not None:
            _mux_sound(av, container, voice, sound)


def _encoding(codec: str) -> dict[str, str]:
    return {"preset": "veryfast", "crf": "23"} if codec == "libx264" else {}


def _mux_sound(
    av: Any,
    container: Any,
    voice: Any,
    sound: np.ndarray,
) -> None:
    frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
    frame.sample_rate = SOUND_RATE
    frame.pts = 0
    frame.time_base = Fraction(1, SOUND_RATE)
    container.mux(voice.encode(frame))
    container.mux(voice.encode())
