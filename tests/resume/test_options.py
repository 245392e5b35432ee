"""Options that say the same are the same, however they are spelled."""

import numpy as np
import pytest
from made import folder, table, tree

import imgprep
from imgprep import dataset
from imgprep.picture import ocr
from imgprep.stages import images


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


def half(image, *, by=2, size_wh=(8, 8)):
    return image // by


class Model:
    def __init__(self, by=2):
        self.by = by

    def __call__(self, image, *, add=0):
        return image // self.by + np.uint8(add)


SAME = [
    (ocr.prepare, {}, {"size_wh": [128, 128]}),
    (ocr.prepare, {"size_wh": (128, 128)}, {}),
    (half, {}, {"by": 2}),
    (half, {"by": 2}, {"size_wh": [8, 8]}),
    (Model, {}, {"by": 2, "add": 0}),
]


@pytest.mark.parametrize(("fn", "first", "then"), SAME)
def test_a_default_that_is_spelled_out_computes_nothing(tmp_path, fn, first, then):
    rows, out = {"train": table(folder(tmp_path / "in", 2))}, str(tmp_path / "out")
    images.transform(rows, out, fn, **first)
    before = tree(out)
    images.transform(rows, out, fn, **then)
    assert len(dataset.open(out).runs()) == 1 and tree(out) == before


def test_another_value_computes(tmp_path):
    rows, out = {"train": table(folder(tmp_path / "in", 2))}, str(tmp_path / "out")
    for options in ({}, {"by": 3}, {"by": 2}, {"by": True}):
        images.transform(rows, out, half, **options)
        assert dataset.open(out).runs()[-1]["computed"] == 2
    assert len(dataset.open(out).runs()) == 4
