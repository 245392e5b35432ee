"""Facts about the sizes made of each picture: which bytes, how large, in which config; and what bad input gets."""

import hashlib
import io
from pathlib import Path

import cv2
import datasets
import numpy as np
import pytest
from PIL import Image

import imgprep
from imgprep import codec, dataset, images, sources, variants


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
    table, data = out.table("train"), out.pictures("train", range(10))
    for n, name in enumerate(["a-large.jpg", "b-small.jpg", "c-tagged.jpg"]):
        file = (folder / name).read_bytes()
        assert data[3 * n] == file
        assert table["source_sha256"][3 * n + 2].as_py() == hashlib.sha256(file).hexdigest()
    assert data[4] == data[5] == data[3]
    assert b"at home" in data[6] and b"at home" not in data[7] and len(data[7]) < len(data[6])
    assert np.array_equal(codec.decode(data[7]), codec.decode(data[6]))


def test_edits_recompute_only_what_is_new_and_history_does_not_show(folder, tmp_path):
    (folder / "e-again.jpg").write_bytes((folder / "b-small.jpg").read_bytes())
    raw = images.download(sources.read({"train": str(folder)}), str(tmp_path / "raw"), batch_size=2)
    options = {"sizes": {"small": {"max_side": 100, "max_bytes": 900}}, "vision": None, "batch_size": 2}
    out = variants.build(raw, str(tmp_path / "out"), **options)
    again = variants.build(raw, str(tmp_path / "out"), **options | {"batch_size": 3})
    fresh = variants.build(raw, str(tmp_path / "fresh"), **options | {"batch_size": 3})
    assert again.runs()[-1]["computed"] == 0 and again.files == fresh.files != out.files
    assert again.table("train").drop_columns(["file", "row"]) == out.table("train").drop_columns(["file", "row"])
