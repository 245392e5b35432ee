import csv
import os

import numpy as np
import pytest
from PIL import Image

import imgprep
from imgprep import dataset
from imgprep.rows import labels, sources
from imgprep.stages import exports, images

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
    picture = dataset.Reader(ds._folder).rows(
        os.path.relpath(home / file, ds.folder), np.array([int(row)])
    )
    assert picture["image"][0].as_py()["bytes"] == (home / "a/2.jpg").read_bytes()


def test_lines_end_with_a_line_feed_and_a_lone_carriage_return_is_quoted(home, ds):
    (home / "cr.csv").write_bytes(b'file_path,note\na/1.png,"x\ry"\n')
    made = download(home, "cr", "cr.csv")
    data = open(
        labels.write_csv(made, "train", home / "cr.csv", str(home / "cr_labeled.csv")), "rb"
    ).read()
    assert data.startswith(
        b'"file_path","note","image_id","path","status","reason","error","width","height"\n'
    )
    assert data.splitlines(keepends=True)[1].startswith(b'"a/1.png","x\r')
    assert data.count(b"\n") == 2


def test_a_limit_or_a_sample_is_found_again(home):
    for name, options in {
        "limited": {"limit": 2},
        "sampled": {"sample": 2, "stratify": "code"},
    }.items():
        made = download(home, name, **options)
        out = rows(labels.write_csv(made, "train", home / "train.csv", str(home / f"{name}.csv")))
        table = made.table("train")
        assert len(out) == 2
        assert [row["image_id"] for row in out] == table["image_id"].to_pylist()
        assert [row["note"] for row in out] == table["note"].to_pylist()


def test_a_table_that_was_edited_is_refused(home, ds):
    for name, text in {
        "cell": CSV.replace("NA", "N"),
        "type": CSV.replace("500.0", "x"),
        "fewer": CSV[:-7],
    }.items():
        (home / f"{name}.csv").write_bytes(text.encode())
        with pytest.raises(ValueError, match=f"{name}.csv is not what the dataset was made from"):
            labels.write_csv(ds, "train", home / f"{name}.csv", str(home / "never.csv"))
    assert not (home / "never.csv").exists()


def test_renamed_columns_keep_their_new_names(home):
    (home / "status.csv").write_text("file_path,status,path\na/1.png,new,x\na/2.jpg,old,y\n")
    rename = {"status": "my_status"}
    made = download(home, "renamed", "status.csv", rename=rename)
    out = rows(
        labels.write_csv(made, "train", home / "status.csv", str(home / "r.csv"), rename=rename)
    )
    assert [(row["my_status"], row["status"], row["path"]) for row in out] == [
        ("new", "ok", "x"),
        ("old", "ok", "y"),
    ]
    assert out[0]["path_2"].endswith("#0")
    with pytest.raises(ValueError, match="give the same rename"):
        labels.write_csv(made, "train", home / "status.csv", str(home / "r.csv"))


def test_a_folder_of_pictures_gives_the_columns_of_the_dataset(home):
    made = download(home, "folder", "a", url_column=None)
    out = rows(labels.write_csv(made, "train", home / "a", str(home / "folder.csv")))
    assert [(row["file_name"], row["status"]) for row in out] == [("1.png", "ok"), ("2.jpg", "ok")]


@pytest.fixture(scope="module")
def exported(home, ds):
    return exports.export(ds, str(home / "files"), "imagefolder")


def test_an_export_is_what_path_points_to(home, ds, exported):
    out = rows(
        labels.write_csv(ds, "train", home / "train.csv", str(home / "x.csv"), pictures=exported)
    )
    assert [row["path"].split("/")[0] for row in out] == ["files", "files", "ds", "files", "ds"]
    assert (home / out[1]["path"]).read_bytes() == (home / "a/2.jpg").read_bytes()


def test_a_folder_that_no_export_filled_is_refused_with_the_fix(home, ds):
    with pytest.raises(
        ValueError, match=r"is no ImageFolder: fill it with exports.export\(ds, .*, 'imagefolder'\)"
    ):
        labels.write_csv(
            ds, "train", home / "train.csv", str(home / "x.csv"), pictures=str(home / "a")
        )


def test_the_name_that_went_says_what_does_it_now():
    with pytest.raises(
        AttributeError, match=r"exports.export\(ds, folder, 'imagefolder'\) does it"
    ):
        labels.export_imagefolder  # noqa: B018


def test_what_a_spreadsheet_would_run_can_be_escaped(home):
    cells = ["=1+1", "+cmd|x", "-2", "-2,5", "@sum", "plain", "\t=x", " =x", "＝1", "-x"]
    body = "".join(f'a/1.png,"{cell}"\n' for cell in cells)
    (home / "formulas.csv").write_text("file_path,note\n" + body)
    made = download(home, "formulas", "formulas.csv")
    path = str(home / "escaped.csv")
    out = rows(labels.write_csv(made, "train", home / "formulas.csv", path, escape_formulas=True))
    escaped = ["'=1+1", "'+cmd|x", "-2", "-2,5", "'@sum", "plain", "'\t=x", "' =x", "'＝1", "'-x"]
    assert [row["note"] for row in out] == escaped
    out = rows(labels.write_csv(made, "train", home / "formulas.csv", path))
    assert [row["note"] for row in out] == cells


def test_a_table_in_another_dialect_is_found_again(home):
    (home / "semi.csv").write_bytes("file_path;note\na/1.png;é\n".encode("cp1252"))
    made = download(home, "semi", "semi.csv")
    out = rows(labels.write_csv(made, "train", home / "semi.csv", str(home / "semi_labeled.csv")))
    assert [(row["note"], row["status"]) for row in out] == [("é", "ok")]
