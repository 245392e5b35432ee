"""tiff: planes, signs, byte orders, pages; and what is not decoded is said to be just that."""

import struct
import subprocess
import sys

import numpy as np
import pytest
from odd_files import COLOURS, HEIGHT, PICTURE, WIDTH, camera_raw, quarters, shows, tiff
from PIL import Image
from test_codec import STORED, reason, saved, scene

from imgprep.picture import codec, colour

DEEP = PICTURE.astype(np.uint16) * 257
PLANES = np.ascontiguousarray(DEEP.transpose(2, 0, 1))
SEPARATE = {"photometric": "rgb", "planarconfig": "separate"}
GREY = np.asarray(Image.fromarray(PICTURE).convert("L"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        SEPARATE | {"rowsperstrip": 8},
        SEPARATE | {"tile": (16, 16)},
        SEPARATE | {"compression": "zlib"},
        SEPARATE | {"compression": "zlib", "predictor": True, "byteorder": ">"},
        SEPARATE | {"bigtiff": True},
        SEPARATE | {"bigtiff": True, "byteorder": ">"},
    ],
)
def test_planes_of_16_bits_show_their_colours(options):
    assert shows(tiff(PLANES, **options), tolerance=1)


def test_planes_are_what_the_same_pixels_are_without_them():
    deep = scene(64, 48).astype(np.uint16) * 256 + 77
    planes = np.ascontiguousarray(deep.transpose(2, 0, 1))
    together = tiff(deep, photometric="rgb", planarconfig="contig")
    assert np.array_equal(codec.decode(tiff(planes, **SEPARATE)), codec.decode(together))


def test_planes_are_turned_as_they_say():
    stored = np.ascontiguousarray(STORED[6](PICTURE)).astype(np.uint16) * 257
    planes = np.ascontiguousarray(stored.transpose(2, 0, 1))
    assert shows(tiff(planes, **SEPARATE, extratags=[(274, 3, 1, 6, True)]), tolerance=1)


def test_planes_of_inks_and_planes_behind_the_colours():
    ink = np.dstack([255 - PICTURE, np.zeros((HEIGHT, WIDTH), np.uint8)]).astype(np.uint16) * 257
    planes = np.ascontiguousarray(ink.transpose(2, 0, 1))
    assert shows(tiff(planes, photometric="separated", planarconfig="separate"), tolerance=1)
    infrared = np.concatenate([PLANES, PLANES[:1]])
    assert shows(tiff(infrared, **SEPARATE, extrasamples=["unspecified"]), tolerance=1)
    half = np.concatenate([PLANES, np.full_like(PLANES[:1], 0x8080)])
    blended = [(np.array(c) + 255) / 2 for c in COLOURS]
    assert shows(tiff(half, **SEPARATE, extrasamples=["unassalpha"]), blended, 2)


def test_signed_bytes_and_large_whole_numbers_are_stretched():
    low, high = int(GREY.min()), int(GREY.max())
    wanted = [round((int(GREY[y, x]) - low) / (high - low) * 255) for x, y in
              ((10, 6), (30, 6), (10, 18), (30, 18))]  # fmt: skip
    signed = (GREY.astype(int) - 128).astype(np.int8)
    assert shows(tiff(signed), wanted)
    large = GREY.astype(np.uint32) * 16843009
    assert shows(tiff(large, photometric="minisblack"), wanted)
    # These Pillow does not open; they are not shown the wrong way round.
    for options in ({"photometric": "miniswhite"}, {"photometric": "minisblack", "byteorder": ">"}):
        assert reason(tiff(large, **options)) == "unsupported_format"


def test_floats_of_predictor_3_are_their_values(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    values = np.linspace(0, 1, WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH)
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": 1, "dtype": "float32"}
    for compression in ("deflate", "lzw"):
        path = tmp_path / f"{compression}.tif"
        with rasterio.open(path, "w", **profile, compress=compression, predictor=3) as out:
            out.write(values, 1)
        found = codec.decode(path.read_bytes())[:, :, 0]
        assert np.array_equal(found, colour.grey_levels(values))


@pytest.mark.parametrize("order", ["<", ">"])
def test_bigtiff_is_read_in_both_byte_orders(order):
    data = tiff(PICTURE, bigtiff=True, byteorder=order, photometric="rgb")
    assert shows(data)
    pages = tiff(np.stack([PICTURE, 255 - PICTURE]), bigtiff=True, byteorder=order, photometric="rgb")
    first, second = codec.frames(pages)
    assert np.array_equal(first, PICTURE) and np.array_equal(second, 255 - PICTURE)


@pytest.mark.parametrize("is_dng", [True, False])
def test_a_cameras_raw_file_is_not_its_preview(is_dng):
    for do in (codec.probe, codec.check, codec.decode):
        assert reason(camera_raw(is_dng), do) == "unsupported_format"


# 8 x 8 pixels in one strip of a codec that this libtiff has not; what is in the strip does not matter.
def compressed_as(number):
    data = tiff(quarters(COLOURS), compression="zlib", photometric="rgb")
    at = data.index(struct.pack("<HHII", 259, 3, 1, 8))
    return data[:at] + struct.pack("<HHII", 259, 3, 1, number) + data[at + 12 :]


@pytest.mark.parametrize("number", [34712, 34887, 50001, 50002, 65000])
def test_a_codec_that_is_not_there_is_not_damage(number):
    assert reason(compressed_as(number), codec.decode) == "unsupported_format"
    assert reason(compressed_as(number), codec.check) == "unsupported_format"


def test_smaller_copies_are_no_pages():
    import io

    import tifffile

    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        for kind, image in ((0, PICTURE), (1, PICTURE[::2, ::2]), (2, 255 - PICTURE)):
            file.write(np.ascontiguousarray(image), photometric="rgb", subfiletype=kind)
    data = out.getvalue()
    assert codec.probe(data).frames == 2
    first, second = codec.frames(data)
    assert np.array_equal(first, PICTURE) and np.array_equal(second, 255 - PICTURE)


def test_thousands_of_pages_are_counted_and_a_circle_ends():
    pages = tiff(np.zeros((2000, 1, 1), np.uint8), photometric="minisblack", metadata=None)
    assert codec.probe(pages).frames == 2000
    assert reason(pages, lambda d: next(codec.frames(d))) == "too_many_frames"
    one = saved(scene(), "TIFF")
    first = int.from_bytes(one[4:8], "little")
    count = int.from_bytes(one[first : first + 2], "little")
    end = first + 2 + 12 * count
    circle = one[:end] + one[4:8] + one[end + 4 :]
    assert codec.probe(circle).frames == 1


READ = """
import resource, sys
from imgprep.picture import codec
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
codec.decode(data)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_floats_take_few_bytes_of_memory_a_pixel(tmp_path):
    """Four of them are the numbers, three the picture; it took 30 once."""
    side = 3000
    values = np.zeros((side, side), np.float32)
    values[:100] = 0.5
    Image.fromarray(values).save(tmp_path / "a.tif", compression="tiff_adobe_deflate")
    words = [sys.executable, "-c", READ, str(tmp_path / "a.tif")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) << 10 < 16 * side * side
