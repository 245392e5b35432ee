"""The playlists of a ladder (RFC 8216): one for each rendition, and the master that names them."""

import math
import os
from fractions import Fraction
from typing import Any

from imgprep.io.film.rung import SEGMENT_S, Rung
from imgprep.io.film.segments import HEAD_FILE, SegmentFiles


def segment_lengths(end_s: Fraction, count: int) -> list[Fraction]:
    """How long each of so many segments is: all of them four seconds but the last."""
    last = end_s - SEGMENT_S * (count - 1)
    return [Fraction(SEGMENT_S)] * (count - 1) + [last]


def media_playlist(lengths: list[Fraction]) -> str:
    """The segments of one rendition."""
    longest = max(SEGMENT_S, math.ceil(max(lengths) - Fraction(1, 2)))
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{longest}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{HEAD_FILE}"',
    ]
    for number, length in enumerate(lengths):
        lines += [f"#EXTINF:{float(length):.6f},", SegmentFiles.name_of(number)]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def bandwidths(rung: Rung, lengths: list[Fraction]) -> tuple[int, int]:
    """Bits per second of the largest segment, and of the whole."""
    rates = []
    for nbytes, length in zip(rung.files.nbytes, lengths, strict=True):
        rates.append(8 * nbytes / float(max(length, Fraction(1))))
    whole = 8 * sum(rung.files.nbytes) / float(sum(lengths))
    return math.ceil(max(rates)), math.ceil(min(whole, max(rates)))


def master_playlist(rungs: dict[str, Rung], lengths: list[Fraction], rate: Fraction) -> str:
    """What a player is given. rungs: by the names of their folders, from small to large."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for name, rung in rungs.items():
        most, mean = bandwidths(rung, lengths)
        width, height = rung.size_wh
        facts = [
            f"BANDWIDTH={most}",
            f"AVERAGE-BANDWIDTH={mean}",
            f'CODECS="{rung.codecs}"',
            f"RESOLUTION={width}x{height}",
            f"FRAME-RATE={float(rate):.3f}",
        ]
        lines += [f"#EXT-X-STREAM-INF:{','.join(facts)}", f"{name}/index.m3u8"]
    return "\n".join([*lines, ""])


def write_playlists(
    folder: str,
    rungs: dict[str, Rung],
    end_s: Fraction,
    count: int,
    rate: Fraction,
) -> list[dict[str, Any]]:
    """Write them into the ladder's folder; returns the facts of each rendition.

    count: of the segments that begin.
    """
    lengths = segment_lengths(end_s, count)
    found = []
    for name, rung in rungs.items():
        wrote = len(rung.files.nbytes)
        if wrote != count:
            raise RuntimeError(f"the encoder wrote {wrote} segments of {name} instead of {count}")
        _put_text(folder, f"{name}/index.m3u8", media_playlist(lengths))
        most, mean = bandwidths(rung, lengths)
        width, height = rung.size_wh
        facts = {
            "name": name,
            "width": width,
            "height": height,
            "codecs": rung.codecs,
            "bandwidth": most,
            "mean_bandwidth": mean,
            "nbytes": sum(rung.files.nbytes) + len(rung.files.head),
        }
        found.append(facts)
    _put_text(folder, "master.m3u8", master_playlist(rungs, lengths, rate))
    return found


def _put_text(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)
