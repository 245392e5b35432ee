"""Every value is checked before the first step, and the sentence has an example of what is right."""

import re

import pytest
from conftest import ROOT

from imgprep.app import pipeline, spec
from imgprep.app.parameters import Parameter
from imgprep.app.values import check_value

NEEDED = {"train_csv": "x.csv"}


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("products", "size_wh=[0,128]", "size_wh=[0,128]: it is width and height, two whole numbers of at least 1, "
         "for example size_wh=[256,256]"),
        ("products", "size_wh=[128]", "size_wh=[128]: it is width and height, "),
        ("products", "engine=spark", "engine=spark: it is 'auto', 'ray' or 'local', for example engine=auto"),
        ("products", "max_failed=50", "max_failed=50: it is a share of the rows, from 0 to 1, for example "),
        ("products", "max_failed=nan", "max_failed=nan: it is a share of the rows"),
        ("products", "limit=0", "limit=0: it is a whole number of at least 1, for example limit=100"),
        ("products", "workers=-1", "workers=-1: it is a number of processes; 0 computes without any other, "),
        ("products", "timeout_s=0", "timeout_s=0: it is a number of seconds above 0, for example timeout_s=10"),
        ("products", "ocr.fill=300", "ocr.fill=300: it is a grey level from 0 to 255, for example ocr.fill=255"),
        ("products", "download.per_host=0", "download.per_host=0: it is a whole number of at least 1, for "),
        ("products", "repo_id=mine", "repo_id=mine: it is owner/name, as the Hub writes it, for example "),
        ("products", "licence=free", "licence=free: it is an id of the Hub's list of licences, "),
        ("gallery", "max_bytes=0", "max_bytes=0: it is a whole number of at least 1"),
        ("gallery", "max_pixels=-1", "max_pixels=-1: it is a whole number of at least 1"),
        ("gallery", "frames=some", "frames=some: it is 'first' or 'all', for example frames=first"),
        ("gallery", "copies=-1", "copies=-1: it is a number of at least 0"),
        ("gallery", "variants.prices=[1]", "variants.prices=[1]: it is two prices of at least 0"),
        ("slides", "connectivity=6", "connectivity=6: it is 8 or 4, for example connectivity=8"),
        ("slides", "tile_wh=[1,-1]", "tile_wh=[1,-1]: it is width and height"),
        ("films", "every_s=0", "every_s=0: it is a number of seconds above 0"),
        ("films", "scenes=2", "scenes=2: it is a share above 0 and up to 1, for example scenes=0.1"),
        ("films", "sides=[1]", "sides=[1]: it is a list of shorter sides of at least 2 pixels, for example "),
        ("films", "codec=vp9", "codec=vp9: it is 'h264' or 'av1', for example codec=h264"),
        ("detect", "form=kitti", "form=kitti: it is 'coco', 'voc', 'yolo' or 'labelme', for example form=coco"),
        ("detect", "iou=0", "iou=0: it is a share above 0 and up to 1, for example iou=0.5"),
        ("detect", "min_score=50", "min_score=50: it is a score from 0 to 1, for example min_score=0.5"),
        ("slides", "max_disk_gb=0", "max_disk_gb=0: it is a number of GiB above 0"),
    ],
)  # fmt: skip
def test_a_value_that_no_step_can_take_is_refused_with_an_example(name, given, says):
    values = (NEEDED if name == "products" else {}) | dict([given.split("=", 1)])
    with pytest.raises(ValueError, match="^parameter " + re.escape(says)):
        pipeline.load_pipeline(name, values)


@pytest.mark.parametrize("name", ["products", "gallery", "slides", "films", "detect"])
def test_every_default_keeps_its_rule(name):
    for cell in spec.outline(name).cells.values():
        for parameter in cell.values():
            check_value(parameter, parameter.default, parameter.name)
    pipeline.load_pipeline(name, NEEDED if name == "products" else {})


def test_a_notebook_of_your_own_may_mean_something_else_by_a_name():
    check_value(Parameter("limit", int, 0), -1, "limit")
    check_value(Parameter("mood", str, "calm"), "wild", "mood")


def test_every_number_of_our_notebooks_has_a_rule():
    unruled = {"window"}  # negative numbers make sense, and the picture says what is inside
    from imgprep.app.values import _rule

    for path in sorted((ROOT / "pipelines").glob("*.yaml")):
        for cell in spec.outline(path.stem).cells.values():
            for parameter in cell.values():
                is_number = any(word in str(parameter.kind) for word in ("int", "float"))
                assert not is_number or _rule(parameter.name) or parameter.name in unruled, parameter.name
