"""png: what stands beside the pixels never costs the picture; colours and clear ones are right."""

import struct
import zlib

import numpy as np
import pytest
from odd_files import COLOURS, P3_IN_SRGB, PICTURE, WHITE, chunk, png, quarters, shows

from imgprep.picture import cicp, codec

P3 = cicp.cicp_profile(12, 13)
ICCP = b"icc\0\0" + zlib.compress(P3)

BESIDE = {
    b"iCCP": ICCP,
    b"tEXt": b"Comment\0hello",
    b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
    b"zTXt": b"a\0\0" + zlib.compress(b"x"),
    b"gAMA": struct.pack(">I", 45455),
    b"caBX": b"abc",
    b"iTXt": b"a\0\0\0\0\0x",
    b"vpAg": b"\0" * 9,
    b"tIME": b"\0" * 7,
    b"eXIf": b"II*\0",
    b"cICP": b"\x0c\x0d\0\1",
    b"sBIT": b"\5\5\5",
}


@pytest.mark.parametrize("kind", BESIDE)
def test_a_wrong_checksum_beside_the_pixels_does_not_cost_them(kind):
    assert shows(png(before=[chunk(kind, BESIDE[kind], checksum=0xDEADBEEF)]))
    assert shows(png(behind=[chunk(kind, BESIDE[kind], checksum=0xDEADBEEF)]))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"pHYs", b"\0\0"),
        (b"sRGB", b""),
        (b"gAMA", b"\0"),
        (b"cHRM", b"\0" * 5),
        (b"zTXt", b"a\0\x78abc"),
        (b"tRNS", b"\0"),
        (b"iCCP", b"icc\0\7" + zlib.compress(b"x")),
        (b"iCCP", b"icc\0\0no zlib"),
        (b"iCCP", b"icc"),
        (b"iCCP", b"icc\0\0" + zlib.compress(bytes(40_000_000))),
        (b"cICP", b"\x0c"),
        (b"cICP", b"\x63\x63\0\1"),
        (b"eXIf", b""),
    ],
)
def test_a_chunk_that_makes_no_sense_does_not_cost_the_picture(kind, body):
    assert shows(png(before=[chunk(kind, body)]))


def test_damage_of_the_pixels_themselves_is_still_damage():
    whole = png()
    at = whole.index(b"IDAT") + 20
    broken = whole[:at] + b"xx" + whole[at + 2 :]
    with pytest.raises(codec.DecodeError):
        codec.decode(broken)


def test_colours_are_those_that_cicp_names():
    named = chunk(b"cICP", bytes([12, 13, 0, 1]))
    assert shows(png(before=[named]), P3_IN_SRGB, 4)
    assert shows(png(before=[chunk(b"iCCP", ICCP)]), P3_IN_SRGB, 4)
    # It comes before a profile, says the standard.
    of_the_web = chunk(b"cICP", bytes([1, 13, 0, 1]))
    assert shows(png(before=[of_the_web, chunk(b"iCCP", ICCP)]))


def test_a_profile_behind_the_pixels_does_not_count():
    assert shows(png(behind=[chunk(b"iCCP", ICCP)]))


def test_pq_and_hlg_are_shown_as_they_are_stored():
    for transfer in (16, 18):
        assert shows(png(before=[chunk(b"cICP", bytes([9, transfer, 0, 1]))]))


@pytest.mark.parametrize(
    ("depth", "levels", "clear"),
    [(1, (0, 1, 1, 0), 1), (2, (0, 1, 2, 3), 1), (4, (0, 5, 10, 15), 5), (8, (0, 9, 99, 255), 9)],
)
def test_the_clear_grey_is_clear_at_every_depth(depth, levels, clear):
    top = 2**depth - 1
    data = png(quarters(levels), 0, depth, [chunk(b"tRNS", struct.pack(">H", clear))])
    assert shows(data, [WHITE if v == clear else v * 255 // top for v in levels])
    # Only the depth's bits count.
    more = png(quarters(levels), 0, depth, [chunk(b"tRNS", struct.pack(">H", clear + 0x4000))])
    assert np.array_equal(codec.decode(more), codec.decode(data))


def test_the_clear_grey_of_16_bits_is_clear():
    levels = (0x1200, 0x1234, 0x12FF, 0xFF00)
    data = png(quarters(levels, np.uint16), 0, 16, [chunk(b"tRNS", struct.pack(">H", 0x1234))])
    assert shows(data, [18, WHITE, 19, 254], 1)


def test_of_16_bits_only_the_very_colour_is_clear():
    levels = [(0x1200,) * 3, (0x1234,) * 3, (0x12FF,) * 3, (0xFF00, 0xFF00, 0)]
    clear = chunk(b"tRNS", struct.pack(">HHH", *levels[1]))
    data = png(quarters(levels, np.uint16), 2, 16, [clear])
    assert shows(data, [18, WHITE, 18, (255, 255, 0)])


def test_the_clear_colour_of_8_bits_and_of_a_palette():
    clear = chunk(b"tRNS", struct.pack(">HHH", *COLOURS[1]))
    assert shows(png(before=[clear]), [COLOURS[0], WHITE, *COLOURS[2:]])
    palette = chunk(b"PLTE", b"".join(map(bytes, COLOURS)))
    alphas = chunk(b"tRNS", b"\xff\0")
    data = png(quarters(range(4)), 3, 8, [palette, alphas])
    assert shows(data, [COLOURS[0], WHITE, *COLOURS[2:]])


def test_the_profile_made_of_numbers_is_that_of_display_p3():
    import io

    from PIL import Image, ImageCms

    made = ImageCms.ImageCmsProfile(io.BytesIO(P3))
    srgb = ImageCms.createProfile("sRGB")
    shown = ImageCms.profileToProfile(Image.fromarray(PICTURE), made, srgb)
    middles = [np.asarray(shown)[y, x] for x, y in ((10, 6), (30, 6), (10, 18), (30, 18))]
    assert np.abs(np.array(middles, int) - P3_IN_SRGB).max() <= 2
