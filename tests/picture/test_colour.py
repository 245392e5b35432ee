"""colour: every mode becomes the sRGB that a person would see."""

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from imgprep.picture import codec, colour

RAMP = np.arange(256, dtype=np.uint8)[None].repeat(4, 0)


def saved(im: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    im.save(out, format, **options)
    return out.getvalue()


def grey(data: bytes) -> np.ndarray:
    pixels = codec.decode(data)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


def png(color_type: int, rows: list[bytes], width: int, *chunks: bytes) -> bytes:
    """A 16-bit PNG, which Pillow cannot write in colour. chunks: type + content."""
    header = b"IHDR" + width.to_bytes(4) + len(rows).to_bytes(4) + bytes([16, color_type, 0, 0, 0])
    body = b"IDAT" + zlib.compress(b"".join(b"\0" + row for row in rows))
    packed = [(len(c) - 4).to_bytes(4) + c + zlib.crc32(c).to_bytes(4) for c in (header, *chunks, body, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


# --- more than 8 bits


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG2000"])
def test_16_bit_grey_is_scaled_not_clipped(format):
    wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert np.array_equal(grey(saved(wide, format)), RAMP)


def test_16_bit_grey_is_rounded():
    values = np.array([[0, 128, 129, 257, 32768, 65535 - 129, 65535]], np.uint16)
    assert grey(saved(Image.fromarray(values), "PNG")).tolist() == [[0, 0, 1, 1, 128, 254, 255]]


def test_16_bit_pgm_is_scaled():
    data = b"P5 3 1 65535\n" + np.array([0, 0x8080, 0xFFFF], ">u2").tobytes()
    assert grey(data).tolist() == [[0, 128, 255]]


def test_16_bit_colour_is_scaled():
    row = np.array([[0, 0x8000, 0xFFFF], [0x1234, 0xFEDC, 0x00FF]], ">u2").tobytes()
    assert np.abs(codec.decode(png(2, [row], 2)).astype(int) - [[[0, 128, 255], [18, 254, 1]]]).max() <= 1


def test_12_bit_tiff_is_scaled_to_its_own_white():
    tags = [(256, 3, 2), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 3)]
    index = b"".join(
        t.to_bytes(2, "little") + k.to_bytes(2, "little") + b"\1\0\0\0" + v.to_bytes(4, "little") for t, k, v in tags
    )
    data = b"II*\0\x0c\0\0\0" + b"\xff\xf8\0\0" + len(tags).to_bytes(2, "little") + index + b"\0\0\0\0"
    assert grey(data).tolist() == [[255, round(0x800 * 255 / 0xFFF)]]


def test_white_is_zero_is_inverted_also_at_16_bits():
    wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert np.array_equal(grey(saved(wide, "TIFF", tiffinfo={262: 0})), 255 - RAMP)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),  # within [0, 1]
        ([0.0, 100.0, 200.0], [0, 100, 200]),  # within [0, 255]
        ([-10.0, 0.0, 10.0], [0, 128, 255]),  # anything else: lowest..highest
        ([1e6, 1.5e6, 3e6], [0, 64, 255]),
        ([-3e38, 0.0, 3e38], [0, 128, 255]),
        ([np.nan, 0.0, 1.0], [0, 0, 255]),
        ([np.inf, -np.inf, 0.5], [255, 0, 128]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
        ([-7.0, -7.0, -7.0], [0, 0, 0]),
    ],
)
def test_float_grey_is_scaled_by_its_range(values, expected):
    assert grey(saved(Image.fromarray(np.array([values], np.float32)), "TIFF")).tolist() == [expected]


def test_signed_and_32_bit_integers_are_stretched():
    for values in ([-32768, 0, 32767], [-(2**31), 0, 2**31 - 1], [1000, 1500, 2000]):
        out = grey(saved(Image.fromarray(np.array([values], np.int32)), "TIFF"))
        assert out.tolist()[0] in ([0, 127, 255], [0, 128, 255])
    assert grey(saved(Image.fromarray(np.array([[0, 3, 200]], np.int32)), "TIFF")).tolist() == [[0, 3, 200]]


# --- alpha


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
@pytest.mark.parametrize("alpha", [0, 51, 255])
def test_alpha_shows_the_background(alpha, background):
    expected = (np.array([200, 100, 0]) * alpha + np.array(background) * (255 - alpha)) / 255
    for format, options in [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {}), ("TGA", {})]:
        data = saved(Image.new("RGBA", (4, 4), (200, 100, 0, alpha)), format, **options)
        assert np.abs(codec.decode(data, background=background) - expected).max() <= 1, format
    data = saved(Image.new("LA", (4, 4), (200, alpha)), "PNG")
    expected = (200 * alpha + np.array(background) * (255 - alpha)) / 255
    assert np.abs(codec.decode(data, background=background) - expected).max() <= 1


def test_transparent_palette_entries_show_the_background():
    im = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    im.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for format, transparency, expected in [
        ("PNG", bytes([255, 0, 128]), [[255, 0, 0], [0, 0, 0], [0, 0, 128]]),
        ("GIF", 1, [[255, 0, 0], [0, 0, 0], [0, 0, 255]]),
    ]:
        data = saved(im, format, transparency=transparency)
        assert codec.decode(data, background=(0, 0, 0)).tolist() == [expected], format


def test_the_transparent_colour_of_grey_and_rgb_pngs():
    data = saved(Image.fromarray(RAMP), "PNG", transparency=7)
    assert np.array_equal(codec.decode(data, background=(1, 2, 3))[0, 6:9], [[6, 6, 6], [1, 2, 3], [8, 8, 8]])
    data = saved(Image.fromarray(np.dstack([RAMP] * 3)), "PNG", transparency=(7, 7, 7))
    assert np.array_equal(codec.decode(data, background=(1, 2, 3))[0, 6:9], [[6, 6, 6], [1, 2, 3], [8, 8, 8]])


def test_the_transparent_colour_of_16_bit_pngs():
    row = np.array([0x1234, 0x1235, 0xFFFF], ">u2").tobytes()
    out = codec.decode(png(0, [row], 3, b"tRNS\x12\x34"), background=(9, 0, 0))
    assert out[0].tolist() == [[9, 0, 0], [18, 18, 18], [255, 255, 255]]
    row = np.array([[0x1234, 0x5678, 0x9ABC], [0xFFFF, 0, 0]], ">u2").tobytes()
    out = codec.decode(png(2, [row], 2, b"tRNS\x12\x34\x56\x78\x9a\xbc"), background=(9, 0, 0))
    assert out[0].tolist() == [[9, 0, 0], [255, 0, 0]]


def test_large_pictures_are_converted_strip_by_strip_to_the_same_pixels():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1500, 701, 4), dtype=np.uint8)
    assert pixels.nbytes > 3 * colour.COLOUR_STRIP_BYTES
    im = Image.fromarray(pixels)
    expected = Image.alpha_composite(Image.new("RGBA", im.size, (0, 0, 255, 255)), im).convert("RGB")
    assert np.abs(colour.srgb(im, (0, 0, 255)).astype(int) - np.asarray(expected)).max() <= 1
    palette = im.convert("RGB").quantize(64)
    assert np.array_equal(colour.srgb(palette), np.asarray(palette.convert("RGB")))


# --- palettes, bits


def test_one_bit_and_palette_pictures():
    bits = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (8, 8))
    for format, options in [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "group4"}), ("PPM", {}), ("BMP", {})]:
        assert np.array_equal(grey(saved(Image.fromarray(bits).convert("1"), format, **options)), bits), (
            format,
            options,
        )
    few = np.zeros((16, 16, 3), np.uint8)
    few[:8], few[8:, 8:] = (255, 128, 0), (0, 10, 200)
    for format in ("PNG", "GIF", "TIFF", "BMP"):
        assert np.array_equal(codec.decode(saved(Image.fromarray(few).quantize(4), format)), few), format


# --- CMYK, Lab


def test_cmyk_without_a_profile_is_not_inverted():
    im = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow ink: red
    for format, options in [("JPEG", {"quality": 95}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})]:
        red = codec.decode(saved(im, format, **options))[8, 8].astype(int)
        assert red[0] > 225 and red[1] < 50 and red[2] < 50, format
    paper = codec.decode(saved(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG"))
    assert paper.min() > 250


def test_a_cmyk_jpeg_is_reduced_too():
    im = Image.fromarray(np.dstack([RAMP.repeat(64, 0)] * 3)).convert("CMYK")
    assert codec.decode(saved(im, "JPEG"), min_wh=(64, 64)).shape == (64, 64, 3)


def test_lab_white_is_white_and_red_is_red():
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (4, 4), (200, 30, 60)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert np.abs(colour.srgb(lab).astype(int) - [200, 30, 60]).max() <= 4


# --- ICC profiles


def matrix_profile(gamma: float, primaries: dict[str, tuple[float, float, float]]) -> bytes:
    """A minimal ICC v2 display profile: a gamma and the (D50-adapted) XYZ of its primaries."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(round(v * 65536).to_bytes(4, signed=True) for v in values)

    def curve():
        return b"curv\0\0\0\0\0\0\0\1" + round(gamma * 256).to_bytes(2) + b"\0\0"

    tags = {b"desc": b"desc\0\0\0\0\0\0\0\5test\0" + b"\0" * 78 + b"\0", b"cprt": b"text\0\0\0\0free\0\0\0\0"}
    tags |= {b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    tags |= {c + b"XYZ": xyz(primaries[c.decode()]) for c in (b"r", b"g", b"b")}
    tags |= {c + b"TRC": curve() for c in (b"r", b"g", b"b")}
    table, body = len(tags).to_bytes(4), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + (start + len(body)).to_bytes(4) + len(content).to_bytes(4)
        body += content + b"\0" * (-len(content) % 4)
    head = bytearray(128)
    head[:4] = (start + len(body)).to_bytes(4)
    head[8:12], head[12:24], head[36:40] = b"\x02\x10\0\0", b"mntrRGB XYZ ", b"acsp"
    head[68:80] = b"\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d"
    return bytes(head) + table + body


ADOBE_RGB = matrix_profile(
    2.2, {"r": (0.6097, 0.3111, 0.0195), "g": (0.2053, 0.6257, 0.0609), "b": (0.1492, 0.0632, 0.7446)}
)
LINEAR = matrix_profile(
    1.0, {"r": (0.4361, 0.2225, 0.0139), "g": (0.3851, 0.7169, 0.0971), "b": (0.1431, 0.0606, 0.7141)}
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 100})]
)
def test_an_icc_profile_is_applied(format, options):
    data = saved(Image.new("RGB", (16, 16), (128, 128, 128)), format, icc_profile=LINEAR, **options)
    assert np.abs(codec.decode(data)[8, 8].astype(int) - 188).max() <= 2  # half the light is sRGB 188
    data = saved(Image.new("RGB", (16, 16), (100, 200, 100)), format, icc_profile=ADOBE_RGB, **options)
    red, green, blue = codec.decode(data)[8, 8].astype(int)
    assert red < 30 and 195 <= green <= 205 and 90 <= blue <= 100  # AdobeRGB's green is far outside sRGB's


def test_an_icc_profile_is_applied_before_the_background_shows():
    data = saved(Image.new("RGBA", (4, 4), (128, 128, 128, 0)), "PNG", icc_profile=LINEAR)
    assert codec.decode(data, background=(10, 20, 30))[0, 0].tolist() == [10, 20, 30]


def test_srgb_is_recognised_by_what_it_does_not_by_its_name():
    assert colour.profile(SRGB, "RGB") is None
    assert colour.profile(ADOBE_RGB, "RGB") is not None
    assert colour.profile(ADOBE_RGB.replace(b"test", b"sRGB"), "RGB") is not None
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(codec.decode(saved(Image.fromarray(pixels), "PNG", icc_profile=SRGB)), pixels)


@pytest.mark.parametrize("icc", [b"", b"nonsense", ADOBE_RGB[:150], ADOBE_RGB.replace(b"RGB XYZ", b"CMYKXYZ")])
def test_a_broken_or_foreign_profile_is_ignored(icc):
    data = saved(Image.new("RGB", (4, 4), (100, 200, 100)), "PNG", icc_profile=icc)
    assert codec.decode(data)[0, 0].tolist() == [100, 200, 100]


def test_an_rgb_profile_on_a_grey_picture_is_ignored():
    for format in ("PNG", "JPEG"):
        data = saved(Image.fromarray(RAMP), format, icc_profile=LINEAR)
        assert np.abs(grey(data).astype(int) - RAMP).max() <= 2


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_a_grey_profile_is_applied_to_a_grey_picture(format):
    icc = LINEAR.replace(b"mntrRGB XYZ ", b"mntrGRAYXYZ ").replace(b"gTRC", b"kTRC")
    data = saved(Image.new("L", (16, 16), 128), format, icc_profile=icc)
    assert abs(int(grey(data)[8, 8]) - 188) <= 2
    if format != "JPEG":  # also beside an alpha channel, and at 16 bits
        data = saved(
            Image.merge("LA", [Image.new("L", (4, 4), 128), Image.new("L", (4, 4), 255)]), "PNG", icc_profile=icc
        )
        assert abs(int(grey(data)[0, 0]) - 188) <= 2
        wide = Image.fromarray(np.full((4, 4), 128 * 257, np.uint16))
        assert abs(int(grey(saved(wide, format, icc_profile=icc))[0, 0]) - 188) <= 2


@pytest.mark.corpus
def test_16_bit_files_that_other_tools_clip_to_white(corpus):
    flag = codec.decode((corpus / "modes" / "Flag_of_the_Netherlands-16bit.png").read_bytes())
    red, white, blue = (flag[y, 450] for y in (100, 300, 500))
    assert red[0] > 150 > red[2] and white.min() > 240 and blue[2] > 100 > blue[0]


@pytest.mark.corpus
def test_one_picture_through_many_modes_is_one_picture(corpus):
    modes = corpus / "modes"
    plain = codec.decode((modes / "hopper.psd").read_bytes())
    for name in ("hopper.Lab.tif", "hopper.iccprofile.tif", "hopper.avif", "hopper.gif"):
        other = codec.decode((modes / name).read_bytes())
        assert np.abs(plain.astype(int) - other).mean() < 8, name


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32])
def test_numbers_without_a_white_are_scaled_over_the_whole_picture_band_by_band(monkeypatch, dtype):
    values = (np.arange(60 * 7).reshape(60, 7) * 3 - 100 * (dtype != np.uint32)).astype(dtype)
    whole = colour.grey_levels(values)
    monkeypatch.setattr(colour, "BAND_PIXELS", 14)
    assert (colour.grey_levels(values) == whole).all() and whole.min() == 0 and whole.max() == 255


def test_a_float_picture_is_converted_in_bands_not_in_float64_as_a_whole():
    values = np.linspace(-1, 2, 4000 * 4000, dtype=np.float32).reshape(4000, 4000)
    tracemalloc.start()
    colour.grey_levels(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * values.nbytes, "in float64 it was six times that"
