"""What a file says beside its pixels, and the same file without that.

No pixel is decoded or changed. Where a picture was taken: `location`.
"""

from PIL import Image

from imgprep.picture import colour, jpeg, png
from imgprep.picture.damage import decode_errors_only
from imgprep.picture.header import MAX_PIXELS, open_header, orientation

# Of the segments APP0 to APP15, what a decoder needs for the colours.
JPEG_KEPT = {
    0xE0: b"JFIF\0",
    0xE2: b"ICC_PROFILE\0",
    0xEE: b"Adobe",
}
PNG_KEPT = (
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"sRGB",
    b"gAMA",
    b"cHRM",
    b"iCCP",
    b"cICP",
    b"sBIT",
    b"pHYs",
)
# Pillow's numbers of what EXIF says, and the longest body of a JPEG's segment.
ORIENTATION = 274
LONGEST = 65533


def clean(
    data: bytes,
    *,
    keep_metadata: bool = False,
    max_pixels: int | None = MAX_PIXELS,
) -> bytes | None:
    """The file itself if every program shows it as it is meant, without EXIF, GPS, XMP, comments.

    Trailing data go too. None where that takes another encoding: turned by EXIF, a profile that is
    not sRGB, CMYK, 16 bits, alpha, frames, and formats other than JPEG, PNG and WebP (of these,
    also an extended one). Raises DecodeError as `codec.probe`.
    """
    with decode_errors_only(data):
        im = open_header(data, max_pixels)
        if not _is_plain(im, data):
            return None
    if keep_metadata:
        return data
    if im.format == "WEBP":
        return _clean_webp(data)
    if im.format == "PNG":
        return _clean_png(data)
    return _clean_jpeg(data)


def _is_plain(im: Image.Image, data: bytes) -> bool:
    """Whether every program shows the stored pixels as they are meant."""
    if im.format not in ("JPEG", "MPO", "PNG", "WEBP"):
        return False
    if im.mode not in ("1", "L", "P", "RGB") or im.has_transparency_data:
        return False
    if orientation(im) != 1:
        return False
    mode = "RGB" if im.mode == "P" else im.mode
    if colour.profile(im.info.get("icc_profile"), mode) is not None:
        return False
    if im.format in ("JPEG", "MPO"):
        # The second picture of an MPO is trailing data.
        return True
    if getattr(im, "n_frames", 1) > 1:
        return False
    is_16_bits = im.format == "PNG" and data[24:25] == b"\x10"
    return not is_16_bits


def exif_segment(data: bytes) -> bytes:
    """The EXIF of a picture as a JPEG has it behind its first two bytes; b"" where there is none.

    It says upright.
    """
    try:
        exif = Image.Image.getexif(open_header(data, None))
        # The pixels are turned already.
        exif.pop(ORIENTATION, None)
        body = exif.tobytes() if len(exif) else b""
    except Exception:
        # Damaged EXIF is no reason to lose a picture.
        return b""
    if not 0 < len(body) <= LONGEST:
        return b""
    length = (len(body) + 2).to_bytes(2)
    return b"\xff\xe1" + length + body


def _clean_jpeg(data: bytes) -> bytes | None:
    """Without the segments APP1 to APP15 and COM, but for JPEG_KEPT, and without what follows.

    None where it ends early, or has stray bytes that decoders skip.
    """
    pieces = [data[:2]]
    for segment in jpeg.segments(data):
        if _is_kept(segment.kind, data[segment.body : segment.body + 16]):
            pieces.append(data[segment.start : segment.end])
        if segment.kind == jpeg.END_OF_IMAGE:
            return b"".join(pieces)
    return None


def _is_kept(kind: int, body: bytes) -> bool:
    """Whether a JPEG shows the same only with this segment."""
    if kind in JPEG_KEPT:
        return body.startswith(JPEG_KEPT[kind])
    return kind not in jpeg.APPS and kind != jpeg.COMMENT


def _clean_png(data: bytes) -> bytes:
    """Only the chunks that PNG_KEPT names."""
    pieces = [data[:8]]
    for chunk in png.png_chunks(data):
        if chunk.kind in PNG_KEPT:
            pieces.append(data[chunk.start : chunk.end])
    return b"".join(pieces)


def _clean_webp(data: bytes) -> bytes | None:
    """Without what follows it; None for an extended one, which has its metadata in chunks."""
    if data[12:16] == b"VP8X":
        return None
    size = int.from_bytes(data[4:8], "little")
    return data[: 8 + size]
