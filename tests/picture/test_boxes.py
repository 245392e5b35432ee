"""Boxes move with the picture: what was under a box is under it afterwards."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgprep.picture import boxes, geometry, runs

SIZE = (60, 40)


def marked(box_xywh, size_wh=SIZE):
    """A black picture, white inside the box."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    x, y, w, h = box_xywh
    image[y : y + h, x : x + w] = 255
    return image


def white(image):
    """The box around what is white."""
    return runs.mask_bounds(runs.encode_mask(image[:, :, 0] > 127))


def thing(box_xywh, **more):
    return {"label": "cat", "score": 0.5, "box_xywh": list(box_xywh), **more}


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 30),
    st.integers(0, 20),
    st.integers(4, 30),
    st.integers(4, 20),
    st.sampled_from([120, 240]),
)
def test_a_box_of_fit_pad_is_around_what_it_was_around(x, y, w, h, side):
    made = boxes.fit_pad_objects(marked((x, y, w, h)), [thing((x, y, w, h))], size_wh=[side, side], fill=0)
    assert np.array_equal(
        made["image"], geometry.fit_pad(marked((x, y, w, h)), [side, side], fill=0)
    )
    (one,) = made["objects"]
    assert one["label"] == "cat" and one["score"] == 0.5
    assert np.allclose(one["box_xywh"], white(made["image"]), atol=1.01)


def test_fit_pad_to_224_is_one_call():
    made = boxes.fit_pad_objects(np.zeros((100, 200, 3), np.uint8), [thing((0, 0, 200, 100))])
    assert made["image"].shape == (224, 224, 3)
    assert made["objects"][0]["box_xywh"] == pytest.approx([0, 56, 224, 112])
    assert boxes.fit_pad_objects(np.zeros((100, 200, 3), np.uint8), None)["objects"] == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_takes_everything_along(orientation):
    stored = marked((5, 7, 20, 9))
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a),
    }
    upright = turns[orientation](stored)
    move = boxes.turn_move(SIZE, orientation)
    assert move.to_wh == (upright.shape[1], upright.shape[0])
    polygon = [5, 7, 25, 7, 25, 16, 5, 16]
    one = thing(
        (5, 7, 20, 9), polygons=[polygon], mask=runs.encode_mask(stored[:, :, 0]), points_xyv=[[5, 7, 2]]
    )
    (new,) = boxes.moved([one], move)
    assert new["box_xywh"] == white(upright)
    assert boxes.points_bounds(boxes.flat_points(new["polygons"][0])) == new["box_xywh"]
    assert np.array_equal(runs.decode_mask(new["mask"]), upright[:, :, 0] > 0)
    x, y, visible = new["points_xyv"][0]
    assert visible == 2 and boxes.clip_box([x, y, 0, 0], move.to_wh) == [x, y, 0, 0]


def test_a_crop_clips_and_what_is_outside_goes():
    objects = [
        thing((0, 0, 10, 10)),
        thing((15, 15, 10, 10), polygons=[[15, 15, 25, 15, 25, 25, 15, 25]]),
        thing((50, 30, 5, 5)),
    ]
    made = boxes.crop_objects(marked((15, 15, 10, 10)), objects, box_xyxy=[20, 20, 50, 40])
    assert made["image"].shape == (20, 30, 3)
    (one,) = made["objects"]
    assert one["box_xywh"] == [0, 0, 5, 5] == white(made["image"])
    assert boxes.points_bounds(boxes.flat_points(one["polygons"][0])) == [0, 0, 5, 5]
    few = boxes.crop_objects(marked((15, 15, 10, 10)), objects, box_xyxy=[20, 20, 50, 40], min_visible=0.3)
    assert few["objects"] == [], "a quarter of it is left"


def test_points_outside_are_no_longer_labelled():
    points = [[1, 1, 2], [25, 25, 1], [30, 30, 0]]
    (one,) = boxes.crop_objects(
        marked((0, 0, 30, 30)),
        [thing((0, 0, 30, 30), points_xyv=points)],
        box_xyxy=[20, 20, 40, 40],
    )["objects"]
    assert one["points_xyv"] == [[0, 0, 0], [5, 5, 1], [0, 0, 0]]


def test_what_is_inside_and_not_scaled_stays_to_the_last_bit():
    box = [0.1 + 0.2, 1 / 3, 2 / 7, 5 / 11]
    (one,) = boxes.moved([thing(box, polygons=[box + [9.1, 8.3]])], boxes.resize_move(SIZE, SIZE))
    assert one["box_xywh"] == box and one["polygons"] == [box + [9.1, 8.3]]


def test_a_mask_is_resized_as_labels_are():
    mask = np.zeros((40, 60), np.uint8)
    mask[3:17, 5:50:3] = 1
    (one,) = boxes.moved(
        [thing((5, 3, 45, 14), mask=runs.encode_mask(mask))], boxes.resize_move(SIZE, (30, 20))
    )
    assert np.array_equal(
        runs.decode_mask(one["mask"]),
        cv2.resize(mask, (30, 20), interpolation=cv2.INTER_NEAREST_EXACT) > 0,
    )


@pytest.mark.parametrize("box", [[0, 0, 0, 5], [5, 5, 4, 9], [-1, 0, 5, 5], [0, 0, 61, 5]])
def test_a_crop_that_is_none_is_one_sentence(box):
    with pytest.raises(ValueError, match="crop"):
        boxes.crop_objects(marked((0, 0, 5, 5)), [], box_xyxy=box)


def test_a_point_or_a_line_is_kept_where_it_is_inside():
    objects = [thing((5, 5, 0, 0)), thing((5, 5, 3, 0)), thing((59, 39, 0, 0))]
    kept = boxes.moved(objects, boxes.crop_move([0, 0, 20, 20]))
    assert [one["box_xywh"] for one in kept] == [[5, 5, 0, 0], [5, 5, 3, 0]]
