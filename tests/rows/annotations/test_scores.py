"""Average precision is that of pycocotools on the same boxes; precision and recall are counted by hand."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgprep.rows.annotations import scores


def by_pycocotools(found, truth):
    """(map, map50, map75) of COCOeval."""
    coco, cocoeval = (
        pytest.importorskip("pycocotools.coco"),
        pytest.importorskip("pycocotools.cocoeval"),
    )
    names = sorted({one["label"] for objects in (*found, *truth) for one in objects})
    whole, results = coco.COCO(), []
    annotations = []
    for image_id, objects in enumerate(truth, 1):
        for one in objects:
            x, y, w, h = one["box_xywh"]
            about = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": names.index(one["label"]) + 1,
            }
            crowd = int(bool(one.get("is_crowd")))
            annotations.append(about | {"bbox": [x, y, w, h], "area": w * h, "iscrowd": crowd})
    for image_id, objects in enumerate(found, 1):
        for one in objects:
            about = {"image_id": image_id, "category_id": names.index(one["label"]) + 1}
            results.append(about | {"bbox": one["box_xywh"], "score": one["score"]})
    images = [{"id": n} for n in range(1, len(truth) + 1)]
    categories = [{"id": n, "name": name} for n, name in enumerate(names, 1)]
    whole.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        whole.createIndex()
        ours = whole.loadRes(results) if results else coco.COCO()
        if not results:
            ours.dataset = {"images": images, "annotations": [], "categories": categories}
            ours.createIndex()
        run = cocoeval.COCOeval(whole, ours, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [None if value == -1 else value for value in run.stats[:3]]


def scene(seed, *, pictures=6, crowd=0.1, ties=False):
    """Boxes found and true, in several classes: near ones, far ones, copies, crowds."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(pictures):
        true, ours = [], []
        for _ in range(rng.integers(0, 9)):
            box = [*rng.integers(0, 80, 2).tolist(), *rng.integers(3, 40, 2).tolist()]
            label = str(rng.choice(["a", "b", "c"]))
            true.append(
                {
                    "label": label,
                    "score": None,
                    "box_xywh": box,
                    "is_crowd": bool(rng.random() < crowd),
                }
            )
            for _ in range(rng.integers(0, 4)):
                near = (np.array(box) + rng.integers(-4, 5, 4)).clip(1).tolist()
                score = float(rng.integers(0, 4) / 4 if ties else rng.random())
                ours.append(
                    {"label": str(rng.choice([label, "a"])), "score": score, "box_xywh": near}
                )
        truth.append(true)
        found.append(ours)
    return found, truth


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0.0, 0.3]))
def test_average_precision_is_that_of_pycocotools(seed, ties, crowd):
    found, truth = scene(seed, ties=ties, crowd=crowd)
    if not any(truth):
        return
    wanted = by_pycocotools(found, truth)
    made = scores.box_agreement(found, truth)
    for key, value in zip(("map", "map50", "map75"), wanted, strict=True):
        assert (made[key] is None) == (value is None)
        assert value is None or made[key] == pytest.approx(value, abs=1e-12), (key, seed)


def test_more_than_a_hundred_boxes_of_a_picture_are_too_many():
    rng = np.random.default_rng(0)
    boxes = [
        {"label": "a", "score": float(rng.random()), "box_xywh": [float(n), 0.0, 5.0, 5.0]}
        for n in range(250)
    ]
    truth = [[{"label": "a", "box_xywh": one["box_xywh"]} for one in boxes[::2]]]
    assert scores.box_agreement([boxes], truth)["map"] == pytest.approx(
        by_pycocotools([boxes], truth)[0], abs=1e-12
    )


def test_precision_and_recall_are_counted_at_one_iou_and_score():
    cat, far = [0, 0, 10, 10], [50, 50, 10, 10]
    truth = [[{"label": "cat", "box_xywh": cat}, {"label": "dog", "box_xywh": far}]]
    found = [[
        {"label": "cat", "score": 0.9, "box_xywh": [0, 0, 10, 9]},
        {"label": "cat", "score": 0.8, "box_xywh": cat},
        {"label": "cat", "score": 0.1, "box_xywh": far},
    ]]  # fmt: skip
    made = scores.box_agreement(found, truth)
    assert (made["precision"], made["recall"]) == (1 / 3, 1 / 2)
    assert made["classes"]["cat"] | {} == made["classes"]["cat"]
    assert [made["classes"]["cat"][key] for key in ("true", "found", "precision", "recall")] == [
        1,
        3,
        1 / 3,
        1.0,
    ]
    assert [made["classes"]["dog"][key] for key in ("true", "found", "precision", "recall")] == [
        1,
        0,
        None,
        0.0,
    ]
    surer = scores.box_agreement(found, truth, min_score=0.85)
    assert (surer["precision"], surer["recall"]) == (1.0, 1 / 2)
    assert scores.box_agreement(found, truth, min_score=0.85, iou=0.95)["precision"] == 0.0


def test_nothing_found_and_nothing_true():
    assert scores.box_agreement([[]], [[]]) == {
        "map": None, "map50": None, "map75": None, "precision": None, "recall": None, "classes": {},
    }  # fmt: skip
    alone = scores.box_agreement([[{"label": "a", "score": 0.5, "box_xywh": [0, 0, 1, 1]}]], [[]])
    assert (alone["map"], alone["precision"], alone["recall"]) == (None, 0.0, None)


def test_difficult_ones_are_neither_right_nor_wrong():
    truth = [[{"label": "a", "box_xywh": [0, 0, 9, 9], "is_difficult": True}]]
    made = scores.box_agreement([[{"label": "a", "score": 0.5, "box_xywh": [0, 0, 9, 9]}]], truth)
    assert (made["precision"], made["recall"]) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([[]], [[], []]), "found has 1 rows and truth 2"),
        (([[]], [[]], 0), "iou is above 0 and at most 1, not 0"),
    ],
)
def test_mistakes_are_one_sentence(arguments, says):
    found, truth, *iou = arguments
    with pytest.raises(ValueError, match=says):
        scores.box_agreement(found, truth, **({"iou": iou[0]} if iou else {}))
