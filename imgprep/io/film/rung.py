"""One rendition of a ladder: scaled, encoded, and cut into segments that begin with a keyframe."""

import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from imgprep.io.film.library import load_library
from imgprep.io.film.segments import SegmentFiles
from imgprep.io.film.upright import SizeWh

TICKS = 90_000  # of a second: what is written is timed in these
SEGMENT_S = 4
SOUND_HZ = 48_000
SOUND_BITS = 128_000
MP4_OPTIONS = {
    # A fragment for each keyframe; the header when the first one is whole, so that it can say how
    # late the pictures begin that were encoded out of order.
    "movflags": "frag_keyframe+delay_moov+default_base_moof+skip_trailer",
    # Sound waits for the pictures, however slowly they come: else it ends in the wrong segment.
    "max_interleave_delta": "0",
}
FULL_HD = 1920 * 1080
FULL_HD_BITS = 5_000_000
MACROBLOCK = 16
I_PICTURE, ANY_PICTURE = 1, 0
LIMITED_RANGE = 1


@dataclass(frozen=True)
class Encoding:
    """How pictures are encoded. codec: "h264" or "av1". crf: lower is better and larger."""

    codec: str
    crf: int
    preset: str

    @property
    def encoder(self) -> str:
        """ffmpeg's name of it."""
        return {"h264": "libx264", "av1": "libsvtav1"}[self.codec]

    def options_of(self, width: int, most_bits: int) -> dict[str, str]:
        """A keyframe where one is asked for and nowhere else; one thread, for the same bytes."""
        options = {"preset": self.preset, "crf": str(self.crf)}
        if self.codec == "av1":
            return options | {"svtav1-params": "keyint=-1:scd=0:lp=1"}
        ways = ["keyint=infinite", "scenecut=0", "open-gop=0"]
        # With a cap on bits, x264's fast code for the tree of macroblocks reads beyond rows that
        # are no multiple of 8 of these: each run would give other bytes.
        if -(-width // MACROBLOCK) % 8:
            ways.append("mbtree=0")
        return options | {
            "maxrate": str(most_bits),
            "bufsize": str(2 * most_bits),
            "forced-idr": "1",
            "x264-params": ":".join(ways),
        }


def check_encoder(encoding: Encoding) -> None:
    """ValueError where this ffmpeg has no such encoder, or the encoder no such preset."""
    av = load_library()
    try:
        context = av.CodecContext.create(encoding.encoder, "w")
        context.width = context.height = 64
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, TICKS)
        context.framerate = Fraction(25)
        context.options = encoding.options_of(context.width, FULL_HD_BITS)
        context.open()
    except av.codec.codec.UnknownCodecError:
        told = f"this PyAV has no {encoding.encoder}"
        raise ValueError(f"codec={encoding.codec!r}: {told}: take 'h264'") from None
    except av.error.FFmpegError:
        told = f"{encoding.encoder} knows no preset {encoding.preset!r}"
        raise ValueError(f"{told}: leave it out, or see the encoder's own names") from None


@functools.cache
def _scaling_way() -> Any:
    """As ffmpeg scales, and the same on every processor."""
    ways = load_library().video.reformatter.Interpolation
    return ways.BICUBIC | ways.ACCURATE_RND | ways.BITEXACT


@dataclass(frozen=True)
class Colours:
    """What the film says of its colours, as H.273 numbers them."""

    matrix: int
    primaries: int
    curve: int


class Rung:
    """A rendition that is written into a new folder."""

    def __init__(
        self,
        folder: str,
        size_wh: SizeWh,
        encoding: Encoding,
        rate: Fraction,
        colours: Colours,
        *,
        channels: int,
    ):
        self.size_wh = size_wh
        self.encoding = encoding
        self.colours = colours
        self.files = SegmentFiles(folder)
        # Bits grow less than pixels do.
        bits = round(FULL_HD_BITS * (size_wh[0] * size_wh[1] / FULL_HD) ** 0.9)
        self._container = load_library().open(
            self.files, "w", format="mp4", container_options=MP4_OPTIONS
        )
        self.video = self._video_stream(rate, max(bits, 100_000))
        self.sound = self._sound_stream(channels) if channels else None
        self._container.start_encoding()

    def _video_stream(self, rate: Fraction, bits: int) -> Any:
        options = self.encoding.options_of(self.size_wh[0], bits)
        stream = self._container.add_stream(self.encoding.encoder, rate=rate, options=options)
        stream.width, stream.height = self.size_wh
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, TICKS)
        context = stream.codec_context
        context.time_base = stream.time_base
        context.thread_count = 1
        context.colorspace = self.colours.matrix
        context.color_primaries = self.colours.primaries
        context.color_trc = self.colours.curve
        context.color_range = LIMITED_RANGE
        return stream

    def _sound_stream(self, channels: int) -> Any:
        layout = "stereo" if channels > 1 else "mono"
        stream = self._container.add_stream("aac", rate=SOUND_HZ, layout=layout)
        stream.bit_rate = SOUND_BITS if channels > 1 else SOUND_BITS // 2
        return stream

    def show(self, frame: Any, ticks: int, *, is_start: bool) -> None:
        """Encode an upright frame that is seen from then on. is_start: a segment begins with it."""
        width, height = self.size_wh
        scaled = frame.reformat(
            width=width,
            height=height,
            format="yuv420p",
            src_colorspace=self.colours.matrix,
            dst_colorspace=self.colours.matrix,
            dst_color_range=LIMITED_RANGE,
            interpolation=_scaling_way(),
            threads=1,
        )
        scaled.pts = ticks
        scaled.time_base = Fraction(1, TICKS)
        scaled.pict_type = I_PICTURE if is_start else ANY_PICTURE
        self._container.mux(self.video.encode(scaled))

    def hear(self, packets: list[tuple[bytes, int, int]]) -> None:
        """Take sound that is encoded already: bytes, time and length in samples."""
        packet_of = load_library().Packet
        for data, pts, samples in packets:
            packet = packet_of(data)
            packet.stream = self.sound
            packet.time_base = Fraction(1, SOUND_HZ)
            packet.pts = packet.dts = pts
            packet.duration = samples
            packet.is_keyframe = True
            self._container.mux_one(packet)

    def finish(self) -> None:
        """Write what waits in the encoder."""
        self._container.mux(self.video.encode())
        self.close()

    def close(self) -> None:
        """Let go of the encoders, also of a rendition that is given up."""
        self._container.close()

    @property
    def codecs(self) -> str:
        """What browsers are told before they ask for the first segment (RFC 6381)."""
        head = self.files.head
        if self.encoding.codec == "av1":
            at = head.index(b"av1C") + 5
            profile, level = head[at] >> 5, head[at] & 31
            tier = "H" if head[at + 1] >> 7 else "M"
            depth = 10 if head[at + 1] & 0x40 else 8
            said = f"av01.{profile}.{level:02d}{tier}.{depth:02d}"
        else:
            at = head.index(b"avcC") + 5
            said = f"avc1.{head[at : at + 3].hex()}"
        return said if self.sound is None else f"{said},mp4a.40.2"
