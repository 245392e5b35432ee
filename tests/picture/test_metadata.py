"""metadata: what passes is the same picture to the last pixel, and says nothing of its owner."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from test_codec import exif, saved, scene
from test_colour import ADOBE_RGB

from imgprep.picture import codec, metadata

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gps() -> Image.Exif:
    tags = Image.Exif()
    tags[271] = "Maker of cameras"
    tags.get_ifd(0x8825)[1] = "N"
    return tags


FULL = {"exif": gps(), "xmp": b"<x:xmpmeta>who</x:xmpmeta>", "comment": b"my house", "icc_profile": SRGB}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_loses_its_metadata_and_not_a_pixel(options, mode):
    bare = saved(Image.fromarray(scene()).convert(mode), "JPEG", quality=90, **options)
    full = saved(Image.fromarray(scene()).convert(mode), "JPEG", quality=90, **options, **FULL)
    trailing = full + b"\0\0\0\x18ftypmp42 a film of the moment before"
    for data in (full, trailing):
        clean = metadata.clean(data)
        assert {*Image.open(io.BytesIO(clean)).info} <= {*Image.open(io.BytesIO(bare)).info, "icc_profile"}
        for secret in (b"Maker", b"who", b"my house", b"film"):
            assert secret not in clean
        assert np.array_equal(codec.decode(clean), codec.decode(bare))
    assert metadata.clean(bare) == bare and metadata.clean(full, keep_metadata=True) == full


def test_the_adobe_marker_stays_because_it_says_what_the_channels_are():
    data = saved(scene(), "JPEG", quality=95)
    rgb = data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + data[20:]  # in place of JFIF: RGB, not YCbCr
    assert metadata.clean(rgb) == rgb


def test_a_png_loses_its_texts():
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    data = saved(scene(), "PNG", pnginfo=text, exif=gps())
    clean = metadata.clean(data)
    assert b"somebody" not in clean and b"Maker" not in clean and np.array_equal(codec.decode(clean), scene())
    plain = saved(scene(), "PNG")
    assert metadata.clean(plain) == plain


def test_colours_that_a_png_names_by_number_stay_where_they_are_those_of_the_web():
    plain = saved(scene(), "PNG")

    def named(primaries):  # in numbers of ITU-T H.273, which browsers heed, and other programs do not
        says = b"cICP" + bytes([primaries, 13, 0, 1])
        return plain[:33] + b"\0\0\0\4" + says + zlib.crc32(says).to_bytes(4) + plain[33:]

    assert metadata.clean(named(1)) == named(1)
    assert metadata.clean(named(12)) is None  # Display P3: another encoding, as with a profile


@pytest.mark.parametrize(
    ("format", "image", "options"),
    [
        ("PNG", Image.fromarray(np.dstack([scene(), scene()[:, :, :1]])), {}),
        ("PNG", Image.fromarray(scene()[:, :, 0].astype(np.uint16) * 257), {}),
        ("PNG", Image.fromarray(scene()), {"icc_profile": ADOBE_RGB}),
        ("PNG", Image.fromarray(scene()).quantize(64), {"icc_profile": ADOBE_RGB}),
        ("JPEG", Image.fromarray(scene()).convert("CMYK"), {}),
        ("JPEG", Image.fromarray(scene()), {"exif": exif(6)}),
        ("TIFF", Image.fromarray(scene()), {}),
        ("WEBP", Image.fromarray(scene()), {"exif": gps()}),
        ("GIF", Image.fromarray(scene()), {}),
    ],
)
def test_what_is_not_plain_does_not_pass(format, image, options):
    assert metadata.clean(saved(image, format, **options)) is None


def test_a_jpeg_that_ends_early_does_not_pass():
    data = saved(scene(), "JPEG")
    assert all(metadata.clean(data[:end]) is None for end in range(len(data) - 300, len(data) - 1, 7))


def test_exif_that_is_kept_says_upright():
    tags = gps()
    tags[274] = 6
    data = saved(scene(), "JPEG", exif=tags)
    plain = codec.encode(codec.decode(data), "JPEG")
    kept = Image.open(io.BytesIO(plain[:2] + metadata.exif_segment(data) + plain[2:])).getexif()
    assert kept[271] == "Maker of cameras" and 274 not in kept and kept.get_ifd(0x8825)[1] == "N"
    assert metadata.exif_segment(plain) == b""
