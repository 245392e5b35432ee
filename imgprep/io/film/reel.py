"""One film, opened: its picture and sound, packet by packet, and the damage on the way."""

import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from imgprep.failures import Failure
from imgprep.io.film.guarded import GuardedFile
from imgprep.io.film.library import load_library, open_container
from imgprep.io.film.upright import SizeWh, shown_wh, turn_of

# Transfer curves of high dynamic range, by ITU-T H.273.
HDR_CURVES = {16: "PQ", 18: "HLG"}
BOX_HEADER = 8


FilmFile = BinaryIO | GuardedFile


class FilmError(Failure):
    """These bytes are no film whose frames can be had."""


class Reel:
    """A film that is read. Close it, or use it in a `with`.

    threads: of the decoder. max_pixels: of a frame. Raises FilmError: not_a_film, truncated,
    corrupt, empty, unsupported_format, too_many_pixels.
    """

    def __init__(self, file: FilmFile, *, threads: int = 1, max_pixels: int | None = None):
        self.file = file
        self.max_pixels = max_pixels
        self._threads = threads
        self.damage = ""
        self.on_packet: Callable[[], None] = lambda: None  # a sign of life
        self.seen_pts: int | None = None  # the end of what was read
        self._open()
        self.turn = 1
        self.first_pts = 0

    def _open(self) -> None:
        av = load_library()
        self.file.seek(0)
        self._frame_end: int | None = None
        try:
            self.container = open_container(self.file)
        except (av.error.FFmpegError, ValueError, PermissionError) as e:
            # First: FFmpeg says of a transfer that broke what it says of a film that ends early.
            self._check_file()
            reason, told = _unopened(self.file)
            raise FilmError(reason, told) from e
        try:
            if not self.container.streams:
                raise FilmError(*_unopened(self.file))
            self.video, self.others = _main_video(self.container)
            self.audio = _main_audio(self.container)
            self._check()
        except BaseException:
            self.container.close()
            raise
        self.video.codec_context.thread_count = self._threads
        self.video.codec_context.thread_type = "AUTO" if self._threads > 1 else "NONE"

    def _check(self) -> None:
        context = self.video.codec_context
        if context is None:
            told = "the film's pictures are of a kind that cannot be decoded here"
            raise FilmError("unsupported_format", told)
        self._check_pixels(context.width, context.height)
        check_curve(context.color_trc)

    def _check_pixels(self, width: int, height: int) -> None:
        if self.max_pixels is not None and width * height > self.max_pixels:
            told = f"frames of {width} x {height} have more than {self.max_pixels:,} pixels"
            raise FilmError("too_many_pixels", told)

    def __enter__(self) -> "Reel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the decoder; the file stays open."""
        self.container.close()

    def rewind(self) -> None:
        """Begin anew, whatever was read and decoded."""
        self.close()
        self._open()

    def packets(self, *, with_sound: bool = False) -> Iterator[Any]:
        """The video's packets from here on, the last one being empty; notes damage, raises none."""
        av = load_library()
        streams = [self.video]
        if with_sound and self.audio is not None:
            streams.append(self.audio)
        try:
            for packet in self.container.demux(streams):
                if packet.stream is self.video:
                    self._note_end(packet)
                yield packet
        except av.error.FFmpegError as e:
            self.note_damage(e)
        self._check_file()

    def _check_file(self) -> None:
        """Raises SourceError where it was not the film that ended, but the reading of it."""
        if isinstance(self.file, GuardedFile):
            self.file.check()

    def _note_end(self, packet: Any) -> None:
        self.on_packet()
        if packet.pts is not None:
            end = packet.pts + (packet.duration or 0)
            self.seen_pts = max(end, self.seen_pts or end)

    def decoded(self, packet: Any) -> list[Any]:
        """The frames that a packet (None: the end) brings out;
        none, and a note, of a damaged one.
        """
        av = load_library()
        try:
            frames: list[Any] = self.video.codec_context.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as e:
            self.note_damage(e)
            return []
        for frame in frames:
            self._check_pixels(frame.width, frame.height)
            if frame.pts is None:  # some AVI: after the one before
                frame.pts = 0 if self._frame_end is None else self._frame_end
            self._frame_end = frame.pts + max(1, frame.duration or 0)
        return frames

    def heard(self, packet: Any) -> list[Any]:
        """The same of the sound."""
        av = load_library()
        try:
            frames: list[Any] = self.audio.codec_context.decode(packet)
        except av.error.FFmpegError as e:
            if not isinstance(e, av.error.EOFError):
                self.note_damage(e)
            return []
        return frames

    def note_damage(self, error: Exception) -> None:
        """The first thing that went wrong is what is told."""
        said = re.sub(r"^\[Errno -?\d+\] ", "", str(error)).partition(";")[0]
        self.damage = self.damage or said

    def begin(self, frame: Any) -> None:
        """Look at the first frame. Raises FilmError, Failure for what cannot be shown as meant."""
        check_curve(frame.color_trc)
        self.turn = turn_of(frame)
        self.first_pts = frame.pts

    def seconds(self, pts: int) -> float:
        """The time of a frame, from the first one on."""
        return float((pts - self.first_pts) * self.video.time_base)

    @property
    def square_wh(self) -> SizeWh:
        """Width and height in square pixels, before the turn."""
        context = self.video.codec_context
        aspect = self.video.sample_aspect_ratio or context.sample_aspect_ratio
        return shown_wh((context.width, context.height), aspect)


def check_curve(curve: int) -> None:
    """FilmError for high dynamic range: what its tones look like here would be guessed."""
    if int(curve) in HDR_CURVES:
        name = HDR_CURVES[int(curve)]
        told = "its tones are not mapped here: convert it to SDR first"
        raise FilmError("unsupported_format", f"the film is HDR ({name}): {told}")


def _main_video(container: Any) -> tuple[Any, str]:
    """The first stream that is a film, not a cover; and a note where there are others."""
    attached = load_library().stream.Disposition.attached_pic
    films = [s for s in container.streams.video if not s.disposition & attached]
    if not films:
        what = "sound, and at most a cover," if container.streams.audio else "no pictures"
        raise FilmError("not_a_film", f"the file holds {what} and no film")
    more = len(films) - 1
    others = "1 more is" if more == 1 else f"{more} more are"
    return films[0], f"the first film of the file; {others} in it" if more else ""


def _main_audio(container: Any) -> Any:
    """The sound that a player takes: the one marked as default, else the first."""
    default = load_library().stream.Disposition.default
    sounds = [s for s in container.streams.audio if s.codec_context is not None]
    marked = [s for s in sounds if s.disposition & default]
    return next(iter(marked or sounds), None)


def _unopened(file: FilmFile) -> tuple[str, str]:
    """Why a file does not open as a film: reason and sentence."""
    file.seek(0, 2)
    size = file.tell()
    if not size:
        return "empty", "the file is empty"
    file.seek(0)
    top = file.read(16)
    if top[4:8] in (b"ftyp", b"moov", b"wide", b"mdat", b"skip", b"free"):
        if _is_damaged(file, size):
            return "corrupt", "the film's table of contents is damaged, or empty"
        return "truncated", "the film ends before its table of contents"
    if top.startswith((b"\x1a\x45\xdf\xa3", b"FLV\x01")) or top[8:12] == b"AVI ":
        return "truncated", "the film ends in its header"
    return "not_a_film", "the content is no film of a kind that is read here"


def _is_damaged(file: FilmFile, size: int) -> bool:
    """Has an MP4 or MOV a table of contents, whole and useless, or no boxes? Else it ends early."""
    at = 0
    while at + BOX_HEADER <= size:
        file.seek(at)
        length = int.from_bytes(file.read(4))
        kind = file.read(4)
        if length == 1:
            length = int.from_bytes(file.read(8))
        if length == 0:  # to the end of the file; or what is no box
            return kind != b"mdat"
        if length < BOX_HEADER or at + length > size:
            return False
        if kind == b"moov":
            return True
        at += length
    return False
