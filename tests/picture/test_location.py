"""The place is gone, and nothing else: pixels, other tags, length."""

import io

import numpy as np
import pytest
from made import picture
from PIL import Image

from imgprep.picture.location import without_gps

PLACE = {1: "N", 2: (59.0, 19.0, 30.5), 3: "E", 4: (18.0, 4.0, 1.25), 7: (1.0, 2.0, 3.0)}
XMP = b"""<x:xmpmeta xmlns:x='adobe:ns:meta/'>
<a exif:GPSLatitude='59,19.5N'/><exif:GPSLongitude>18,4E</exif:GPSLongitude></x:xmpmeta>"""


def taken_at_sea(format: str, **more) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x9C9B] = "Maker", 6, b"t\0i\0t\0l\0e\0"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    exif.get_ifd(0x8825).update(PLACE)
    file = io.BytesIO()
    Image.fromarray(picture(1)).save(file, format, exif=exif, **more)
    return file.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_the_place_is_taken_out_of_the_exif_and_nothing_else(format):
    before = taken_at_sea(format)
    after = without_gps(before)
    assert len(after) == len(before) and without_gps(after) is after
    old, new = Image.open(io.BytesIO(before)), Image.open(io.BytesIO(after))
    assert np.array_equal(np.asarray(old), np.asarray(new))
    was, now = old.getexif(), new.getexif()
    assert was.get_ifd(0x8825) and not now.get_ifd(0x8825) and 0x8825 not in now
    assert now[0x010F] == "Maker" and now[0x9C9B] == was[0x9C9B] and now.get(0x0112) == was.get(0x0112)
    assert now.get_ifd(0x8769) == was.get_ifd(0x8769)
    assert b"\x3b\0\0\0\x01\0\0\0\x13" not in after, "59 degrees, 19 minutes stand nowhere"


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_the_place_is_taken_out_of_the_xmp(format):
    file = io.BytesIO()
    Image.fromarray(picture(1)).save(file, format, xmp=XMP)
    after = without_gps(file.getvalue())
    assert b"59,19" not in after and b"18,4E" not in after and len(after) == len(file.getvalue())
    pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in (file.getvalue(), after)]
    assert np.array_equal(*pixels)
    assert without_gps(after) is after


def test_what_has_no_place_is_the_same_object():
    rng = np.random.default_rng(0)
    noise = rng.bytes(1 << 16) + b"MM\0*" + rng.bytes(99)
    for data in (b"", b"II*\0", b"MM\0*\0\0\0\x08", b"II*\0" + b"\xff" * 40, noise):
        assert without_gps(data) is data
