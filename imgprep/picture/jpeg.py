"""The segments of a JPEG, its ICC profile, and the quick way to its pixels."""

import re
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

MARKER = re.compile(rb"\xff+[^\x00\xff]")
# The next marker behind the entropy-coded data of a scan.
BEHIND_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

ICC = b"ICC_PROFILE\0"
APP2, START_OF_SCAN, END_OF_IMAGE, COMMENT = 0xE2, 0xDA, 0xD9, 0xFE
APPS = range(0xE0, 0xF0)
ADOBE_BYTES = 12
FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
# Sequential and progressive Huffman, progressive arithmetic; not lossless, hierarchical, JPEG-LS.
DECODED_PROCESSES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
SEQUENTIAL = (0xC0, 0xC1)
# Tables, restart interval, comment: with a frame header, all that an ordinary head is made of.
ORDINARY = {0xC4, 0xDB, 0xDD, COMMENT, *APPS, *SEQUENTIAL}

# What the decoder says of damaged pixels. Of all else that it says the picture is as good as ever.
DAMAGE = re.compile("Premature end|Corrupt JPEG data: (?!.*extraneous)")


class Segment(NamedTuple):
    """kind: the second byte of its marker. start, end: with the marker. body: behind the length."""

    kind: int
    start: int
    body: int
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """From the first one on to the end of the picture, each scan with its pixels.

    Ends early where there is no marker: the data end, or bytes are strewn in that decoders skip.
    """
    at = 2
    while marker := MARKER.match(data, at):
        segment = _segment(data, marker.end())
        if segment.kind == START_OF_SCAN:
            behind = BEHIND_SCAN.search(data, segment.end)
            end = behind.start() if behind else len(data)
            segment = segment._replace(end=end)
        yield segment
        if segment.kind == END_OF_IMAGE:
            return
        at = segment.end


def _segment(data: bytes, body: int) -> Segment:
    """By where its marker ends. Of a scan only its own head."""
    kind = data[body - 1]
    start = body - 2
    if kind == END_OF_IMAGE:
        return Segment(kind, start, body, body)
    length = int.from_bytes(data[body : body + 2])
    return Segment(kind, start, body + 2, body + length)


# What was read last, for each thread. No plain variable: those count as code in a checkout's keys.
_last_read = threading.local()


def head(data: bytes) -> tuple[Segment, ...]:
    """The segments before the first scan. Does not look at the pixels."""
    # Of the last picture only: its header is read up to four times until its pixels are there. The
    # same object, not equal bytes: to hash them took longer than to read the head.
    data = bytes(data)  # a bytearray could change under its name; of bytes this is no copy
    if data is not getattr(_last_read, "data", None):
        _last_read.data = data
        _last_read.head = tuple(_head(data))
    found: tuple[Segment, ...] = _last_read.head
    return found


def _head(data: bytes) -> Iterator[Segment]:
    at = 2
    while marker := MARKER.match(data, at):
        segment = _segment(data, marker.end())
        if segment.kind in (START_OF_SCAN, END_OF_IMAGE):
            return
        yield segment
        at = segment.end


def scan_count(data: bytes) -> int:
    """How many scans there may be, each of which is decoded over the whole picture."""
    if _has_one_scan(data):
        return 1
    # Five times as fast as bytes.count.
    values = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(values[1:] == START_OF_SCAN)
    return int(np.count_nonzero(values[places] == 0xFF))


def _has_one_scan(data: bytes) -> bool:
    """Whether the first scan, by the head, has all of the picture: decoders read no other one.

    False also where that is not certain.
    """
    known = head(data)
    frames = [segment for segment in known if segment.kind in FRAME_HEADERS]
    # Of other markers, which have no length, a decoder may think otherwise of where the head goes on.
    if len(frames) != 1 or not all(segment.kind in ORDINARY for segment in known):
        return False
    behind = MARKER.match(data, known[-1].end)
    if behind is None or data[behind.end() - 1] != START_OF_SCAN:
        return False
    # Behind the scan's length, and behind the frame's depth, height and width.
    of_scan = data[behind.end() + 2 : behind.end() + 3]
    of_frame = data[frames[0].body + 5 : frames[0].body + 6]
    return of_scan != b"" and of_scan == of_frame


def jpeg_profile(data: bytes) -> bytes | None:
    """Its ICC profile, put together; None where there is none, or a piece of it is missing.

    Wherever in the head the pieces stand, in whatever order; a piece that comes twice counts once.
    """
    pieces: dict[int, bytes] = {}
    total = 0
    for segment in head(data):
        if _is_profile(data, segment):
            numbers = segment.body + len(ICC)
            number, total = data[numbers], data[numbers + 1]
            pieces.setdefault(number, data[numbers + 2 : segment.end])
    if not total or set(pieces) != set(range(1, total + 1)):
        return None
    return b"".join(pieces[n] for n in sorted(pieces)) or None


def _is_profile(data: bytes, segment: Segment) -> bool:
    is_long_enough = segment.end >= segment.body + len(ICC) + 2
    return segment.kind == APP2 and is_long_enough and data.startswith(ICC, segment.body)


def process(data: bytes) -> int:
    """How it is coded: the kind of its frame header, 0 where there is none."""
    kinds = (segment.kind for segment in head(data))
    return next((kind for kind in kinds if kind in FRAME_HEADERS), 0)


def _without_profile(data: bytes) -> bytes:
    broken = [s for s in head(data) if s.kind == APP2 and data.startswith(ICC, s.body)]
    return _without(data, broken)


def bare(data: bytes) -> bytes:
    """The same picture without what stands beside it, where that made its decoder fail.

    What stays is how its colours are stored, and which side is up.
    """
    beside = []
    for segment in head(data):
        if segment.kind not in APPS and segment.kind != COMMENT:
            continue
        body = data[segment.body : segment.end]
        is_adobe = body.startswith(b"Adobe") and len(body) >= ADOBE_BYTES
        if not is_adobe and not body.startswith((b"Exif\0\0", b"JFIF\0")):
            beside.append(segment)
    return _without(data, beside)


def _without(data: bytes, unwanted: list[Segment]) -> bytes:
    pieces = []
    at = 0
    for segment in unwanted:
        pieces.append(data[at : segment.start])
        at = segment.end
    return b"".join([*pieces, data[at:]])


def stored_pixels(
    data: bytes,
    im: Image.Image,
    space: str,
    shrink: int,
    *,
    keep_truncated: bool,
) -> np.ndarray | None:
    """The stored pixels of an ordinary JPEG at 1/shrink, space "RGB" or "GRAY".

    None where Pillow must decide (CMYK, odd warnings). Raises ValueError where pixels are damaged.
    CPU ms per photograph of 1.1 Mpx to 1/4: simplejpeg 2.9, cv2 2.7 (but it takes truncated data),
    Pillow's draft 2.9; in full 3.4, 3.5, 6.3.
    """
    if im.format not in ("JPEG", "MPO") or im.mode not in ("L", "RGB"):
        return None
    smallest = {
        "min_width": -(-im.width // shrink),
        "min_height": -(-im.height // shrink),
    }
    is_strict = not keep_truncated
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if (height, width) != (im.height, im.width):
            return None
        found = simplejpeg.decode_jpeg(data, space, **smallest, strict=is_strict)
        return np.asarray(found)
    except ValueError as error:
        said = str(error)
        if DAMAGE.match(said) and "bad ICC marker" not in said:
            raise
    if "bad ICC marker" not in said:
        return None
    # A broken profile stands beside the pixels: once more without it.
    bare = _without_profile(data)
    if len(bare) == len(data):
        return None
    return stored_pixels(bare, im, space, shrink, keep_truncated=keep_truncated)
