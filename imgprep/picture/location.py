"""Where a picture was taken: the GPS position that cameras write into files, blanked without touching a pixel."""

import re
import struct
import zlib

TIFF = re.compile(rb"II\*\0|MM\0\*")  # the head of EXIF, in whatever format it lies, and of a TIFF file itself
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes of the TIFF types
# XMP: <exif:GPSLatitude>59,19N</exif:GPSLatitude>, or the same as an attribute
XMP = re.compile(rb"""\sexif:GPS\w+=(["'])([^"'<>]+)\1|<exif:GPS\w+>([^<>]+)</exif:GPS""")


def without_gps(data: bytes) -> bytes:
    """The same picture without the place in its EXIF and XMP; `data` itself where it has none.

    Bytes are overwritten where they stand, so the pixels, the other tags and the length stay as they are. JPEG, TIFF,
    WebP, PNG, AVIF and HEIF alike, also pictures within pictures. Does not look into compressed text of PNG.
    """
    found = data
    for head in TIFF.finditer(data):
        found = _without_ifd(found, head.start())
    for match in XMP.finditer(data):
        start, end = match.span(2) if match[2] is not None else match.span(3)
        found = found[:start] + b" " * (end - start) + found[end:]
    if found == data:
        return data
    return _summed(found) if data[:8] == b"\x89PNG\r\n\x1a\n" else found


def _without_ifd(data: bytes, at: int) -> bytes:
    """Blank the GPS directory of the TIFF structure at this offset, and take its entry out of the first directory."""
    order = "<" if data[at : at + 2] == b"II" else ">"
    try:
        first = at + struct.unpack_from(order + "I", data, at + 4)[0]
        (count,) = struct.unpack_from(order + "H", data, first)
        tags = [struct.unpack_from(order + "HHII", data, first + 2 + 12 * n) for n in range(count)]
        pointer = next((n for n, t in enumerate(tags) if t[0] == 0x8825 and t[1] in (4, 13) and t[2] == 1), None)
        if pointer is None:
            return data
        gps, out = at + tags[pointer][3], bytearray(data)
        (entries,) = struct.unpack_from(order + "H", data, gps)
        known = [struct.unpack_from(order + "HHII", data, gps + 2 + 12 * n) for n in range(entries)]
    except struct.error:  # it ends early, or the four bytes only looked like a head
        return data
    for tag, kind, n, offset in known:
        size = n * SIZES.get(kind, 1)
        if tag <= 0x1F and 4 < size <= 4096 and at + offset + size <= len(out):
            out[at + offset : at + offset + size] = bytes(size)
    out[gps : gps + 2 + 12 * entries] = bytes(2 + 12 * entries)
    # The entries behind it and the offset of the next directory move up by one.
    here, end = first + 2 + 12 * pointer, first + 2 + 12 * count + 4
    out[here:end] = data[here + 12 : end] + bytes(12)
    out[first : first + 2] = struct.pack(order + "H", count - 1)
    return bytes(out)


def _summed(data: bytes) -> bytes:
    """A PNG with right checksums of its chunks of metadata."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4])
        if out[at + 4 : at + 8] in (b"eXIf", b"iTXt"):
            out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(out)
