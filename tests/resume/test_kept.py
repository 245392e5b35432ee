"""Finished work is never lost: what leaves a dataset is told, kept, and comes back at once."""

import sys
from pathlib import Path

import numpy as np
import pytest
from made import folder, picture, table, tree

import imgprep
from imgprep import dataset
from imgprep.app import inventory
from imgprep.picture import codec
from imgprep.resume import kept
from imgprep.stages import images, segmentation


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


@pytest.fixture
def made(tmp_path):
    """Thirty pictures of which one is missing: (tables, out)."""
    paths = [*folder(tmp_path / "in", 30), str(tmp_path / "gone")]
    tables, out = {"train": table(paths)}, str(tmp_path / "out")
    images.download(tables, out, batch_size=8)
    return tables, out


def computed(out: str) -> int:
    return dataset.open(out).runs()[-1]["computed"]


def test_a_limit_takes_no_finished_row_away(made, capsys):
    tables, out = made
    before = tree(out)
    images.download({"train": tables["train"].slice(0, 5)}, out, batch_size=8, dry_run=True)
    images.download({"train": tables["train"].slice(0, 5)}, out, batch_size=8)
    said = capsys.readouterr().out
    told = "26 rows leave the dataset, not being in the input any more: their results are kept until `imgprep clean`"
    assert said.count(told) == 2
    assert dataset.open(out).counts()["rows"] == 5
    for _ in range(2):  # a run that has nothing to do removes nothing either
        images.download({"train": tables["train"].slice(0, 5)}, out, batch_size=8)
    found = images.download(tables, out, batch_size=8)
    assert computed(out) == 0 and found.counts()["ok"] == 30
    for i, data in enumerate(found.pictures("train", range(30))):
        assert np.array_equal(codec.decode(data), picture(i))
    images.download(tables, out, batch_size=8)
    assert tree(out) == before


def test_another_source_into_the_same_folder_keeps_the_results_of_the_first(made, tmp_path):
    tables, out = made
    other = tmp_path / "other"
    other.mkdir()
    for i in range(5):
        (other / f"{i}.png").write_bytes(codec.encode(picture(100 + i)))
    images.download({"train": table([str(other / f"{i}.png") for i in range(5)])}, out, batch_size=8)
    assert computed(out) == 5
    images.download(tables, out, batch_size=8)
    assert computed(out) == 0


def test_rows_that_left_under_other_options_come_back_with_those(made, tmp_path, capsys):
    tables, out = made
    images.download({"train": tables["train"].slice(0, 5)}, out, batch_size=8, size_wh=[8, 8])
    assert "26 rows leave" in capsys.readouterr().out
    images.download({"train": tables["train"].slice(5)}, out, batch_size=8)
    assert computed(out) == 0


def test_an_edited_picture_and_a_moved_row_leave_nothing(made, capsys):
    tables, out = made
    Path(tables["train"]["source"][3].as_py()).write_bytes(codec.encode(picture(99)))
    capsys.readouterr()
    rows = tables["train"]
    images.download({"train": rows.slice(0, 20), "test": rows.slice(20)}, out, batch_size=8)
    assert computed(out) == 1 and "leave" not in capsys.readouterr().out


def test_children_are_kept_with_their_picture(tmp_path):
    tables, out = {"train": table(folder(tmp_path / "in", 6))}, str(tmp_path / "out")

    def halves(image):
        return [{"image": image[:8]}, {"image": image[8:]}]

    before = images.transform(tables, out, halves, children=True).table("train").drop_columns(["file"])
    images.transform({"train": tables["train"].slice(2, 1)}, out, halves, children=True)
    after = images.transform(tables, out, halves, children=True)
    assert computed(out) == 0 and after.table("train").drop_columns(["file"]) == before


def test_another_picture_in_the_folder_of_masks_keeps_the_first_ones(tmp_path, capsys):
    out = str(tmp_path / "out")
    one, other = folder(tmp_path / "in", 2)
    first = segmentation.segment(one, out, 128).table("train")["mask"][0].as_py()
    before = Path(out, first).read_bytes()
    segmentation.segment(other, out, 128)
    assert "1 row leaves the dataset, not being in the input any more: its results are kept" in capsys.readouterr().out
    segmentation.segment([one, other], out, 128)
    assert computed(out) == 0 and Path(out, first).read_bytes() == before
    with pytest.raises(ValueError, match="lies in the source"):
        segmentation.segment(str(tmp_path / "in"), str(tmp_path / "in" / "out"), 128)


def test_clean_forgets_what_is_kept_and_nothing_else(made, tmp_path):
    tables, out = made
    some = {"train": tables["train"].slice(0, 5)}
    images.download(some, out, batch_size=8)
    images.download(some, out, batch_size=8)
    there = [name for name, _ in inventory.sweep([out], keep=3, dry_run=True)]
    assert str(Path(out, kept.KEPT)) in there and Path(out, kept.KEPT).exists()
    inventory.sweep([out], keep=3)
    assert not any(Path(name).exists() for name in there)
    images.download(some, str(tmp_path / "fresh"), batch_size=8)
    assert tree(out) == tree(tmp_path / "fresh")
    images.download(tables, out, batch_size=8)
    assert computed(out) == 26


class Killed(BaseException):
    """Ends a run wherever it is, as kill -9 does."""


def test_what_an_unfinished_run_did_is_kept_by_a_run_over_fewer_rows(tmp_path, monkeypatch):
    tables, out = {"train": table(folder(tmp_path / "in", 24))}, str(tmp_path / "out")
    seen = tmp_path / "seen"

    def slow(image, path=str(seen)):
        with open(path, "a") as file:
            file.write("x")
        if Path(path).stat().st_size == sys.imgprep_kill:
            raise Killed
        return image

    monkeypatch.setattr(sys, "imgprep_kill", 17, raising=False)
    with pytest.raises(Killed):
        images.transform(tables, out, slow)
    monkeypatch.setattr(sys, "imgprep_kill", 0)
    images.transform({"train": tables["train"].slice(0, 3)}, out, slow)
    images.transform(tables, out, slow)
    assert seen.stat().st_size == 17 + 8  # the unit in which it was killed, and no other row, again


def test_a_damaged_list_of_what_is_kept_costs_a_computation(made):
    tables, out = made
    images.download({"train": tables["train"].slice(0, 5)}, out, batch_size=8)
    Path(out, kept.KEPT).write_bytes(b"PAR1 nothing")
    assert images.download(tables, out, batch_size=8).counts()["ok"] == 30


# What is refused ------------------------------------------------------------------------------------------------------


def other(image):
    return image


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_folder_that_another_stage_made_is_refused(made, dry_run):
    tables, out = made
    before = tree(out)
    told = "was made by 'download', and 'other' would replace it: name another folder, or delete this one first"
    with pytest.raises(ValueError, match=told):
        images.transform(tables, out, other, dry_run=dry_run)
    assert tree(out) == before


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_folder_with_files_of_somebody_else_is_refused(made, tmp_path, dry_run):
    tables, _ = made
    with pytest.raises(ValueError, match=r"in has files that imgprep did not write \(0000.png …\): name a new folder"):
        images.download(tables, str(tmp_path / "in"), dry_run=dry_run)
    assert len(list((tmp_path / "in").iterdir())) == 30


def test_a_folder_in_the_source_is_refused(made, tmp_path):
    home = str(tmp_path / "in")
    for out in (home, f"{home}/out", f"{home}/a/b"):
        with pytest.raises(ValueError, match="is the source itself|lies in the source"):
            images.transform(home, out, other)
    _, raw = made
    with pytest.raises(ValueError, match="lies in the source"):
        images.transform(raw, f"{raw}/out", other)
    assert len(list((tmp_path / "in").iterdir())) == 30


def test_a_folder_in_which_a_run_was_killed_goes_on(made, tmp_path):
    tables, _ = made
    out = tmp_path / "new"
    (out / ".imgprep").mkdir(parents=True)
    (out / "masks").mkdir()
    assert images.download(tables, str(out)).counts()["ok"] == 30


def test_hidden_files_are_nobodys(made, tmp_path):
    tables, _ = made
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".gitkeep").write_text("")
    assert images.download(tables, str(tmp_path / "new")).counts()["ok"] == 30
