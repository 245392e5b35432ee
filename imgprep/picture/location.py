"""Where a picture was taken: the GPS position that cameras write,
blanked without touching a pixel.
"""

import re
import struct
import zlib
from typing import NamedTuple

from imgprep.picture import png

# The head of EXIF, in whatever format it lies, and of a TIFF file itself.
HEAD = re.compile(rb"II\*\0|MM\0\*")
# XMP: <exif:GPSLatitude>59,19N</exif:GPSLatitude>, or the same as an attribute.
XMP = re.compile(
    rb"""\sexif:GPS\w+=(["'])([^"'<>]+)\1|<exif:GPS\w+>([^<>]+)</exif:GPS""",
)

# How many bytes a value of each of TIFF's types has.
IFD_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
POINTER_TYPES = (4, 13)
GPS_DIRECTORY = 0x8825  # the tag whose value is where the directory of GPS tags stands
LAST_GPS_TAG = 0x1F
ENTRY = 12  # bytes of a tag in a directory
LONGEST_VALUE = 4096


def without_gps(data: bytes) -> bytes:
    """The same picture without the place in its EXIF and XMP; `data` itself where it has none.

    Bytes are overwritten where they stand, so the pixels, the other tags and the length stay as
    they are. JPEG, TIFF, WebP, PNG, AVIF and HEIF alike, also pictures within pictures. Does not
    look into compressed text of PNG.
    """
    found = data
    for head in HEAD.finditer(data):
        found = _without_directory(found, head.start())
    for match in XMP.finditer(data):
        start, end = match.span(2) if match[2] is not None else match.span(3)
        blank = b" " * (end - start)
        found = found[:start] + blank + found[end:]
    if found == data:
        return data
    is_png = data.startswith(b"\x89PNG\r\n\x1a\n")
    return _with_checksums(found) if is_png else found


class _Entry(NamedTuple):
    """A tag in a directory. value: where the values stand, or the value if it has 4 bytes."""

    tag: int
    kind: int
    values: int
    value: int


def _directory(
    data: bytes,
    at: int,
    order: str,
) -> list[_Entry]:
    """The tags of a directory. Raises struct.error where the data end before."""
    (count,) = struct.unpack_from(order + "H", data, at)
    first = at + 2
    entries = []
    for n in range(count):
        values = struct.unpack_from(order + "HHII", data, first + ENTRY * n)
        entries.append(_Entry(*values))
    return entries


def _without_directory(data: bytes, at: int) -> bytes:
    """Blank the GPS directory of the TIFF structure at this offset, and take out its entry."""
    order = "<" if data[at : at + 2] == b"II" else ">"
    try:
        (offset,) = struct.unpack_from(order + "I", data, at + 4)
        first = at + offset
        tags = _directory(data, first, order)
        places = [n for n, entry in enumerate(tags) if _is_gps(entry)]
        if not places:
            return data
        gps = at + tags[places[0]].value
        entries = _directory(data, gps, order)
    except struct.error:
        # It ends early, or the four bytes only looked like a head.
        return data

    out = bytearray(data)
    for entry in entries:
        size = entry.values * IFD_TYPE_BYTES.get(entry.kind, 1)
        start = at + entry.value
        # Up to four bytes stand in the entry itself.
        is_elsewhere = 4 < size <= LONGEST_VALUE and start + size <= len(out)
        if entry.tag <= LAST_GPS_TAG and is_elsewhere:
            out[start : start + size] = bytes(size)
    length = 2 + ENTRY * len(entries)
    out[gps : gps + length] = bytes(length)

    # The entries behind it and the offset of the next directory move up by one.
    here = first + 2 + ENTRY * places[0]
    end = first + 2 + ENTRY * len(tags) + 4
    out[here:end] = data[here + ENTRY : end] + bytes(ENTRY)
    out[first : first + 2] = struct.pack(order + "H", len(tags) - 1)
    return bytes(out)


def _is_gps(entry: _Entry) -> bool:
    is_pointer = entry.kind in POINTER_TYPES and entry.values == 1
    return entry.tag == GPS_DIRECTORY and is_pointer


def _with_checksums(data: bytes) -> bytes:
    """A PNG with right checksums of its chunks of metadata."""
    out = bytearray(data)
    for chunk in png.png_chunks(data):
        if chunk.kind in (b"eXIf", b"iTXt") and chunk.end <= len(out):
            content = out[chunk.start + 4 : chunk.body_end]
            out[chunk.body_end : chunk.end] = zlib.crc32(content).to_bytes(4)
    return bytes(out)
