"""Is the tiled answer the whole picture's? And what comes of damage, of a kill, of wrong options?"""

import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import rasterio
from datasets import load_dataset
from made import tree
from PIL import Image
from scipy import ndimage
from skimage import filters
from skimage.measure import label
from test_rasters import save

import imgprep
from imgprep import dataset
from imgprep.display import report, show
from imgprep.failures import RunStopped
from imgprep.io import rasters
from imgprep.sample import slide as specimen
from imgprep.stages import segmentation
from imgprep.stages.segmentation import block as tiling
from imgprep.stages.segmentation import finish, measures
from imgprep.stages.segmentation import overlay as overlays
from imgprep.tiles import grid

SIZE = 2048, 1200  # width, height: three columns of 512 are tissue, one is glass
SMALL = 1400, 900  # several of all but the largest of TILES
TILES = [256, 700, 1024, 4096]


@pytest.fixture(autouse=True, scope="module")
def inline():
    imgprep.session("local", workers=0)
    yield
    imgprep.close()


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    return specimen.make(str(tmp_path_factory.mktemp("slide")), SIZE)


@pytest.fixture(scope="module")
def pixels(slide):
    return read(slide["slide"], 3)


def read(path, bands=1):
    with rasters.open(str(path)) as raster:
        return raster.read() if bands > 1 else raster.read()[..., 0]


def segment(source, out, operator="otsu-tissue", **options):
    """The row, the mask and the labels of a picture."""
    found = segmentation.segment(source, str(out), operator, **options)
    row = found.table("train").to_pylist()[0]
    return row, *(read(f"{out}/{row[c]}") if row[c] else None for c in ("mask", "labels"))


def grey(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def stated(fn, radius):
    fn.radius = radius
    return fn


WHOLE = {  # steps, and the same on the whole picture: by OpenCV, SciPy and scikit-image
    "threshold": (["128"], lambda p: grey(p) <= 128),
    "blur": (["gaussian 3", "100"], lambda p: grey(cv2.GaussianBlur(p, (21, 21), 3)) <= 100),
    "median": (["median 9", "100"], lambda p: grey(cv2.medianBlur(p, 9)) <= 100),
    "opening": (
        ["150", stated(lambda m: ndimage.binary_opening(m, np.ones((5, 5))), 4)],
        lambda p: ndimage.binary_opening(grey(p) <= 150, np.ones((5, 5))),
    ),
    "skimage": (
        [stated(lambda t: filters.gaussian(grey(t), 3, preserve_range=True)[..., None], 12), "100"],
        lambda p: filters.gaussian(grey(p), 3, preserve_range=True) <= 100,
    ),
    "chain": (
        ["median 5", "150", "opening 7", "closing 5"],
        lambda p: cv2.morphologyEx(
            cv2.morphologyEx((grey(cv2.medianBlur(p, 5)) <= 150).view(np.uint8), cv2.MORPH_OPEN, np.ones((7, 7))),
            cv2.MORPH_CLOSE,
            np.ones((5, 5)),
        ),
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_tiled_filter_is_the_whole_pictures(name, slide, pixels, tmp_path):
    steps, whole = WHOLE[name]
    _, mask, labels = segment(slide["slide"], tmp_path / "out", steps, tile_wh=[256, 256])
    assert np.array_equal(mask, whole(pixels)) and np.array_equal(labels, label(whole(pixels), connectivity=2))
    if name != "threshold":  # with too small a halo it is not
        options = {"halo": 0, "approximate": True, "objects": False, "tile_wh": [256, 256]}
        _, wrong, _ = segment(slide["slide"], tmp_path / "wrong", steps, **options)
        assert (wrong != mask).any()


def test_the_threshold_is_the_pictures_and_not_the_tiles(slide, pixels, tmp_path):
    row, mask, _ = segment(slide["slide"], tmp_path / "out", "otsu", tile_wh=[256, 256], objects=False)
    assert row["threshold"] == filters.threshold_otsu(grey(pixels)) and row["labels"] is None
    assert np.array_equal(mask, grey(pixels) <= row["threshold"]) and sum(row["histogram"]) == SIZE[0] * SIZE[1]
    per_tile = stated(lambda t: grey(t) <= filters.threshold_otsu(grey(t)), 0)
    _, wrong, _ = segment(slide["slide"], tmp_path / "wrong", per_tile, tile_wh=[256, 256], objects=False)
    assert measures.evaluate(wrong, mask)["classes"][1]["iou"] < 0.9


def test_known_cells_are_found_one_by_one(slide, tmp_path):
    row, mask, labels = segment(slide["slide"], tmp_path / "out", tile_wh=[256, 256], truth=slide["truth"])
    truth = read(slide["truth"])
    cells = np.unique(truth)[1:]
    cut = {n for at in range(256, SIZE[0], 256) for n in np.intersect1d(truth[:, at - 1], truth[:, at]) if n}
    assert len(cut) >= 5 and row["count"] == len(cells) == labels.max()
    assert [row[name] for name in segmentation.MEASURES] == [1] * 6
    wrong, *_ = segment(slide["slide"], tmp_path / "glass", "otsu", truth=slide["truth"])  # there, glass decides
    assert wrong["count"] != len(cells) and wrong["iou"] < 0.2 and wrong["pq"] == 0


STEPS = ["median 5", "otsu-tissue", "opening 5"]


def test_neither_tiles_nor_engine_nor_container_leave_a_trace(tmp_path):
    slide = specimen.make(str(tmp_path / "slide"), SMALL)
    pixels = read(slide["slide"], 3)
    files, options = set(), {"fill_holes": True, "min_area": 150}
    for side in TILES:
        row, *_ = segment(slide["slide"], tmp_path / str(side), STEPS, tile_wh=[side, side], **options)
        files.add(tuple(row[c] for c in ("mask", "labels", "objects", "geojson", "sha256", "threshold")))
    save(tmp_path / "slide.tif", pixels, tiled=False, compress="lzw", photometric="RGB")
    cv2.imwrite(str(tmp_path / "slide.png"), pixels[..., ::-1])
    for source in ("slide.tif", "slide.png"):
        row, *_ = segment(str(tmp_path / source), tmp_path / f"of-{source}", STEPS, **options)
        files.add(tuple(row[c] for c in ("mask", "labels", "objects", "geojson", "sha256", "threshold")))
    assert len(files) == 1  # the names say what is in them
    by_hand = tree(tmp_path / "1024")
    imgprep.session("local", workers=2)  # threads; and, as a step is not ours, processes
    for name, steps in (("threads", STEPS), ("processes", [stated(lambda t: t, 0), *STEPS])):
        segment(slide["slide"], tmp_path / name, steps, **options)
        masks = {k: v for k, v in tree(tmp_path / name).items() if k.startswith(("masks", "labels", "objects"))}
        assert masks.items() <= by_hand.items() and len(masks) == 4
    assert tree(tmp_path / "threads") == by_hand
    imgprep.session("local", workers=0)


@pytest.mark.ray
def test_ray_gives_the_same_bytes(slide, tmp_path):
    segment(slide["slide"], tmp_path / "here", STEPS, tile_wh=[512, 512])
    imgprep.session("ray", workers=2)
    segment(slide["slide"], tmp_path / "ray", STEPS, tile_wh=[512, 512])
    imgprep.close()
    imgprep.session("local", workers=0)
    assert tree(tmp_path / "ray") == tree(tmp_path / "here")


@pytest.mark.parametrize("connectivity", [4, 8])
def test_holes_and_specks_are_the_whole_pictures(connectivity, tmp_path):
    rng = np.random.default_rng(2)
    image = (cv2.GaussianBlur(rng.random((900, 1100)).astype(np.float32), (0, 0), 4) > 0.497).astype(np.uint8)
    image[100:600, 200:900] |= cv2.circle(np.zeros((500, 700), np.uint8), (350, 250), 240, 1, 12)  # over many tiles
    source = save(tmp_path / "a.tif", image)
    row, mask, labels = segment(source, tmp_path / "out", "0 bright", tile_wh=[256, 256], fill_holes=True, min_area=200,
                                connectivity=connectivity)  # fmt: skip
    around = np.ones((3, 3)) if connectivity == 4 else None  # holes are connected the other way
    filled = ndimage.binary_fill_holes(image, around)
    want = label(filled, connectivity=connectivity // 4)
    large = np.bincount(want.ravel()) >= 200
    large[0] = False
    assert np.array_equal(mask, large[want]) and large.sum() == row["count"] < want.max() and (filled > image).any()
    assert np.array_equal(labels, label(mask, connectivity=connectivity // 4))


def test_a_watershed_is_nearly_the_wholes(slide, pixels, tmp_path):
    rng, image = np.random.default_rng(4), np.full((700, 900), 200, np.uint8)
    for x, y in rng.integers(0, (900, 700), (150, 2)):
        cv2.circle(image, (int(x), int(y)), 20, 50, -1)
    source, steps = save(tmp_path / "a.tif", image), ["128", "watershed 12"]
    with pytest.raises(ValueError, match="approximate=True accepts that"):
        segment(source, tmp_path / "out", steps)
    row, mask, labels = segment(source, tmp_path / "out", steps, approximate=True, halo=200, tile_wh=[256, 256])
    whole = segmentation.operator_of(steps)(image[..., None])
    found = measures.evaluate(labels, whole.astype(np.int32), objects=True)
    assert found["iou"] == 1 and found["f1"] > 0.97 and row["count"] > label(image < 128).max()
    one, *_ = segment(source, tmp_path / "one", steps, approximate=True, tile_wh=[1024, 1024])
    assert one["count"] == whole.max()
    wrong, *_ = segment(source, tmp_path / "wrong", steps, approximate=True, halo=1, tile_wh=[256, 256])
    assert abs(wrong["count"] - whole.max()) > abs(row["count"] - whole.max())


def test_classes_and_probabilities(tmp_path):
    image = np.random.default_rng(5).integers(0, 255, (300, 400), np.uint8)
    image[40:90, 50:200] = 250
    source = save(tmp_path / "a.tif", image)
    classes = stated(lambda t: np.digitize(t[..., 0], [100, 249]).astype(np.uint16), 0)
    _, mask, _ = segment(source, tmp_path / "classes", classes, tile_wh=[128, 128], objects=False)
    assert mask.dtype == np.uint16 and np.array_equal(mask, np.digitize(image, [100, 249]))
    probability, as_bool = lambda t: np.float32(t[..., 0] / 255), lambda t: t[..., 0] >= 128
    for fn in (probability, as_bool, lambda t: (t[..., 0] > 127) * np.uint8(255)):
        _, mask, _ = segment(source, tmp_path / "half", stated(fn, 0), tile_wh=[128, 128], objects=False)
        assert mask.dtype == np.uint8 and np.array_equal(mask, image >= 128)


def test_a_truth_may_be_of_classes(tmp_path):
    image = np.random.default_rng(5).integers(0, 255, (300, 400), np.uint8)
    source = save(tmp_path / "a.tif", image)
    true = np.digitize(image, [110, 249]).astype(np.uint8)
    classes = stated(lambda t: np.digitize(t[..., 0], [100, 249]).astype(np.uint8), 0)
    options = {"truth": save(tmp_path / "true.tif", true), "truth_of": "classes", "objects": False}
    row, mask, _ = segment(source, tmp_path / "out", classes, tile_wh=[128, 128], **options)
    want = measures.evaluate(mask, true)
    assert row["mean_iou"] == want["mean_iou"] < 1 and row["accuracy"] == want["accuracy"]
    assert {one["class"]: one["iou"] for one in row["classes"]} == {n: c["iou"] for n, c in want["classes"].items()}
    with pytest.raises(ValueError, match="truth_of is 'objects' or 'classes', not 'pixels'"):
        segment(source, tmp_path / "no", classes, truth_of="pixels")


def test_a_truth_in_colours_is_refused_before_the_work(tmp_path):
    source = save(tmp_path / "a.tif", np.zeros((300, 400), np.uint8))
    colours = np.ones((300, 400, 3), np.uint8)
    colours[..., 1] = np.eye(300, 400)
    colours = save(tmp_path / "true.tif", colours)
    with pytest.raises(ValueError, match="true.tif' has colours .* a mask has one number for each pixel"):
        segment(source, tmp_path / "out", "128", truth=colours)
    assert not (tmp_path / "out").exists()


def test_dark_is_dark_where_white_is_zero(tmp_path):
    image = np.full((300, 400), 60_000, np.uint16)
    image[50:90, 60:200] = 9000
    black = save(tmp_path / "black.tif", image)
    white = save(tmp_path / "white.tif", 65535 - image, photometric="MINISWHITE")
    want = image < 32_896
    for source in (black, white):
        _, mask, _ = segment(source, tmp_path / os.path.basename(source)[:5], "32896 dark")
        assert np.array_equal(mask, want)


def test_place_on_earth_is_kept_and_nodata_stays_nodata(tmp_path):
    image = np.random.default_rng(6).integers(1, 255, (600, 700), np.uint8)
    image[:200, :300] = 0
    place = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 6e6), "nodata": 0}
    row, mask, _ = segment(save(tmp_path / "a.tif", image, **place), tmp_path / "out", 128, objects=False)
    assert np.array_equal(mask, np.where(image == 0, 255, image <= 128))
    with rasterio.open(tmp_path / "out" / row["mask"]) as out:
        assert out.crs == place["crs"] and out.transform == place["transform"] and out.nodata == 255
        assert out.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and out.compression.name == "deflate"


def test_a_scene_of_mars_is_segmented_like_any_other(tmp_path):
    image = np.random.default_rng(6).integers(1, 255, (300, 400), np.uint8)
    datum = 'DATUM["D_Mars_2000",SPHEROID["Mars_2000_IAU_IAG",3396190.0,169.894447]]'
    mars = rasterio.CRS.from_wkt(
        f'GEOGCS["Mars 2000",{datum},PRIMEM["Reference_Meridian",0],UNIT["Degree",0.0174532925199433]]'
    )
    place = {"crs": mars, "transform": rasterio.Affine(0.01, 0, 137, 0, -0.01, -4)}
    row, mask, _ = segment(save(tmp_path / "a.tif", image, **place), tmp_path / "out", 128)
    assert np.array_equal(mask, image <= 128) and row["geojson"].endswith(".pixels.geojson")
    assert (tmp_path / "out" / row["geojson"]).exists() and "Mars" in row["crs"]


def damage(path):
    """The fifth tile's first bytes: zlib finds no stream there. (Of what lies within one, libtiff says nothing.)"""
    with Image.open(path) as image:
        offset = image.tag_v2[324][4]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(bytes(16))


def test_a_damaged_tile_is_nodata_and_said(slide, pixels, tmp_path, capsys):
    damage(path := shutil.copy(slide["slide"], tmp_path / "a.tif"))
    row, mask, _ = segment(path, tmp_path / "out", 128, tile_wh=[128, 128])
    lost = mask == 255
    assert row["status"] == "ok" and 1 <= row["failed_tiles"] <= 40 and "cannot be read" in row["failed_example"]
    assert lost.sum() == row["failed_tiles"] * 128 * 128 and (mask == (grey(pixels) <= 128))[~lost].all()
    assert f"{row['failed_tiles']} of 160 tiles failed and are nodata in the mask" in capsys.readouterr().out
    with pytest.raises(RunStopped, match="more than max_failed=0.001 of the tiles of a failed"):
        segment(path, tmp_path / "out", 127, tile_wh=[128, 128], max_failed=0.001)


def test_what_cannot_be_segmented_is_a_row_that_says_why(slide, tmp_path):
    (tmp_path / "text.tif").write_text("no picture")
    (tmp_path / "nothing.tif").touch()
    paths = [slide["slide"], str(tmp_path / "text.tif"), str(tmp_path / "nothing.tif"), str(tmp_path / "gone.tif")]
    found = segmentation.segment(paths, str(tmp_path / "out"), 128, max_failed=0.9)
    assert found.table("train")["reason"].to_pylist() == ["", "not_an_image", "empty", "missing_file"]

    cv2.imwrite(str(tmp_path / "cut.png"), np.random.default_rng(0).integers(0, 9, (2500, 2500), np.uint8))
    os.truncate(tmp_path / "cut.png", os.path.getsize(tmp_path / "cut.png") // 2)  # found out while it is copied
    found = segmentation.segment([paths[0], str(tmp_path / "cut.png")], str(tmp_path / "copy"), 128, max_failed=0.9)
    assert found.table("train")["status"].to_pylist() == ["ok", "failed"]

    def broken(tile):
        raise KeyError("weights")

    found = segmentation.segment(paths[0], str(tmp_path / "error"), stated(broken, 0), max_failed=1)
    row = found.table("train").to_pylist()[0]
    assert (row["status"], row["reason"]) == ("failed", "error") and "weights" in row["error"]


def test_an_operator_may_write_into_its_tile(slide, pixels, tmp_path):
    def meddling(tile):
        tile[...] = cv2.blur(tile, (9, 9))
        return tile[..., 0] < 90

    options = {"halo": 4, "tile_wh": [256, 256], "objects": False}
    _, mask, _ = segment(slide["slide"], tmp_path / "one", meddling, **options)
    assert np.array_equal(mask, meddling(pixels.copy()))
    two_pass = [stated(lambda t: cv2.blur(t, (9, 9), dst=t), 4), "otsu"]
    row, *_ = segment(slide["slide"], tmp_path / "two", two_pass, **options)
    assert row["threshold"] == filters.threshold_otsu(grey(cv2.blur(pixels, (9, 9))))


def test_a_tile_that_fails_costs_that_tile_in_either_pass(slide, pixels, tmp_path, capsys):
    def broken(tile):
        if tile.shape[0] < 512:  # the last row, in both passes
            raise KeyError("weights")
        return tile

    row, mask, _ = segment(slide["slide"], tmp_path / "out", [stated(broken, 0), "otsu"], tile_wh=[512, 512])
    cut = filters.threshold_otsu(grey(pixels[:1024]))
    assert (row["status"], row["failed_tiles"], row["threshold"]) == ("ok", 4, cut)
    assert "KeyError: 'weights'" in row["failed_example"] and (mask[1024:] == 255).all()
    assert np.array_equal(mask[:1024], grey(pixels[:1024]) <= cut)
    assert "4 tiles did not count for what is chosen" in capsys.readouterr().out
    always = [stated(lambda tile: 1 / 0, 0), "otsu"]
    found = segmentation.segment(slide["slide"], str(tmp_path / "none"), always, max_failed=1).table("train")
    assert found["reason"].to_pylist() == ["error"] and "ZeroDivisionError" in found["error"][0].as_py()


def test_a_process_that_dies_costs_its_block(tmp_path, monkeypatch):
    image = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 200, (512, 1024), np.uint8), (0, 0), 4)
    monkeypatch.setattr(tiling, "BLOCK_PX", 512)
    path = save(tmp_path / "a.tif", image)

    def dies(name, lost=tiling.lost_block, module=tiling, does=lambda given: given.block[0] == 512):
        """As the engine has it in the end; what a process costs it is said in test_engine."""
        fn = getattr(module, name)

        def one(recipe, folder, task):
            return lost(folder, task) if does(task.payload) else fn(recipe, folder, task)

        monkeypatch.setattr(module, name, one)

    dies("number_block")
    row, mask, labels = segment(path, tmp_path / "number", "otsu", min_area=20, tile_wh=[256, 256])
    assert row["failed_tiles"] == 4 and (mask[:, 512:] == 255).all() and np.array_equal(labels > 0, mask == 1)
    dies("measure_block")
    dies("paint_block")
    row, mask, labels = segment(path, tmp_path / "all", "otsu", tile_wh=[256, 256])
    assert row["failed_tiles"] == 4 and "process that worked on this died" in row["failed_example"]
    cut = filters.threshold_otsu(image[:, :512])
    assert row["threshold"] == cut and np.array_equal(mask[:, :512], image[:, :512] <= cut)
    assert (mask[:, 512:] == 255).all() and np.array_equal(labels, label(mask == 1, connectivity=2))
    dies("make_file", finish.lost_picture, finish, lambda made: made.what == "mask")
    assert segment(path, tmp_path / "finish", 128, objects=False, max_failed=1)[0]["reason"] == "crashed"


def test_a_url_of_a_private_host_is_not_asked(tmp_path):
    found = segmentation.segment(["http://127.1:9/b.tif"], str(tmp_path / "out"), 128, max_failed=1)
    assert found.table("train")["reason"].to_pylist() == ["blocked_address"]
    options = {"max_failed": 1, "allow_hosts": ["127.0.0.1"]}
    found = segmentation.segment(["http://127.0.0.1:9/b.tif"], str(tmp_path / "out"), 128, **options)
    assert found.table("train")["reason"].to_pylist() != ["blocked_address"]


def test_a_source_that_changes_meanwhile_is_not_taken_for_done(slide, tmp_path):
    path = shutil.copy(slide["slide"], tmp_path / "a.tif")

    def meddle(tile):
        os.utime(path, (1, len(tile)))
        return tile[..., 0] > 100

    found = segmentation.segment(str(path), str(tmp_path / "out"), stated(meddle, 0), max_failed=1)
    assert found.counts()["reasons"] == {"changed": 1}

    def remove(tile):
        os.path.exists(path) and os.remove(path)
        return tile[..., 0] > 100

    found = segmentation.segment([path, slide["slide"]], str(tmp_path / "gone"), stated(remove, 0), max_failed=1)
    assert found.table("train")["reason"].to_pylist() == ["changed", ""]


def test_truths_may_stand_beside_their_pictures(slide, tmp_path):
    (tmp_path / "in").mkdir()
    for name, ending in (("slide", ".tif"), ("truth", "_true.tif")):
        shutil.copy(slide[name], tmp_path / "in" / f"a{ending}")
    shutil.copy(slide["slide"], tmp_path / "in" / "b.tif")
    found = segmentation.segment(str(tmp_path / "in"), str(tmp_path / "out"), truth="*_true.tif").table("train")
    assert found["image_id"].to_pylist() and found["f1"].to_pylist() == [1, None]
    with pytest.raises(ValueError, match=r"or a column \(file_name, image_id, source\), not 'true'"):
        segmentation.segment(str(tmp_path / "in"), str(tmp_path / "out"), truth="true")


def test_again_costs_nothing_and_another_operator_replaces_the_files(slide, tmp_path, capsys):
    out = tmp_path / "out"
    before, *_ = segment(slide["slide"], out)
    files = tree(out)
    capsys.readouterr()
    segment(slide["slide"], out)
    assert tree(out) == files and "nothing to compute" in capsys.readouterr().out
    after, *_ = segment(slide["slide"], out, "60 dark")
    found = dataset.open(str(out))
    assert repr(show.thresholds(found)) == "no thresholds" and "% foreground" in repr(show.overlay(found))
    assert "Masks and objects" in report.write(tmp_path / "r.html", [found], title="x").read_text("utf-8")
    assert {os.path.basename(after["mask"])} == set(os.listdir(out / "masks")) and after["mask"] != before["mask"]
    assert not (out / segmentation.TILES).exists()


KILLED = """
import sys, time
import imgprep
from imgprep import segmentation, tiling
tiling.BLOCK_PX, paint = 64, tiling.paint_block
tiling.paint_block = lambda *given: time.sleep(0.1) or paint(*given)
imgprep.session("local", workers=0)
segmentation.segment(sys.argv[1], sys.argv[2], 71, tile_wh=[2048, 64])
"""


def test_a_kill_in_the_middle_costs_the_block_that_was_in_work(slide, tmp_path, monkeypatch):
    options = {"operator": 71, "tile_wh": [2048, 64]}
    segment(slide["slide"], tmp_path / "whole", **options)
    monkeypatch.setattr(tiling, "BLOCK_PX", 64)  # blocks of one tile each, so that there is a middle
    process = subprocess.Popen([sys.executable, "-c", KILLED, slide["slide"], str(tmp_path / "out")])
    parts = tmp_path / "out" / ".imgprep" / "tiles"
    deadline = time.monotonic() + 60
    while len(list(parts.glob("*/mask/*.npz"))) < 7 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = len(list(parts.glob("*/mask/*.npz")))
    done = []
    monkeypatch.setattr(tiling, "paint_block", lambda *given, paint=tiling.paint_block: done.append(1) or paint(*given))
    segment(slide["slide"], tmp_path / "out", **options)
    assert 7 <= there < 19 and len(done) == 19 - there  # 1,200 rows in blocks of 64
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_wrong_options_are_told_before_any_work(slide, tmp_path):
    here = str(tmp_path / "out")
    for options, words in [
        ({"tile_wh": [10, 10]}, r"tile_wh is \[width, height\] of a tile in pixels, at least 64"),
        ({"halo": 2000}, "a halo of 2000 pixels is more than a tile"),
        ({"halo": -1}, "halo is a number of pixels"),
        ({"connectivity": 6}, "connectivity is 4 or 8"),
        ({"min_area": -5}, "min_area is a number of pixels"),
        ({"operator": lambda tile: tile}, "<lambda> does not state how far"),
        ({"operator": ["median 9", "128"], "halo": 2}, "dark looks 4 pixels around, halo=2 would change its"),
        ({"operator": ["128", "watershed 9"]}, "watershed 9 looks without a bound"),
        ({"max_memory_mb": 50}, "need about .* MiB, max_memory_mb is 50"),
        ({"max_disk_gb": 0.0001}, "1 picture needs about .* GiB of disk, max_disk_gb is 0.0001"),
        ({"source": []}, "no pictures: name at least one path or URI"),
        ({"truth": ["a.tif", "b.tif"]}, "2 truths for 1 picture:"),
        ({"truth": "none.tif"}, "there is no '.*none.tif'"),
        ({"truth": save(tmp_path / "small.tif", np.zeros((99, 99), np.int32))}, "it is of another one"),
    ]:
        with pytest.raises(ValueError, match=words):
            segmentation.segment(**{"source": slide["slide"], "out": here, **options})
    assert not os.path.exists(f"{here}/data")


def test_a_wrong_result_is_the_users_mistake(slide, tmp_path):
    for fn, words in {
        (lambda t: t): r"uint8 \(1024, 1024, 3\) for a tile of \(1024, 1024\): it returns one number per pixel",
        (lambda t: None): "returned NoneType",
        (lambda t: t[..., 0].astype(np.int64)): "a mask is bool, uint8, uint16 or float32",
    }.items():
        with pytest.raises(ValueError, match=words):
            segmentation.segment(slide["slide"], str(tmp_path / "out"), stated(fn, 0))


def test_a_dry_run_tells_and_does_nothing(slide, tmp_path, capsys):
    assert segmentation.segment(slide["slide"], str(tmp_path / "out"), dry_run=True) is None
    assert "1 of 1 row to compute: the first run" in capsys.readouterr().out and not (tmp_path / "out").exists()


def test_the_overview_does_not_depend_on_blocks(pixels):
    whole = overlays.overview(SIZE, 7, [((0, 0, *SIZE), piece(pixels, (0, 0, *SIZE)))])
    blocks = grid.cut((0, 0, *SIZE), (331, 257))
    assert np.array_equal(whole, overlays.overview(SIZE, 7, [(b, piece(pixels, b)) for b in blocks]))
    assert whole.shape == (SIZE[1] // 7, SIZE[0] // 7, 3)
    fitting = pixels[: whole.shape[0] * 7, : whole.shape[1] * 7]
    assert np.abs(whole - cv2.resize(fitting, whole.shape[1::-1], interpolation=cv2.INTER_AREA)).mean() < 3


def piece(pixels, block):
    made = overlays.Overview(block, 7, 3)
    made.add(block, pixels[grid.inside(block, (0, 0, *SIZE))], None)
    return made.total


def test_a_preview_is_the_operator_on_one_window(slide, pixels):
    shown, overlay = segmentation.preview(slide["slide"], ["median 5", "100"], window=[100, 200, 300, 250])
    assert np.array_equal(shown, pixels[200:450, 100:400]) and overlay.shape == shown.shape
    changed = (overlay != shown).any(2)
    mask = grey(cv2.medianBlur(shown, 5)) <= 100
    assert mask.any() and np.array_equal(changed, mask)


def test_the_samples_truth_leaves_with_the_sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(specimen, "make", lambda home: {"slide": f"{home}/slide.tif", "truth": f"{home}/truth.tif"})
    own = str(tmp_path / "data" / "sample" / "slide" / "truth.tif")
    assert specimen.ready("data/sample/slide/slide.tif") == own
    assert specimen.ready("data/sample/slide/slide.tif", "mine.tif") == "mine.tif"
    assert specimen.ready("scene.tif") is None and specimen.ready("scene.tif", "mine.tif") == "mine.tif"


@pytest.mark.notebooks
def test_the_pipeline_gives_what_the_function_gives_and_its_report_shows_it(slide, tmp_path):
    (tmp_path / "environment.yml").write_text("name: uses-imgprep\n")
    given = {**{f: p for f, p in zip(("source", "truth"), slide.values(), strict=True)}, "out": "made", "pair_px": 128}
    words = [w for k, v in {**given, "workers": 0}.items() for w in ("-p", f"{k}={v}")]
    done = subprocess.run([sys.executable, "-m", "imgprep", "run", "slides", *words], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    row, *_ = segment(slide["slide"], tmp_path / "here", ["otsu-tissue"], truth=slide["truth"])
    assert tree(tmp_path / "made/masks") == tree(tmp_path / "here")
    (report,) = tmp_path.glob("reports/slides/*/report.html")
    text = report.read_text("utf-8")
    assert "Masks and objects" in text and f'<td class="r">{row["count"]}</td>' in text and "cut at 7" in text
    assert len(load_dataset(str(tmp_path / "made/pairs"), split="train")[0]["mask"].getdata()) == 128 * 128
