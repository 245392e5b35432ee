"""container: bytes are named by their content, sized by their header, and refused with the right word."""

import pickle
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from test_codec import reason, saved, scene

from imgprep.picture import codec, jpeg
from imgprep.picture.codec import DecodeError


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b" ", "not_an_image"),
        (b"\0" * 5000, "not_an_image"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"Python is a language, P5 is a magic", "not_an_image"),
        (b"%PDF-1.7\n", "not_an_image"),
        (b"PK\x03\x04" + b"\0" * 40, "not_an_image"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "not_an_image"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "not_an_image"),
        (b"\xff\x0a\xfa\x1f\x01\x91", "unsupported_format"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "unsupported_format"),
        (b"v/1\x01\x02\0\0\0channels", "unsupported_format"),
        (b"PF\n1 1\n-1.0\n" + b"\0" * 12, "unsupported_format"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n\0\0\0", "unsupported_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format"),
        (b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\x68\4\0\0\x16\0\0\0", "unsupported_format"),
        (b"II*\0\x10\0\0\0CR\x02\0", "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n", "corrupt"),
        (b"\xff\xd8\xff", "corrupt"),
        (b"GIF89a", "corrupt"),
    ],
)
def test_other_bytes_are_named_by_their_content(data, word):
    words = {reason(data, do) for do in (codec.probe, codec.check, codec.decode)}
    assert words == {word} or (word == "corrupt" and words <= {"corrupt", "truncated"})


def test_a_path_is_not_a_damaged_picture_but_the_callers_mistake():
    with pytest.raises(ValueError, match=r"give the picture's bytes .*read_bytes.*not str") as caught:
        codec.decode("photo.jpg")
    assert not isinstance(caught.value, DecodeError)
    assert codec.decode(bytearray(saved(scene(), "JPEG"))).shape == (64, 96, 3)


def test_an_error_survives_pickling_and_is_one_sentence():
    with pytest.raises(DecodeError) as caught:
        codec.decode(b"<html>")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.reason, str(again)) == ("not_an_image", str(caught.value))
    assert "<html>" not in str(again) and "\n" not in str(again)  # no byte of a file stands in an error


# --- bombs


def png_header(width: int, height: int) -> bytes:
    chunks = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0", b"IDAT"
    packed = [(len(c) - 4).to_bytes(4) + c + zlib.crc32(c).to_bytes(4) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def huge() -> dict[str, bytes]:
    gif, bmp, jpeg, tiff = (bytearray(saved(scene(), f)) for f in ("GIF", "BMP", "JPEG", "TIFF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    bmp[18:26] = (40000).to_bytes(4, "little") * 2
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xdc\xff\xdc"
    for tag in (256, 257):
        at = tiff.index(tag.to_bytes(2, "little") + b"\4\0\1\0\0\0") + 8
        tiff[at : at + 4] = (60000).to_bytes(4, "little")
    vp8x = b"VP8X\x0a\0\0\0\x10\0\0\0" + (16383).to_bytes(3, "little") * 2
    webp = b"RIFF" + (len(vp8x) + 4).to_bytes(4, "little") + b"WEBP" + vp8x
    small = {"gif": bytes(gif), "bmp": bytes(bmp), "jpeg": bytes(jpeg), "tiff": bytes(tiff)}
    return small | {"png": png_header(30000, 30000), "webp": webp, "ppm": b"P6 50000 50000 255\n"}


@pytest.mark.parametrize("name", huge())
def test_too_many_pixels_are_refused_by_the_header(name):
    for do in (codec.probe, codec.check, codec.decode):
        assert reason(huge()[name], do) == "too_many_pixels"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "AVIF", "BMP", "JPEG2000"])
def test_max_pixels_is_exact(format):
    data = saved(scene(), format)
    assert codec.decode(data, max_pixels=96 * 64).shape == (64, 96, 3)
    for do in (codec.probe, codec.check, codec.decode):
        assert reason(data, do, max_pixels=96 * 64 - 1) == "too_many_pixels"


def test_max_pixels_none_lifts_the_limit():
    assert codec.probe(png_header(30000, 30000), max_pixels=None).width == 30000


def test_a_jpeg_of_a_thousand_scans_is_a_bomb():
    data = saved(scene(400, 300), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 5000 + data[-2:]
    assert reason(bomb, max_pixels=1_000_000) == "too_many_pixels"
    assert codec.decode(data, max_pixels=1_000_000).shape == (300, 400, 3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_scans_behind_a_whole_picture_are_not_decoded(mode):
    data = saved(Image.fromarray(scene(400, 300)).convert(mode), "JPEG")
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 5000 + data[-2:]
    assert jpeg.scan_count(data) == jpeg.scan_count(bomb) == 1
    began = time.process_time()
    codec.decode(data)
    once_s = time.process_time() - began
    assert reason(bomb) == "corrupt"
    assert codec.decode(bomb, keep_truncated=True).shape == (300, 400, 3)
    # 5,000 times the scan: reading over its bytes is not decoding it.
    assert time.process_time() - began < 500 * once_s


def test_scans_are_counted_where_the_head_leaves_a_doubt():
    data = saved(scene(400, 300), "JPEG")
    last = data.rindex(b"\xff\xda")
    many = data[:last] + data[last:-2] * 150 + data[-2:]
    frame = data.index(b"\xff\xc0")
    progressive = data[:frame] + b"\xff\xc2" + data[frame + 2 :]
    # A marker without a length: what is a head behind it depends on who reads.
    without_length = many[:2] + b"\xff\x01\0\4\0\0" + many[2:]
    two_frames = many[:frame] + many[frame : frame + 19] + many[frame:]
    one_of_three = many[: last + 4] + b"\1" + many[last + 5 :]
    for odd in (without_length, two_frames, one_of_three):
        assert jpeg.scan_count(odd) > 100
    assert jpeg.scan_count(progressive) == jpeg.scan_count(data) == 1
    assert jpeg.scan_count(saved(scene(400, 300), "JPEG", progressive=True)) > 5
    for cut in (b"", data[:2], data[:frame], data[: last + 4]):
        assert jpeg.scan_count(cut) <= 1


def test_a_tiff_with_tiles_larger_than_memory_is_refused():
    data = bytearray(saved(scene(), "TIFF", compression="tiff_lzw"))
    index = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[index : index + 2], "little")
    entries = [data[i : i + 12] for i in range(index + 2, index + 2 + 12 * count, 12)]
    tile_words = {273: 324, 279: 325, 278: 322}  # where strips are, their bytes, their rows -> the same of tiles, width
    for entry in entries:
        tag = int.from_bytes(entry[:2], "little")
        entry[:2] = tile_words.get(tag, tag).to_bytes(2, "little")
    huge_side = b"\4\0\1\0\0\0" + (26000).to_bytes(4, "little")
    entries = [e for e in entries if e[:2] != b"\x42\1"] + [b"\x42\1" + huge_side, b"\x43\1" + huge_side]
    entries.sort(key=lambda e: int.from_bytes(e[:2], "little"))
    tail = len(data)  # the index moves to the end: it has grown
    data[4:8] = tail.to_bytes(4, "little")
    bomb = bytes(data) + len(entries).to_bytes(2, "little") + b"".join(entries) + b"\0\0\0\0"
    assert reason(bomb) == reason(bomb, codec.check) == "too_many_pixels"
    assert codec.probe(bomb, max_pixels=None).width == 96


@pytest.mark.parametrize("key", ["bomb", "Raw profile type exif", "XML:com.adobe.xmp"])
def test_a_text_chunk_that_inflates_to_gigabytes_is_left_alone(key):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(key, "x" * 200_000_000, zip=True)
    data = saved(scene(), "PNG", pnginfo=info)
    tracemalloc.start()
    pixels = codec.decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(pixels, scene()) and peak < 20_000_000
