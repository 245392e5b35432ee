"""Models and blending in `segment`: is the tiled answer the whole picture's?"""

import os

import cv2
import numpy as np
import pytest
import rasterio
from made import folder, table, tree
from skimage.measure import label
from test_models import KERNEL, WIDE, conv, filtered, score

import imgprep
from imgprep import dataset, models
from imgprep.io import rasters
from imgprep.sample.balls import make_balls
from imgprep.stages import images, segmentation
from imgprep.stages.segmentation import block
from imgprep.tiles import instances, windows

KERNELS = np.concatenate([KERNEL[..., ::-1], KERNEL])  # of two classes


def raster(path, image):
    options = {"driver": "GTiff", "width": image.shape[1], "height": image.shape[0], "count": 3, "dtype": "uint8"}
    with (
        rasters.gdal(),
        rasterio.open(path, "w", **options, tiled=True, blockxsize=64, blockysize=64, compress="deflate") as out,
    ):
        out.write(image.transpose(2, 0, 1))
    return str(path)


def mask_of(found, column="mask"):
    with rasters.open(f"{found.folder}/{found.table('train')[column][0]}") as made:
        return made.read()[..., 0]


@pytest.fixture
def inline():
    with imgprep.session("local", workers=0):
        yield


@pytest.mark.parametrize("tile_wh", [None, [64, 64], [100, 70]])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_picture_that_is_segmented_by_tiles_is_the_whole_ones(tmp_path, inline, fixed, tile_wh):
    path = conv(tmp_path / "m.onnx", sides=(96, 96) if fixed else ("h", "w"))
    source, model = raster(tmp_path / "a.tif", WIDE), models.Semantic(path, activation="none", overlap=8, batch=3)
    found = segmentation.segment(source, str(tmp_path / "out"), model, tile_wh=tile_wh, objects=False)
    assert np.array_equal(mask_of(found), np.uint8(filtered(WIDE) >= 0.5))
    if tile_wh:  # the kernel looks two pixels far
        options = {"halo": 1, "approximate": True, "tile_wh": tile_wh, "objects": False}
        less = mask_of(segmentation.segment(source, str(tmp_path / "less"), model, **options))
        assert (less != mask_of(found)).sum() > 5


@pytest.mark.parametrize("blend", ["gaussian", "hann"])
def test_blended_probabilities_are_those_of_whole_accumulators(tmp_path, inline, monkeypatch, blend):
    """Seams are made on purpose: a kernel that looks far, and an overlap that is too small for it."""
    kernel = np.random.default_rng(8).normal(0, 0.3, (1, 3, 21, 21)).astype(np.float32)
    path = conv(tmp_path / "m.onnx", kernel=kernel, sides=(96, 96))
    source, model = raster(tmp_path / "a.tif", WIDE), models.Semantic(path, activation="none", overlap=12)
    height, width = WIDE.shape[:2]
    weight = np.outer(windows.weights(96, blend), windows.weights(96, blend))
    weight = weight.clip(min=1e-3) if blend == "gaussian" else weight
    total, share = np.zeros((2, height, width), np.float32)
    for x, y, w, h in windows.windows((width, height), (96, 96), 12):
        total[y : y + h, x : x + w] += weight * score(model, WIDE[y : y + h, x : x + w])
        share[y : y + h, x : x + w] += weight
    want = np.uint8(total / share >= 0.5)
    monkeypatch.setattr(block, "BLOCK_PX", 144)  # many blocks
    made = {
        b: mask_of(segmentation.segment(source, str(tmp_path / b), model, blend=b, objects=False))
        for b in ("crop", blend)
    }
    assert np.array_equal(made[blend], want) and (made["crop"] != want).sum() > 50


def test_a_function_that_gives_probabilities_is_blended_too(tmp_path, inline):
    def red(tile):
        return tile[..., 0] / np.float32(255)

    red.radius = 8
    source = raster(tmp_path / "a.tif", WIDE)
    found = segmentation.segment(source, str(tmp_path / "out"), red, blend="hann", tile_wh=[64, 64], objects=False)
    assert (mask_of(found) != (WIDE[..., 0] >= 127.5)).mean() < 0.001  # a mean of equals, but for the last bit
    red.radius = 0
    for operator, options, told in (
        (red, {}, "blend='hann' weighs probabilities where tiles overlap: give halo"),
        ("otsu", {"halo": 8}, "otsu dark gives none"),
        (red, {"blend": "mean"}, "blend is 'crop', 'gaussian', 'hann', not 'mean'"),
    ):
        with pytest.raises(ValueError, match=told):
            segmentation.segment(source, str(tmp_path / "no"), operator, **{"blend": "hann", **options})


def test_a_model_of_objects_is_segmented_by_tiles(tmp_path, inline):
    """A network that finds what is bright: an object on the tiles' borders is counted once."""
    labels = np.zeros(WIDE.shape[:2], np.int32)
    for n, (x, y) in enumerate([(10, 12), (60, 20), (120, 58), (55, 60), (180, 120), (248, 122), (300, 160)], 1):
        labels[y : y + 11, x : x + 13] = n
    source = raster(tmp_path / "a.tif", np.repeat(np.uint8(labels > 0)[..., None] * 200, 3, 2))

    class Bright(models.Instances):
        def __init__(self):
            self.overlap = self.radius = 16
            self.window, self.least_wh, self.tile_wh, self.batch = (96, 96), (0, 0), (64, 64), 2

        def predict(self, tiles):
            return [[instances.cropped(seen == i, "cell", 0.9) for i in range(1, seen.max() + 1)]
                    for seen in (label(t[..., 0] > 0) for t in tiles)]  # fmt: skip

    found = segmentation.segment(source, str(tmp_path / "out"), Bright())
    assert found.table("train")["count"].to_pylist() == [7]
    order = [i for i in dict.fromkeys(labels.ravel().tolist()) if i]
    assert np.array_equal(mask_of(found, "labels"), np.array([0, *np.argsort(order) + 1])[labels])


def test_a_models_file_is_an_operator_by_its_name(tmp_path, inline):
    path, source = conv(tmp_path / "m.onnx"), raster(tmp_path / "a.tif", WIDE)
    conv(path, kernel=KERNELS)
    found = segmentation.segment(source, str(tmp_path / "out"), [path, "opening 3"], objects=False)
    want = cv2.morphologyEx(
        np.uint8(filtered(WIDE, kernel=KERNELS[1:]) > filtered(WIDE, kernel=KERNELS[:1])),
        cv2.MORPH_OPEN,
        np.ones((3, 3), np.uint8),
    )
    assert np.array_equal(mask_of(found), want)
    with pytest.raises(ValueError, match="there is no model file"):
        segmentation.segment(source, str(tmp_path / "out"), "nowhere.onnx")


def test_damage_takes_only_the_windows_that_touch_it(tmp_path, inline):
    def red(tile):
        return tile[..., 0] / np.float32(255)

    source, options = (
        raster(tmp_path / "a.tif", WIDE),
        {"halo": 8, "blend": "hann", "tile_wh": [64, 64], "objects": False},
    )
    good = mask_of(segmentation.segment(source, str(tmp_path / "good"), red, **options))
    with open(source, "r+b") as file:
        file.seek(os.path.getsize(source) // 2)
        file.write(b"\xff" * 500)
    found = segmentation.segment(source, str(tmp_path / "out"), red, **options)
    mask, row = mask_of(found), found.table("train").to_pylist()[0]
    lost = mask == 255
    assert lost.any() and np.array_equal(mask[~lost], good[~lost])
    assert 0 < row["failed_tiles"] <= 9 < row["tiles"] and "cannot be read" in row["failed_example"]


@pytest.mark.ray
def test_every_engine_gives_the_same_bytes_with_a_model(tmp_path):
    model = models.Semantic(conv(tmp_path / "m.onnx", kernel=KERNELS, sides=(96, 96)), batch=4)
    source, paths = raster(tmp_path / "a.tif", WIDE), folder(tmp_path / "pictures", 12)
    make_balls(tmp_path / "balls")
    balls = {"train": table(sorted(map(str, (tmp_path / "balls" / "pictures").iterdir())))}
    how = {"model": str(tmp_path / "balls" / "demo_detector.onnx"), "tile_wh": [400, 400]}
    for name, workers in (("inline", 0), ("local", 2), ("ray", 2)):
        with imgprep.session("ray" if name == "ray" else "local", workers=workers):
            segmentation.segment(source, str(tmp_path / name / "slide"), model, blend="gaussian")
            images.transform({"train": table(paths)}, str(tmp_path / name / "masks"), model, batch=5)
            images.transform(
                balls,
                str(tmp_path / name / "boxes"),
                models.Detector,
                **how,
                features=models.Detector.features(),
            )
    assert tree(tmp_path / "inline") == tree(tmp_path / "local") == tree(tmp_path / "ray")
    found = dataset.open(str(tmp_path / "ray" / "boxes")).table("train")["objects"].to_pylist()
    assert len(found) == 12 and min(map(len, found)) > 2


def test_one_tile_that_fails_takes_no_other_of_its_batch_with_it(tmp_path, inline):
    class Picky:
        radius, version, batch = 0, 1, 4

        def __init__(self):
            self.sizes = []

        def __call__(self, tile):
            tiles = tile if isinstance(tile, list) else [tile]
            self.sizes.append(len(tiles))
            if any(np.array_equal(t, WIDE[64:128, 64:128]) for t in tiles):
                raise ValueError("not this one")
            masks = [(t[..., 0] > 127).astype(np.uint8) for t in tiles]
            return masks if isinstance(tile, list) else masks[0]

    picky, source = Picky(), raster(tmp_path / "a.tif", WIDE)
    found = segmentation.segment(source, str(tmp_path / "out"), picky, tile_wh=[64, 64], objects=False)
    mask, row = mask_of(found), found.table("train").to_pylist()[0]
    assert (row["tiles"], row["failed_tiles"]) == (18, 1) and "not this one" in row["failed_example"]
    assert (mask[64:128, 64:128] == 255).all()
    mask[64:128, 64:128] = WIDE[64:128, 64:128, 0] > 127
    assert np.array_equal(mask, WIDE[..., 0] > 127) and max(picky.sizes) == 4


def test_what_a_model_does_to_the_numbers_is_said(tmp_path, inline, capsys):
    path, source = conv(tmp_path / "m.onnx", kernel=KERNELS), raster(tmp_path / "a.tif", WIDE)
    segmentation.segment(source, str(tmp_path / "out"), [path, "opening 3"], objects=False)
    assert "m.onnx: pictures of 8 bits are divided by 255: its file says nothing of it" in capsys.readouterr().out
    meta = {"image_mean": "[0.4, 0.5, 0.6]", "rescale_factor": "1"}
    model = models.Semantic(conv(tmp_path / "n.onnx", meta=meta.items()), activation="none")
    assert model.scaling_told("uint8").endswith("divided by 1, less [0.4, 0.5, 0.6], divided by 1.0: its file says so")
    assert model.scaling_told("uint16").endswith("n.onnx: pictures of uint16 go in as they are")


def test_a_model_is_not_spoilt_by_a_nan_and_nothing_is_said_of_its_own(tmp_path, inline):
    model = models.Semantic(conv(tmp_path / "m.onnx", sides=(96, 96)), activation="none")
    tile = WIDE[:96, :96].astype(np.float32)
    broken = tile.copy()
    broken[40, 40] = np.nan
    far = np.ones((96, 96), bool)
    far[38:43, 38:43] = False  # the kernel looks two pixels far
    assert np.array_equal(model(broken)[far], model(tile)[far])
    bad = models.Semantic(conv(tmp_path / "n.onnx", kernel=KERNEL * np.float32(np.nan)), activation="none")
    with pytest.raises(ValueError, match="n.onnx gives NaN: its weights, or what it was given, are bad"):
        bad(tile)
