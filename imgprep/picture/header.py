"""What some bytes are: the format by content, the size by header,
and the reason when they are none.
"""

import io
import logging
import re
import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass

from PIL import AvifImagePlugin, Image, TiffImagePlugin

from imgprep.picture import gif, heif, jp2, jpeg, png, tiff
from imgprep.picture.damage import DecodeError
from imgprep.words import extra_packages

# Registers the plugins that FORMATS names.
Image.init()
# The engine spreads pictures over the cores; a decoder must not do so again.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Pillow's complaints are harmless or become a DecodeError. Silent for good: a filter for a while
# upsets other threads.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"PIL\.(\w+Plugin|Image)$")

MAX_PIXELS = 178_956_970  # where Pillow too refuses: 512 MiB of RGB
# Of max_pixels each; a progressive JPEG has about 10, and each goes over all pixels.
MAX_SCANS = 100

# Our own list, not all that Pillow has: its EPS starts Ghostscript, its ICO and ICNS decode while
# they open.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "JPEG2000", "PSD", "QOI")
# Two bytes of magic or none: that one of these fails proves nothing.
VAGUE_FORMATS = ("PPM", "SGI", "PCX", "TGA")
try:
    # The extra `heic`. It decodes only: what encodes HEVC is under the GPL.
    import pi_heif

    pi_heif.register_heif_opener(thumbnails=False, decode_threads=1)
except ImportError:
    pass

# Pictures that are not decoded here, by their first bytes.
UNSUPPORTED = re.compile(
    rb"\xff\n|\0\0\0\x0cJXL "  # JPEG XL
    rb"|v/1\x01"  # OpenEXR
    rb"|II\xbc"  # JPEG XR
    rb"|#\?R"  # Radiance
    rb"|BPG\xfb|FLIF"
    rb"|SIMPLE  ="  # FITS
    rb"|.{128}DICM"
    rb"|gimp xcf|DDS "
    rb"|%!PS|\xc5\xd0\xd3\xc6"  # EPS
    rb"|AT&TFORM"  # DjVu
    rb"|\xd7\xcd\xc6\x9a|.{40} EMF"  # WMF, EMF
    rb"|icns|\0\0[\x01\x02]\0[^\0]"  # ICNS, ICO, CUR
    rb"|PF\s|P7\s"  # colour PFM, PAM
    rb"|....ftypcrx|II\*\0....CR|FUJIFILM|II(?:RO|U\0)",  # raw: Canon, Fujifilm, Olympus, Panasonic
    re.DOTALL,
)
HEIF = re.compile(rb"....ftyp(?!.{,64}avi[fs])(?:he|mif|msf)", re.DOTALL)

TILE_WIDTH, TILE_HEIGHT, COMPRESSION, ORIENTATION = 322, 323, 259, 274


@dataclass(frozen=True)
class Header:
    """format, mode: Pillow's words. width, height: as displayed, after EXIF orientation.

    frames: also pages, layers.
    """

    format: str
    width: int
    height: int
    mode: str
    frames: int


def open_header(data: bytes, max_pixels: int | None) -> Image.Image:
    """The picture, its header read and its size allowed, no pixel decoded.

    `info["icc_profile"]` is what its colours mean, wherever and however the file says it. Not by
    Image.open: that tries every format it has, and its limit of pixels is a global of the process.
    """
    if not data:
        raise DecodeError("empty", "there are no bytes")
    if UNSUPPORTED.match(data):
        said = f"pictures of this format are not decoded: {data[:12]!r}"
        raise DecodeError("unsupported_format", said)
    im = _opened(data)
    pixels = _pixels_to_decode(im, data)
    if max_pixels and pixels > max_pixels:
        size = f"{im.width} x {im.height} pixels"
        raise DecodeError("too_many_pixels", f"{size}, max_pixels is {max_pixels}")
    # A broken profile is none.
    with suppress(IndexError, ValueError, struct.error):
        _tell_colours(im, data)
    return im


def _opened(data: bytes) -> Image.Image:
    # Pillow's AVIF accepts some HEIC, too.
    is_heif = HEIF.match(data)
    if is_heif and "HEIF" not in Image.OPEN:
        raise DecodeError(
            "missing_extra", f"a HEIC picture needs `pip install {extra_packages('heic')}`"
        )
    names = ("HEIF",) if is_heif else FORMATS + VAGUE_FORMATS
    for name in names:
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(data[:16]) is not True:
            continue
        readable = _readable(name, data)
        try:
            return factory(io.BytesIO(readable), "")
        except Exception:
            if name == "JPEG" and readable != jpeg.bare(readable):
                # Pillow reads what stands beside the pixels, and may stumble over it.
                return factory(io.BytesIO(jpeg.bare(readable)), "")
            if name not in VAGUE_FORMATS:
                raise
    raise DecodeError("not_an_image", f"this is no picture: {_looks_like(data)}")


def _looks_like(data: bytes) -> str:
    """What it may be instead; never its own words, which may be anybody's."""
    head = data[:512].lstrip().lower()
    kinds = {b"<!doctype html": "a web page", b"<html": "a web page", b"<?xml": "XML"}
    kinds |= {b"<svg": "an SVG drawing", b"%pdf": "a PDF", b"pk": "an archive", b"{": "JSON"}
    for start, kind in kinds.items():
        if head.startswith(start):
            return f"it looks like {kind}"
    return "it begins as no format that is known here"


def _readable(name: str, data: bytes) -> bytes:
    """The bytes as Pillow can take them. Raises DecodeError for what it would take for another."""
    if name == "PNG":
        return png.essential(data)
    if name == "JPEG":
        process = jpeg.process(data)
        if process and process not in jpeg.DECODED_PROCESSES:
            said = f"JPEGs of this kind are not decoded: SOF marker FF{process:02X}"
            raise DecodeError("unsupported_format", said)
    if name == "TIFF":
        return _readable_tiff(data)
    return data


def _readable_tiff(data: bytes) -> bytes:
    if tiff.is_camera_raw(data):
        said = "a camera's raw file is not decoded, and its preview is not the picture"
        raise DecodeError("unsupported_format", said)
    if tiff.is_unread_by_pillow(data):
        data = tiff.classic(data)
    compression = tiff.compression(data)
    if compression not in TiffImagePlugin.COMPRESSION_INFO:
        name = tiff.OPTIONAL_CODECS.get(compression, "unknown")
        said = f"a TIFF of compression {compression} ({name}) is not decoded"
        raise DecodeError("unsupported_format", said)
    return data


def _pixels_to_decode(im: Image.Image, data: bytes) -> float:
    """How much work it is, in pixels:
    of tiles that are larger than their picture, of many scans.
    """
    pixels = im.width * im.height
    if isinstance(im, TiffImagePlugin.TiffImageFile):
        tile = im.tag_v2.get(TILE_WIDTH, 1) * im.tag_v2.get(TILE_HEIGHT, 1)
        return float(max(pixels, tile))
    if im.format in ("JPEG", "MPO"):
        return max(pixels, pixels * jpeg.scan_count(data) / MAX_SCANS)
    return pixels


def _tell_colours(im: Image.Image, data: bytes) -> None:
    """Put into `info` what Pillow does not find: profiles, named colours, EXIF, what is clear."""
    if im.format in ("JPEG", "MPO"):
        im.info["icc_profile"] = jpeg.jpeg_profile(data)
    elif im.format == "PNG":
        im.info["icc_profile"] = png.png_profile(data)
        png.tell_clear_colour(im, data)
        # Pillow's own looks in front of the pixels only.
        exif = png.exif(data)
        if exif:
            im.info["exif"] = exif
    elif im.format == "JPEG2000":
        im.info["icc_profile"] = jp2.jp2_profile(data)
    elif im.format in ("AVIF", "HEIF") and not im.info.get("icc_profile"):
        im.info["icc_profile"] = heif.named_colours(data)


def orientation(im: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 also where it is absent, damaged, or Pillow's own task (TIFF)."""
    if im.format == "TIFF":
        return 1
    try:
        # The base class's: PNG's own decodes all pixels.
        value = Image.Image.getexif(im).get(ORIENTATION)
    except Exception:
        # Damaged EXIF is no reason to lose a picture.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def header(im: Image.Image, data: bytes) -> Header:
    """The header of a picture that was opened and not loaded."""
    width, height = im.size
    if orientation(im) >= 5:
        width, height = height, width
    return Header(str(im.format), width, height, im.mode, frame_count(im, data))


def frame_count(im: Image.Image, data: bytes) -> int:
    """How many frames, pages, layers. Decodes none, and is quick with thousands."""
    if im.format == "GIF":
        return sum(1 for _ in gif.gif_frames(data))
    if im.format == "TIFF":
        return sum(1 for _ in tiff.pages(data))
    # A later frame may be damaged.
    with suppress(Exception):
        return int(getattr(im, "n_frames", 1))
    return 1
