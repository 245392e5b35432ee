"""The limits that the pipeline `gallery` hands on."""

import numpy as np
from PIL import Image

import imgprep
from imgprep.app import pipeline
from imgprep.stages import variants


def test_the_gallery_takes_limits_of_bytes_and_pixels():
    (step, *_) = pipeline.load_pipeline("gallery", {"max_bytes": "1000", "max_pixels": "null"}).steps
    assert step.given["max_bytes"] == 1000 and step.given["max_pixels"] is None


def test_files_and_pictures_over_the_limits_are_failed_rows(tmp_path):
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "in/a_heavy.png")
    Image.fromarray(np.zeros((200, 200, 3), np.uint8)).save(tmp_path / "in/b_large.png")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "in/c_fine.png")
    limits = {"max_bytes": 5_000, "max_pixels": 10_000, "max_failed": 1.0}
    with imgprep.session("local", workers=0):
        out = variants.build(str(tmp_path / "in"), str(tmp_path / "out"), thumbnail_side=None, vision=None, **limits)
    assert out.table("train")["reason"].to_pylist() == ["too_large", "too_many_pixels", ""]
