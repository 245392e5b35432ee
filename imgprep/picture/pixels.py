"""The pixels of an opened picture, also where Pillow's would not be right."""

import struct
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial

from PIL import Image

from imgprep.picture import gif, jp2, planes, png, tiff
from imgprep.picture.damage import DecodeError, LoadOne
from imgprep.quiet import silent_stderr


def load_pixels(
    im: Image.Image,
    data: bytes,
    *,
    keep_truncated: bool = False,
) -> Image.Image:
    """The frame at which it stands, its pixels decoded; another object where Pillow's are wrong.

    keep_truncated: of damaged pixels, what there is.
    """
    load_one = partial(_load_plainly, keep_truncated=keep_truncated)
    if im.format == "TIFF":
        return _load_tiff(im, data, load_one)
    if im.format == "GIF":
        first = next(gif.gif_frames(data), None)
        if first and not first.covers(im.size):
            return next(gif.canvases(data, im.size, load_one))
    if im.format == "JPEG2000":
        right = jp2.load_jp2(data, load_one)
        if right is not None:
            right.info["icc_profile"] = im.info.get("icc_profile")
            return right
    load_one(im)
    if im.format == "PNG" and png.is_deep_and_clear(im, data):
        return png.with_deep_alpha(im, data)
    return im


def _load_tiff(
    im: Image.Image,
    data: bytes,
    load_one: LoadOne,
) -> Image.Image:
    try:
        return planes.load_planes(im, data, load_one)
    except OSError as error:
        compression = tiff.compression(data)
        if compression not in tiff.OPTIONAL_CODECS:
            raise
        # With its decoder missing from this libtiff, the file is not to blame.
        name = tiff.OPTIONAL_CODECS[compression]
        said = f"a TIFF of compression {compression} ({name}) is not decoded here"
        raise DecodeError("unsupported_format", said) from error


def _load_plainly(im: Image.Image, *, keep_truncated: bool) -> None:
    # Any object may have tiles; those that were made in memory have none.
    tiles = getattr(im, "tile", [])
    # libtiff writes its complaints past Python.
    is_loud = bool(tiles) and tiles[0][0] == "libtiff"
    try:
        with silent_stderr() if is_loud else nullcontext():
            im.load()
    except (OSError, EOFError, SyntaxError, ValueError, struct.error):
        if not keep_truncated:
            raise
        # Keeps the rows that were decoded; where there are none the next line raises.
        im.tile = []  # type: ignore[attr-defined]
        im.load()


def every_frame(
    im: Image.Image,
    data: bytes,
    max_pixels: int | None,
) -> Iterator[Image.Image]:
    """Each frame of a GIF, WebP, APNG or AVIF, each page of a TIFF, loaded.

    Raises what is wrong with a frame when it comes to it.
    """
    if im.format == "GIF":
        load_one = partial(_load_plainly, keep_truncated=False)
        yield from gif.canvases(data, im.size, load_one, max_pixels)
        return
    if im.format == "TIFF":
        numbers: Iterator[int] = tiff.pages(data)
    else:
        numbers = iter(range(getattr(im, "n_frames", 1)))
    for n in numbers:
        im.seek(n)
        if max_pixels and im.width * im.height > max_pixels:
            size = f"{im.width} x {im.height} pixels"
            raise DecodeError("too_many_pixels", f"frame {n} has {size}")
        yield load_pixels(im, data)
