"""Encoded pictures to pixels and back: bytes in, (H, W, 3) uint8 RGB out. No files, no network.

The type is decided by content. Not done: HDR tone mapping (PQ, HLG), PNG gAMA, AdobeRGB told by EXIF alone, camera raw
files, JPEG XL.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import nullcontext
from difflib import get_close_matches
from functools import lru_cache

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from imgprep.picture import colour
from imgprep.picture.header import MAX_PIXELS, DecodeError, Header, decode_errors_only, header, open_header, orientation
from imgprep.quiet import silent_stderr

TURNS = {  # EXIF orientation -> what makes the pixels upright
    2: lambda a: cv2.flip(a, 1),
    3: lambda a: cv2.flip(a, -1),
    4: lambda a: cv2.flip(a, 0),
    5: cv2.transpose,
    6: lambda a: cv2.rotate(a, cv2.ROTATE_90_CLOCKWISE),
    7: lambda a: cv2.flip(cv2.transpose(a), -1),
    8: lambda a: cv2.rotate(a, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
SAMPLING = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444


def probe(data: bytes, *, max_pixels: int | None = MAX_PIXELS) -> Header:
    """Read the header. Decodes no pixel, so a picture that ends early passes: that is `check`.

    Raises DecodeError: empty, not_an_image, unsupported_format, too_many_pixels, truncated, corrupt.

    >>> probe(placeholder((40, 30)))
    Header(format='PNG', width=40, height=30, mode='RGB', frames=1)
    """
    with decode_errors_only(data):
        return header(open_header(data, max_pixels))


def decode(
    data: bytes,
    *,
    min_wh: tuple[int, int] | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    max_pixels: int | None = MAX_PIXELS,
    keep_truncated: bool = False,
) -> np.ndarray:
    """Decode the first frame to (H, W, 3) uint8 sRGB, the way it is meant to be seen.

    EXIF orientation is applied; 16-bit, CMYK, Lab, ICC profiles, palettes and alpha as `colour.srgb` says.
    min_wh: a JPEG may come at 1/2, 1/4 or 1/8, but never smaller than the picture *fitted into* this box with its
    aspect kept (so one side may be shorter than the box). Ask for twice your target, then area-average.
    keep_truncated: keep what there is of a picture that ends early or has damaged pixels; the rest is grey or black.
    Raises DecodeError: as `probe`; and truncated, corrupt. Raises nothing else on any bytes.

    >>> decode(placeholder((40, 30))).shape
    (30, 40, 3)
    """
    if len(background) != 3 or (min_wh and len(min_wh) != 2):
        raise ValueError(f"background is [r, g, b] and min_wh [width, height], not {background!r} and {min_wh!r}")
    with decode_errors_only(data):
        im = open_header(data, max_pixels)
        turn, (width, height), shrink = orientation(im), im.size, 1
        if min_wh:
            box = min_wh[::-1] if turn >= 5 else min_wh
            shrink = next((k for k in (8, 4, 2) if width >= k * box[0] or height >= k * box[1]), 1)
        profile = colour.profile(im.info.get("icc_profile"), im.mode)
        pixels = _jpeg(data, im, "GRAY" if profile and im.mode == "L" else "RGB", shrink, keep_truncated)
        if pixels is None:
            im.draft(None, (max(1, width // shrink), max(1, height // shrink)))  # of what is left, only JPEGs heed it
            _load(im, keep_truncated)
            pixels = colour.srgb(im, background)
        elif profile:
            pixels = np.array(profile.apply(Image.fromarray(pixels[:, :, 0] if im.mode == "L" else pixels)))
        return TURNS[turn](pixels) if turn > 1 else pixels


def frames(data: bytes, *, max_pixels: int | None = MAX_PIXELS) -> Iterator[np.ndarray]:
    """Every frame of a GIF, WebP, APNG or AVIF and every page of a TIFF, as `decode` gives the first; of others, that.

    Raises DecodeError as `decode` does, when it comes to the frame.
    """
    with decode_errors_only(data):
        im = open_header(data, max_pixels)
        count = getattr(im, "n_frames", 1) if im.format in ("GIF", "WEBP", "PNG", "AVIF", "TIFF") else 1
        if count == 1:
            yield decode(data, max_pixels=max_pixels)
            return
        turn = orientation(im)
        for n in range(count):
            im.seek(n)
            if max_pixels and im.width * im.height > max_pixels:
                raise DecodeError("too_many_pixels", f"frame {n} has {im.width} x {im.height} pixels")
            _load(im, keep_truncated=False)
            pixels = colour.srgb(im)
            yield TURNS[turn](pixels) if turn > 1 else pixels


def check(data: bytes, *, max_pixels: int | None = MAX_PIXELS, keep_truncated: bool = False) -> Header:
    """Prove, as cheaply as possible, that the first frame decodes from end to end. Raises what `decode` raises.

    >>> check(placeholder()).format
    'PNG'
    """
    with decode_errors_only(data):
        im = open_header(data, max_pixels)
        seen = header(im)
        if _jpeg(data, im, "GRAY", 8, keep_truncated) is None:  # the colours are parsed all the same
            im.draft(None, (1, 1))
            _load(im, keep_truncated)
        return seen


def encode(
    image: np.ndarray, format: str = "PNG", *, quality: int | None = 95, is_full_chroma: bool = False
) -> bytes:
    """(H, W, 3) uint8 RGB, or a mask (H, W), to PNG, JPEG or WEBP. The same pixels give the same bytes.

    quality: 1 to 100, of JPEG and WEBP; None is lossless WEBP. PNG is lossless whatever it says.
    is_full_chroma: a JPEG's colours at its full size (4:4:4), not at half of it: a quarter more bytes.

    >>> encode(np.zeros((2, 2, 3), np.uint8), "JPEG")[:2].hex()
    'ffd8'
    """
    options = {
        # Level 1 with the Paeth filter, measured: 2/3 of the time of any other setting of the same size (27 KB in
        # 0.6 ms at 128 x 128), 1/2 on drawings; level 3 takes 25 % longer for 1.5 % fewer bytes.
        "PNG": [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH],
        "JPEG": [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING[is_full_chroma]],
        "WEBP": [cv2.IMWRITE_WEBP_QUALITY, 101 if quality is None else quality],  # OpenCV's word for lossless
    }
    if format not in options:
        near = get_close_matches(str(format).upper(), options, 1, 0.0)[0]
        raise ValueError(f"no format {format!r}; the formats are {', '.join(options)}; did you mean {near!r}?")
    if (format != "PNG" and quality is not None and not 1 <= quality <= 100) or (format, quality) == ("JPEG", None):
        raise ValueError(f"quality must be from 1 to 100 (or None: lossless WEBP), not {quality!r}")
    size = f"{image.shape[1]} x {image.shape[0]}"
    if not image.size:
        raise ValueError(f"a picture of {size} has no pixels")
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    is_done, data = cv2.imencode(f".{format.lower()}", bgr, options[format])
    if not is_done:
        raise ValueError(f"a picture of {size} is too large for {format}")
    return data.tobytes()


def placeholder(size_wh: tuple[int, int] = (128, 128), color: tuple[int, int, int] = (200, 200, 200)) -> bytes:
    """A small PNG that says "no picture" at any size and needs no font: a plain field, framed and crossed out.

    >>> decode(placeholder([3, 2])).shape
    (2, 3, 3)
    """
    return _placeholder(tuple(size_wh), tuple(color))


@lru_cache(maxsize=16)
def _placeholder(size_wh: tuple[int, int], color: tuple[int, int, int]) -> bytes:
    right, bottom = size_wh[0] - 1, size_wh[1] - 1
    image = np.full((bottom + 1, right + 1, 3), color, np.uint8)
    ink = tuple(c - 72 if c > 127 else c + 72 for c in color)
    thick = 1 + min(size_wh) // 64
    cv2.rectangle(image, (0, 0), (right, bottom), ink, thick)
    cv2.line(image, (0, 0), (right, bottom), ink, thick)
    cv2.line(image, (0, bottom), (right, 0), ink, thick)
    return encode(image)


def _jpeg(data: bytes, im: Image.Image, space: str, shrink: int, keep_truncated: bool) -> np.ndarray | None:
    """The stored pixels of an ordinary JPEG at 1/shrink; None where Pillow must decide (CMYK, odd warnings).

    CPU ms per photograph of 1.1 Mpx to 1/4: simplejpeg 2.9, cv2 2.7 (but it takes truncated data), Pillow's draft 2.9;
    in full 3.4, 3.5, 6.3.
    """
    if im.format not in ("JPEG", "MPO") or im.mode not in ("L", "RGB"):
        return None
    low = {"min_width": -(-im.width // shrink), "min_height": -(-im.height // shrink)}
    try:
        if simplejpeg.decode_jpeg_header(data)[:2] != (im.height, im.width):
            return None
        return simplejpeg.decode_jpeg(data, space, **low, strict=not keep_truncated)
    except ValueError as error:
        if re.match("Premature end|Corrupt JPEG data: (?!.*extraneous)", str(error)):
            raise
        return None


def _load(im: Image.Image, keep_truncated: bool) -> None:
    try:
        with silent_stderr() if im.tile and im.tile[0][0] == "libtiff" else nullcontext():
            im.load()
    except (OSError, EOFError, SyntaxError, ValueError, struct.error):
        if not keep_truncated:
            raise
        im.tile = []  # keeps the rows that were decoded; where there are none the next line raises
        im.load()
