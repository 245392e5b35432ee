"""Where a run uses something that is there already, it is not called the first one."""

import os
import shutil

import cv2
import numpy as np
import pytest
from made import folder, table

import imgprep
from imgprep.resume.kept import KEPT
from imgprep.stages import images, pairs, segmentation, upload, variants
from imgprep.stages.segmentation import block, polygons

FIRST = "to compute: the first run"
GOES_ON = "to compute: an earlier run was not finished"


@pytest.fixture(autouse=True)
def here():
    with imgprep.session("local", workers=0):
        yield


def stop(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture
def scenes(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        grey = np.full((40, 40), 200, np.uint8)
        grey[5 : 20 + number, 5:20] = 10
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), grey)
    return str(tmp_path / "in")


def test_masks_that_a_segmentation_painted_before_it_was_ended_are_used(scenes, tmp_path, monkeypatch, capsys):
    call = {"source": scenes, "out": str(tmp_path / "out"), "operator": "100"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(polygons, "write_objects", stop)
        segmentation.segment(**call)
    assert FIRST in capsys.readouterr().out
    segmentation.segment(**call, dry_run=True)
    assert f"3 of 3 rows {GOES_ON}" in capsys.readouterr().out
    monkeypatch.setattr(block, "paint_block", stop)
    assert segmentation.segment(**call).counts()["ok"] == 3, "no block is painted again"
    said = capsys.readouterr().out
    assert f"3 of 3 rows {GOES_ON}" in said and "first run" not in said


def test_copies_that_pairs_left(scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("imgprep.io.rasters.tiled.WHOLE_PX", 100)  # so that it is copied
    mask = str(tmp_path / "mask.png")
    cv2.imwrite(mask, np.zeros((40, 40), np.uint8))
    call = {"pictures": {f"{scenes}/0.png": mask}, "out": str(tmp_path / "out")}
    call |= {"tile": 8, "block": 1, "margin": 0}
    with monkeypatch.context() as patch:
        patch.setattr("imgprep.resume.work.Work.__call__", stop)
        patch.setattr("imgprep.stages.pairs.written.remove_tree", lambda *_: None)  # it was killed
        with pytest.raises(KeyboardInterrupt):
            pairs.write(**call)
    assert len([*(tmp_path / "out" / pairs.blocks.COPIES).iterdir()]) == 1
    assert FIRST in capsys.readouterr().out
    pairs.write(**call, dry_run=True)
    assert GOES_ON in capsys.readouterr().out


VERBS = {
    "transform": lambda rows, home: images.transform(rows, f"{home}/out", np.flipud),
    "download": lambda rows, home: images.download(rows, f"{home}/out"),
    "variants": lambda rows, home: variants.build(rows, f"{home}/out", thumbnail_side=8, vision=None),
    "upload": lambda rows, home: upload.upload(rows, f"{home}/store", f"{home}/out"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_parts_that_a_run_left_before_it_was_ended(tmp_path, monkeypatch, capsys, verb):
    rows = {"train": table(folder(tmp_path / "in", 30))}
    with monkeypatch.context() as patch:

        def ended(run):
            if run.totals.rows >= 8:
                raise KeyboardInterrupt

        patch.setattr("imgprep.resume.run.Run._stop_early", ended)
        with pytest.raises(KeyboardInterrupt):
            VERBS[verb](rows, tmp_path)
    assert f"30 of 30 rows {FIRST}" in capsys.readouterr().out
    found = VERBS[verb](rows, tmp_path)
    said = capsys.readouterr().out
    assert GOES_ON in said and "30 of 30" not in said.split(" to compute")[0] and FIRST not in said
    assert found.counts()["failed"] == 0


@pytest.mark.parametrize("lost", ["the list", "the list and the index"])
def test_files_whose_list_was_lost(tmp_path, capsys, lost):
    paths = folder(tmp_path / "in", 6)
    out = tmp_path / "out"
    rows = {"train": table(paths[:4])}
    images.transform(rows, str(out), np.flipud)
    os.unlink(out / ".imgprep" / "manifest.jsonl")
    if lost != "the list":
        shutil.rmtree(out / ".imgprep" / "index")
    capsys.readouterr()
    more = {"train": table(paths)}
    assert images.transform(more, str(out), np.flipud).counts()["ok"] == 6
    said = capsys.readouterr().out
    assert ("2 of 6 rows " + GOES_ON if lost == "the list" else f"6 of 6 rows {FIRST}") in said


def test_results_that_are_kept_of_rows_that_left_and_nothing_else(tmp_path, capsys):
    paths = folder(tmp_path / "in", 6)
    out = tmp_path / "out"
    images.transform({"train": table(paths)}, str(out), np.flipud, batch_size=3)
    images.transform({"train": table(paths[:3])}, str(out), np.flipud, batch_size=3)
    assert (out / KEPT).exists()
    os.unlink(out / ".imgprep" / "manifest.jsonl")
    shutil.rmtree(out / ".imgprep" / "index")
    capsys.readouterr()
    images.transform({"train": table(paths)}, str(out), np.flipud, batch_size=3)
    said = capsys.readouterr().out
    assert "3 of 6 rows " in said and GOES_ON in said and FIRST not in said
