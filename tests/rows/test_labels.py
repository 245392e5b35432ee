import csv
import os
import re

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import imgprep
from imgprep import dataset
from imgprep.rows import labels, sources
from imgprep.stages import images

CSV = (
    "\ufefffile_path,code,note,price\r\n"
    'a/1.png,007,"=1+1, ""q""\nnext",1.5\r\n'
    "a/2.jpg,12,NA,\r\n"
    "a/none.jpg,3,é,2\r\n"
    "a/1.png,007,again,500.0\r\n"
    ",4,,3\r\n"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two pictures, and a table of five rows of which three are ok."""
    home = tmp_path_factory.mktemp("labels")
    (home / "a").mkdir()
    Image.fromarray(np.full((4, 6, 3), 200, np.uint8)).save(home / "a/1.png")
    Image.fromarray(np.full((5, 7, 3), 90, np.uint8)).save(home / "a/2.jpg")
    (home / "train.csv").write_bytes(CSV.encode())
    imgprep.session("local", workers=0)
    yield home
    imgprep.close()


def download(home, name, where="train.csv", **options):
    """A real dataset folder, made of files."""
    tables = sources.read({"train": home / where}, **{"url_column": "file_path", **options})
    return images.download(tables, str(home / name), max_failed=1)


@pytest.fixture(scope="module")
def ds(home):
    return download(home, "ds")


def rows(path):
    with open(path, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_the_labelled_table_is_the_input_and_the_outcome(home, ds):
    out = rows(labels.write_csv(ds, "train", home / "train.csv", str(home / "train_labeled.csv")))
    with open(home / "train.csv", newline="", encoding="utf-8-sig") as lines:
        given = list(csv.DictReader(lines))
    assert [{name: row[name] for name in given[0]} for row in out] == given
    assert list(out[0])[4:] == ["image_id", "path", "status", "reason", "error", "width", "height"]
    assert [row["status"] for row in out] == ["ok", "ok", "placeholder", "ok", "placeholder"]
    assert [row["reason"] for row in out] == ["", "", "missing_file", "", "bad_url"]
    assert [(row["width"], row["height"]) for row in out[:2]] == [("6", "4"), ("7", "5")]
    assert out[3]["image_id"] == f"{out[0]['image_id']}-2"
    file, row = out[1]["path"].split("#")
    picture = dataset.Reader(ds._folder).rows(os.path.relpath(home / file, ds.folder), np.array([int(row)]))
    assert picture["image"][0].as_py()["bytes"] == (home / "a/2.jpg").read_bytes()


def test_lines_end_with_a_line_feed_and_a_lone_carriage_return_is_quoted(home, ds):
    (home / "cr.csv").write_bytes(b'file_path,note\na/1.png,"x\ry"\n')
    made = download(home, "cr", "cr.csv")
    data = open(labels.write_csv(made, "train", home / "cr.csv", str(home / "cr_labeled.csv")), "rb").read()
    assert data.startswith(b'"file_path","note","image_id","path","status","reason","error","width","height"\n')
    assert data.splitlines(keepends=True)[1].startswith(b'"a/1.png","x\r')
    assert data.count(b"\n") == 2


def test_a_limit_or_a_sample_is_found_again(home):
    for name, options in {"limited": {"limit": 2}, "sampled": {"sample": 2, "stratify": "code"}}.items():
        made = download(home, name, **options)
        out = rows(labels.write_csv(made, "train", home / "train.csv", str(home / f"{name}.csv")))
        table = made.table("train")
        assert len(out) == 2
        assert [row["image_id"] for row in out] == table["image_id"].to_pylist()
        assert [row["note"] for row in out] == table["note"].to_pylist()


def test_a_table_that_was_edited_is_refused(home, ds):
    for name, text in {"cell": CSV.replace("NA", "N"), "type": CSV.replace("500.0", "x"), "fewer": CSV[:-7]}.items():
        (home / f"{name}.csv").write_bytes(text.encode())
        with pytest.raises(ValueError, match=f"{name}.csv is not what the dataset was made from"):
            labels.write_csv(ds, "train", home / f"{name}.csv", str(home / "never.csv"))
    assert not (home / "never.csv").exists()


def test_renamed_columns_keep_their_new_names(home):
    (home / "status.csv").write_text("file_path,status,path\na/1.png,new,x\na/2.jpg,old,y\n")
    rename = {"status": "my_status"}
    made = download(home, "renamed", "status.csv", rename=rename)
    out = rows(labels.write_csv(made, "train", home / "status.csv", str(home / "r.csv"), rename=rename))
    assert [(row["my_status"], row["status"], row["path"]) for row in out] == [("new", "ok", "x"), ("old", "ok", "y")]
    assert out[0]["path_2"].endswith("#0")
    with pytest.raises(ValueError, match="give the same rename"):
        labels.write_csv(made, "train", home / "status.csv", str(home / "r.csv"))


def test_a_folder_of_pictures_gives_the_columns_of_the_dataset(home):
    made = download(home, "folder", "a", url_column=None)
    out = rows(labels.write_csv(made, "train", home / "a", str(home / "folder.csv")))
    assert [(row["file_name"], row["status"]) for row in out] == [("1.png", "ok"), ("2.jpg", "ok")]


@pytest.fixture(scope="module")
def exported(home, ds):
    return labels.export_imagefolder(ds, "train", str(home / "files"))


def test_an_imagefolder_opens_with_all_columns(home, ds, exported):
    import datasets

    opened = datasets.load_dataset("imagefolder", data_dir=exported, split="train")
    table = ds.table("train").filter(pa.compute.equal(ds.table("train")["status"], "ok"))
    assert [picture.size for picture in opened["image"]] == [(6, 4), (7, 5), (6, 4)]
    assert opened["image_id"] == table["image_id"].to_pylist()
    assert opened["note"][0] == '=1+1, "q"\nnext'
    assert set(opened.column_names) == {*table.column_names, "image"} - {"file", "row"}
    names = [name for name in sorted(os.listdir(exported)) if name.endswith((".png", ".jpg"))]
    ids = table["image_id"].to_pylist()
    assert names == sorted([f"{ids[0]}.png", f"{ids[1]}.jpg", f"{ids[2]}.png"])
    assert (home / "files" / f"{ids[1]}.jpg").read_bytes() == (home / "a/2.jpg").read_bytes()


def test_an_export_is_what_path_points_to(home, ds, exported):
    out = rows(labels.write_csv(ds, "train", home / "train.csv", str(home / "x.csv"), pictures=exported))
    assert [row["path"].split("/")[0] for row in out] == ["files", "files", "ds", "files", "ds"]
    assert (home / out[1]["path"]).read_bytes() == (home / "a/2.jpg").read_bytes()


def test_an_export_again_touches_nothing_and_removes_what_is_gone(home, ds):
    folder = home / "again"
    labels.export_imagefolder(ds, "train", str(folder))
    (folder / "mine.txt").write_text("stays")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    assert len(before) == 3 + 2
    labels.export_imagefolder(ds, "train", str(folder))
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()} == before
    labels.export_imagefolder(download(home, "fewer", limit=1), "train", str(folder))
    assert len([path for path in folder.iterdir() if path.is_file()]) == 1 + 2


def test_a_folder_with_somebody_elses_metadata_is_left_alone(home, ds):
    (home / "theirs").mkdir()
    (home / "theirs/metadata.csv").write_text("file_name,text\na.jpg,x\n")
    with pytest.raises(ValueError, match="theirs has a metadata.csv that imgprep did not write"):
        labels.export_imagefolder(ds, "train", str(home / "theirs"))
    assert os.listdir(home / "theirs") == ["metadata.csv"]


def test_columns_that_datasets_would_take_for_pictures_are_renamed(home):
    made = download(home, "named", "a", url_column=None)
    folder = labels.export_imagefolder(made, "train", str(home / "named_files"))
    assert [row["filename"] for row in rows(f"{folder}/metadata.csv")] == ["1.png", "2.jpg"]


def test_file_names_are_safe_and_differ_everywhere():
    ids = ["ok-1", "A", "a", "../../etc/passwd", "é/ü", ".x", "x" * 300, "a\0b"]
    stems = labels.stems(ids)
    assert stems[0] == "ok-1"
    assert len({stem.lower() for stem in stems}) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,99}", stem) for stem in stems)
    assert labels.stems(ids[1:3]) == stems[1:3]
