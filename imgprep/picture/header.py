"""What some bytes are: the format by content, the size by header, and the reason when they are no picture of ours."""

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
from PIL import AvifImagePlugin, Image, TiffImagePlugin

from imgprep.failures import Failure

Image.init()  # registers the plugins that FORMATS names
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the engine spreads pictures over the cores; a decoder must not do so again
# Pillow's complaints are harmless or become a DecodeError. Silent for good: a filter for a while upsets other threads.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"PIL\.(\w+Plugin|Image)$")

MAX_PIXELS = 178_956_970  # where Pillow too refuses: 512 MiB of RGB
MAX_SCANS = 100  # of max_pixels each; a progressive JPEG has about 10, and each goes over all pixels

# Our own list, not all that Pillow has: its EPS starts Ghostscript, its ICO and ICNS decode while they open.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "JPEG2000", "PSD", "QOI")
try:  # the extra `heic`; it decodes only, what encodes HEVC is under the GPL
    import pi_heif

    pi_heif.register_heif_opener(thumbnails=False, decode_threads=1)
except ImportError:
    pass
VAGUE_FORMATS = ("PPM", "SGI", "PCX", "TGA")  # two bytes of magic or none: that one of these fails proves nothing
UNSUPPORTED = re.compile(  # JPEG XL, OpenEXR, JPEG XR, Radiance, BPG, FLIF, FITS, DICOM, XCF, DDS, EPS, DjVu, WMF, EMF,
    rb"\xff\n|\0\0\0\x0cJXL |v/1\x01|II\xbc|#\?R|BPG\xfb|FLIF|SIMPLE  =|.{128}DICM|gimp xcf|DDS |%!PS|\xc5\xd0\xd3\xc6"
    rb"|AT&TFORM|\xd7\xcd\xc6\x9a|.{40} EMF"  # ICNS, ICO, CUR, HEIF; raw of Canon, Fujifilm, Olympus, Panasonic
    rb"|icns|\0\0[\x01\x02]\0[^\0]|....ftypcrx|II\*\0....CR|FUJIFILM|II(?:RO|U\0)",
    re.DOTALL,
)
HEIF = re.compile(rb"....ftyp(?!.{,64}avi[fs])(?:he|mif|msf)", re.DOTALL)


class DecodeError(Failure):
    """These bytes are no picture that can be decoded."""


@dataclass(frozen=True)
class Header:
    """format, mode: Pillow's words. width, height: as displayed, after EXIF orientation. frames: also pages, layers."""

    format: str
    width: int
    height: int
    mode: str
    frames: int


@contextmanager
def decode_errors_only(data: bytes) -> Iterator[None]:
    """On bad bytes Pillow raises nearly every class there is; callers see DecodeError and nothing else."""
    if not isinstance(data, bytes | bytearray):
        raise ValueError(f"give the picture's bytes (of a file: Path(name).read_bytes()), not {type(data).__name__}")
    try:
        yield
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:  # some plugins ask by themselves, whatever max_pixels is
        raise DecodeError("too_many_pixels", "the picture has more pixels than Pillow allows") from error
    except MemoryError as error:
        raise DecodeError("too_many_pixels", "there is not enough memory for the picture") from error
    except Exception as error:
        said = re.sub(r" at 0x[0-9a-f]+", "", str(error)) or type(error).__name__  # an address differs every run
        raise DecodeError(_reason(said, data), f"the picture does not decode: {said}") from error


def _reason(said: str, data: bytes) -> str:
    if re.search(r"unsupported|unknown pixel mode|cannot handle|not supported", said, re.I):
        return "unsupported_format"
    early = re.search(r"truncated|premature end of jpeg|not enough|no more images|requires a buffer", said, re.I)
    return "truncated" if early or _ends_early(data) else "corrupt"


def _ends_early(data: bytes) -> bool:
    """Whether the container promises more bytes than there are, where its decoder says no more than "broken"."""
    end, at = len(data), 0
    if data[:4] == b"RIFF":
        at = int.from_bytes(data[4:8], "little") + 8
    if data[:4] in (b"II*\0", b"MM\0*"):
        at = int.from_bytes(data[4:8], "little" if data[:1] == b"I" else "big") + 2  # where the tags are
        with suppress(Exception):
            tags = TiffImagePlugin.TiffImageFile(io.BytesIO(data), "").tag_v2
            starts, sizes = (tags[273], tags[279]) if 273 in tags else (tags[324], tags[325])  # of strips or tiles
            at = max(map(sum, zip(starts, sizes, strict=False)))
    while data[4:8] in (b"ftyp", b"jP  ") and at + 16 <= end:  # boxes of AVIF and JPEG 2000
        size = int.from_bytes(data[at : at + 4])
        size = int.from_bytes(data[at + 8 : at + 16]) if size == 1 else size
        at += size if size >= 8 else end  # 0: up to the end of the file
    return at > end


def open_header(data: bytes, max_pixels: int | None) -> Image.Image:
    """The picture, its header read and its size allowed, no pixel decoded.

    Not by Image.open: that tries every format it has, and its limit of pixels is a global of the process.
    """
    if not data:
        raise DecodeError("empty", "there are no bytes")
    if UNSUPPORTED.match(data):
        raise DecodeError("unsupported_format", f"pictures of this format are not decoded: {data[:12]!r}")
    is_heif = HEIF.match(data)  # Pillow's AVIF accepts some of them, too
    if is_heif and "HEIF" not in Image.OPEN:
        raise DecodeError("unsupported_format", "a HEIC picture needs `pip install imgprep[heic]`")
    for name in ("HEIF",) if is_heif else FORMATS + VAGUE_FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is None or accept(data[:16]) is True:
            try:
                im = factory(io.BytesIO(data), "")
                break
            except Exception:
                if name not in VAGUE_FORMATS:
                    raise
    else:
        raise DecodeError("not_an_image", f"this is no picture: it begins with {data[:24]!r}")
    pixels = im.width * im.height
    if im.format == "TIFF":  # a tile may be larger than its picture
        pixels = max(pixels, im.tag_v2.get(322, 1) * im.tag_v2.get(323, 1))
    elif im.format in ("JPEG", "MPO"):
        values = np.frombuffer(data, np.uint8)
        scans = np.count_nonzero(values[np.flatnonzero(values[1:] == 0xDA)] == 0xFF)  # 5 times as fast as bytes.count
        pixels = max(pixels, pixels * scans / MAX_SCANS)
    if max_pixels and pixels > max_pixels:
        raise DecodeError("too_many_pixels", f"{im.width} x {im.height} pixels, max_pixels is {max_pixels}")
    if im.format == "PNG" and "exif" not in im.info and (at := data.rfind(b"eXIf")) > 0:  # behind the pixels
        im.info["exif"] = data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at])]
    return im


def orientation(im: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 also where it is absent, damaged, or Pillow's own task (TIFF)."""
    if im.format == "TIFF":
        return 1
    try:
        value = Image.Image.getexif(im).get(274)  # the base class's: PNG's own decodes all pixels
    except Exception:
        return 1  # damaged EXIF is no reason to lose a picture
    return value if value in range(1, 9) else 1


def header(im: Image.Image) -> Header:
    """The header of a picture that was opened and not loaded."""
    width, height = im.size[::-1] if orientation(im) >= 5 else im.size
    mode, frames = im.mode, 1  # mode first: counting the frames of a GIF changes it
    with suppress(Exception):  # a damaged later frame
        frames = im.n_frames
    return Header(im.format, width, height, mode, frames)
