"""augment: the same copy for the same seed, and annotations that stay on what they mark."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from imgprep.picture import augment

FLIP = {"HorizontalFlip": {"p": 1.0}}
SOME = {"HorizontalFlip": {"p": 0.5}, "Rotate": {"limit": 30, "p": 1.0}, "GaussNoise": {"p": 1.0}}


def marked(x: int = 20, y: int = 10, w: int = 16, h: int = 12) -> tuple[np.ndarray, dict]:
    """A white block on black with a box, a mask and a point on it."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[y : y + h, x : x + w] = 255
    png = io.BytesIO()
    Image.fromarray(image[:, :, 0] // 255 * 7).save(png, "PNG")
    notes = {"boxes_xywh": [[x, y, w, h]], "labels": ["block"], "mask": {"bytes": png.getvalue(), "path": None}}
    return image, notes | {"points_xy": [[x + w / 2, y + h / 2]]}


def run(wanted, notes: dict, seed: int, image: np.ndarray):
    return augment.apply_pipeline(augment.compose(augment.pipeline(wanted), list(notes)), image, notes, seed)


def test_annotations_move_with_the_pixels():
    image, notes = marked()
    made, moved, record = run({**FLIP, "VerticalFlip": {"p": 1.0}}, notes, 1, image)
    assert np.array_equal(made, image[::-1, ::-1])
    assert moved["boxes_xywh"] == [[60, 42, 16, 12]] and moved["labels"] == ["block"]
    assert np.abs(np.array(moved["points_xy"]) - [[68, 48]]).max() <= 1
    mask = np.asarray(Image.open(io.BytesIO(moved["mask"]["bytes"])))
    assert np.array_equal(mask == 7, made[:, :, 0] == 255)
    assert [*json.loads(record)["applied"]] == ["HorizontalFlip", "VerticalFlip"]


def test_a_rotated_box_still_holds_its_block():
    image, notes = marked(40, 24)
    for seed in range(5):
        made, moved, _ = run({"Rotate": {"limit": 40, "p": 1.0}}, notes, seed, image)
        x, y, w, h = moved["boxes_xywh"][0]
        rows, columns = np.nonzero(made[:, :, 0] > 128)
        assert x - 1 <= columns.min() and columns.max() <= x + w + 1 and y - 1 <= rows.min() and rows.max() <= y + h + 1


def test_a_box_that_leaves_the_picture_goes_with_its_label():
    image, notes = marked(0, 0)
    notes["boxes_xywh"].append([50, 30, 20, 20])
    notes["labels"].append("other")
    made, moved, _ = run({"Crop": {"x_min": 40, "y_min": 20, "x_max": 90, "y_max": 60, "p": 1.0}}, notes, 0, image)
    assert moved["boxes_xywh"] == [[10, 10, 20, 20]] and moved["labels"] == ["other"]


def test_the_same_seed_gives_the_same_copy_in_any_order():
    image, notes = marked()
    one = augment.compose(augment.pipeline(SOME), list(notes))
    first = [augment.apply_pipeline(one, image, notes, seed) for seed in (1, 2, 3)]
    again = [augment.apply_pipeline(one, image, notes, seed) for seed in (3, 1, 2)]
    for a, b in zip(first, [again[1], again[2], again[0]], strict=True):
        assert np.array_equal(a[0], b[0]) and a[1:] == b[1:] and len(a[2]) < 1000
    assert not np.array_equal(first[0][0], first[1][0])


def test_a_saved_pipeline_does_the_same(tmp_path):
    import albumentations as A

    image, notes = marked()
    for kind in ("yaml", "json"):
        saved = str(tmp_path / f"pipeline.{kind}")
        A.save(A.Compose([A.HorizontalFlip(p=0.5), A.Rotate(limit=30, p=1.0), A.GaussNoise(p=1.0)]), saved, kind)
        assert augment.pipeline(saved)["transforms"] == augment.pipeline(SOME)["transforms"]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"HorizontalFlop": {}}, "near: .*HorizontalFlip"),
        ({"Rotate": {"limit": "x"}}, "Rotate: .*limit"),
        ({"Rotate": {"limits": 3}}, "Rotate: .*'limits'"),
        ("nowhere.yaml", "nowhere.yaml is no pipeline"),
        ([], "augment is"),
    ],
)
def test_a_wrong_pipeline_is_told_at_once(wanted, says):
    with pytest.raises(ValueError, match=says):
        augment.pipeline(wanted)


@pytest.mark.parametrize("name", ["Normalize", "ToFloat"])
def test_what_is_no_picture_any_more_is_refused(name):
    with pytest.raises(augment.AugmentError, match="no 8-bit picture: leave them to its loader"):
        run({name: {"p": 1.0}}, {}, 0, marked()[0])


def test_what_a_transform_cannot_do_is_one_sentence():
    image, notes = marked()
    with pytest.raises(augment.AugmentError, match=r"^augment: \w+: .*") as caught:
        run({"RandomCrop": {"height": 500, "width": 500, "p": 1.0}}, notes, 0, image)
    assert "\n" not in str(caught.value)
