import numpy as np
import pytest
import rasterio
from skimage.filters import gaussian
from skimage.measure import label
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

import imgprep
from imgprep.io import rasters
from imgprep.picture import codec
from imgprep.stages import segmentation
from imgprep.stages.segmentation import measures


def save(path, array, **more):
    options = {"driver": "GTiff", "width": array.shape[1], "height": array.shape[0], "count": 1, "dtype": array.dtype}
    with rasters.gdal(), rasterio.open(path, "w", **options, **more) as out:
        out.write(array, 1)
    return str(path)


def blobs(seed, size=160):
    """Objects of all sizes, numbered from 1: (size, size) int32."""
    return label(gaussian(np.random.default_rng(seed).random((size, size)), 3) > 0.505).astype(np.int32)


def disturbed(labels, seed=0):
    """Shifted a little, some objects lost, some joined, some invented: as a model would."""
    rng, found = np.random.default_rng(seed), np.roll(labels, (1, 1), (0, 1))
    names = np.unique(labels)[1:]
    for n in rng.choice(names, len(names) // 5, replace=False):
        found[found == n] = 0
    for n in rng.choice(names, len(names) // 5, replace=False):
        found[found == n] = names[0]
    found[:6, :6] = labels.max() + 7
    return found


def brute_force(ours, theirs):
    """Every object against every other."""
    pairs = [(a, b) for a in np.unique(ours) if a for b in np.unique(theirs) if b]
    iou = {(a, b): ((ours == a) & (theirs == b)).sum() / ((ours == a) | (theirs == b)).sum() for a, b in pairs}
    hits = [v for v in iou.values() if v > 0.5]
    n, m = len(np.unique(ours[ours > 0])), len(np.unique(theirs[theirs > 0]))
    alone = (n - len(hits)) / 2 + (m - len(hits)) / 2
    return {"found": n, "there": m, "matched": len(hits), "precision": len(hits) / n, "recall": len(hits) / m,
            "f1": len(hits) / (len(hits) + alone), "pq": sum(hits) / (len(hits) + alone)}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_objects_are_measured_as_by_comparing_each_with_each(seed, monkeypatch):
    theirs = blobs(seed)
    ours = disturbed(theirs, seed)
    want = brute_force(ours, theirs)
    found = measures.evaluate(ours, theirs, objects=True)
    assert {k: found[k] for k in want} == pytest.approx(want) and 3 < want["matched"] < want["found"]
    assert found["pq"] == pytest.approx(found["sq"] * found["rq"])
    assert found["iou"] == pytest.approx(jaccard_score(theirs.ravel() > 0, ours.ravel() > 0))
    monkeypatch.setattr(measures, "COMPARED_PX", 37)
    assert measures.evaluate(ours, theirs, objects=True) == found


def test_per_window_matching_would_be_another_number(monkeypatch):
    theirs = blobs(5)
    ours = disturbed(theirs)
    whole = measures.evaluate(ours, theirs, objects=True)["pq"]
    pieces = [(y, x) for y in range(0, 160, 80) for x in range(0, 160, 80)]
    parts = [brute_force(ours[y : y + 80, x : x + 80], theirs[y : y + 80, x : x + 80])["pq"] for y, x in pieces]
    assert abs(np.mean(parts) - whole) > 0.01


def test_an_iou_of_exactly_one_half_is_no_match():
    theirs, ours = np.zeros((2, 8), int), np.zeros((2, 8), int)
    theirs[0, :4], ours[0, :2] = 1, 1
    assert measures.evaluate(ours, theirs, objects=True)["matched"] == 0
    ours[0, :3] = 1
    assert measures.evaluate(ours, theirs, objects=True)["pq"] == 0.75


def test_classes_are_measured_as_by_scikit_learn(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    theirs = np.kron(rng.integers(0, 5, (30, 41)), np.ones((9, 9), int)).astype(np.uint8)
    ours = np.where(rng.random(theirs.shape) < 0.3, rng.integers(0, 7, theirs.shape), theirs).astype(np.uint8)
    monkeypatch.setattr(measures, "COMPARED_PX", 100)
    for found in (
        measures.evaluate(ours, theirs),
        measures.evaluate(save(tmp_path / "a.tif", ours), save(tmp_path / "b.tif", theirs)),
    ):
        iou = jaccard_score(theirs.ravel(), ours.ravel(), average=None, labels=range(7))
        dice = f1_score(theirs.ravel(), ours.ravel(), average=None, labels=range(7))
        assert [found["classes"][n]["iou"] for n in range(7)] == pytest.approx(iou.tolist())
        assert [found["classes"][n]["dice"] for n in range(7)] == pytest.approx(dice.tolist())
        assert found["accuracy"] == pytest.approx(accuracy_score(theirs.ravel(), ours.ravel()))
        assert found["mean_iou"] == pytest.approx(iou.mean()) and found["pixels"] == theirs.size


def test_nodata_is_not_asked_of_the_mask_and_is_nothing_in_it(tmp_path):
    theirs, ours = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    theirs[5:35, 5:55], ours[5:35, 5:55] = 1, 1
    theirs[:, 50:] = 255  # nobody looked
    ours[:20, :10] = 255  # it failed here
    found = measures.evaluate(
        save(tmp_path / "a.tif", ours, nodata=255), save(tmp_path / "b.tif", theirs, nodata=255), objects=True
    )
    known, hit = (theirs != 255), (ours == 1) & (theirs == 1)
    assert found["iou"] == hit.sum() / ((theirs == 1) & known).sum() < 1
    theirs[theirs == 255] = 0
    zero = measures.evaluate(ours, save(tmp_path / "c.tif", theirs, nodata=0))
    assert zero["pixels"] == 2400


def test_a_truth_with_a_palette_is_measured_by_its_numbers(tmp_path):
    from PIL import Image

    classes = (np.arange(60 * 40).reshape(60, 40) % 3).astype(np.uint8)
    painted = Image.fromarray(classes)
    painted.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    painted.save(tmp_path / "true.png")
    found = measures.evaluate(classes, str(tmp_path / "true.png"))
    assert found["mean_iou"] == 1 and {*found["classes"]} == {0, 1, 2}
    painted.convert("RGB").save(tmp_path / "colours.png")
    with pytest.raises(ValueError, match="a mask has one number for each pixel"):
        measures.evaluate(classes, str(tmp_path / "colours.png"))


def test_nothing_to_measure_and_what_cannot_be_compared():
    nothing = np.zeros((5, 5), np.uint8)
    found = measures.evaluate(nothing, nothing, objects=True)
    assert (found["pq"], found["precision"], found["iou"], found["there"]) == (None, None, None, 0)
    with pytest.raises(ValueError, match=r"the mask has \(5, 5\) pixels, the truth \(6, 5\)"):
        measures.evaluate(nothing, np.zeros((5, 6), np.uint8))
    with pytest.raises(ValueError, match="whole numbers, not float64"):
        measures.evaluate(nothing, nothing / 1)


@pytest.mark.corpus
def test_the_quality_of_real_nuclei_is_that_of_brute_force(corpus, tmp_path):
    """BBBC038 nuclei that shine, by Otsu and connected components: whatever that is worth, it is measured right."""
    truths = sorted((corpus / "segmentation" / "dsb2018").glob("*_labels.png"))
    pictures = [t.with_name(t.name.replace("_labels", "")) for t in truths]
    shining = [p for p in pictures if np.median(codec.decode(p.read_bytes())) < 40][:6]
    truths = [str(p.with_name(f"{p.stem}_labels.png")) for p in shining]
    with imgprep.session("local", workers=0):
        found = segmentation.segment(list(map(str, shining)), str(tmp_path / "out"), "otsu bright", truth=truths)
    rows = found.table("train").to_pylist()
    for row, truth in zip(rows, truths, strict=True):
        with rasters.open(f"{found.folder}/{row['labels']}") as ours, rasters.open(truth) as theirs:
            want = brute_force(ours.read()[..., 0], theirs.read()[..., 0])
        names = ("precision", "recall", "f1", "pq")
        assert [row[n] for n in names] == pytest.approx([want[n] for n in names])
    assert len({row["pq"] for row in rows}) == 6
