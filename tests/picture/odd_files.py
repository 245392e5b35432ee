"""Small files that programs write and decoders fail on, built byte by byte; and what they must show.

Every picture has four quarters of one colour each, so that a lost channel, plane or profile shows.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from imgprep.picture import codec

WIDTH, HEIGHT = 40, 24
COLOURS = ((200, 40, 30), (40, 170, 60), (30, 60, 200), (230, 220, 90))
# The same four, read as Display P3, in sRGB: by the matrix and curve of the standards.
P3_IN_SRGB = ((218, 0, 4), (0, 173, 36), (17, 61, 208), (232, 220, 57))
MIDDLES = ((10, 6), (30, 6), (10, 18), (30, 18))
WHITE = (255, 255, 255)


def quarters(values, dtype=np.uint8):
    """(24, 40, …): top left, top right, bottom left, bottom right."""
    values = np.array(list(values), dtype)
    out = np.zeros((HEIGHT, WIDTH, *values.shape[1:]), dtype)
    half_y, half_x = HEIGHT // 2, WIDTH // 2
    out[:half_y, :half_x], out[:half_y, half_x:] = values[0], values[1]
    out[half_y:, :half_x], out[half_y:, half_x:] = values[2], values[3]
    return out


PICTURE = quarters(COLOURS)
INDICES = quarters(range(4))


def shows(data, colours=COLOURS, tolerance=2):
    """Is each quarter of this colour? The header says the same size, and `check` agrees."""
    pixels = codec.decode(data)
    assert codec.check(data) == codec.probe(data)
    assert (codec.probe(data).width, codec.probe(data).height) == (WIDTH, HEIGHT)
    return frame_shows(pixels, colours, tolerance)


def frame_shows(pixels, colours, tolerance=2):
    found = [pixels[y, x].astype(int) for x, y in MIDDLES]
    wanted = [np.broadcast_to(colour, 3) for colour in colours]
    assert np.abs(np.array(found) - wanted).max() <= tolerance, found
    return True


# --- PNG


def chunk(kind, body, checksum=None):
    if checksum is None:
        checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(image=PICTURE, kind=2, depth=8, before=(), behind=()):
    """before, behind: chunks in front of and behind the pixels. kind: 0 grey, 2 RGB, 3 palette."""
    height, width = image.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(_rows(image, depth)))
    end = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", head), *before, pixels, *behind, end])


def _rows(image, depth):
    if depth < 8:
        bits = (image[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
        image = np.packbits(bits.reshape(len(image), -1).astype(np.uint8), axis=1)
    return b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in image)


# --- JPEG


def jpeg(**options):
    out = io.BytesIO()
    Image.fromarray(PICTURE).save(out, "JPEG", quality=95, subsampling=0, **options)
    return out.getvalue()


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_segments(data, *segments, behind_frame_header=False):
    """The JPEG with these segments behind its first one, or right behind the frame header."""
    wanted = 0xC0 if behind_frame_header else 0xE0
    at = 2
    while data[at + 1] != wanted:
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return data[:at] + b"".join(segments) + data[at:]


def icc_segments(profile, pieces=1, total=None, numbers=None):
    step = -(-len(profile) // pieces)
    parts = [profile[i : i + step] for i in range(0, len(profile), step)]
    numbers = numbers or range(1, len(parts) + 1)
    heads = [b"ICC_PROFILE\0" + bytes([n, total or len(parts)]) for n in numbers]
    return [segment(0xE2, head + part) for head, part in zip(heads, parts, strict=True)]


# --- GIF


def gif(frames, size_wh=(WIDTH, HEIGHT), background=0):
    """frames: dicts of `indices` (h, w), `at` (x, y), `disposal`, `clear` (the transparent index)."""
    table = bytes(sum(map(list, [*COLOURS, *[(0, 0, 0)] * 12]), []))
    out = b"GIF89a" + struct.pack("<HHBBB", *size_wh, 0x83, background, 0) + table
    for frame in frames:
        flags = frame.get("disposal", 0) << 2 | ("clear" in frame)
        out += b"\x21\xf9\x04" + bytes([flags, 10, 0, frame.get("clear", 0), 0])
        height, width = frame["indices"].shape
        place = struct.pack("<HHHHB", *frame.get("at", (0, 0)), width, height, 0)
        out += b"\x2c" + place + b"\x04" + _codes(frame["indices"])
    return out + b";"


def _codes(indices):
    """LZW that compresses nothing: a clear code before the codes grow."""
    number = bits = 0
    for i, value in enumerate(indices.ravel().tolist()):
        for code in (16, value) if i % 14 == 0 else (value,):
            number |= code << bits
            bits += 5
    number |= 17 << bits
    data = number.to_bytes((bits + 5 + 7) // 8, "little")
    blocks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


# --- TIFF


def tiff(image, **options):
    import tifffile

    out = io.BytesIO()
    tifffile.imwrite(out, image, **options)
    return out.getvalue()


def camera_raw(is_dng):
    """As cameras write it: first a small preview, the sensor's mosaic in a directory below it."""
    preview = PICTURE[::4, ::4].copy().tobytes()
    mosaic = np.kron(PICTURE[..., 1], np.ones((8, 8), np.uint8)).tobytes()
    at = 8 + len(preview)
    below_at = at + len(mosaic)
    below = _directory({254: 0, 256: 320, 257: 192, 258: 8, 259: 1, 262: 32803, 273: at, 277: 1,
                        278: 192, 279: len(mosaic)})  # fmt: skip
    top = {254: 1, 256: 10, 257: 6, 258: 8, 259: 1, 262: 2, 273: 8, 277: 3, 278: 6,
           279: len(preview), 330: below_at}  # fmt: skip
    if is_dng:
        top[50706] = 1 | 4 << 8
    first = _directory(top)
    return b"II*\0" + struct.pack("<I", below_at + len(below)) + preview + mosaic + below + first


def _directory(tags):
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    return struct.pack("<H", len(tags)) + b"".join(entries) + b"\0\0\0\0"


# --- JPEG 2000


def box(kind, body):
    return struct.pack(">I", 8 + len(body)) + kind + body


SRGB = b"\1\0\0" + struct.pack(">I", 16)


def jp2(image, *, colour=SRGB, boxes=b""):
    """colour: a method and what it means. boxes: more of the head."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG2000", no_jp2=True, irreversible=False, mct=0)
    channels = image.shape[2] if image.ndim == 3 else 1
    head = box(b"ihdr", struct.pack(">IIHBBBB", *image.shape[:2], channels, 7, 7, 0, 0))
    head += box(b"colr", colour) + boxes
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + box(b"jp2h", head) + box(b"jp2c", out.getvalue())


def palette_boxes(colours):
    entries = b"".join(map(bytes, colours))
    palette = box(b"pclr", struct.pack(">HB", len(colours), 3) + b"\7\7\7" + entries)
    return palette + box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, i) for i in range(3)))


def channel_box(*channels):
    """channels: (number, type, colour)."""
    body = b"".join(struct.pack(">HHH", *channel) for channel in channels)
    return box(b"cdef", struct.pack(">H", len(channels)) + body)
