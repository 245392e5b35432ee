"""Decoded frames to pictures: upright, with square pixels, (H, W, 3) uint8 RGB.

A film says with a matrix how it is to be shown; decoders leave it to whoever shows the frames.
"""

import functools
import math
import struct
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from imgprep.failures import Failure
from imgprep.io.film.library import load_library
from imgprep.picture.codec import TURNS

MATRIX_BYTES = 36
# The matrix's a, b, c, d -> EXIF's number for the same turn.
TURN_OF = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
# What ffmpeg's filters call them.
FILTERS = {
    2: "hflip",
    3: "hflip,vflip",
    4: "vflip",
    5: "transpose=0",
    6: "transpose=1",
    7: "transpose=3",
    8: "transpose=2",
}
DEGREES = {1: 0, 2: 0, 3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}
HD_HEIGHT = 720
UNSPECIFIED = 2
ODDEST_PIXEL = 10  # as wide as ten of its heights: beyond, the number is damage
SizeWh = tuple[int, int]


def turn_of(frame: Any) -> int:
    """EXIF's number of the turn that makes this frame upright.

    Raises Failure unsupported_format for a turn that is no quarter of a circle.
    """
    found = [bytes(s)[:MATRIX_BYTES] for s in frame.side_data if s.type.name == "DISPLAYMATRIX"]
    if not found or len(found[0]) < MATRIX_BYTES:
        return 1
    a, b, _, c, d, *_ = struct.unpack("9i", found[0])
    scale = math.hypot(a, b)
    if not scale or not math.hypot(c, d):
        return 1  # all zeros say nothing
    parts = (a / scale, b / scale, c / math.hypot(c, d), d / math.hypot(c, d))
    whole = tuple(round(part) for part in parts)
    is_quarter = all(abs(part - near) < 0.01 for part, near in zip(parts, whole, strict=True))
    if not is_quarter or whole not in TURN_OF:
        degrees = round(math.degrees(math.atan2(b, a))) % 360
        told = "only quarter turns are made upright"
        raise Failure("unsupported_format", f"the film is turned by {degrees} degrees: {told}")
    return TURN_OF[whole]


def shown_wh(stored_wh: SizeWh, pixel_aspect: Fraction | None) -> SizeWh:
    """Width and height with square pixels, before any turn.

    >>> shown_wh((720, 576), Fraction(16, 15))
    (768, 576)
    """
    width, height = stored_wh
    aspect = pixel_aspect or Fraction(1)
    if not 1 / ODDEST_PIXEL <= aspect <= ODDEST_PIXEL:
        return stored_wh
    return max(1, round(width * aspect)), height


def turned_wh(size_wh: SizeWh, turn: int) -> SizeWh:
    """The size of a picture after its turn."""
    return size_wh[::-1] if turn >= 5 else size_wh


def fitted_within(size_wh: SizeWh, max_side: int | None) -> SizeWh:
    """The size within a longest side, with the aspect kept. Never larger than it was.

    >>> fitted_within((1920, 1080), 640), fitted_within((320, 240), 640)
    ((640, 360), (320, 240))
    """
    longest = max(size_wh)
    if max_side is None or longest <= max_side:
        return size_wh
    width, height = (max(1, round(side * max_side / longest)) for side in size_wh)
    return width, height


def matrix_of(frame: Any) -> int | None:
    """The colour matrix, where the film does not say: BT.709 for HD, as players take it; else None.

    None leaves it to what the frame says, and to BT.601 where that says nothing.
    """
    is_said = int(frame.colorspace) != UNSPECIFIED
    return None if is_said or min(frame.width, frame.height) < HD_HEIGHT else 1


def still_of(frame: Any, size_wh: SizeWh, turn: int) -> np.ndarray:
    """The frame as (H, W, 3) uint8 RGB, scaled to size_wh and then turned upright."""
    width, height = size_wh
    # In planes: for these swscale has fast code that interpolates the chroma and rounds as it
    # should. What it has for packed RGB is a level too dark, or three times slower.
    planar = frame.reformat(
        width=width,
        height=height,
        format="gbrp",
        src_colorspace=matrix_of(frame),
        interpolation=_scaling(_change(size_wh, frame)),
        threads=1,
    )
    green, blue, red = (_plane_array(plane) for plane in planar.planes)
    image: np.ndarray = cv2.merge([red, green, blue])
    return np.ascontiguousarray(TURNS[turn](image)) if turn > 1 else image


def _plane_array(plane: Any) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _change(size_wh: SizeWh, frame: Any) -> str:
    width, height = size_wh
    if width < frame.width or height < frame.height:
        return "smaller"
    return "larger" if width > frame.width or height > frame.height else "same"


@functools.cache
def _scaling(change: str) -> Any:
    """Averages where it shrinks; the same bytes on every processor."""
    ways = load_library().video.reformatter.Interpolation
    way = {"smaller": ways.AREA, "larger": ways.BICUBIC, "same": ways.BILINEAR}[change]
    return way | ways.ACCURATE_RND | ways.FULL_CHR_H_INT | ways.BITEXACT
