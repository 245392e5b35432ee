"""The frames of a GIF, put on a canvas as browsers do:
where no frame has painted it is transparent.

Pillow decodes each frame by itself; what it makes of the frames before is its own.
"""

import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import GifImagePlugin, Image

from imgprep.picture.damage import DecodeError, LoadOne

GIF_HEAD = 13  # bytes of signature and screen
EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
GRAPHIC_CONTROL = 0xF9
KEEP, CLEAR, RESTORE = 1, 2, 3  # what becomes of a frame's place before the next one


class Frame(NamedTuple):
    """Where it goes on the canvas, and where its pieces stand in the file."""

    x: int
    y: int
    width: int
    height: int
    disposal: int
    control: bytes  # its graphic control extension, or b""
    start: int  # of what follows the 9 bytes that say where it goes
    end: int

    def covers(self, size_wh: tuple[int, int]) -> bool:
        at_corner = self.x == 0 and self.y == 0
        return at_corner and self.width >= size_wh[0] and self.height >= size_wh[1]


def gif_frames(data: bytes) -> Iterator[Frame]:
    """The frames that have begun; the last may end behind the data. Decodes nothing."""
    at = GIF_HEAD + _table_bytes(data[10])
    control = b""
    while at < len(data):
        kind = data[at]
        if kind == TRAILER:
            return
        if kind == EXTENSION:
            end = _blocks_end(data, at + 2)
            if data[at + 1 : at + 2] == bytes([GRAPHIC_CONTROL]):
                control = data[at:end]
            at = end
        elif kind == IMAGE and at + 10 < len(data):
            frame = _frame(data, at, control)
            yield frame
            control = b""
            at = frame.end
        else:
            # Stray bytes are skipped, as decoders do.
            at += 1


def _frame(
    data: bytes,
    at: int,
    control: bytes,
) -> Frame:
    numbers = [int.from_bytes(data[i : i + 2], "little") for i in range(at + 1, at + 9, 2)]
    x, y, width, height = numbers
    table = _table_bytes(data[at + 9])
    # Behind the table: one byte, how many bits the first codes have.
    end = _blocks_end(data, at + 10 + table + 1)
    disposal = control[3] >> 2 & 7 if len(control) > 3 else 0
    return Frame(x, y, width, height, disposal, control, at + 9, end)


def _table_bytes(flags: int) -> int:
    """How many bytes of colours follow."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks_end(data: bytes, at: int) -> int:
    """Behind a chain of blocks, each with its length in front; the empty one ends it."""
    while at < len(data):
        length = data[at]
        at += 1 + length
        if not length:
            break
    return at


def canvases(
    data: bytes,
    size_wh: tuple[int, int],
    load_one: LoadOne,
    max_pixels: int | None = None,
) -> Iterator[Image.Image]:
    """What is seen at each frame, as RGBA of this size.

    Raises what `load_one` raises on a damaged frame, when it comes to it.
    """
    width, height = size_wh
    canvas = np.zeros((height, width, 4), np.uint8)
    for n, frame in enumerate(gif_frames(data)):
        if max_pixels and frame.width * frame.height > max_pixels:
            size = f"{frame.width} x {frame.height} pixels"
            raise DecodeError("too_many_pixels", f"frame {n} has {size}")
        before = canvas.copy() if frame.disposal == RESTORE else canvas
        rows = slice(frame.y, frame.y + frame.height)
        columns = slice(frame.x, frame.x + frame.width)
        place = canvas[rows, columns]
        # Some have none, to say how long the one before is seen.
        if place.size:
            _paint(place, _gif_pixels(data, frame, load_one))
        yield Image.fromarray(canvas)
        if frame.disposal == CLEAR:
            place[:] = 0
        canvas = before


def _paint(place: np.ndarray, pixels: np.ndarray) -> None:
    """What lies beyond the canvas is left out."""
    height, width = place.shape[:2]
    inside = pixels[:height, :width]
    is_seen = inside[:, :, 3] > 0
    place[is_seen] = inside[is_seen]


def _gif_pixels(
    data: bytes,
    frame: Frame,
    load_one: LoadOne,
) -> np.ndarray:
    """A frame by itself, (h, w, 4) uint8."""
    one = GifImagePlugin.GifImageFile(io.BytesIO(_alone(data, frame)))
    load_one(one)
    return np.asarray(one.convert("RGBA"))


def _alone(data: bytes, frame: Frame) -> bytes:
    """A GIF of this one frame, as large as it is."""
    size = frame.width.to_bytes(2, "little") + frame.height.to_bytes(2, "little")
    screen = data[:6] + size + data[10:GIF_HEAD]
    table = data[GIF_HEAD : GIF_HEAD + _table_bytes(data[10])]
    place = b"\x2c" + bytes(4) + size
    trailer = b";" if frame.end <= len(data) else b""
    return screen + table + frame.control + place + data[frame.start : frame.end] + trailer
