"""The chunks of a PNG: only what its pixels need reaches the decoder.

What stands beside the pixels (texts, sizes, times, profiles) never costs the picture.
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from imgprep.picture import cicp

MAGIC = b"\x89PNG\r\n\x1a\n"
# Of the chunks that a decoder may skip, those that change what is shown; and where EXIF may be.
TRANSPARENT, EXIF = b"tRNS", b"eXIf"
ANIMATION = (b"acTL", b"fcTL", b"fdAT")
EXIF_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
MOST_TEXT = 1 << 20  # bytes of such a text: EXIF has less than 64 KiB
MOST_PROFILE = 16 << 20
GREY, RGB, PALETTE = 0, 2, 3  # colour types


class Chunk(NamedTuple):
    """start: of its length. body, body_end: what is between kind and checksum."""

    kind: bytes
    start: int
    body: int
    body_end: int

    @property
    def end(self) -> int:
        return self.body_end + 4

    @property
    def is_critical(self) -> bool:
        """Without it there are no pixels, says the standard: its first letter is a capital."""
        return self.kind[:1].isupper()


def png_chunks(data: bytes | bytearray) -> Iterator[Chunk]:
    """Each chunk up to IEND; the last may end behind the data."""
    at = len(MAGIC)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        kind = bytes(data[at + 4 : at + 8])
        body = at + 8
        chunk = Chunk(kind, at, body, body + length)
        yield chunk
        if kind == b"IEND":
            return
        at = chunk.end


def essential(data: bytes) -> bytes:
    """The same PNG without the chunks that decoders may skip; of these, what counts stays.

    That is transparency, animation, EXIF, where they are whole and stand where they may.
    """
    pieces = [data[: len(MAGIC)]]
    at = len(MAGIC)
    is_before_pixels = True
    for chunk in png_chunks(data):
        if not chunk.kind.isalpha():
            # No chunk: from here on the decoder shall say what it thinks of it.
            break
        if chunk.kind == b"IDAT":
            is_before_pixels = False
        if chunk.is_critical or _counts(data, chunk, is_before_pixels):
            pieces.append(data[chunk.start : chunk.end])
        at = chunk.end
    pieces.append(data[at:])
    return b"".join(pieces)


def _counts(
    data: bytes,
    chunk: Chunk,
    is_before_pixels: bool,
) -> bool:
    if chunk.kind in ANIMATION:
        return True
    if not _is_whole(data, chunk):
        return False
    body = data[chunk.body : chunk.body_end]
    if chunk.kind == TRANSPARENT:
        needed = {GREY: 2, RGB: 6, PALETTE: 1}.get(data[25], 1 << 31)
        return is_before_pixels and len(body) >= needed
    if chunk.kind in (b"tEXt", b"zTXt", b"iTXt"):
        return _is_exif_text(chunk.kind, body)
    return chunk.kind == EXIF


def _is_whole(data: bytes, chunk: Chunk) -> bool:
    """Whether its checksum is right."""
    said = data[chunk.body_end : chunk.end]
    return zlib.crc32(data[chunk.start + 4 : chunk.body_end]).to_bytes(4) == said


def _is_exif_text(kind: bytes, body: bytes) -> bool:
    """Whether it may say which side is up, and can be unpacked."""
    if not body.startswith(EXIF_TEXTS):
        return False
    packed = body[body.index(b"\0") + 1 :]
    if kind == b"zTXt":
        return packed[:1] == b"\0" and unpacked(packed[1:], MOST_TEXT) is not None
    if kind == b"iTXt" and packed[:1] != b"\0":
        # Compressed XMP: nobody writes it, and Pillow's limits would cost the picture.
        return False
    return len(packed) <= MOST_TEXT


def unpacked(packed: bytes, most: int) -> bytes | None:
    """None where it is no zlib stream, ends early, or has more than `most` bytes."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(packed, most)
    except zlib.error:
        return None
    return plain if stream.eof else None


def png_profile(data: bytes) -> bytes | None:
    """What the stored colours mean: by cICP, else by iCCP, as the third edition of PNG has it.

    None where neither says it, is whole, and stands before the pixels.
    """
    profile = None
    for chunk in png_chunks(data):
        if chunk.kind == b"IDAT":
            break
        if chunk.kind not in (b"cICP", b"iCCP") or not _is_whole(data, chunk):
            continue
        body = data[chunk.body : chunk.body_end]
        if chunk.kind == b"cICP" and len(body) >= 2:
            return cicp.cicp_profile(body[0], body[1])
        if chunk.kind == b"iCCP":
            # A name, a zero, the method: 0 is zlib.
            _, _, packed = body.partition(b"\0")
            if packed[:1] == b"\0":
                profile = unpacked(packed[1:], MOST_PROFILE)
    return profile


def exif(data: bytes) -> bytes | None:
    """The body of its eXIf chunk, which may stand behind the pixels."""
    for chunk in png_chunks(data):
        if chunk.kind == EXIF and _is_whole(data, chunk):
            return data[chunk.body : chunk.body_end]
    return None


def clear_colour(data: bytes) -> tuple[int, ...] | None:
    """The grey, or red, green and blue, that tRNS makes transparent; in stored levels."""
    depth, kind = data[24], data[25]
    if kind not in (GREY, RGB):
        return None
    for chunk in png_chunks(data):
        if chunk.kind == TRANSPARENT:
            body = data[chunk.body : chunk.body_end]
            levels = [int.from_bytes(body[i : i + 2]) for i in range(0, len(body) - 1, 2)]
            count = 1 if kind == GREY else 3
            # The standard: of the two bytes only the depth's bits count.
            return tuple(level % 2**depth for level in levels[:count])
    return None


def tell_clear_colour(im: Image.Image, data: bytes) -> None:
    """The transparent colour of an opened PNG becomes one of its pixels' levels, at every depth.

    Pillow has those of 1, 2 and 4 bits as they are stored, but its pixels are from 0 to 255.
    """
    if "transparency" not in im.info:
        return
    clear = clear_colour(data)
    if clear is None:
        return
    depth = data[24]
    if depth < 8:
        clear = (clear[0] * 255 // (2**depth - 1),)
    im.info["transparency"] = clear[0] if len(clear) == 1 else clear


def with_deep_alpha(im: Image.Image, data: bytes) -> Image.Image:
    """A loaded RGB picture of 16 bits and a transparent colour, as RGBA.

    Pillow has cut the pixels to 8 bits, where more colours than one are equal to that one.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    clear = clear_colour(data)
    if pixels is None or pixels.dtype != np.uint16 or clear is None:
        return im
    is_seen = (pixels != clear[::-1]).any(2)
    out = im.convert("RGB")
    out.putalpha(Image.fromarray(is_seen.astype(np.uint8) * 255))
    return out


def is_deep_and_clear(im: Image.Image, data: bytes) -> bool:
    """Whether `with_deep_alpha` has to look at it."""
    return im.mode == "RGB" and data[24] == 16 and "transparency" in im.info
