"""The table of traps: whatever a file hides, its variants show the truth to the plainest of readers.

Each file is made here from one picture, so that the truth is known; the variants are read by Pillow alone, which
applies no orientation, no profile and no background.
"""

import base64
import io

import cv2
import datasets
import numpy as np
import pytest
from made import folder, table
from PIL import Image
from test_codec import STORED, exif, saved
from test_colour import ADOBE_RGB, matrix_profile

import imgprep
from imgprep.picture import codec, header
from imgprep.stages import images, variants

# 64 x 48: red, green over blue, yellow; turned by its container and, as it must be, not again by its EXIF.
HEIC = base64.b85decode(
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<0005LZDn*}000000000XXk=`10000000000aA{+700000000000000000000G-+&aV*mgE07O6l0"
    "ssL300001;s5~v00000008~~0ssI200Q6u0RR9100000Bme*aIB98aW&i*H00062000$fZf0cy000000RRAKc4ILB0000LX>Mj^0ssI300IC2MR"
    ";ju000004sdC7Z2$lO00031008}IaB^?}007--aAR)(004Gqc4I>U18@KU0FVFx0000U@BsY%`1k+-4+CHT0RR|40Sp2E{{wIU00RJ!0009300R"
    "IXx&lC90096hLID8-Z~y=U0FVFx0{{R603M(qfd!W8<fgf}2xu@M00096AOHXZ03l)k0RRR>0l{;?i2wiq6Ju{|a&BX6cmM$a4FCp!0000KX>)L8"
    "000000000$0000$0000eV{Bn?0000$000010000m000010000000002|NsB+000020000GaA|mH000000|*ER0000OX>e^}0000000001009Mo0s"
    "{qv0000QX>w&|000000000EV`Ot<00IC3009610V-`|VRQfh0Qx8auLStp^5~Yg{Fz7p`%QlT^+R&ojisk!j|08YOZ1Ze{}0Ibb-Vqss3JHN3hT7"
    "hBlRu*h>UOe*)~kpn>&aXqY-UN`^S6#TlD|(O=uUF^0_4VMdSUii>~VIYJ7{oeuKY0v%J9Xe(cgi@SH<L(DoluT|YZ@aykR3y<+ME27@6yixuJTV"
    "y@|#P7Bsc&feDH4e(E&x`zY00IZ;Wmvejb&@&aZank6p0Khx~QoQy!6fi|$a=nTRFT1uRzFIb#`mGDf^E-@$VwCa9XslB@v1Y3sF20jeWtr1CzzK"
    "BtLlb``&-6)Cvvf0#oDO{fbMeCz00006MR;ju002!*04e|g00;m90TKWM0000100sa600000"
)


def scene(n: int = 0) -> np.ndarray:
    """320 x 240, smooth, different in every direction and from frame to frame; no colour is outside sRGB or near it."""
    y, x = np.mgrid[:240, :320].astype(float)
    picture = np.stack([50 + 150 * x / 320, 50 + 150 * y / 240, 120 + 70 * np.sin(x / 40 + n) * np.cos(y / 30)], -1)
    picture[40:100, 40:120] = (200, 60, 60)
    return picture.astype(np.uint8)


def in_profile(gamma: float, primaries: dict[str, tuple[float, float, float]]) -> bytes:
    """The scene as a PNG in another colour space: by the matrices' arithmetic, not by a colour engine."""
    srgb = np.array([(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]).T
    value = scene() / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    theirs = light @ srgb.T @ np.linalg.inv(np.array([primaries[c] for c in "rgb"]).T).T
    stored = (theirs.clip(0, 1) ** (1 / gamma) * 255).round().astype(np.uint8)
    return saved(stored, "PNG", icc_profile=matrix_profile(gamma, primaries))


P3 = {"r": (0.5151, 0.2412, -0.0011), "g": (0.2920, 0.6922, 0.0419), "b": (0.1571, 0.0666, 0.7841)}
ADOBE = {"r": (0.6097, 0.3111, 0.0195), "g": (0.2053, 0.6257, 0.0609), "b": (0.1492, 0.0632, 0.7446)}
PROPHOTO = {"r": (0.7977, 0.2880, 0.0), "g": (0.1352, 0.7119, 0.0), "b": (0.0313, 0.0001, 0.8249)}


def cmyk_profile() -> bytes:
    """An ICC v2 profile of a printer whose every ink is neutral grey: pure cyan is L* 50."""
    clut = b"".join(bytes([255 if not n else 128 if n.bit_count() == 1 else 0, 128, 128]) for n in range(16))
    ramp = bytes(range(256))
    matrix = b"".join(int(65536 * (i % 4 == 0)).to_bytes(4) for i in range(9))
    lut = b"mft1\0\0\0\0\4\3\2\0" + matrix + ramp * 4 + clut + ramp * 3
    lut += b"\0" * (-len(lut) % 4)
    head = bytearray(128)
    head[:4], head[8:12], head[12:24] = (144 + len(lut)).to_bytes(4), b"\x02\x10\0\0", b"prtrCMYKLab "
    head[36:40], head[68:80] = b"acsp", b"\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d"
    return bytes(head) + (1).to_bytes(4) + b"A2B0" + (144).to_bytes(4) + len(lut).to_bytes(4) + lut


def animated(format: str, **options) -> bytes:
    first, *others = (Image.fromarray(scene(n)) for n in range(3))
    return saved(first, format, save_all=True, append_images=others, **options)


def made() -> dict[str, tuple[bytes, np.ndarray]]:
    """name.ext -> the file and what it is meant to show."""
    truth, jpeg = scene(), {"quality": 95, "subsampling": 0}
    table = {}
    for turn, store in STORED.items():
        table[f"turned-{turn}.jpg"] = saved(np.ascontiguousarray(store(truth)), "JPEG", exif=exif(turn), **jpeg), truth
    table["display-p3.png"] = in_profile(2.2, P3), truth
    table["adobe-rgb.png"] = in_profile(2.2, ADOBE), truth
    table["prophoto.png"] = in_profile(1.8, PROPHOTO), truth
    inks = np.full((240, 320, 4), (255, 0, 0, 0), np.uint8)
    inks[:, 160:] = 0
    grey = np.full((240, 320, 3), 119, np.uint8)  # L* 50
    grey[:, 160:] = 255
    table["cmyk-profile.jpg"] = saved(Image.fromarray(inks, "CMYK"), "JPEG", icc_profile=cmyk_profile(), **jpeg), grey
    cyan = np.full((240, 320, 3), (0, 255, 255), np.uint8)
    cyan[:, 160:] = 255
    table["cmyk-plain.jpg"] = saved(Image.fromarray(inks, "CMYK"), "JPEG", **jpeg), cyan
    wide = cv2.cvtColor(truth, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257
    table["16-bit.png"] = cv2.imencode(".png", wide)[1].tobytes(), truth
    flat = np.repeat(truth[:, :, :1], 3, 2)
    table["16-bit-grey.png"] = cv2.imencode(".png", wide[:, :, 2])[1].tobytes(), flat
    few = Image.fromarray(truth).quantize(64)
    table["palette.png"] = saved(few, "PNG"), np.asarray(few.convert("RGB"))
    alpha = np.linspace(0, 255, 320).astype(np.uint8)[None, :].repeat(240, 0)
    on_white = truth * (alpha[:, :, None] / 255) + 255 - alpha[:, :, None]
    table["alpha.png"] = saved(Image.fromarray(np.dstack([truth, alpha])), "PNG"), on_white.round().astype(np.uint8)
    table["animated.gif"] = animated("GIF"), truth
    table["animated.webp"] = animated("WEBP", quality=90), truth
    table["animated.avif"] = animated("AVIF", quality=90), truth
    table["animated.png"] = animated("PNG"), truth
    table["progressive.jpg"] = saved(truth, "JPEG", progressive=True, **jpeg), truth
    table["still.avif"] = saved(truth, "AVIF", quality=90), truth
    table["still.jp2"] = saved(truth, "JPEG2000"), truth
    table["stereo.mpo"] = animated("MPO", quality=95), truth
    return table


TABLE = made()


def shown(data: bytes) -> np.ndarray:
    """By a reader that knows nothing: the pixels as they are stored."""
    im = Image.open(io.BytesIO(data))
    return np.asarray(im.convert("RGB"))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(10 * np.log10(255**2 / max(1e-9, ((a.astype(float) - b) ** 2).mean())))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> dict[tuple[str, str], list[bytes]]:
    """(file, variant) -> its pictures, of one run over the whole table with all frames."""
    place, out = tmp_path_factory.mktemp("table"), tmp_path_factory.mktemp("out") / "ds"
    for name, (data, _) in TABLE.items():
        (place / name).write_bytes(data)
    (place / "truncated.jpg").write_bytes(TABLE["progressive.jpg"][0][:5000])
    (place / "picture.heic").write_bytes(HEIC)
    with imgprep.session("local", workers=0):
        ds = variants.build(str(place), str(out), thumbnail_side=160, frames="all")
    table = ds.table("train").to_pandas()
    found: dict[tuple[str, str], list] = {}
    for row, data in enumerate(ds.pictures("train", range(len(table)))):
        found.setdefault((table["file_name"][row], table["reason"][row] or table["variant"][row]), []).append(data)
    return found


@pytest.mark.parametrize("name", TABLE)
def test_a_variant_shows_the_truth_to_a_reader_that_knows_nothing(pictures, name):
    data, truth = TABLE[name]
    assert pictures[name, "original"] == [data]
    limit = 30 if name.endswith(".gif") else 36  # 256 colours
    assert psnr(shown(pictures[name, "vision"][0]), truth) > limit
    small = cv2.resize(truth, (160, 120), interpolation=cv2.INTER_AREA)
    assert psnr(shown(pictures[name, "thumbnail"][0]), small) > min(limit, 34)
    for variant in ("vision", "thumbnail"):
        left = Image.open(io.BytesIO(pictures[name, variant][0])).info
        assert not {"exif", "xmp", "icc_profile", "comment", "mp"} & {*left}


@pytest.mark.parametrize("name", [n for n in TABLE if n.startswith("animated")])
def test_all_frames_of_an_animation_are_there_in_order(pictures, name):
    frames = [shown(data) for data in pictures[name, "vision"]]
    assert len(frames) == 3 == len(pictures[name, "thumbnail"])
    for n, frame in enumerate(frames):
        assert max(range(3), key=lambda other: psnr(frame, scene(other))) == n and psnr(frame, scene(n)) > 30


def test_the_second_picture_of_an_mpo_is_not_passed_on(pictures):
    (vision,) = pictures["stereo.mpo", "vision"]
    assert Image.open(io.BytesIO(vision)).format == "JPEG" and len(vision) < len(TABLE["stereo.mpo"][0]) / 2


def test_a_truncated_picture_has_no_variants(pictures):
    assert pictures["truncated.jpg", "truncated"] == [None]


def test_heic_is_upright_and_its_original_is_the_file(pictures):
    assert pictures["picture.heic", "original"] == [HEIC]
    image = shown(pictures["picture.heic", "vision"][0])
    corners = [image[y, x] for y, x in ((8, 8), (8, 56), (40, 8), (40, 56))]
    assert image.shape == (48, 64, 3)
    assert np.abs(np.array(corners, int) - [(200, 30, 30), (30, 180, 40), (40, 60, 200), (230, 220, 60)]).max() < 12


def test_heic_without_its_reader_says_what_to_install(monkeypatch):
    monkeypatch.delitem(header.Image.OPEN, "HEIF")
    with pytest.raises(codec.DecodeError, match=r"pip install pi-heif") as caught:
        codec.decode(HEIC)
    assert caught.value.reason == "missing_extra"


def test_load_dataset_opens_every_config_also_where_an_original_is_heic(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.heic").write_bytes(HEIC)
    (tmp_path / "in" / "b.jpg").write_bytes(TABLE["progressive.jpg"][0])
    with imgprep.session("local", workers=0):
        ds = variants.build(str(tmp_path / "in"), str(tmp_path / "out"))
    raw = datasets.load_dataset(ds.folder, cache_dir=str(tmp_path / "cache"))["train"]
    assert [image and image.size for image in raw["image"]] == [None, (320, 240)]
    assert raw[0]["original"] == HEIC and raw[0]["nbytes"] == len(HEIC) and raw[1]["original"] is None
    small = datasets.load_dataset(ds.folder, "thumbnail", cache_dir=str(tmp_path / "cache"))["train"]
    assert [image.size for image in small["image"]] == [(64, 48), (256, 192)]


def test_an_adobe_profile_that_stays_unconverted_would_be_seen():
    """The check itself: read without its profile, the same file is off."""
    assert psnr(shown(saved(scene(), "PNG", icc_profile=ADOBE_RGB)), codec.decode(in_profile(2.2, ADOBE))) > 36
    assert psnr(shown(in_profile(2.2, ADOBE)), scene()) < 30


def test_pictures_of_too_many_bytes_are_left_out_of_folders_and_datasets_alike(tmp_path):
    paths = folder(tmp_path / "in", 3)
    with open(paths[1], "ab") as file:
        file.write(b"\0" * 5000)
    with imgprep.session("local", workers=0):
        raw = images.download({"train": table(paths)}, str(tmp_path / "raw"))
        for source, out in ((str(tmp_path / "in"), "a"), (raw, "b")):
            made = variants.build(source, str(tmp_path / out), thumbnail_side=8, max_bytes=4000)
            assert made.counts()["reasons"] == {"too_large": 1} and made.counts()["ok"] == 6
            again = variants.build(source, str(tmp_path / out), thumbnail_side=8, max_bytes=9000, retry_failed=True)
            assert again.counts()["ok"] == 9


def test_columns_of_places_that_no_annotation_names_are_told_before_the_sizes_are_made(tmp_path, caplog):
    rows = table(folder(tmp_path / "in", 1)).append_column("boxes", [[[[1, 2, 3, 4]]]])
    with imgprep.session("local", workers=0):
        variants.build({"train": rows}, str(tmp_path / "a"), annotations={"boxes_xywh": "boxes"})
        assert "of places in the original" not in caplog.text
        variants.build({"train": rows}, str(tmp_path / "b"))
    said = [r.message for r in caplog.records]
    told = "variants: boxes is a column of places in the original: name them in annotations, and they are scaled"
    assert said[said.index(told) + 1].startswith("variants: 1 of 1 row to compute")
