"""No picture takes for ever: the process is ended, its row says which limit, and the others go on."""

import os
import re
import signal
import time

import numpy as np
import pytest
from made import folder, picture, table

import imgprep
from imgprep.dataset.files import Folder
from imgprep.engine import Limits
from imgprep.stages import images

BAD = 5
POISON = picture(BAD).tolist()


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    where = tmp_path_factory.mktemp("raw")
    with imgprep.session("local", workers=0):
        images.download({"train": table(folder(where / "in", 12))}, str(where / "raw"))
    return str(where / "raw")


@pytest.fixture(autouse=True)
def pool():
    imgprep.session("local", workers=2)
    yield
    imgprep.close()


def never_returns(image):
    while image.tolist() == POISON:
        time.sleep(1)
    return image


def holds_the_gil(image):
    if image.tolist() == POISON:
        re.match(r"(a+)+$", "a" * 50 + "b")
    return image


def is_stopped(image):
    if image.tolist() == POISON:
        os.kill(os.getpid(), signal.SIGSTOP)
    return image


@pytest.mark.slow
@pytest.mark.parametrize("fn", [never_returns, holds_the_gil, is_stopped])
def test_a_function_that_does_not_return_costs_one_row(raw, tmp_path, fn):
    out = images.transform(raw, str(tmp_path / "out"), fn, timeout_s=3)
    rows = out.table("train")
    assert out.counts()["reasons"] == {"took_too_long": 1} and out.counts()["ok"] == 11
    assert rows["reason"].to_pylist()[BAD] == "took_too_long"
    assert rows["error"].to_pylist()[BAD] == "no result in timeout_s=3"
    assert not Folder(out.folder).list(".imgprep/started")


@pytest.mark.slow
def test_a_function_that_takes_too_much_memory_costs_one_row(raw, tmp_path):
    def hungry(image):
        if image.tolist() == POISON:
            held = np.ones(800 << 20, np.uint8)
            time.sleep(20)
            return held[:8, :8]
        return image

    out = images.transform(raw, str(tmp_path / "out"), hungry, max_memory_mb=900)
    assert out.counts()["reasons"] == {"too_much_memory": 1} and out.counts()["ok"] == 11
    assert out.table("train")["error"].to_pylist()[BAD] == "the process took more than max_memory_mb=900"


@pytest.mark.slow
def test_what_a_limit_refused_is_tried_again_with_another_limit(raw, tmp_path):
    def late(image):
        if image.tolist() == POISON:
            time.sleep(10)
        return image

    images.transform(raw, str(tmp_path / "out"), late, timeout_s=4)
    out = images.transform(raw, str(tmp_path / "out"), late, timeout_s=60)
    assert out.counts()["ok"] == 12 and out.runs()[-1]["computed"] == 1


@pytest.mark.slow
def test_many_pictures_may_take_longer_together_and_the_bytes_are_the_same(raw, tmp_path):
    def patient(image):
        time.sleep(0.5)
        return image

    out = images.transform(raw, str(tmp_path / "out"), patient, timeout_s=2.5)
    assert out.counts()["ok"] == 12
    again = images.transform(raw, str(tmp_path / "out"), patient, timeout_s=9)
    assert len(again.runs()) == 1, "a limit is no part of what a result depends on"


def test_a_function_with_such_an_option_gets_it(raw, tmp_path):
    def ask(image, *, timeout_s=1.0):
        return {"waited": timeout_s}

    with imgprep.session("local", workers=0):
        out = images.transform(raw, str(tmp_path / "out"), ask, features={"waited": "float32"}, timeout_s=7.0)
    assert set(out.table("train")["waited"].to_pylist()) == {7.0}


@pytest.mark.parametrize("wrong", [0, -1, "1", True, float("inf"), float("nan")])
def test_a_limit_is_a_number_above_0(wrong):
    for name in ("timeout_s", "max_memory_mb"):
        with pytest.raises(ValueError, match=f"^{name} is a number above 0, or None for no limit, not "):
            Limits(**{name: wrong})
