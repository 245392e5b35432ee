"""A network that enlarges: of any size, by tiles, the same as of the whole, its scale read from it."""

import pickle

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_models import KERNEL, conv

from imgprep import models

PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (150, 230, 3), np.uint8), (0, 0), 2)


def enlarging(path, scale=4, *, bands=3, sides=("h", "w"), gain=1.0, reach=1, meta=()):
    """Each pixel scale x scale times, then a blur that looks `reach` pixels far: known in every pixel."""
    kernel = np.zeros((bands * scale**2, bands, 2 * reach + 1, 2 * reach + 1), np.float32)
    for band in range(bands):
        kernel[band * scale**2 : (band + 1) * scale**2, band] = gain / (2 * reach + 1) ** 2
    pads = [reach] * 4
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=pads),
        helper.make_node("DepthToSpace", ["c"], ["y"], blocksize=scale, mode="CRD"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", bands, *sides])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph(nodes, "enlarging", [x], [y], [numpy_helper.from_array(kernel, "k")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(meta))
    onnx.save(model, path)
    return str(path)


def whole(image, scale, reach=1):
    """The same of the whole picture, by OpenCV: the network pads with black."""
    side = 2 * reach + 1
    blurred = cv2.blur(image.astype(np.float32), (side, side), borderType=cv2.BORDER_CONSTANT)
    return np.rint(blurred).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)


def inner(image, by):
    return image[by:-by, by:-by].astype(int)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_scale_is_the_models(tmp_path, scale):
    model = models.Enhancer(enlarging(tmp_path / "m.onnx", scale))
    assert model.scale == scale
    found = model(PICTURE)
    assert found.shape == (150 * scale, 230 * scale, 3) and found.dtype == np.uint8
    assert np.abs(inner(found, 2 * scale) - inner(whole(PICTURE, scale), 2 * scale)).max() <= 1


@pytest.mark.parametrize("sides", [("h", "w"), (48, 64)])
def test_tiles_leave_no_seam(tmp_path, sides):
    path = enlarging(tmp_path / "m.onnx", 2, sides=sides)
    found = models.Enhancer(path, tile=64, overlap=16)(PICTURE)
    want = inner(whole(PICTURE, 2), 4)
    # Black that a network sees behind the edge of a tile would be dark lines on a grid.
    difference = np.abs(inner(found, 4) - want)
    assert difference.max() <= 6 and difference.mean() < 0.6
    seams = np.abs(inner(models.Enhancer(path, tile=64, overlap=0)(PICTURE), 4) - want)
    assert seams.max() > 30


def test_a_picture_smaller_than_the_window_is_mirrored(tmp_path):
    found = models.Enhancer(enlarging(tmp_path / "m.onnx", 2, sides=(64, 64)))(PICTURE[:20, :30])
    assert found.shape == (40, 60, 3)
    assert np.abs(inner(found, 4) - inner(whole(PICTURE[:20, :30], 2), 4)).max() <= 1


def test_brightness_alone_is_enough_for_a_network_of_one_band(tmp_path):
    found = models.Enhancer(enlarging(tmp_path / "m.onnx", 2, bands=1))(PICTURE)
    luma = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY)
    assert found.shape == (300, 460, 3)
    assert np.abs(inner(cv2.cvtColor(found, cv2.COLOR_RGB2GRAY), 8) - inner(whole(luma, 2), 8)).mean() < 2


def test_many_pictures_and_a_journey_to_a_worker(tmp_path):
    model = models.Enhancer(enlarging(tmp_path / "m.onnx", 2, meta={"rescale_factor": "1"}.items()))
    one = model(PICTURE)
    assert np.abs(inner(one, 4) - inner(whole(PICTURE, 2), 4)).max() <= 1  # black 0, white 255
    assert len(pickle.dumps(model)) < 2000
    assert all(np.array_equal(one, more) for more in pickle.loads(pickle.dumps(model))([PICTURE, PICTURE]))


def test_wrong_models_are_told(tmp_path):
    nan = enlarging(tmp_path / "nan.onnx", 2, gain=float("nan"))
    none = conv(tmp_path / "none.onnx", kernel=KERNEL * 0)
    two = enlarging(tmp_path / "two.onnx", 2)
    loud = enlarging(tmp_path / "loud.onnx", 2, gain=255)
    for make, told in [
        (lambda: models.Enhancer("nowhere.onnx"), "there is no model file"),
        (lambda: models.Enhancer("someone/model"), r"an enhancer is a file \*.onnx"),
        (lambda: models.Enhancer(enlarging(tmp_path / "four.onnx", 2, bands=4)), "takes pictures of 4 bands"),
        (lambda: models.Enhancer(two, overlap=256), "overlap is from 0 to less than a tile"),
        (lambda: models.Enhancer(none).scale, r"makes \(32, 32, 1\) of a picture of \(32, 32, 3\)"),
        (lambda: models.Enhancer(nan)(PICTURE), "nan.onnx gives NaN"),
        (lambda: models.Enhancer(loud)(PICTURE), "where black is 0 and white is 1"),
        (lambda: models.Enhancer(two, max_pixels=10_000)(PICTURE), "more than max_pixels=10,000"),
        (lambda: models.Enhancer(two)(PICTURE[..., 0]), r"takes pictures of uint8 \(h, w, 3\)"),
    ]:
        with pytest.raises(ValueError, match=told):
            make()
