"""Exports: what other formats hold opens with the rows, pictures, splits and features of the dataset folder."""

import datetime
import os
import subprocess
import sys
import time

import datasets
import lance
import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
from made import folder, picture, table, tree
from test_variants_table import HEIC

import imgprep
from imgprep import dataset
from imgprep.picture import codec
from imgprep.stages import exports, images, variants

FORMS = list(exports.FORMS)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def make(home, n=7, **columns):
    """Two splits of PNG and JPEG pictures with a class, and rows that are not ok."""
    home.mkdir(exist_ok=True)
    paths = folder(home / "in", n)
    for i in range(0, n, 3):
        paths[i] = paths[i].replace("png", "jpg")
        open(paths[i], "wb").write(codec.encode(picture(i), "JPEG", quality=90))
    rows = table([*paths, str(home / "none.png")], code=[f"00{i}" for i in range(n + 1)])
    columns = {"label": [i % 2 for i in range(n + 1)], **columns}
    for name, values in columns.items():
        rows = rows.append_column(name, [values])
    features = datasets.Features.from_arrow_schema(rows.schema) | {"label": datasets.ClassLabel(names=["cat", "dog"])}
    rows = rows.cast(datasets.Features(features).arrow_schema)
    tables = {"train": rows, "left": rows.slice(2, 3)}
    return images.download(tables, str(home / "ds"), batch_size=4, max_failed=1)


@pytest.fixture(scope="module")
def ds(tmp_path_factory):
    values = {
        "day": [datetime.date(2024, 2, i + 1) for i in range(8)],
        "boxes": [[[0.5, i]] for i in range(8)],
        "info": [{"a": None if i < 6 else "x", "n": i} for i in range(8)],
        "binary": pa.array([b"\0"] * 8, pa.binary(1)),
        "more": [{"binary_date": i} for i in range(8)],
        "their_file_name": [f"{i}.tif" for i in range(8)],
    }
    with imgprep.session("local", workers=0):
        yield make(tmp_path_factory.mktemp("exports") / "a", **values)


def bytes_of(image) -> bytes | None:
    return image and (image["bytes"] if image["bytes"] is not None else open(image["path"], "rb").read())


def opened(where: str, form: str, tmp_path) -> dict:
    """split -> (features, rows with the picture as bytes), by `datasets`."""
    if form == "disk":
        found = datasets.load_from_disk(where)
    else:
        found = datasets.load_dataset(where, cache_dir=str(tmp_path / "cache"))
    out = {}
    for split, part in found.items():
        (image,) = [n for n, f in part.features.items() if isinstance(f, datasets.Image)]
        assert isinstance(part[0][image], PIL.Image.Image)
        rows = part.cast_column(image, datasets.Image(decode=False)).to_list()
        out[split] = part.features, [{**row, image: bytes_of(row[image])} for row in rows]
    return out


@pytest.mark.parametrize("form", FORMS)
def test_an_export_opens_equal(ds, tmp_path, form):
    out = str(tmp_path / form)
    assert exports.export(ds, out, form) == out
    wanted, found = opened(ds.folder, "", tmp_path / "wanted"), opened(out, form, tmp_path)
    assert list(found) == ["train", "left"]
    for split, (features, rows) in wanted.items():
        got_features, got = found[split]
        if form == "imagefolder":
            rows = [{"their_filename" if n == "their_file_name" else n: v for n, v in row.items()} for row in rows]
            assert got_features["label"] == features["label"]
        elif form == "webdataset":
            got = [{**one["json"], "image": one["jpg"]} for one in got]
            drop = ("binary", "image")
            rows = [{**{n: v for n, v in r.items() if n != "binary"}, "day": str(r["day"])} for r in rows]
            assert {n: f for n, f in got_features["json"].items() if n != "day"} == {
                n: f for n, f in features.items() if n not in (*drop, "day")
            }
        else:
            assert got_features == features
        for one, other in zip(got, rows, strict=True):
            assert {n: v for n, v in one.items() if other[n] != v} == {} and one.keys() == other.keys()


def test_lance_opens_it_too(ds, tmp_path):
    exports.export(ds, str(tmp_path / "l"), "lance")
    found = lance.dataset(str(tmp_path / "l/data/train.lance"))
    assert found.count_rows() == 7 and found.to_table(columns=["code"])["code"].to_pylist()[-1] == "006"


@pytest.mark.parametrize("form", FORMS)
def test_a_config_of_sizes_is_exported_also_where_a_row_has_no_picture_to_show(tmp_path, form):
    paths = folder(tmp_path / "in", 3)
    with open(paths[1], "wb") as file:
        file.write(HEIC)
    with imgprep.session("local", workers=0):
        sizes = variants.build({"train": table(paths)}, str(tmp_path / "sizes"), thumbnail_side=8)
    for config, shown in (("original", [True, False, True]), ("thumbnail", [True] * 3)):
        exports.export(sizes, str(tmp_path / config), form, config=config)
        _, rows = opened(str(tmp_path / config), form, tmp_path / "cache")["train"]
        (column,) = {"image", "png", "jpg"} & rows[0].keys()
        assert [row[column] is not None for row in rows] == shown


@pytest.mark.parametrize("form", [form for form in FORMS if form != "disk"])  # load_from_disk maps its files
def test_streaming_gives_the_same_pictures(ds, tmp_path, form):
    out = exports.export(ds, str(tmp_path / form), form)
    rows = list(datasets.load_dataset(out, split="train", streaming=True))
    key = "jpg" if form == "webdataset" else "image"
    assert [np.asarray(row[key]).shape for row in rows] == [(16, 24, 3)] * 7


@pytest.mark.parametrize("form", FORMS)
def test_again_it_is_left_alone_and_a_new_version_takes_its_place(ds, tmp_path, form):
    out = tmp_path / form
    exports.export(ds, str(out), form)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    exports.export(ds, str(out), form)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    newer = images.copy(ds, {"train": ds.table("train").slice(0, 2)}, str(tmp_path / "newer"))
    (tmp_path / f".export-{form}-999999999").mkdir()  # of a process that was killed
    exports.export(newer, str(out), form)
    found = opened(str(out), form, tmp_path)
    assert list(found) == ["train"] and len(found["train"][1]) == 2
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".export-")]


@pytest.mark.store
def test_a_dataset_on_a_store_is_exported(ds, tmp_path, s3):
    s3.mkdir("exports")
    s3.put(ds.folder, "exports/ds", recursive=True)
    for form in ("disk", "webdataset"):
        here, there = (str(tmp_path / f"{form}{i}") for i in range(2))
        exports.export(dataset.open("s3://exports/ds"), there, form)
        assert tree(there) == tree(exports.export(ds, here, form))


def test_what_goes_wrong_leaves_the_earlier_export_and_nothing_beside_it(ds, tmp_path):
    out = str(tmp_path / "out")
    exports.export(ds, out, "disk")
    newer = images.copy(ds, {"train": ds.table("train").slice(0, 5)}, str(tmp_path / "newer"))
    os.truncate(newer.data_files()[-1], 100)
    with pytest.raises(pa.ArrowInvalid):
        exports.export(newer, out, "disk")
    assert {*os.listdir(tmp_path)} == {"out", "newer"}
    assert len(opened(out, "disk", tmp_path)["train"][1]) == 7


KILLED = """
import os, sys
from imgprep import dataset, exports
from imgprep.stages import forms
folder, out, where, signal = sys.argv[1:]
seen, read, rename = [], forms.groups, os.rename
def die():
    os.kill(os.getpid(), int(signal))
def reads(*asked):
    seen.append(asked)
    return die() if where == "writing" and len(seen) == 3 else read(*asked)
def renames(old, new):
    rename(old, new)
    if where == "moving":
        die()
forms.groups, os.rename = reads, renames
exports.export(dataset.open(folder), out, "disk")
"""


@pytest.mark.parametrize(("where", "sent", "rows"), [("writing", 9, 2), ("writing", 15, 2), ("moving", 9, 7)])
def test_an_export_that_was_killed_leaves_one_that_is_whole_and_nothing_beside_it(ds, tmp_path, where, sent, rows):
    out, few = str(tmp_path / "out"), images.copy(ds, {"train": ds.table("train").slice(0, 2)}, str(tmp_path / "few"))
    exports.export(few, out, "disk")
    done = subprocess.run([sys.executable, "-c", KILLED, ds.folder, out, where, str(sent)])
    assert done.returncode == -sent
    for _ in range(100):
        if {*os.listdir(tmp_path)} == {"out", "few"}:
            break
        time.sleep(0.1)
    assert {*os.listdir(tmp_path)} == {"out", "few"}
    assert len(opened(out, "disk", tmp_path)["train"][1]) == rows
    exports.export(ds, out, "disk")
    assert len(opened(out, "disk", tmp_path)["train"][1]) == 7


def test_what_a_machine_that_went_down_left_is_settled_by_the_next_export(ds, tmp_path):
    out, holder = tmp_path / "out", tmp_path / ".export-out-999999999"
    exports.export(ds, str(out), "disk")
    holder.mkdir()
    (holder / "old").mkdir()
    os.rename(out, holder / "new")  # it went down between the two moves
    assert exports.export(ds, str(out), "disk") == str(out)
    assert len(opened(str(out), "disk", tmp_path)["train"][1]) == 7 and os.listdir(tmp_path) == ["out"]


@pytest.mark.store
@pytest.mark.parametrize("form", ["imagefolder", "webdataset"])
def test_an_export_may_be_on_a_store(ds, s3, tmp_path, form):
    bucket = f"exports-{os.urandom(4).hex()}"
    s3.mkdir(bucket)
    place = f"{bucket}/out"
    exports.export(ds, str(tmp_path / "here"), form)
    s3.pipe_file(f"{place}/.imgprep-export", b"unfinished")  # what was killed is replaced
    s3.pipe_file(f"{place}/left.tar", b"of another version")
    for _ in range(2):
        assert exports.export(ds, f"s3://{place}", form) == f"s3://{place}"
        s3.invalidate_cache()
    s3.get(place, str(tmp_path / "copy"), recursive=True)
    assert tree(tmp_path / "copy") == tree(tmp_path / "here")
    s3.pipe_file(f"{bucket}/mine/a.txt", b"stays")
    with pytest.raises(ValueError, match="mine holds files that no export wrote"):
        exports.export(ds, f"s3://{bucket}/mine", form)


@pytest.mark.parametrize(
    ("where", "form", "says"),
    [
        ("out", "zip", "form is one of disk, imagefolder, lance, webdataset, not 'zip'"),
        ("mine", "disk", "mine holds files that no export wrote: name another folder"),
        ("mine/a.txt", "disk", "a.txt holds files that no export wrote"),
    ],
)
def test_mistakes_are_one_sentence(ds, tmp_path, where, form, says):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.txt").write_text("stays")
    with pytest.raises(ValueError, match=says):
        exports.export(ds, where if "://" in where else str(tmp_path / where), form)
    assert (tmp_path / "mine/a.txt").read_text() == "stays"


def test_a_dataset_without_an_ok_picture_is_refused(tmp_path):
    with imgprep.session("local", workers=0):
        none = images.download({"train": table([str(tmp_path / "x.png")])}, str(tmp_path / "ds"), max_failed=1)
    with pytest.raises(ValueError, match="has no row that is ok in the config 'default'"):
        exports.export(none, str(tmp_path / "out"), "disk")
    assert not (tmp_path / "out").exists()
