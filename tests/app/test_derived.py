"""`imgprep check` of what is made of a dataset: exports in each form, and search indexes."""

import os
import re
import shutil
import sqlite3

import datasets
import numpy as np
import pytest
from made import flip_bit, folder, table, tree

import imgprep
from imgprep.app import cli, derived
from imgprep.stages import exports, images, search

FORMS = list(exports.FORMS)


def check(*words: object) -> int:
    return cli.main(["check", *map(str, words)])


HARM = {
    "a bit": flip_bit,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "missing": os.unlink,
}


def described(picture):
    """A picture with a vector and a name."""
    vector = picture.reshape(-1)[:70].astype(np.float32)
    return {"embedding": vector / np.linalg.norm(vector), "text": f"a {picture.max()}"}


VECTOR = {"embedding": datasets.List(datasets.Value("float32")), "text": "string"}


@pytest.fixture(scope="module")
def ds(tmp_path_factory):
    home = tmp_path_factory.mktemp("derived")
    with imgprep.session("local", workers=0):
        yield images.transform(
            {"train": table(folder(home / "in", 5))}, str(home / "ds"), described, features=VECTOR
        )


@pytest.mark.parametrize("form", FORMS)
def test_each_file_of_an_export_that_is_damaged_is_named_with_what_mends_it(ds, tmp_path, capsys, form):
    whole = tmp_path / "whole"
    exports.export(ds, str(whole), form)
    assert check(whole) == 0 and re.search(r"whole: whole, \d+ files", capsys.readouterr().out)
    made = tree(whole)
    for number, name in enumerate(made):
        if name == ".imgprep-export":
            continue
        harm = [*HARM][number % len(HARM)]
        copy = tmp_path / "copy"
        shutil.copytree(whole, copy)
        if (copy / name).stat().st_size:
            HARM[harm](copy / name)
            assert check(copy) == 1, (name, harm)
            said = capsys.readouterr().out.splitlines()
            assert len(said) == 2 and f": {name} " in said[0] and derived.EXPORT_AGAIN in said[1]
        shutil.rmtree(copy)


@pytest.mark.parametrize("harm", HARM)
def test_every_kind_of_damage_is_found_and_an_export_that_lost_bytes_is_made_again(ds, tmp_path, capsys, harm):
    out = tmp_path / "out"
    exports.export(ds, str(out), "imagefolder")
    made = tree(out)
    HARM[harm](min((out / "train").glob("*.png")))
    assert check(out) == 1
    exports.export(ds, str(out), "imagefolder")
    if harm in ("cut", "missing"):
        assert tree(out) == made
    shutil.rmtree(out)  # as the sentence says
    exports.export(ds, str(out), "imagefolder")
    assert tree(out) == made and check(out) == 0


def test_the_list_of_an_export_itself_may_be_damaged_or_of_an_earlier_version(ds, tmp_path, capsys):
    out = tmp_path / "out"
    exports.export(ds, str(out), "webdataset")
    made = tree(out)
    mark = out / ".imgprep-export"
    version = mark.read_bytes().split(b"\n")[0]
    mark.write_bytes(version)
    assert check(out) == 0 and "not checked: an earlier version" in capsys.readouterr().out
    before = mark.stat().st_mtime_ns
    exports.export(ds, str(out), "webdataset")
    assert mark.stat().st_mtime_ns == before, "it is left alone all the same"
    mark.write_bytes(version + b"\nno such line")
    assert check(out) == 1 and ".imgprep-export is damaged" in capsys.readouterr().out
    exports.export(ds, str(out), "webdataset")
    assert tree(out) == made


@pytest.mark.store
def test_an_export_on_a_store_is_read_whole(ds, s3, capsys):
    bucket = f"derived-{os.urandom(4).hex()}"
    s3.mkdir(bucket)
    exports.export(ds, f"s3://{bucket}/out", "webdataset")
    assert check(f"s3://{bucket}") == 0
    name = f"{bucket}/out/data/train-000000.tar"
    data = bytearray(s3.cat_file(name))
    data[600] ^= 1
    s3.pipe_file(name, bytes(data))
    assert check(f"s3://{bucket}") == 1
    assert "data/train-000000.tar does not hold the bytes" in capsys.readouterr().out
    s3.rm_file(name)
    exports.export(ds, f"s3://{bucket}/out", "webdataset")
    assert check(f"s3://{bucket}") == 0, "what is missing there is sent again"


INDEX_FILES = ["index.sqlite", "codes.u64", "bytes.i8", "scales.f32", "rotation.npz", "index.sums"]


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("name", INDEX_FILES)
def test_an_index_that_is_damaged_is_named_and_made_again(ds, tmp_path, capsys, name, harm):
    where = str(tmp_path / "index")
    search.build(ds, folder=where)
    assert {*os.listdir(where)} == {*INDEX_FILES}
    assert check(where) == 0 and "whole, 6 files" in capsys.readouterr().out
    HARM[harm](tmp_path / "index" / name)
    assert check(where) == 1
    said = capsys.readouterr().out.splitlines()
    assert any(f": {name} " in line for line in said) and derived.BUILD_AGAIN in said[-1], said
    search.build(ds, folder=where)
    assert check(where) == 0


def test_the_index_inside_a_dataset_folder_is_looked_at_with_it(ds, tmp_path, capsys):
    copy = shutil.copytree(ds.folder, tmp_path / "ds")
    search.build(str(copy))
    assert check(copy) == 0 and capsys.readouterr().out.count(": whole, ") == 2
    flip_bit(copy / ".imgprep" / "search" / "bytes.i8")
    assert check(copy) == 1
    said = capsys.readouterr().out
    assert "bytes.i8 does not hold the bytes that were written" in said and "ds: whole, " in said


def test_what_came_to_an_index_and_left_it_is_looked_at_too(ds, tmp_path, capsys):
    home = tmp_path / "index"
    index = search.build(ds, folder=str(home))
    ids = ds.table("train")["image_id"].to_pylist()
    index.add([{"image_id": "new", "embedding": np.ones(70, np.float32)}])
    index.delete(ids[:1])
    assert check(home) == 0
    assert "not checked: index.sqlite: it was changed since it was made" in capsys.readouterr().out
    for name in ("codes.u64", "bytes.i8", "scales.f32"):
        data = (home / name).read_bytes()
        (home / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # of what was added
        assert check(home) == 1 and f": {name} does not hold" in capsys.readouterr().out
        (home / name).write_bytes(data)
    data = bytearray((home / "index.sqlite").read_bytes())
    data[4096] ^= 255  # the kind of its second page
    (home / "index.sqlite").write_bytes(data)
    assert check(home) == 1 and ": index.sqlite " in capsys.readouterr().out


def test_an_index_that_was_made_compact_is_whole_again(ds, tmp_path, capsys):
    home = tmp_path / "index"
    index = search.build(ds, folder=str(home))
    index.delete(ds.table("train")["image_id"].to_pylist()[:2])
    index.compact()
    assert check(home) == 0 and "not checked" not in capsys.readouterr().out
    flip_bit(home / "index.sqlite")
    assert check(home) == 1


def test_nothing_added_takes_nothing_away(ds, tmp_path):
    index = search.build(ds, folder=str(tmp_path / "index"))
    ids = ds.table("train")["image_id"].to_pylist()
    wanted = index.search(like=ids[0])
    index.add([])
    again = search.open(ds, folder=str(tmp_path / "index"))
    assert [hit.image_id for hit in again.search(like=ids[0])] == [hit.image_id for hit in wanted]
    assert len(wanted) == 4


def test_an_index_of_an_earlier_version_is_said_and_not_judged(ds, tmp_path, capsys):
    search.build(ds, folder=str(tmp_path / "index"))
    with sqlite3.connect(tmp_path / "index" / "index.sqlite") as db:
        db.execute("update fact set value = '2' where name = 'format'")
    db.close()
    assert check(tmp_path) == 0
    assert "not checked: an earlier version of the package made it" in capsys.readouterr().out
