"""Keys are public names and versions: wherever a module stands, what was computed stays computed."""

import pytest
from made import folder, table

import imgprep
from imgprep import models
from imgprep.picture import geometry, ocr
from imgprep.resume import fingerprint
from imgprep.stages import images, segmentation, variants


@pytest.fixture(autouse=True, scope="module")
def inline():
    imgprep.session("local", workers=0)
    yield
    imgprep.close()


def model_of(kind):
    """A model of that kind as it travels, without a file: a key has no need of one."""
    model = object.__new__(kind)
    vars(model).update(model="m.onnx", threshold=0.5, window=(64, 64), batch=1, spec={"kind": "onnx", "digest": "d"})
    return model


# Of the last release before the package had folders. A key that changes computes everything of everybody again.
# `ocr.prepare` is of version 2: dots in rows are no noise any more, and large pictures are estimated by bands.
FUNCTIONS = {
    "ocr.prepare": (ocr.prepare, "681f40018a8796c4be4c04b6347ad3a3"),
    "geometry.fit_pad": (geometry.fit_pad, "239161f4ec1db38f7af7f49ae0f78979"),
    "models.Semantic": (model_of(models.Semantic), "9a2666f0792d2b6d4af214c3fe2693e1"),
    "models.Instances": (model_of(models.Instances), "b08eb31b95bdd5815029ac22f68ccc30"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_ours_keeps_its_key(name):
    function, key = FUNCTIONS[name]
    assert fingerprint.function(function) == key


def test_a_transform_keeps_its_key(tmp_path):
    rows = {"train": table(folder(tmp_path / "in", 1))}
    found = images.transform(rows, str(tmp_path / "out"), ocr.prepare, size_wh=(32, 32))
    assert found.info["operation"] == "252a13ca81a3b800d604efdfabc6107f"


def test_variants_keep_their_key(tmp_path):
    found = variants.build({"train": table(folder(tmp_path / "in", 1))}, str(tmp_path / "out"))
    assert found.info["operation"] == "340589448007d23001168eea5f1d8372"


MASKS = {
    "otsu-tissue": ("otsu-tissue", "b698fa37fdafa2b76ae21f1261592da4"),
    "two steps": (["median 5", "128 dark"], "a00bf0ca21cc122ff5e93e21fafab569"),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_segmentation_keeps_its_key(tmp_path, name):
    operator, key = MASKS[name]
    (path,) = folder(tmp_path / "in", 1)
    found = segmentation.segment(path, str(tmp_path / "out"), operator, max_failed=1)
    assert found.info["operation"] == key
