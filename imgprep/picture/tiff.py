"""The directories of a TIFF, read and written: who is a picture, and who a camera's raw file."""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

# Tags
SUBFILE = 254
BITS = 258
COMPRESSION = 259
PHOTOMETRIC = 262
STRIP_OFFSETS = 273
SAMPLES = 277
STRIP_BYTES = 279
PLANAR = 284
TILE_OFFSETS = 324
TILE_BYTES = 325
SUB_DIRECTORIES = 330
EXTRA_SAMPLES = 338
SAMPLE_FORMAT = 339
DNG_VERSION = 50706
POINTERS = (SUB_DIRECTORIES, 34665, 34853, 40965)  # to directories of EXIF, GPS and the like

# Of SUBFILE: smaller copies and masks are not pictures of their own.
REDUCED, MASK = 1, 4
# Of PHOTOMETRIC: values behind a camera's colour filters, which are not colours yet.
SENSOR = (32803, 34892)

# Codecs that not every build of libtiff has.
OPTIONAL_CODECS = {
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}

# Types: how `struct` reads the whole numbers, and how many bytes a value has.
WHOLE = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
TYPE_BYTES = {2: 1, 5: 8, 7: 1, 10: 8, 11: 4, 12: 8}
TYPE_BYTES |= {kind: struct.calcsize(code) for kind, code in WHOLE.items()}
SHORT, LONG, SIGNED_LONG = 3, 4, 9
AS_CLASSIC = {16: LONG, 17: SIGNED_LONG, 18: LONG}

# A camera's file has a handful of directories; a scan may have thousands of pages.
MOST_LOOKED_AT = 16


class IfdEntry(NamedTuple):
    """A tag's values as they are stored."""

    kind: int
    values: int
    raw: bytes


class Directory(dict[int, IfdEntry]):
    """One picture of the file: tag -> values. order: "<" or ">", of all its numbers."""

    def __init__(self, order: str):
        super().__init__()
        self.order = order

    def numbers(self, tag: int) -> list[int]:
        """The whole numbers of a tag; [] where it is absent, or has others."""
        entry = self.get(tag)
        if entry is None or entry.kind not in WHOLE:
            return []
        count = len(entry.raw) // TYPE_BYTES[entry.kind]
        layout = f"{self.order}{count}{WHOLE[entry.kind]}"
        return list(struct.unpack_from(layout, entry.raw))

    def number(
        self,
        tag: int,
        otherwise: int,
    ) -> int:
        numbers = self.numbers(tag)
        return numbers[0] if numbers else otherwise

    def put(
        self,
        tag: int,
        kind: int,
        values: list[int],
    ) -> None:
        layout = f"{self.order}{len(values)}{WHOLE[kind]}"
        self[tag] = IfdEntry(kind, len(values), struct.pack(layout, *values))


class Layout(NamedTuple):
    """How the numbers and directories of a file are laid out."""

    order: str
    is_big: bool

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.is_big else "I")

    @property
    def how_many(self) -> str:
        return self.order + ("Q" if self.is_big else "H")

    @property
    def entry(self) -> str:
        """Tag, type, how many values; then the values, or where they are."""
        return self.order + ("HHQ" if self.is_big else "HHI")

    @property
    def entry_bytes(self) -> int:
        return 20 if self.is_big else 12


def layout_of(data: bytes) -> Layout:
    order = "<" if data[:1] == b"I" else ">"
    version = data[2:4]
    return Layout(order, b"\x2b" in version)


def is_unread_by_pillow(data: bytes) -> bool:
    """A big-endian BigTIFF."""
    return data[:4] == b"MM\0\x2b"


def strip_places(data: bytes) -> Iterator[int]:
    """Where the directories of the chain stand.

    Ends where the chain is broken, or runs in a circle.
    """
    form = layout_of(data)
    seen = set()
    at = 8 if form.is_big else 4
    while True:
        try:
            (place,) = struct.unpack_from(form.offset, data, at)
            if not place or place in seen:
                return
            (count,) = struct.unpack_from(form.how_many, data, place)
        except struct.error:
            return
        yield place
        seen.add(place)
        at = place + struct.calcsize(form.how_many) + form.entry_bytes * count


def directory_at(data: bytes, place: int) -> Directory:
    """Raises struct.error where the data end before."""
    form = layout_of(data)
    found = Directory(form.order)
    (count,) = struct.unpack_from(form.how_many, data, place)
    first = place + struct.calcsize(form.how_many)
    value_bytes = struct.calcsize(form.offset)
    for n in range(count):
        at = first + form.entry_bytes * n
        tag, kind, values = struct.unpack_from(form.entry, data, at)
        start = at + form.entry_bytes - value_bytes
        length = TYPE_BYTES.get(kind, 1) * values
        if length > value_bytes:
            (start,) = struct.unpack_from(form.offset, data, start)
        found[tag] = IfdEntry(kind, values, data[start : start + length])
    return found


def compression(data: bytes) -> int:
    """Of the first picture; 1, none, where that is not to be read."""
    try:
        place = next(strip_places(data), None)
        if place is not None:
            return directory_at(data, place).number(COMPRESSION, 1)
    except struct.error:
        pass
    return 1


def pages(data: bytes) -> Iterator[int]:
    """Numbers, in the chain, of the directories that are pictures: not smaller copies nor masks.

    The first one always is.
    """
    for n, place in enumerate(strip_places(data)):
        if n == 0 or not _subfile(data, place) & (REDUCED | MASK):
            yield n


def _subfile(data: bytes, place: int) -> int:
    """What kind of picture a directory is. Reads no more than it must: there may be thousands."""
    form = layout_of(data)
    (count,) = struct.unpack_from(form.how_many, data, place)
    at = place + struct.calcsize(form.how_many)
    value_bytes = struct.calcsize(form.offset)
    for _ in range(count):
        try:
            tag, kind, _ = struct.unpack_from(form.entry, data, at)
            if tag == SUBFILE and kind in (SHORT, LONG):
                code = form.order + WHOLE[kind]
                start = at + form.entry_bytes - value_bytes
                return int(struct.unpack_from(code, data, start)[0])
        except struct.error:
            return 0
        # They are sorted by tag.
        if tag > SUBFILE:
            return 0
        at += form.entry_bytes
    return 0


def is_camera_raw(data: bytes) -> bool:
    """Whether a camera's sensor wrote it; then the first picture is no more than a preview."""
    found = []
    for place in islice(strip_places(data), MOST_LOOKED_AT):
        try:
            found.append(directory_at(data, place))
        except struct.error:
            break
    below = found[0].numbers(SUB_DIRECTORIES) if found else []
    for place in below[:MOST_LOOKED_AT]:
        try:
            found.append(directory_at(data, place))
        except struct.error:
            continue
    is_dng = bool(found) and DNG_VERSION in found[0]
    return is_dng or any(one.number(PHOTOMETRIC, 0) in SENSOR for one in found)


def classic(data: bytes) -> bytes:
    """A BigTIFF as a TIFF that every reader knows. Raises struct.error from 4 GiB on.

    The pixels stay where they are; the directories are written anew behind them.
    """
    form = layout_of(data)
    out = bytearray(data)
    # Where the place of the next directory has to be written.
    link = 4
    for place in strip_places(data):
        directory = directory_at(data, place)
        for tag in POINTERS:
            directory.pop(tag, None)
        for tag, entry in directory.items():
            if entry.kind in AS_CLASSIC:
                directory.put(tag, AS_CLASSIC[entry.kind], directory.numbers(tag))
        out += b"\0" * (len(out) % 2)
        out[link : link + 4] = struct.pack(form.order + "I", len(out))
        written = packed(directory, len(out))
        link = len(out) + 2 + 12 * len(directory)
        out += written
    head = b"II*\0" if form.order == "<" else b"MM\0*"
    out[:4] = head
    return bytes(out)


def packed(directory: Directory, place: int) -> bytes:
    """A directory as it stands at this place of a classic TIFF, the last of its chain."""
    order = directory.order
    head = struct.pack(order + "H", len(directory))
    values = b""
    behind = place + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items()):
        if len(entry.raw) <= 4:
            value = entry.raw.ljust(4, b"\0")
        else:
            value = struct.pack(order + "I", behind + len(values))
            values += entry.raw + b"\0" * (len(entry.raw) % 2)
        head += struct.pack(order + "HHI", tag, entry.kind, entry.values) + value
    return head + bytes(4) + values


def alone(directory: Directory, blocks: list[bytes]) -> bytes:
    """A classic TIFF of one picture: its directory, and its strips or tiles."""
    one = Directory(directory.order)
    one.update(directory)
    is_tiled = TILE_OFFSETS in one
    sizes = [len(block) for block in blocks]
    starts = [8 + sum(sizes[:n]) for n in range(len(sizes))]
    one.put(TILE_OFFSETS if is_tiled else STRIP_OFFSETS, LONG, starts)
    one.put(TILE_BYTES if is_tiled else STRIP_BYTES, LONG, sizes)
    place = 8 + sum(sizes)
    head = b"II*\0" if one.order == "<" else b"MM\0*"
    head += struct.pack(one.order + "I", place)
    return head + b"".join(blocks) + packed(one, place)
