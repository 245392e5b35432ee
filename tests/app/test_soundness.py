"""`imgprep check` looks at all that a dataset says is there: masks, kept rows, objects, stores."""

import os
import shutil
import uuid

import cv2
import numpy as np
import pytest
from made import flip_bit, folder, table, tree

import imgprep
from imgprep.app import checkup, cli
from imgprep.io.stores import Store
from imgprep.resume.kept import KEPT
from imgprep.stages import images, segmentation, upload


@pytest.fixture(autouse=True)
def here():
    with imgprep.session("local", workers=0):
        yield


def check(*words: object) -> int:
    return cli.main(["check", *map(str, words)])


HARM = {"a bit": flip_bit, "empty": lambda path: os.truncate(path, 0), "missing": os.unlink}


@pytest.fixture
def masks(tmp_path):
    """Masks, labels and objects of three pictures."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        grey = np.full((40, 40), 200, np.uint8)
        grey[5 : 20 + number, 5:20] = 10
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), grey)
    segmentation.segment(str(tmp_path / "in"), str(tmp_path / "out"), "100")
    return tmp_path / "out"


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("place", ["masks", "labels", "objects"])
def test_a_damaged_mask_is_named_by_check_and_by_the_next_run_which_makes_it_again(
    masks, tmp_path, capsys, place, harm
):
    whole = tree(masks)
    assert check(masks) == 0 and ": whole, " in capsys.readouterr().out
    path = min((masks / place).iterdir())
    HARM[harm](path)
    assert check(masks) == 1
    assert f": {place}/{path.name} " in capsys.readouterr().out
    found = segmentation.segment(str(tmp_path / "in"), str(masks), "100")
    said = capsys.readouterr().out
    assert f"is damaged: {place}/{path.name}" in said
    assert "1 of 3 rows to compute: files that are damaged" in said
    assert tree(masks) == whole and found.runs()[-1]["computed"] == 1
    assert check(masks) == 0


@pytest.mark.parametrize("harm", HARM)
def test_results_that_are_kept_of_rows_that_left_are_looked_at(tmp_path, capsys, harm):
    paths = folder(tmp_path / "in", 6)
    out = str(tmp_path / "out")
    images.transform({"train": table(paths)}, out, np.flipud, batch_size=3)
    images.transform({"train": table(paths[:3])}, out, np.flipud, batch_size=3)
    assert check(out) == 0
    listed = {file["file"] for file in imgprep.dataset.open(out).files}
    (kept,) = [name for name in os.listdir(tmp_path / "out" / "data") if f"data/{name}" not in listed]
    copy = shutil.copytree(out, tmp_path / "copy")
    HARM[harm](copy / "data" / kept)
    capsys.readouterr()
    assert check(copy) == 1 and f": data/{kept} " in capsys.readouterr().out
    if harm != "missing":  # without it nobody knows that something is kept
        os.truncate(tmp_path / "out" / KEPT, 100)
        assert check(out) == 1 and f"{KEPT} is damaged" in capsys.readouterr().out


@pytest.fixture
def uploaded(tmp_path):
    folder(tmp_path / "in", 3)

    def send(target: str) -> tuple[str, str]:
        found = upload.upload(str(tmp_path / "in"), target, str(tmp_path / "out"))
        return found.folder, found.table("train")["uri"][0].as_py()

    return send


def test_objects_in_a_folder_are_read(uploaded, tmp_path, capsys):
    out, uri = uploaded(str(tmp_path / "store"))
    assert check(out) == 0 and "3 objects" in capsys.readouterr().out
    data = bytearray(open(uri, "rb").read())
    data[-1] ^= 1
    open(uri, "wb").write(data)
    assert check(out) == 1
    said = capsys.readouterr().out
    assert "does not hold the bytes that were written" in said and "refresh=True" in said


@pytest.mark.store
def test_objects_in_a_container_are_asked_for_and_put_back_by_a_refresh(
    uploaded, azurite, tmp_path, capsys, monkeypatch
):
    place = f"az://t{uuid.uuid4().hex[:20]}"
    out, uri = uploaded(place)
    assert check(out) == 0 and "3 objects" in capsys.readouterr().out
    Store(place).delete(uri.removeprefix(f"{place}/"))
    assert check(out) == 1 and f"{uri} is missing" in capsys.readouterr().out
    upload.upload(str(tmp_path / "in"), place, out, refresh=True)
    assert check(out) == 0
    monkeypatch.setenv("OTHER", os.environ["AZURE_STORAGE_CONNECTION_STRING"])
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")  # given back to the tests behind it
    capsys.readouterr()
    assert check(out) == 0
    assert "not checked: the uploaded objects: " in capsys.readouterr().out
    assert check("--credentials-env", "OTHER", out) == 0
    assert "not checked" not in capsys.readouterr().out
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", os.environ["OTHER"])


@pytest.mark.store
def test_a_folder_on_a_store_is_read_whole(s3, tmp_path, capsys):
    bucket = f"sound-{os.urandom(4).hex()}"
    s3.mkdir(bucket)
    out = f"s3://{bucket}/out"
    found = images.transform({"train": table(folder(tmp_path / "in", 4))}, out, np.flipud)
    assert check(f"s3://{bucket}") == 0 and ": whole, " in capsys.readouterr().out
    name = next(file["file"] for file in found.files if file["config"] == "default")
    data = bytearray(s3.cat_file(f"{bucket}/out/{name}"))
    data[len(data) // 2] ^= 1
    s3.pipe_file(f"{bucket}/out/{name}", bytes(data))
    assert check(out) == 1
    assert f"{name} does not hold the bytes that were written" in capsys.readouterr().out


def test_there_is_a_line_of_progress_only_where_it_takes_long(masks, monkeypatch):
    shown = []

    class Shown(checkup.Progress):
        def __init__(self, label, total, unit):
            shown.append((label.partition(" ")[0], total, unit))
            super().__init__(label, total, unit)

    monkeypatch.setattr(checkup, "Progress", Shown)
    assert check(masks) == 0 and shown == []
    monkeypatch.setattr(checkup, "LONG_BYTES", 0)
    assert check(masks) == 0 and shown == [("check", 2, "files")]
