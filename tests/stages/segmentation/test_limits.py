"""An operator that never returns, eats memory or is killed costs its block, and the reason says why."""

import os
import re
import signal
import time

import cv2
import numpy as np
import pytest

import imgprep
from imgprep.stages import segmentation

WHITE = 255


@pytest.fixture
def pool():
    imgprep.session("local", workers=1)
    yield
    imgprep.close()


@pytest.fixture
def pictures(tmp_path):
    """Two small ones that are good, and one that is white: the operators below fall over it."""
    (tmp_path / "in").mkdir()
    for name, grey in {"a": 10, "b": WHITE, "c": 30}.items():
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), np.full((40, 40), grey, np.uint8))
    return str(tmp_path / "in")


def never_returns(tile):
    while tile.max() == WHITE:
        re.match(r"(a+)+$", "a" * 50 + "b")  # it holds the GIL, as a C library may
    return (tile[..., 0] > 20).astype(np.uint8)


def eats_memory(tile):
    if tile.max() == WHITE:
        held = np.ones(1200 << 20, np.uint8)
        time.sleep(20)
        return held[:1600].reshape(40, 40)
    return (tile[..., 0] > 20).astype(np.uint8)


def is_killed(tile):
    if tile.max() == WHITE:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    return (tile[..., 0] > 20).astype(np.uint8)


for operator in (never_returns, eats_memory, is_killed):
    operator.radius = 0

LIMITS = {
    never_returns: ({"timeout_s": 3}, "took_too_long", "no result in timeout_s=3"),
    eats_memory: (
        {"max_memory_mb": 1000},
        "too_much_memory",
        "the process took more than max_memory_mb=1000",
    ),
    is_killed: (
        {},
        "killed",
        "the process that worked on this was ended from outside (SIGTERM)",
    ),
}


@pytest.mark.parametrize("operator", LIMITS)
def test_the_picture_says_which_limit_and_the_others_have_their_masks(pool, pictures, tmp_path, operator):
    limit, reason, error = LIMITS[operator]
    options = {"objects": False, **limit}
    found = segmentation.segment(pictures, str(tmp_path / "out"), operator, **options)
    rows = found.table("train", ["reason", "error", "mask"]).to_pylist()
    assert [row["reason"] for row in rows] == ["", reason, ""] and rows[1]["error"] == error
    assert [bool(row["mask"]) for row in rows] == [True, False, True]


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_each_limit_costs_its_picture_too(pictures, tmp_path):
    imgprep.session("ray", workers=2)
    try:
        for number, operator in enumerate(LIMITS):
            limit, reason, error = LIMITS[operator]
            out = str(tmp_path / str(number))
            found = segmentation.segment(pictures, out, operator, objects=False, **limit)
            rows = found.table("train", ["reason", "error", "mask"]).to_pylist()
            assert [row["reason"] for row in rows] == ["", reason, ""] and rows[1]["error"] == error
            assert [bool(row["mask"]) for row in rows] == [True, False, True]
    finally:
        imgprep.close()


def test_an_operator_of_ours_is_held_to_a_limit_that_was_asked_for(pool, pictures, tmp_path):
    free = segmentation.segment(pictures, str(tmp_path / "free"), "20")
    held = segmentation.segment(pictures, str(tmp_path / "held"), "20", timeout_s=60)
    assert free.files == held.files, "a limit changes no bytes"


def test_without_a_process_that_may_be_lost_the_limit_is_said_not_to_hold(pictures, tmp_path, capsys):
    told = "timeout_s=5 cannot be kept with workers=0, where no process may be lost"
    with imgprep.session("local", workers=0):
        segmentation.segment(pictures, str(tmp_path / "out"), "20", timeout_s=5, dry_run=True)
        assert capsys.readouterr().out.count(told) == 1
        segmentation.segment(pictures, str(tmp_path / "out"), "20", timeout_s=5)
        assert capsys.readouterr().out.count(told) == 1
        segmentation.segment(pictures, str(tmp_path / "other"), "20")
        assert "cannot be kept" not in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"timeout_s": "5"}, {"max_memory_mb": -1}])
def test_a_wrong_limit_is_refused_before_any_work(pictures, tmp_path, wrong):
    with pytest.raises(ValueError, match="is a number above 0"):
        segmentation.segment(pictures, str(tmp_path / "out"), "20", **wrong)
    assert not (tmp_path / "out").exists()
