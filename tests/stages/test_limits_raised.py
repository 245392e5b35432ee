"""A limit that refused pictures is raised: those are tried again, and nothing else is computed."""

import numpy as np
import pytest
import rasterio
from PIL import Image

import imgprep
from imgprep.io import rasters
from imgprep.picture import codec
from imgprep.stages import pairs, segmentation, upload, variants
from imgprep.stages.pairs import pairs as cutting
from imgprep.stages.segmentation import finish

NOISE = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
LOW = {"max_bytes": 5_000, "max_pixels": 10_000, "max_frames": 3}
RAISED = {"max_bytes": 100_000, "max_pixels": 50_000, "max_frames": 5}
REFUSED = {"max_bytes": "too_large", "max_pixels": "too_many_pixels", "max_frames": "too_many_frames"}


@pytest.fixture(autouse=True)
def _here():
    with imgprep.session("local", workers=0):
        yield


@pytest.fixture
def given(tmp_path):
    """A heavy file, a large picture, an animation of five frames, and one that is fine."""
    home = tmp_path / "in"
    home.mkdir()
    Image.fromarray(NOISE).save(home / "a_heavy.png")
    Image.fromarray(np.zeros((200, 200, 3), np.uint8)).save(home / "b_large.png")
    first, *more = [Image.new("RGB", (20, 20), (0, 50 * n, 0)) for n in range(5)]
    first.save(home / "c_long.gif", save_all=True, append_images=more)
    Image.fromarray(NOISE[:20, :20]).save(home / "d_fine.png")
    return str(home)


def sizes_of(source, out, **limits):
    more = {"thumbnail_side": 16, "vision": None, "frames": "all", "max_failed": 1.0}
    return variants.build(source, str(out), **more, **limits)


@pytest.mark.parametrize("name", LOW)
def test_a_limit_of_variants_is_raised(given, tmp_path, name):
    before = sizes_of(given, tmp_path / "out", **LOW)
    assert before.counts()["reasons"] == dict.fromkeys(REFUSED.values(), 1)
    raised = LOW | {name: RAISED[name]}
    after = sizes_of(given, tmp_path / "out", **raised)
    assert after.runs()[-1]["computed"] == 1
    assert {*after.counts()["reasons"]} == {*REFUSED.values()} - {REFUSED[name]}
    assert after.files == sizes_of(given, tmp_path / "fresh", **raised).files
    assert sizes_of(given, tmp_path / "out", **raised).runs()[-1]["computed"] == 1, "nothing new"


@pytest.mark.parametrize("name", LOW)
def test_no_limit_is_a_limit_that_was_raised_and_a_lower_one_takes_nothing_away(given, tmp_path, name):
    sizes_of(given, tmp_path / "out", **LOW)
    free = LOW | {name: None}
    after = sizes_of(given, tmp_path / "out", **free)
    assert after.runs()[-1]["computed"] == 1 and REFUSED[name] not in after.counts()["reasons"]
    lower = sizes_of(given, tmp_path / "out", **free | {name: 1})
    assert REFUSED[name] not in lower.counts()["reasons"]


@pytest.mark.parametrize("name", LOW)
@pytest.mark.parametrize("value", [0, -1, 2.5, "many", True])
def test_what_is_no_limit_is_said_before_any_work(given, tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name} is a number of "):
        sizes_of(given, tmp_path / "out", **{name: value})
    assert not (tmp_path / "out").exists()


def test_the_bytes_that_are_uploaded_are_raised(given, tmp_path):
    made = sizes_of(given, tmp_path / "sizes")
    where = str(tmp_path / "store"), str(tmp_path / "up")
    before = upload.upload(made, *where, max_bytes=5_000)
    assert before.counts()["reasons"] == {"too_large": 1}
    after = upload.upload(made, *where, max_bytes=100_000)
    assert after.counts()["reasons"] == {} and after.runs()[-1]["computed"] == 1
    fresh = upload.upload(made, where[0], str(tmp_path / "fresh"), max_bytes=100_000)
    assert after.files == fresh.files
    with pytest.raises(ValueError, match="max_bytes is a number of bytes"):
        upload.upload(made, *where, max_bytes=0)


def test_an_upload_tries_its_failures_again_when_it_is_asked(given, tmp_path, capsys, monkeypatch):
    made = sizes_of(given, tmp_path / "sizes")
    where = str(tmp_path / "store"), str(tmp_path / "up")
    probe = codec.probe
    with monkeypatch.context() as patch:
        patch.setattr(codec, "probe", lambda *_, **__: _refuse("corrupt"))
        upload.upload(made, *where, max_failed=1.0)
    assert codec.probe is probe
    upload.upload(made, *where, max_failed=1.0)
    assert "failures of earlier runs stay (corrupt" in capsys.readouterr().out
    upload.upload(made, *where, max_failed=1.0, dry_run=True)
    assert "retry_failed=True tries them again" in capsys.readouterr().out
    after = upload.upload(made, *where, retry_failed=True)
    assert after.counts()["reasons"] == {} and after.counts()["ok"] == made.counts()["ok"]


def _refuse(reason):
    raise codec.DecodeError(reason, "said so")


def scene(path, values):
    with rasters.gdal(), rasterio.open(path, "w", "GTiff", 200, 200, 1, dtype="uint8") as out:
        out.write(values, 1)
    return str(path)


def test_a_segmentation_tries_its_failures_again_when_it_is_asked(tmp_path, capsys, monkeypatch):
    source = scene(tmp_path / "a.tif", NOISE[:1, :1, 0].repeat(200, 0).repeat(200, 1))
    call = {"source": source, "out": str(tmp_path / "out"), "operator": "128", "max_failed": 1.0}
    row = {"reason": "corrupt", "error": "said so"}
    with monkeypatch.context() as patch:
        patch.setattr(finish, "_files_and_figures", lambda *_: dict(row))
        assert segmentation.segment(**call).counts()["reasons"] == {"corrupt": 1}
    assert segmentation.segment(**call).counts()["reasons"] == {"corrupt": 1}
    segmentation.segment(**call, dry_run=True)
    said = capsys.readouterr().out
    assert said.count("1 failure of an earlier run stays (corrupt 1): retry_failed=True tries it again") == 2
    assert segmentation.segment(**call, retry_failed=True).counts()["ok"] == 1


def test_pairs_try_their_failures_again_when_they_are_asked(tmp_path, capsys, monkeypatch):
    picture = scene(tmp_path / "a.tif", np.zeros((200, 200), np.uint8))
    mask = scene(tmp_path / "m.tif", np.ones((200, 200), np.uint8))
    call = {"pictures": {picture: mask}, "out": str(tmp_path / "out"), "tile": 20, "block": 1, "margin": 4}
    with monkeypatch.context() as patch:
        patch.setattr(cutting, "_eight_bits", lambda _: _fail("unsupported_format"))
        failed = pairs.write(**call).counts()["failed"]
    assert pairs.write(**call).counts()["failed"] == failed > 10
    pairs.write(**call, dry_run=True)
    assert capsys.readouterr().out.count(f"{failed} failures of earlier runs stay (unsupported_format") == 2
    assert pairs.write(**call, retry_failed=True).counts()["failed"] == 0


def _fail(reason):
    raise rasters.SourceError(reason, "said so")
