"""heif: colours that HEIC and AVIF name by numbers."""

import base64
import io

import numpy as np
import pytest
from odd_files import P3_IN_SRGB, PICTURE
from PIL import Image
from test_codec import saved

from imgprep.picture import codec
from imgprep.picture.bmff import parts
from imgprep.picture.heif import named_colours

LARGE = np.kron(PICTURE, np.ones((4, 4, 1), np.uint8))
MIDDLES = [(y * 4, x * 4) for x, y in ((10, 6), (30, 6), (10, 18), (30, 18))]


def named(primaries, transfer=13):
    """An AVIF that names its colours so: Pillow writes 1 and 13, those of the web."""
    data = saved(LARGE, "AVIF", quality=95, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    numbers = primaries.to_bytes(2) + transfer.to_bytes(2)
    return data[:at] + numbers + data[at + 4 :]


def middles(data):
    pixels = codec.decode(data).astype(int)
    return np.array([pixels[at] for at in MIDDLES])


def test_an_avif_that_names_display_p3_is_shown_in_srgb():
    assert np.abs(middles(named(1)) - [LARGE[at] for at in MIDDLES]).max() <= 4
    assert np.abs(middles(named(12)) - P3_IN_SRGB).max() <= 8


@pytest.mark.parametrize("numbers", [(2, 2), (12, 16), (9, 18), (99, 13)])
def test_colours_that_are_not_known_are_shown_as_they_are_stored(numbers):
    assert np.array_equal(codec.decode(named(*numbers)), codec.decode(named(1)))


def test_a_profile_comes_before_the_numbers():
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(LARGE, "AVIF", quality=95, subsampling="4:4:4", icc_profile=srgb)
    assert np.abs(middles(data) - [LARGE[at] for at in MIDDLES]).max() <= 4


def test_damaged_boxes_do_not_cost_the_picture():
    data = named(12)
    at = data.index(b"ipma")
    for broken in (b"\xff" * 12, b"\0" * 12):
        changed = data[:at] + b"ipmx" + broken + data[at + 16 :]
        assert named_colours(changed) is None
    assert [part.kind for part in parts(b"\0\0\0\7ftyp" * 3)] == []
    assert named_colours(b"") is None


def test_a_heic_that_names_display_p3_is_shown_in_srgb():
    pytest.importorskip("pi_heif")
    data = heic_named(12)
    Image.open(io.BytesIO(data)).load()
    pixels = codec.decode(data).astype(int)
    found = [pixels[at] for at in MIDDLES]
    assert np.abs(np.array(found) - P3_IN_SRGB).max() <= 16
    as_stored = codec.decode(HEIC).astype(int)
    assert np.abs(np.array([as_stored[at] for at in MIDDLES]) - [LARGE[at] for at in MIDDLES]).max() <= 8


def heic_named(primaries):
    """HEIC with one more property, and the picture's data so much later."""
    colr = (19).to_bytes(4) + b"colrnclx" + primaries.to_bytes(2) + b"\0\x0d\0\6\x80"
    more = len(colr) + 1
    data = bytearray(HEIC)

    def grow(kind, by):
        at = data.index(kind) - 4
        data[at : at + 4] = (int.from_bytes(data[at : at + 4]) + by).to_bytes(4)

    for kind, by in ((b"meta", more), (b"iprp", more), (b"ipco", len(colr)), (b"ipma", 1)):
        grow(kind, by)
    where = data.index(b"\0\0\1\x65", data.index(b"iloc"))
    data[where : where + 4] = (0x165 + more).to_bytes(4)
    at = data.index(b"ipma") - 4
    data[at:at] = colr
    at = data.index(b"ipma") + 4
    count = at + 4 + 4 + 2
    # Version and flags, how many items, the item's number; then how many properties it has.
    data[count] += 1
    data[count + 1 + 3 : count + 1 + 3] = b"\4"
    return bytes(data)


# 160 x 96 of the four colours, encoded once with libheif: HEVC is not written here.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAUFtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "AA5waXRtAAAAAAABAAAAImlsb2MAAAAAREAAAQABAAAAAAFlAAEAAAAAAAAB/AAAACNpaW5mAAAAAAABAAAAFWluZmUCAAAAAAEA"
    "AGh2YzEAAAAAwWlwcnAAAACjaXBjbwAAAHdodmNDAQQIAAAAAAAAAAAAHvAA/P/4+AAADwMgAAEAF0ABDAH//wQIAAADAJ44AAAD"
    "AAAeugJAIQABACpCAQEECAAAAwCeOAAAAwAAHpAChAwst1JJTXNwICBgQAAAAwBAAAADAEIiAAEACEQBwXKGDAYkAAAAFGlzcGUA"
    "AAAAAAAAoAAAAGAAAAAQcGl4aQAAAAADCAgIAAAAFmlwbWEAAAAAAAAAAQABA4ECgwAAAgRtZGF0AAAB+CgBrwa0JqXxWKw3P/Ok"
    "t///ow76H+igMn+Cp8Z56LKfoYvafwYY//9ZYpUIpXsJjJjq1Oub1r9Ionw11Y3VWdGXzEqgX6orn+gLsnp/4wP+6Lvmnx/sgZCu"
    "79yLk1oOM8attc4KOlAa/V2rkeF/O6fPoWv8r79yn8GHYHFjo99vb8v3/9qOsddzpM14x56ESVy2QfUq3uat0POU4HmsdU/HLKV7"
    "BAXp4lfrBNnfGRXUQ+J/DXwL3IvddSLTfa9//KFJnwzNlq0pXlUIzHmEvHXIUHsmY97vfPRCZ5LZTRyq7ci0dDl7TbrXD+D0/+HJ"
    "///AHQf7mFPJ/NFqv1Qugnpf9SX6W673scv6PfUuvy2ezt5xKar3XtMg9c8vCH1Xt9Cdr45HPlJilsEywrsBNbSVtNZqeMtfoEG2"
    "X6gPWsvRsS3aiQln2xaUyLtVg46wZZ+pKf8vl/zs46BMODfjz4ElK8ZAB5Yinh/5LnLQK/ZmjaYbIOlHCwazvCgoqyXsfJmgMpeN"
    "NoOTfEO7G3s09kXfuFn9d/G1X+5V9tslL7G7JD+7T5cJvj/OB/kWNqHxY36OzHZjxfxZSXkD8V1Nr5w8mx20gQY8pUF9/1zILb0K"
    "d2td0i0lXTQzxZNp4rFkceU9KdjJ7jfAemr5Tdi978g3tu+4co+NIA=="
)
