"""Why some bytes are no picture: whatever a decoder raises becomes a reason and one sentence."""

import io
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from PIL import Image, TiffImagePlugin

from imgprep.failures import Failure

LoadOne = Callable[[Image.Image], None]  # decodes one frame or plane, or raises a DecodeError
UNSUPPORTED_WORDS = re.compile(
    "unsupported|unknown pixel mode|unknown raw mode|cannot handle|not supported",
    re.IGNORECASE,
)
ENDS_EARLY = re.compile(
    "truncated|premature end of jpeg|not enough|no more images|requires a buffer",
    re.IGNORECASE,
)
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 273, 279, 324, 325


class DecodeError(Failure):
    """These bytes are no picture that can be decoded."""


@contextmanager
def decode_errors_only(data: bytes) -> Iterator[None]:
    """On bad bytes Pillow raises nearly every class there is; callers see DecodeError only."""
    if not isinstance(data, bytes | bytearray):
        must = "give the picture's bytes (of a file: Path(name).read_bytes())"
        raise ValueError(f"{must}, not {type(data).__name__}")
    try:
        yield
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        # Some plugins ask by themselves, whatever max_pixels is.
        said = "the picture has more pixels than Pillow allows"
        raise DecodeError("too_many_pixels", said) from error
    except MemoryError as error:
        said = "there is not enough memory for the picture"
        raise DecodeError("too_many_pixels", said) from error
    except Exception as error:
        # An address differs in every run.
        said = re.sub(r" at 0x[0-9a-f]+", "", str(error)) or type(error).__name__
        reason = _reason(said, data)
        raise DecodeError(reason, f"the picture does not decode: {said}") from error


def _reason(said: str, data: bytes) -> str:
    if UNSUPPORTED_WORDS.search(said):
        return "unsupported_format"
    if ENDS_EARLY.search(said) or _ends_early(data):
        return "truncated"
    return "corrupt"


def _ends_early(data: bytes) -> bool:
    """Whether the container promises more than there is, where its decoder says only "broken"."""
    end = 0
    if data[:4] == b"RIFF":
        end = int.from_bytes(data[4:8], "little") + 8
    elif data[:4] in (b"II*\0", b"MM\0*"):
        end = _end_of_tiff(data)
    elif data[4:8] in (b"ftyp", b"jP  "):
        end = _end_of_boxes(data)
    return end > len(data)


def _end_of_tiff(data: bytes) -> int:
    """Behind its last strip or tile; where that is not known, behind where its tags begin."""
    (first,) = struct.unpack("<I" if data[:1] == b"I" else ">I", data[4:8])
    end = int(first) + 2
    with suppress(Exception):
        tags = TiffImagePlugin.TiffImageFile(io.BytesIO(data), "").tag_v2
        is_striped = STRIP_OFFSETS in tags
        starts = tags[STRIP_OFFSETS if is_striped else TILE_OFFSETS]
        sizes = tags[STRIP_BYTES if is_striped else TILE_BYTES]
        end = max(start + size for start, size in zip(starts, sizes, strict=False))
    return end


def _end_of_boxes(data: bytes) -> int:
    """Of AVIF and JPEG 2000."""
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        # The last one has no length: it goes on for as long as there is more.
        at += size if size >= 8 else len(data)
    return at
