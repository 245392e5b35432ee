"""codec: every pixel right, every failure a DecodeError."""

import io
import json
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from imgprep.failures import REASONS
from imgprep.picture import codec
from imgprep.picture.codec import DecodeError


def scene(width: int = 96, height: int = 64) -> np.ndarray:
    """Smooth, and different in every direction, so that a wrong turn or a wrong channel shows."""
    y, x = np.mgrid[:height, :width].astype(float)
    picture = np.stack([255 * x / width, 255 * y / height, 120 + 100 * np.sin(x / 9) * np.cos(y / 7)], -1)
    picture[: height // 4, : width // 4] = (250, 10, 10)
    return picture.astype(np.uint8)


def saved(image: np.ndarray | Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, format, **options)
    return out.getvalue()


def reason(data: bytes, do=codec.decode, **options) -> str:
    with pytest.raises(DecodeError) as caught:
        do(data, **options)
    assert caught.value.reason in REASONS and str(caught.value)
    return caught.value.reason


def off(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


LOSSLESS = [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}), ("WEBP", {"lossless": True}),
            ("PPM", {}), ("TGA", {}), ("JPEG2000", {}), ("QOI", {}), ("SGI", {}), ("PCX", {})]  # fmt: skip


@pytest.mark.parametrize(("format", "options"), LOSSLESS)
def test_lossless_formats_give_the_same_pixels_back(format, options):
    data = saved(scene(), format, **options)
    assert np.array_equal(codec.decode(data), scene())
    assert codec.check(data) == codec.probe(data) == codec.Header(format, 96, 64, "RGB", 1)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_give_nearly_the_same_pixels(format):
    assert off(codec.decode(saved(scene(), format, quality=95)), scene()) < 3


def test_the_result_is_writable_contiguous_and_uint8():
    for data in (saved(scene(), "JPEG", exif=exif(6)), saved(scene(), "PNG"), saved(scene(), "GIF")):
        pixels = codec.decode(data)
        assert pixels.dtype == np.uint8 and pixels.flags.writeable and pixels.flags.c_contiguous


# --- the right way up


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[274] = orientation
    return tags.tobytes()


STORED = {  # how an upright picture must be stored for each orientation to show it upright: the inverse operation
    1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a.transpose(1, 0, 2), 2), 8: lambda a: np.rot90(a, -1),
}  # fmt: skip


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_orientation_is_applied_to_pixels_and_to_the_header(format, orientation):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](scene())))
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(format, {})
    data = saved(stored, format, exif=exif(orientation), **options)
    assert off(codec.decode(data), scene()) < (4 if format in ("JPEG", "AVIF") else 0.001)
    for look in (codec.probe, codec.check):
        assert (look(data).width, look(data).height) == (96, 64)


def test_exif_behind_the_pixels_of_a_png_counts_too():
    data = saved(Image.fromarray(np.ascontiguousarray(STORED[6](scene()))), "PNG", exif=exif(6))
    at = data.index(b"eXIf") - 4
    size = int.from_bytes(data[at : at + 4]) + 12
    chunk, rest = data[at : at + size], data[:at] + data[at + size :]
    end = rest.index(b"IEND") - 4
    late = rest[:end] + chunk + rest[end:]
    assert np.array_equal(codec.decode(late), scene())
    assert (codec.probe(late).width, codec.probe(late).height) == (96, 64)


@pytest.mark.parametrize("tag", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", exif(9), exif(0)])
def test_damaged_or_odd_exif_does_not_lose_the_picture(tag):
    assert off(codec.decode(saved(scene(), "JPEG", quality=95, exif=tag)), scene()) < 3


# --- reduced decoding


@pytest.mark.parametrize(
    ("min_wh", "expected"),
    [((100, 100), (100, 50)), ((101, 101), (200, 100)), ((100, 25), (100, 50)), ((300, 60), (200, 100)),
     ((401, 201), (800, 400)), ((1, 1), (100, 50)), ((5000, 5000), (800, 400))],
)  # fmt: skip
def test_min_wh_reduces_but_never_below_the_picture_fitted_into_the_box(min_wh, expected):
    data = saved(scene(800, 400), "JPEG", quality=95)
    pixels = codec.decode(data, min_wh=min_wh)
    assert pixels.shape[:2] == expected[::-1]
    fitted = min(min_wh[0] / 800, min_wh[1] / 400, 1)
    assert pixels.shape[1] >= int(800 * fitted) and pixels.shape[0] >= int(400 * fitted)
    assert off(pixels, cv2.resize(codec.decode(data), expected, interpolation=cv2.INTER_AREA)) < 4


def test_min_wh_is_about_the_picture_as_displayed():
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](scene(800, 400))))
    pixels = codec.decode(saved(stored, "JPEG", exif=exif(6)), min_wh=(200, 200))
    assert pixels.shape == (100, 200, 3)


def test_a_list_is_as_good_as_a_tuple():
    data = saved(scene(), "JPEG")
    assert np.array_equal(
        codec.decode(data, min_wh=[48, 48], background=[0, 0, 0]), codec.decode(data, min_wh=(48, 48))
    )


@pytest.mark.parametrize("options", [{"background": [255]}, {"min_wh": [1, 2, 3]}])
def test_a_wrong_option_is_the_callers_mistake_not_the_pictures(options):
    with pytest.raises(ValueError, match="background is .*min_wh") as caught:
        codec.decode(saved(scene(), "PNG"), **options)
    assert not isinstance(caught.value, DecodeError)


# --- JPEG: libjpeg-turbo directly, Pillow for what it does not do


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}, {"restart_marker_rows": 1}]
)
def test_jpeg_pixels_are_pillows(options):
    data = saved(scene(), "JPEG", quality=90, **options)
    assert off(codec.decode(data), np.asarray(Image.open(io.BytesIO(data)))) < 0.5
    assert codec.check(data).format == "JPEG"


def test_a_grey_jpeg_has_three_equal_channels():
    pixels = codec.decode(saved(scene()[:, :, 0], "JPEG", quality=95))
    assert (pixels == pixels[:, :, :1]).all() and off(pixels[:, :, 0], scene()[:, :, 0]) < 3


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("do", [codec.decode, codec.check])
def test_a_truncated_jpeg_is_refused_unless_asked_for(do, progressive):
    whole = saved(scene(400, 300), "JPEG", quality=90, progressive=progressive)
    for cut in (len(whole) - 1, len(whole) * 3 // 4, len(whole) // 2):
        assert reason(whole[:cut], do) == "truncated"
    assert reason(whole[: len(whole) // 2], codec.decode, min_wh=(50, 50)) == "truncated"
    kept = codec.decode(whole[: len(whole) * 3 // 4], keep_truncated=True)
    if not progressive:  # the upper half is there
        assert off(kept[:150], codec.decode(whole)[:150]) < 0.1
    assert codec.check(whole[: len(whole) // 2], keep_truncated=True).width == 400


def test_a_jpeg_with_a_hole_is_corrupt_although_pillow_takes_it():
    whole = saved(scene(400, 300), "JPEG", quality=90)
    middle = len(whole) // 2
    holed = whole[:middle] + whole[middle + 200 :]
    Image.open(io.BytesIO(holed)).load()
    assert reason(holed) == reason(holed, codec.check) == "corrupt"
    assert codec.decode(holed, keep_truncated=True).shape == (300, 400, 3)


def test_what_follows_a_jpeg_does_not_matter():
    data = saved(scene(), "JPEG")
    assert np.array_equal(codec.decode(data + b"\xff\xd8 a motion photo's video" * 9), codec.decode(data))


def test_stray_bytes_between_the_markers_are_no_reason_to_lose_a_photo():
    data = saved(scene(), "JPEG", quality=95)
    at = data.index(b"\xff\xdb")
    assert off(codec.decode(data[:at] + b"\0\0" + data[at:]), scene()) < 3


# --- other truncations


@pytest.mark.parametrize(
    ("format", "options"),
    [*LOSSLESS, ("GIF", {}), ("AVIF", {}), ("TIFF", {"compression": "tiff_adobe_deflate"})],
)
def test_every_truncated_format_is_called_truncated(format, options):
    data = saved(scene(), format, **options)
    for part in (0.5, 0.9):
        assert reason(data[: int(len(data) * part)], codec.check) == "truncated", part
        assert reason(data[: int(len(data) * part)]) == "truncated", part


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "PPM", "TGA"])
def test_keep_truncated_keeps_the_rows_before_the_end(format):
    data = saved(scene(400, 300), format)
    whole, kept = codec.decode(data), codec.decode(data[: len(data) * 3 // 4], keep_truncated=True)
    rows = slice(200, 300) if format in ("BMP", "TGA") else slice(0, 100)  # these begin at the bottom
    assert np.array_equal(kept[rows], whole[rows]) and not np.array_equal(kept, whole)
    assert reason(data[: len(data) * 3 // 4]) == "truncated"  # no flag was left behind


# --- first frames


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF", "MPO"])
def test_the_first_frame_of_many(format):
    first, second = Image.fromarray(scene()), Image.fromarray(255 - scene())
    data = saved(
        first, format, save_all=True, append_images=[second, first], **({"lossless": True} if format == "WEBP" else {})
    )
    assert off(codec.decode(data), scene()) < 12  # a GIF has 256 colours
    assert codec.probe(data).frames == codec.check(data).frames == 3


# --- encode, placeholder


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF", "MPO"])
def test_all_frames_in_their_order(format):
    colours = [(200, 30, 30), (30, 180, 40), (40, 60, 200)]
    first, *others = (Image.new("RGB", (32, 16), colour) for colour in colours)
    data = saved(first, format, save_all=True, append_images=others)
    found = [frame[8, 16].astype(int) for frame in codec.frames(data)]
    expected = colours[:1] if format == "MPO" else colours  # the others are a second view or a map, not frames
    assert len(found) == len(expected) and np.abs(np.array(found) - expected).max() < 12
    assert np.array_equal(next(codec.frames(data)), codec.decode(data))


def test_a_damaged_later_frame_raises_when_it_is_its_turn():
    frames = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (64, 64), np.uint8)) for n in range(3)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    seen = codec.frames(data[: len(data) * 5 // 6])
    assert next(seen).shape == next(seen).shape == (64, 64, 3)
    with pytest.raises(DecodeError) as caught:
        next(seen)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(("format", "quality"), [("PNG", 95), ("WEBP", None)])
def test_lossless_encoding_is_lossless_and_deterministic(format, quality):
    data = codec.encode(scene(), format, quality=quality)
    assert np.array_equal(codec.decode(data), scene())
    assert data == codec.encode(scene().copy(), format, quality=quality)
    assert codec.probe(data).format == format


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_quality_is_heeded(format):
    sizes = [len(codec.encode(scene(), format, quality=q)) for q in (20, 60, 95)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2] / 2
    assert off(codec.decode(codec.encode(scene(), format)), scene()) < 3


def test_channels_keep_their_order():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    for format in ("PNG", "JPEG", "WEBP"):
        assert (Image.open(io.BytesIO(codec.encode(red, format))).convert("RGB").getpixel((4, 4))[0]) > 250


@pytest.mark.parametrize(("options", "says"), [({"format": "JPG"}, "did you mean 'JPEG'"), ({"format": "png"}, "'PNG'"),
                                               ({"format": "JPEG", "quality": 0}, "1 to 100"),
                                               ({"format": "JPEG", "quality": None}, "1 to 100")])  # fmt: skip
def test_a_wrong_encoding_is_refused_with_the_right_one(options, says):
    with pytest.raises(ValueError, match=says):
        codec.encode(scene(), **options)


@pytest.mark.parametrize("size_wh", [(128, 128), (256, 64), (1, 1), (1, 50), (7, 3)])
def test_a_placeholder_has_exactly_its_size(size_wh):
    assert codec.decode(codec.placeholder(size_wh)).shape == (size_wh[1], size_wh[0], 3)


def test_a_placeholder_is_a_crossed_out_field_of_its_colour():
    for color in [(200, 200, 200), (0, 0, 90), (255, 255, 255)]:
        image = codec.decode(codec.placeholder((128, 128), color))
        field, ink = np.array(color), image[64, 64]
        assert (image == field).all(-1).mean() > 0.8
        assert np.abs(ink.astype(int) - field).min() >= 50
        for x, y in [(0, 0), (127, 0), (32, 32), (96, 32), (32, 95), (127, 127), (0, 64)]:
            assert (image[y, x] == ink).all()
    assert codec.placeholder() == codec.placeholder([128, 128], [200, 200, 200])


# --- real files


def pictures(folder) -> list:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".csv", ".json", ".txt"))


@pytest.mark.corpus
def test_all_eight_orientations_of_real_photographs_show_the_same(corpus):
    landscapes = [corpus / "exif" / f"Landscape_{i}.jpg" for i in range(1, 9)]
    for paths in (landscapes, sorted((corpus / "exif" / "pillow").glob("hopper_orientation_*.jpg"))):
        shown = [codec.decode(p.read_bytes(), min_wh=(300, 300)) for p in paths]
        small = [cv2.resize(s, (45, 30), interpolation=cv2.INTER_AREA) for s in shown]  # each was compressed anew
        assert len(paths) >= 7 and max(off(small[0], other) for other in small) < 1
        assert len({(h.width, h.height) for h in (codec.probe(p.read_bytes()) for p in paths)}) == 1


@pytest.mark.corpus
def test_avif_that_is_turned_by_its_container_is_turned_once(corpus):
    shown = [codec.decode(p.read_bytes()) for p in sorted((corpus / "modes").glob("kimono.*.avif"))]
    small = [cv2.resize(k, (72, 102), interpolation=cv2.INTER_AREA) for k in shown]
    assert [k.shape for k in shown] == [(1024, 722, 3)] * 4
    assert max(off(small[0], other) for other in small) < 2  # a wrong turn would be 38 or more


def reference(data: bytes) -> np.ndarray:
    """What Pillow makes of it by the book: transpose, profile to sRGB, alpha on white. 8-bit pictures only."""
    im = Image.open(io.BytesIO(data))
    im.load()
    icc, im = im.info.get("icc_profile"), ImageOps.exif_transpose(im)
    alpha = im.convert("RGBA").getchannel("A") if im.has_transparency_data else None
    if im.mode not in ("RGB", "CMYK", "L") or (im.mode == "L" and alpha):
        im = im.convert("RGBA").convert("RGB") if im.mode != "LAB" else im
    if im.mode == "LAB":
        im = ImageCms.profileToProfile(
            im, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    elif icc:
        try:
            im = ImageCms.profileToProfile(im, io.BytesIO(icc), ImageCms.createProfile("sRGB"), outputMode="RGB")
        except ImageCms.PyCMSError:
            pass
    im = im.convert("RGB")
    return np.asarray(Image.composite(im, Image.new("RGB", im.size, "white"), alpha) if alpha else im)


@pytest.mark.corpus
@pytest.mark.parametrize("group", ["modes", "exif", "photos", "artwork"])
def test_every_file_decodes_like_the_reference_or_says_why_not(corpus, group):
    refused, compared = {}, 0
    for path in pictures(corpus / group):
        data = path.read_bytes()
        try:
            pixels, header = codec.decode(data), codec.check(data)
        except DecodeError as e:
            refused[path.name] = e.reason
            continue
        assert (header.height, header.width, 3) == pixels.shape, path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wide = Image.open(path).mode[0] in "IF"
            sixteen = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if wide else None
            expected = np.repeat(sixteen[:, :, None] / 257, 3, 2) if wide else reference(data)
        assert abs(pixels.mean() - expected.mean()) < 2, path
        assert off(pixels, expected) < 2, path
        small = codec.decode(data, min_wh=(64, 64))
        assert abs(small.mean() - pixels.mean()) < 2, path
        compared += 1
    assert compared >= 28 and set(refused.values()) <= {"unsupported_format"}
    assert all(name.lower().endswith((".heic", ".heif", ".jxl")) for name in refused)


CHILD = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from imgprep import codec
for path in json.load(sys.stdin):
    data, words, started = open(path, "rb").read(), [], time.process_time()
    for do in (codec.probe, codec.check, codec.decode, lambda d: codec.decode(d, keep_truncated=True)):
        try:
            do(data)
            words.append("ok")
        except codec.DecodeError as e:
            words.append(e.reason)
    print(json.dumps([path, words, time.process_time() - started]), flush=True)
"""


@pytest.mark.corpus
def test_hostile_files_end_soon_in_little_memory_and_silence(corpus):
    paths = [str(p) for p in pictures(corpus / "broken")]
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(paths), capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [path for path, _, _ in lines] == paths
    for path, words, seconds in lines:
        assert set(words) <= {"ok", *REASONS} and seconds < 2, path
        assert words[1] == words[2], path  # check and decode agree
        assert words[3] == "ok" or words[2] != "ok", path
    assert len({w for _, words, _ in lines for w in words}) >= 5


THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from imgprep import codec
from test_codec import saved, scene
whole = saved(scene(200, 150), "TIFF", compression="tiff_lzw")
index = int.from_bytes(whole[4:8], "little")
broken = whole[:100] + b"x" * 50 + whole[150:]
def go(data):
    try:
        return codec.decode(data).shape
    except codec.DecodeError as e:
        return e.reason
with ThreadPoolExecutor(8) as pool:
    seen = set(pool.map(go, [whole, broken] * 200))
print(seen == {(150, 200, 3), "corrupt"})
print("stderr still works", file=sys.stderr)
"""


def child(script: str) -> tuple[int, str, str]:
    """Run by another Python, which has this folder to import from."""
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=here)
    return done.returncode, done.stdout, done.stderr


def test_threads_do_not_disturb_each_other_nor_stderr():
    assert child(THREADS) == (0, "True\n", "stderr still works\n")


FUZZ = """
import collections, random, resource
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from imgprep import codec
from test_codec import LOSSLESS, saved, scene
rng, seen = random.Random(7), collections.Counter()
for format, options in [*LOSSLESS, ("JPEG", {}), ("GIF", {}), ("AVIF", {}), ("TIFF", {"compression": "jpeg"})]:
    whole = saved(scene(24, 16), format, **options)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 3, 20])):
            data[4 + int((len(data) - 4) * rng.random() ** 2)] = rng.randrange(256)
        data = bytes(data[: rng.choice([len(data), rng.randrange(1, len(data))])])
        try:
            assert codec.decode(data, max_pixels=10_000_000, keep_truncated=rng.random() < 0.3).dtype == np.uint8
            seen["ok"] += 1
        except codec.DecodeError as e:
            seen[e.reason] += 1
print(*(f"{word} {n}" for word, n in seen.items()))
"""


def test_thousands_of_damaged_pictures_raise_nothing_but_decode_error():
    code, out, complaints = child(FUZZ)
    assert (code, complaints) == (0, "")
    seen = dict(zip((words := out.split())[::2], map(int, words[1::2]), strict=True))
    assert sum(seen.values()) == 4500 and set(seen) <= {"ok", *REASONS}
    assert min(seen[word] for word in ("ok", "truncated", "corrupt")) > 200


def test_the_first_bytes_of_a_file_never_stand_in_an_error():
    for data in (b"TOP-SECRET root:x:0:0", b"<!doctype html><p>TOP-SECRET"):
        with pytest.raises(codec.DecodeError) as caught:
            codec.decode(data)
        assert caught.value.reason == "not_an_image" and "SECRET" not in str(caught.value)
