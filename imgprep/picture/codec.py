"""Encoded pictures to pixels and back: bytes in, (H, W, 3) uint8 RGB out. No files, no network.

The type is decided by content. Not done: HDR tone mapping (PQ, HLG), PNG gAMA, AdobeRGB told by
EXIF alone, camera raw files, JPEG XL.
"""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import lru_cache

import cv2
import numpy as np
from numpy import ndarray
from PIL import Image

from imgprep.picture import colour, jpeg, pixels
from imgprep.picture.colour import Rgb
from imgprep.picture.damage import DecodeError, decode_errors_only
from imgprep.picture.header import (
    MAX_PIXELS,
    Header,
    frame_count,
    header,
    open_header,
    orientation,
)

__all__ = [
    "MAX_FRAMES",
    "MAX_PIXELS",
    "DecodeError",
    "Header",
    "check",
    "decode",
    "encode",
    "frames",
    "is_placeholder",
    "placeholder",
    "probe",
]

SizeWH = tuple[int, int]

# An animation of so many frames plays for twenty seconds, and is as much work as so many pictures.
MAX_FRAMES = 500
# Of these each page or frame is a picture; of others the first one is.
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")

# EXIF orientation -> what makes the pixels upright.
TURNS: dict[int, Callable[[ndarray], ndarray]] = {
    2: lambda a: cv2.flip(a, 1),
    3: lambda a: cv2.flip(a, -1),
    4: lambda a: cv2.flip(a, 0),
    5: lambda a: cv2.transpose(a),
    6: lambda a: cv2.rotate(a, cv2.ROTATE_90_CLOCKWISE),
    7: lambda a: cv2.flip(cv2.transpose(a), -1),
    8: lambda a: cv2.rotate(a, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def probe(data: bytes, *, max_pixels: int | None = MAX_PIXELS) -> Header:
    """Read the header. Decodes no pixel, so a picture that ends early passes: that is `check`.

    Raises DecodeError: empty, not_an_image, unsupported_format, too_many_pixels, truncated,
    corrupt.

    >>> probe(placeholder((40, 30)))
    Header(format='PNG', width=40, height=30, mode='RGB', frames=1)
    """
    with decode_errors_only(data):
        return header(open_header(data, max_pixels), data)


def decode(
    data: bytes,
    *,
    min_wh: SizeWH | None = None,
    background: Rgb = (255, 255, 255),
    max_pixels: int | None = MAX_PIXELS,
    keep_truncated: bool = False,
) -> ndarray:
    """Decode the first frame to (H, W, 3) uint8 sRGB, the way it is meant to be seen.

    EXIF orientation is applied; 16-bit, CMYK, Lab, ICC profiles, palettes and alpha as
    `colour.srgb` says. What stands beside the pixels never costs the picture: a broken profile is
    none.
    min_wh: a JPEG may come at 1/2, 1/4 or 1/8, but never smaller than the picture *fitted into*
        this box with its aspect kept (so one side may be shorter than the box). Ask for twice your
        target, then area-average.
    keep_truncated: keep what there is of a picture that ends early or has damaged pixels; the rest
        is grey or black.
    Raises DecodeError: as `probe`; and truncated, corrupt. Raises nothing else on any bytes.

    >>> decode(placeholder((40, 30))).shape
    (30, 40, 3)
    """
    if len(background) != 3 or (min_wh and len(min_wh) != 2):
        must = "background is [r, g, b] and min_wh [width, height]"
        raise ValueError(f"{must}, not {background!r} and {min_wh!r}")
    with decode_errors_only(data):
        im = open_header(data, max_pixels)
        turn = orientation(im)
        shrink = 1
        if min_wh:
            box = min_wh[::-1] if turn >= 5 else min_wh
            shrink = _shrink(im.size, box)
        found = _quick_pixels(im, data, shrink, keep_truncated)
        if found is None:
            # Of what is left, only JPEGs heed it.
            im.draft(None, _divided(im.size, shrink))
            loaded = pixels.load_pixels(im, data, keep_truncated=keep_truncated)
            found = colour.srgb(loaded, background)
        return TURNS[turn](found) if turn > 1 else found


def _shrink(size_wh: SizeWH, box_wh: SizeWH) -> int:
    """The power of two by which a JPEG may be smaller and still fill the box on one side."""
    width, height = size_wh
    for k in (8, 4, 2):
        if width >= k * box_wh[0] or height >= k * box_wh[1]:
            return k
    return 1


def _divided(size_wh: SizeWH, by: int) -> SizeWH:
    width, height = size_wh
    return max(1, width // by), max(1, height // by)


def _quick_pixels(
    im: Image.Image,
    data: bytes,
    shrink: int,
    keep_truncated: bool,
) -> ndarray | None:
    """Of an ordinary JPEG, not yet turned; None of all others."""
    transform = colour.profile(im.info.get("icc_profile"), im.mode)
    is_grey = transform is not None and im.mode == "L"
    space = "GRAY" if is_grey else "RGB"
    found = jpeg.stored_pixels(data, im, space, shrink, keep_truncated=keep_truncated)
    if found is None or transform is None:
        return found
    stored = Image.fromarray(found[:, :, 0] if is_grey else found)
    return np.array(transform.apply(stored))


def frames(
    data: bytes,
    *,
    max_pixels: int | None = MAX_PIXELS,
    max_frames: int | None = MAX_FRAMES,
) -> Iterator[ndarray]:
    """Every frame as `decode` gives the first: of a GIF, WebP, APNG or AVIF, and a TIFF's pages.

    A page that says that it is a smaller copy of another, or a mask, is left out. Of other formats
    the first picture. max_frames: of more there is none; None is no limit.
    Raises DecodeError: too_many_frames, before the first; else as `decode` does, when it comes to
    the frame.

    >>> [frame.shape for frame in frames(placeholder((40, 30)))]
    [(30, 40, 3)]
    """
    with decode_errors_only(data):
        im = open_header(data, max_pixels)
        count = frame_count(im, data) if im.format in ANIMATED else 1
        if max_frames and count > max_frames:
            raise DecodeError("too_many_frames", f"{count} frames, max_frames is {max_frames}")
        if count == 1:
            yield decode(data, max_pixels=max_pixels)
            return
        turn = orientation(im)
        for loaded in pixels.every_frame(im, data, max_pixels):
            found = colour.srgb(loaded)
            yield TURNS[turn](found) if turn > 1 else found


def check(
    data: bytes,
    *,
    max_pixels: int | None = MAX_PIXELS,
    keep_truncated: bool = False,
) -> Header:
    """Prove, as cheaply as possible, that the first frame decodes from end to end.

    Raises what `decode` raises.

    >>> check(placeholder()).format
    'PNG'
    """
    with decode_errors_only(data):
        im = open_header(data, max_pixels)
        seen = header(im, data)
        # In grey and small: the colours are parsed all the same.
        quick = jpeg.stored_pixels(data, im, "GRAY", 8, keep_truncated=keep_truncated)
        if quick is None:
            im.draft(None, (1, 1))
            pixels.load_pixels(im, data, keep_truncated=keep_truncated)
        return seen


def encode(
    image: ndarray,
    format: str = "PNG",
    *,
    quality: int | None = 95,
    is_full_chroma: bool = False,
) -> bytes:
    """(H, W, 3) uint8 RGB, or a mask (H, W), to PNG, JPEG or WEBP.

    The same pixels give the same bytes. quality: 1 to 100, of JPEG and WEBP; None is lossless WEBP.
    PNG is lossless whatever it says. is_full_chroma: a JPEG's colours at its full size (4:4:4), not
    at half of it: a quarter more bytes.

    >>> encode(np.zeros((2, 2, 3), np.uint8), "JPEG")[:2].hex()
    'ffd8'
    """
    options = _encoder_options(format, quality, is_full_chroma)
    size = f"{image.shape[1]} x {image.shape[0]}"
    if not image.size:
        raise ValueError(f"a picture of {size} has no pixels")
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    is_done, data = cv2.imencode(f".{format.lower()}", bgr, options)
    if not is_done:
        raise ValueError(f"a picture of {size} is too large for {format}")
    return bytes(data)


def _encoder_options(
    format: str,
    quality: int | None,
    is_full_chroma: bool,
) -> list[int]:
    """OpenCV's numbers. Raises ValueError for an unknown format, and a quality beyond its range."""
    known = ("PNG", "JPEG", "WEBP")
    if format not in known:
        near = get_close_matches(str(format).upper(), known, 1, 0.0)[0]
        formats = ", ".join(known)
        raise ValueError(f"no format {format!r}; the formats are {formats}; did you mean {near!r}?")
    if format == "PNG":
        # Level 1 with the Paeth filter, measured: 2/3 of the time of any other setting of the same
        # size (27 KB in 0.6 ms at 128 x 128), 1/2 on drawings; level 3 takes 25 % longer for 1.5 %
        # fewer bytes.
        level = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        return [*level, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH]
    if quality is None and format == "WEBP":
        # OpenCV's word for lossless.
        return [cv2.IMWRITE_WEBP_QUALITY, 101]
    if quality is None or not 1 <= quality <= 100:
        must = "quality must be from 1 to 100 (or None: lossless WEBP)"
        raise ValueError(f"{must}, not {quality!r}")
    if format == "WEBP":
        return [cv2.IMWRITE_WEBP_QUALITY, quality]
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    if is_full_chroma:
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    return [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]


def placeholder(size_wh: SizeWH = (128, 128), color: Rgb = (200, 200, 200)) -> bytes:
    """A small PNG that says "no picture" at any size: a plain field, framed and crossed out.

    >>> decode(placeholder([3, 2])).shape
    (2, 3, 3)
    """
    width, height = size_wh
    red, green, blue = color
    return _placeholder((width, height), (red, green, blue))


def is_placeholder(image: ndarray) -> bool:
    """Whether (H, W, 3) uint8 pixels are what `placeholder` makes, of whatever colour.

    >>> is_placeholder(decode(placeholder((40, 30), (0, 0, 90))))
    True
    """
    height, width = image.shape[:2]
    ink = image[0, 0]
    # Most pictures differ already in their corners.
    if min(height, width) < 8 or (image[0, -1] != ink).any() or (image[-1, 0] != ink).any():
        return False
    red, green, blue = (int(level) for level in image[height // 2, width // 4])
    made = _placeholder((width, height), (red, green, blue))
    return bool(np.array_equal(decode(made), image))


@lru_cache(maxsize=16)
def _placeholder(size_wh: SizeWH, color: Rgb) -> bytes:
    right = size_wh[0] - 1
    bottom = size_wh[1] - 1
    image = np.full((bottom + 1, right + 1, 3), color, np.uint8)
    # Seen on any colour.
    ink = [level - 72 if level > 127 else level + 72 for level in color]
    thick = 1 + min(size_wh) // 64
    cv2.rectangle(image, (0, 0), (right, bottom), ink, thick)
    cv2.line(image, (0, 0), (right, bottom), ink, thick)
    cv2.line(image, (0, bottom), (right, 0), ink, thick)
    return encode(image)
