"""What a file says beside its pixels, and the same file without that: no pixel is decoded or changed."""

import re

from PIL import Image

from imgprep.picture import colour
from imgprep.picture.header import MAX_PIXELS, decode_errors_only, open_header, orientation

MARKER = re.compile(rb"\xff+[^\x00\xff]")
IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # the next marker behind the entropy-coded data of a JPEG
# What a decoder needs for the colours; behind APP0 to APP15 and COM.
JPEG_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
PNG_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"sRGB", b"gAMA", b"cHRM", b"iCCP", b"cICP", b"sBIT", b"pHYs")


def clean(data: bytes, *, keep_metadata: bool = False, max_pixels: int | None = MAX_PIXELS) -> bytes | None:
    """The file itself if every program shows it as it is meant, without EXIF, GPS, XMP, comments, trailing data.

    None where that takes another encoding: turned by EXIF, a profile that is not sRGB, CMYK, 16 bits, alpha, frames,
    and formats other than JPEG, PNG and WebP (of these, also an extended one). Raises DecodeError as `codec.probe`.
    """
    with decode_errors_only(data):
        im = open_header(data, max_pixels)
        is_plain = im.mode in ("1", "L", "P", "RGB") and not im.has_transparency_data and orientation(im) == 1
        is_plain &= colour.profile(im.info.get("icc_profile"), "RGB" if im.mode == "P" else im.mode) is None
        is_jpeg = im.format in ("JPEG", "MPO")  # the second picture of an MPO is trailing data
        if not is_plain or not (is_jpeg or im.format in ("PNG", "WEBP")):
            return None
        if not is_jpeg and (getattr(im, "n_frames", 1) > 1 or data[24:25] == b"\x10" and im.format == "PNG"):
            return None
    if keep_metadata:
        return data
    if im.format == "WEBP":
        return data[: 8 + int.from_bytes(data[4:8], "little")] if data[12:16] != b"VP8X" else None
    return _jpeg(data) if is_jpeg else _png(data)


def exif_segment(data: bytes) -> bytes:
    """The EXIF of a picture as a JPEG has it, behind its first two bytes; it says upright. b"" where there is none."""
    try:
        exif = Image.Image.getexif(open_header(data, None))
        exif.pop(274, None)  # the orientation: the pixels are turned already
        body = exif.tobytes() if len(exif) else b""
    except Exception:
        return b""  # damaged EXIF is no reason to lose a picture
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body if 0 < len(body) <= 65533 else b""


def _jpeg(data: bytes) -> bytes | None:
    """Without the segments APP1 to APP15 and COM, but for JPEG_KEPT, and without what follows the end."""
    pieces, at = [data[:2]], 2
    while marker := MARKER.match(data, at):
        kind = data[marker.end() - 1]
        if kind == 0xD9:
            return b"".join([*pieces, b"\xff\xd9"])
        end = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
        if kind == 0xDA:
            behind = IN_SCAN.search(data, end)
            end = behind.start() if behind else len(data)
        body = data[marker.end() + 2 : marker.end() + 18]
        is_kept = body.startswith(JPEG_KEPT[kind]) if kind in JPEG_KEPT else not 0xE0 <= kind <= 0xEF
        if is_kept and kind != 0xFE:
            pieces.append(data[marker.end() - 2 : end])
        at = end
    return None  # it ends early, or has stray bytes that decoders skip


def _png(data: bytes) -> bytes:
    """Only the chunks that PNG_KEPT names."""
    pieces, at = [data[:8]], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] in PNG_KEPT:
            pieces.append(data[at:end])
        at = end if data[at + 4 : at + 8] != b"IEND" else len(data)
    return b"".join(pieces)
