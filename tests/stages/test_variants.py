"""Facts about the sizes made of each picture: which bytes, how large, in which config; and what bad input gets."""

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import datasets
import numpy as np
import pyarrow as pa
import pytest
from made import table, tree
from PIL import Image

import imgprep
from imgprep import dataset
from imgprep.dataset import parquet
from imgprep.picture import augment, codec
from imgprep.resume import gather
from imgprep.rows import sources
from imgprep.stages import images, variants


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


def photo(n: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Smooth with some noise, as photographs are: (H, W, 3) uint8."""
    rng = np.random.default_rng(n)
    smooth = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), size_wh, interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A large JPEG, a small clean one, one with EXIF, a broken one."""
    place = tmp_path / "in"
    place.mkdir()
    codec_jpeg = codec.encode(photo(1, (1600, 1200)), "JPEG", quality=92)
    (place / "a-large.jpg").write_bytes(codec_jpeg)
    (place / "b-small.jpg").write_bytes(codec.encode(photo(2, (120, 80)), "JPEG"))
    exif = Image.Exif()
    exif[270] = "at home"
    tagged = io.BytesIO()
    Image.fromarray(photo(3, (200, 100))).save(tagged, "JPEG", exif=exif)
    (place / "c-tagged.jpg").write_bytes(tagged.getvalue())
    (place / "d-broken.jpg").write_bytes(codec_jpeg[: len(codec_jpeg) // 2])
    return place


def load(ds: dataset.Dataset, config: str, tmp_path: Path) -> datasets.Dataset:
    return datasets.load_dataset(ds.folder, config, cache_dir=str(tmp_path / "cache"))["train"]


def test_every_size_is_a_config_and_every_row_a_child_of_its_picture(folder, tmp_path):
    out = variants.build(str(folder), str(tmp_path / "out"), vision_max_side=800)
    assert out.counts() == {"rows": 10, "ok": 9, "placeholder": 0, "failed": 1, "reasons": {"truncated": 1}}
    assert out.configs == ["original", "vision", "thumbnail", "failures"]
    whole = out.table("train").to_pandas()
    assert whole["variant"].fillna("").tolist() == ["original", "vision", "thumbnail"] * 3 + [""]
    assert whole["image_id"].iloc[:3].tolist() == [f"{whole['parent_id'][0]}-{i}" for i in range(3)]
    outcomes = ["copied", "encoded", "encoded", *["copied"] * 4, "stripped", "stripped", ""]
    assert whole["outcome"].fillna("").tolist() == outcomes
    assert list(zip(whole["width"], whole["height"], strict=True))[:3] == [(1600, 1200), (800, 600), (256, 192)]
    for config, wide in (("original", 1600), ("vision", 800), ("thumbnail", 256)):
        rows = load(out, config, tmp_path)
        assert set(rows["variant"]) == {config} and rows[0]["image"].width == wide
    assert datasets.load_dataset(out.folder, cache_dir=str(tmp_path / "c"))["train"]["variant"] == ["original"] * 3
    assert load(out, "failures", tmp_path)["reason"] == ["truncated"]


def test_the_original_is_the_file_and_what_passes_has_the_same_pixels(folder, tmp_path):
    out = variants.build(str(folder), str(tmp_path / "out"), vision_max_side=800)
    rows, data = out.table("train"), out.pictures("train", range(10))
    for n, name in enumerate(["a-large.jpg", "b-small.jpg", "c-tagged.jpg"]):
        file = (folder / name).read_bytes()
        assert data[3 * n] == file
        assert rows["source_sha256"][3 * n + 2].as_py() == hashlib.sha256(file).hexdigest()
    assert data[4] == data[5] == data[3]
    assert b"at home" in data[6] and b"at home" not in data[7] and len(data[7]) < len(data[6])
    assert np.array_equal(codec.decode(data[7]), codec.decode(data[6]))


@pytest.mark.parametrize("limit", [1, 4000, 500 << 20])
def test_edits_recompute_only_what_is_new_and_history_does_not_show(folder, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(parquet, "FILE_BYTES", limit)
    monkeypatch.setattr(gather, "CHUNK_BYTES", limit)
    (folder / "e-again.jpg").write_bytes((folder / "b-small.jpg").read_bytes())
    raw = images.download(sources.read({"train": str(folder)}), str(tmp_path / "raw"), batch_size=2)
    options = {"sizes": {"small": {"max_side": 100, "max_bytes": 900}}, "vision": None, "batch_size": 2}
    out = variants.build(raw, str(tmp_path / "out"), **options)
    again = variants.build(raw, str(tmp_path / "out"), **options | {"batch_size": 3})
    fresh = variants.build(raw, str(tmp_path / "fresh"), **options | {"batch_size": 3})
    assert again.runs()[-1]["computed"] == 0 and again.files == fresh.files != out.files
    assert again.table("train").drop_columns(["file", "row"]) == out.table("train").drop_columns(["file", "row"])


def test_a_budget_that_nothing_reaches_fails_alone(folder, tmp_path):
    out = variants.build(str(folder), str(tmp_path / "out"), vision_max_bytes=1000, max_failed=1.0)
    whole = out.table("train").to_pandas()
    large = whole[whole["file_name"] == "a-large.jpg"]
    assert large["status"].tolist() == ["ok", "failed", "ok"] and large["reason"].tolist()[1] == "over_budget"
    assert large["variant"].tolist() == ["original", "vision", "thumbnail"]
    bad = load(out, "failures", tmp_path)
    assert {*bad["reason"]} == {"over_budget", "truncated"} and not any(bad["image"])
    # It is tried again when asked, with its brothers, and comes out the same.
    files = out.files
    again = variants.build(str(folder), out.folder, vision_max_bytes=1000, max_failed=1.0, retry_failed=True)
    assert again.runs()[-1]["computed"] == 4 and again.files == files


def test_empty_unknown_and_odd_files_are_rows(tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    (place / "a.jpg").write_bytes(b"")
    (place / "b.jpg").write_bytes(b"<html>not found</html>")
    (place / "c.jxl").write_bytes(b"\xff\n" + bytes(100))
    (place / "d.png").write_bytes(codec.encode(photo(1, (30, 20))))
    out = variants.build(str(place), str(tmp_path / "out"), max_failed=1.0)
    words = ["empty", "not_an_image", "unsupported_format", "", "", ""]
    assert out.table("train")["reason"].to_pylist() == words
    assert load(out, "failures", tmp_path)["original"] == [None, None, b"\xff\n" + bytes(100)]


def test_named_sizes_are_what_they_say(folder, tmp_path):
    sizes = {"web": {"max_side": 640, "format": "WEBP", "quality": 80}, "print": {"format": "PNG"}}
    out = variants.build(str(folder), str(tmp_path / "out"), vision=None, thumbnail_side=None, sizes=sizes)
    assert out.configs == ["original", "web", "print", "failures"]
    rows = [row for row in out.table("train").to_pylist() if row["file_name"] == "a-large.jpg"]
    assert [(r["format"], r["width"], r["quality"]) for r in rows] == [
        ("JPEG", 1600, None), ("WEBP", 640, 80), ("PNG", 1600, None)]  # fmt: skip
    print_, original = out.pictures("train", [2, 0])
    assert np.array_equal(codec.decode(print_), codec.decode(original))


def test_a_size_that_is_dropped_leaves_no_files(folder, tmp_path):
    sizes = {"web": {"max_side": 640}}
    variants.build(str(folder), str(tmp_path / "out"), sizes=sizes)
    for _ in range(2):  # for a reader of the version before, its files stay until the next run
        out = variants.build(str(folder), str(tmp_path / "out"))
    files = {str(p.relative_to(out.folder)) for p in Path(out.folder).rglob("*.parquet")}
    assert files == {f["file"] for f in out.files}


def test_a_picture_too_long_for_a_format_or_with_exif_over_the_budget_fails_alone(folder, tmp_path):
    (folder / "e-long.png").write_bytes(codec.encode(np.zeros((2, 16_400, 3), np.uint8)))
    exif = Image.Exif()
    exif[270] = "x" * 9000
    Image.fromarray(photo(3, (300, 200))).save(folder / "f-said.jpg", exif=exif)
    sizes = {"web": {"format": "WEBP"}, "vision": {"max_bytes": 8000, "max_side": 100}, "thumbnail": {"quality": 50}}
    out = variants.build(str(folder), str(tmp_path / "out"), sizes=sizes, keep_metadata=True)
    bad = {(r["file_name"], r["variant"]): r["error"] for r in out.table("train").to_pylist() if r["status"] != "ok"}
    assert bad["e-long.png", "web"] == "a picture of 16400 x 2 is too large for WEBP"
    assert "has 0 bytes" in bad["f-said.jpg", "vision"] and len(bad) == 3
    rows = [r for r in out.table("train").to_pylist() if r["outcome"] == "encoded" and r["variant"] == "thumbnail"]
    assert {(r["quality"], max(r["width"], r["height"])) for r in rows} == {(50, 256)}, "what is not named stays"


def test_metadata_that_is_kept_is_in_every_size(folder, tmp_path):
    out = variants.build(str(folder), str(tmp_path / "out"), vision_max_side=150, keep_metadata=True)
    whole = out.table("train").to_pandas()
    rows = [int(n) for n in np.flatnonzero(whole["file_name"] == "c-tagged.jpg")]
    for data in out.pictures("train", rows):
        assert Image.open(io.BytesIO(data)).getexif()[270] == "at home"


@pytest.fixture
def marked(tmp_path) -> dict[str, pa.Table]:
    """Two pictures of a bright block, its box and its class."""
    place = tmp_path / "in"
    place.mkdir()
    for n in range(2):
        image = np.zeros((200, 400, 3), np.uint8)
        image[40:100, 60 + 100 * n : 140 + 100 * n] = 255
        (place / f"{n}.png").write_bytes(codec.encode(image))
    boxes = [[[60 + 100 * n, 40, 80, 60]] for n in range(2)]
    return {"train": table([str(place / f"{n}.png") for n in range(2)], box=boxes, label=[["a"], ["b"]])}


FLIP = {"HorizontalFlip": {"p": 0.5}, "RandomBrightnessContrast": {"p": 1.0}}
NOTES = {"boxes_xywh": "box", "labels": "label"}


def test_boxes_stay_on_their_blocks_in_every_size_and_copy(marked, tmp_path):
    options = {"augment": FLIP, "copies": 4, "annotations": NOTES, "vision_max_side": 200}
    out = variants.build(marked, str(tmp_path / "out"), **options)
    rows = out.table("train").to_pylist()
    assert [r["variant"] for r in rows] == (["original", "vision", "thumbnail"] + ["augmented"] * 4) * 2
    assert {r["width"] for r in rows} == {400, 200, 256}
    for row, data in zip(rows, out.pictures("train", range(len(rows))), strict=True):
        (x, y, w, h), image = row["box"][0], codec.decode(data)[:, :, 0].astype(int)
        level = (image.max() + image.min()) / 2
        down, across = np.nonzero(image > level)
        found = (across.min(), down.min(), np.ptp(across) + 1, np.ptp(down) + 1)
        assert np.abs(np.subtract(found, (x, y, w, h))).max() <= 2, row["variant"]
        assert row["label"] == (["a"] if row["parent_id"] == rows[0]["parent_id"] else ["b"])
    copies = load(out, "augmented", tmp_path)
    assert len({*copies["sha256"]}) == 8 and "HorizontalFlip" in "".join(copies["augmentation"])


def test_a_copy_can_be_made_again_from_what_its_row_says(marked, tmp_path):
    out = variants.build(marked, str(tmp_path / "out"), augment=FLIP, copies=3, annotations=NOTES)
    rows, data = out.table("train").to_pylist(), out.pictures("train", range(12))
    run = augment.compose(out.info["options"]["augment"], list(NOTES))
    image, notes = codec.decode(data[6]), {kind: rows[6][column] for kind, column in NOTES.items()}
    for row, copy in zip(rows[9:], data[9:], strict=True):
        again, moved, record = augment.apply_pipeline(run, image, notes, json.loads(row["augmentation"])["seed"])
        assert codec.encode(again, "JPEG", quality=row["quality"], is_full_chroma=True) == copy
        assert moved["boxes_xywh"] == row["box"] and record == row["augmentation"]


def test_a_box_that_is_none_fails_in_its_row(marked, tmp_path):
    boxes = pa.array([[[1, 2, 3]], [[60, 40, 80, 60]]])
    tables = {"train": marked["train"].set_column(1, "box", boxes)}
    out = variants.build(tables, str(tmp_path / "out"), annotations={"boxes_xywh": "box"}, max_failed=1.0,
                         vision_max_side=200)  # fmt: skip
    assert out.table("train")["status"].to_pylist() == ["ok", "failed", "failed", "ok", "ok", "ok"]
    assert out.counts()["reasons"] == {"error": 2} and "augment: ValueError" in out.table("train")["error"][1].as_py()


def test_copies_do_not_depend_on_order_or_company(marked, tmp_path):
    options = {"augment": FLIP, "copies": 2, "annotations": NOTES}
    out = variants.build(marked, str(tmp_path / "out"), **options)
    upside_down = {"train": marked["train"].take([1, 0])}
    other = variants.build(upside_down, str(tmp_path / "other"), **options, batch_size=1)
    assert sorted(out.table("train")["sha256"].to_pylist()) == sorted(other.table("train")["sha256"].to_pylist())
    more = variants.build(marked, out.folder, **options | {"copies": 3})
    first = [r["sha256"] for r in more.table("train").to_pylist() if r["index"] % 6 < 5]
    assert first == out.table("train")["sha256"].to_pylist()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"vision": "opnai"}, "vision is one of default, openai, .* not 'opnai'"),
        ({"thumbnail_side": 0}, r"sizes\['thumbnail'\]: max_side is a whole number above 0, not 0"),
        ({"vision_max_bytes": "1MB"}, r"sizes\['vision'\]: max_bytes is a whole number"),
        ({"sizes": {"web": {"max_sid": 3}}}, "has no option 'max_sid'.*did you mean 'max_side'"),
        ({"sizes": {"web": {"format": "GIF"}}}, "format is JPEG, WEBP or PNG"),
        ({"sizes": {"web": {"format": "PNG", "max_bytes": 9}}}, "a PNG has no quality to lower"),
        ({"sizes": {"original": {}}}, "'original' cannot name a size"),
        ({"sizes": {"index": {}}}, "'index' cannot name a size"),
        ({"sizes": {"Web site": {}}}, "'Web site' cannot name a size"),
        ({"sizes": {7: {}}}, "7 cannot name a size"),
        ({"sizes": {"a" * 41: {}}}, "cannot name a size"),
        ({"sizes": {"augmented": {}}}, "give augment and copies"),
        ({"sizes": [640]}, "sizes is {name:"),
        ({"copies": 2}, "augment names transforms and copies"),
        ({"augment": {"HorizontalFlip": {}}}, "augment names transforms and copies"),
        ({"augment": {"HorizontalFlop": {}}, "copies": 1}, "albumentations has no 'HorizontalFlop'"),
        ({"annotations": {"boxes": "box"}}, "has no option 'boxes'.*boxes_xywh"),
        ({"annotations": {"boxes_xywh": "bbox"}}, "no column 'bbox'; this table has: image_id, file_name"),
        ({"frames": "second"}, "frames is 'first' or 'all'"),
        ({"keep_metadata": "yes"}, "keep_metadata is true or false"),
    ],
)
def test_a_wrong_option_is_told_before_any_work(folder, tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        variants.build(str(folder), str(tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()


def test_variants_of_variants_are_refused_by_the_column(folder, tmp_path):
    out = variants.build(str(folder), str(tmp_path / "out"))
    with pytest.raises(ValueError, match="there is a column '(variant|parent_id)' already"):
        variants.build(out, str(tmp_path / "again"))


def test_worker_processes_give_the_same_files(marked, tmp_path):
    options = {"augment": FLIP, "copies": 2, "annotations": NOTES, "batch_size": 1}
    here = variants.build(marked, str(tmp_path / "here"), **options)
    imgprep.close()
    with imgprep.session("local", workers=2):
        there = variants.build(marked, str(tmp_path / "there"), **options)
    assert tree(here.folder) == tree(there.folder)


@pytest.mark.corpus
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # what Pillow says of such EXIF
@pytest.mark.parametrize("group", ["exif", "broken"])
def test_real_files_have_every_size_or_a_reason(corpus, tmp_path, group):
    out = variants.build(str(corpus / group), str(tmp_path / "out"), vision_max_side=1024, max_failed=1.0)
    whole = out.table("train").to_pandas()
    data = out.pictures("train", range(len(whole)))
    failed = out.counts()["failed"]
    assert failed == 0 if group == "exif" else 50 < failed < 71
    for name, rows in whole.groupby("file_name"):
        if len(rows) == 1:
            assert rows["reason"].iloc[0] and data[rows.index[0]] is None, name
            continue
        original, vision, thumbnail = (data[i] for i in rows.index)
        assert original == (corpus / group / name).read_bytes(), name
        for made, side in ((vision, 1024), (thumbnail, 256)):
            im = Image.open(io.BytesIO(made))
            assert max(im.size) <= side and not {"exif", "xmp", "photoshop"} & {*im.info}, name
            assert im.mode in ("1", "L", "P", "RGB") and getattr(im, "n_frames", 1) == 1, name
            assert np.abs(codec.decode(made).mean((0, 1)) - codec.decode(original).mean((0, 1))).max() < 3, name


def test_a_worker_imports_what_makes_sizes_and_not_what_plans_them():
    """It finds `Variants` by its module; the verb behind the same door would be twice as many modules."""
    code = "import sys; from imgprep.stages.variants.variants import Variants; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    not_needed = ("imgprep.resume.stage", "imgprep.resume.plan", "imgprep.resume.commit", "imgprep.rows.sources")
    assert not set(not_needed) & set(done.stdout.split())
    # Nor does a module that was imported first stand where a name of the verb is looked for.
    code = "import imgprep.stages.variants.verb; from imgprep import variants; print(*map(callable, NAMES))"
    names = "(variants.build, variants.Size, variants.Variants)"
    done = subprocess.run([sys.executable, "-c", code.replace("NAMES", names)],
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    assert done.stdout.split() == ["True"] * 3
    assert {"build", "Size", "Variants"} <= set(dir(variants))
