"""What Pillow leaves out of a JPEG 2000 file: its ICC profile, palette, and order of channels."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, Jpeg2KImagePlugin

from imgprep.picture.bmff import Part, parts, within
from imgprep.picture.damage import LoadOne

MOST_ENTRIES = 1024  # of a palette, by the standard
COLOUR, OPACITY = 0, 1  # types of channels
WHOLE_PICTURE = 0  # what an opacity channel goes with
ICC_METHODS = (2, 3)
JP2_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class Channel(NamedTuple):
    """Which channel it is, of what type, and the colour it goes with: 1 is red, or grey."""

    number: int
    kind: int
    colour: int


class Palette(NamedTuple):
    """columns: (entries, columns) uint8. taken: of each channel, the component and the column.

    A column of -1 takes the component as it is.
    """

    columns: np.ndarray
    taken: list[tuple[int, int]]


def jp2_profile(data: bytes) -> bytes | None:
    """The ICC profile of a JP2 file; None where it names its colours otherwise."""
    head = within(data, None, b"jp2h")
    if head is None:
        return None
    for part in parts(data, head.start, head.end):
        if part.kind == b"colr" and data[part.start] in ICC_METHODS:
            # Method, precedence, approximation.
            return data[part.start + 3 : part.end]
    return None


def load_jp2(data: bytes, load_one: LoadOne) -> Image.Image | None:
    """The pixels by the file's own palette and order of channels; None where Pillow's are right.

    8 bits; L, LA, RGB or RGBA.
    """
    head = within(data, None, b"jp2h")
    stream = within(data, None, b"jp2c")
    if head is None or stream is None:
        return None
    palette = _jp2_palette(data, head)
    channels = _channels(data, head)
    if palette is None and _is_usual(channels):
        return None
    components = _components(data[stream.start : stream.end], load_one)
    if palette is not None:
        components = _looked_up(components, palette)
    planes = _ordered(components, channels)
    mode = JP2_MODES.get(len(planes))
    if mode is None:
        raise ValueError(f"{len(planes)} channels are not supported")
    return Image.merge(mode, [Image.fromarray(plane) for plane in planes])


def _components(stream: bytes, load_one: LoadOne) -> list[np.ndarray]:
    """The components of a bare codestream: nobody has looked anything up in a palette."""
    im = Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(stream))
    load_one(im)
    pixels = np.asarray(im)
    if pixels.ndim == 2:
        return [pixels]
    return list(np.moveaxis(pixels, 2, 0))


def _jp2_palette(data: bytes, head: Part) -> Palette | None:
    part = within(data, head, b"pclr")
    if part is None:
        return None
    entries = int.from_bytes(data[part.start : part.start + 2])
    count = data[part.start + 2]
    if entries > MOST_ENTRIES:
        raise ValueError(f"a palette of {entries} colours")
    depths = [(bits & 0x7F) + 1 for bits in data[part.start + 3 : part.start + 3 + count]]
    at = part.start + 3 + count
    columns = np.zeros((entries, count), np.uint8)
    for entry in range(entries):
        for column, depth in enumerate(depths):
            length = (depth + 7) // 8
            value = int.from_bytes(data[at : at + length])
            columns[entry, column] = value * 255 // (2**depth - 1)
            at += length
    return Palette(columns, _mapping(data, head, count))


def _mapping(
    data: bytes,
    head: Part,
    count: int,
) -> list[tuple[int, int]]:
    part = within(data, head, b"cmap")
    if part is None:
        # It must be there; without it all columns belong to the one component.
        return [(0, column) for column in range(count)]
    taken = []
    for at in range(part.start, part.end - 3, 4):
        component = int.from_bytes(data[at : at + 2])
        is_looked_up = data[at + 2] == 1
        taken.append((component, data[at + 3] if is_looked_up else -1))
    return taken


def _looked_up(components: list[np.ndarray], palette: Palette) -> list[np.ndarray]:
    last = len(palette.columns) - 1
    planes = []
    for component, column in palette.taken:
        values = components[component]
        if column >= 0:
            values = palette.columns[:, column][np.minimum(values, last)]
        planes.append(values.astype(np.uint8))
    return planes


def _channels(data: bytes, head: Part) -> list[Channel]:
    part = within(data, head, b"cdef")
    if part is None:
        return []
    said = int.from_bytes(data[part.start : part.start + 2])
    there = (part.end - part.start - 2) // 6
    channels = []
    for n in range(min(said, there)):
        at = part.start + 2 + 6 * n
        numbers = [int.from_bytes(data[i : i + 2]) for i in (at, at + 2, at + 4)]
        channels.append(Channel(*numbers))
    return channels


def _is_usual(channels: list[Channel]) -> bool:
    """Whether the channels are in the order in which Pillow takes them."""
    for channel in channels:
        is_last = channel.number == len(channels) - 1
        is_alpha = channel.kind == OPACITY and is_last
        in_place = channel.kind == COLOUR and channel.colour == channel.number + 1
        if not (is_alpha or in_place):
            return False
    return True


def _ordered(components: list[np.ndarray], channels: list[Channel]) -> list[np.ndarray]:
    """Grey, or red, green, blue; and opacity."""
    if not channels:
        return components
    by_colour = sorted(channels, key=lambda channel: channel.colour)
    colours = [c.number for c in by_colour if c.kind == COLOUR]
    opacity = [c.number for c in channels if c.kind == OPACITY and c.colour == WHOLE_PICTURE]
    return [components[n] for n in colours + opacity[:1]]
