"""What stands in the way of publishing is said before anything is asked of a network; what can be mended is mended."""

import hashlib
import io
import re
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import folder, picture, table
from PIL import Image
from test_location import taken_at_sea
from test_variants_table import HEIC

import imgprep
from imgprep import dataset
from imgprep.picture import codec
from imgprep.resume import shape
from imgprep.stages import images, publish, upload, variants
from imgprep.stages.publish import checks
from imgprep.stages.publish.plan import PublishPlan

TOKEN = "hf_" + "Ab1" * 12  # in pieces, for those who look for tokens in sources
HIDDEN = {
    "token": (f"token {TOKEN}", "secrets"),
    "aws": ("AKIA" + "ABCDEFGHIJKLMNOP", "secrets"),
    "gitlab": ("glpat-" + "Ab1_" * 5, "secrets"),
    "key": ("-----BEGIN RSA " + "PRIVATE KEY-----", "secrets"),
    "signed": ("see https://b.example/1.jpg?X-Amz-Signature=0af3", "signed URLs"),
    "password": ("see https://me:word@b.example/1.jpg", "signed URLs"),
    "parameter": ("https://b.example/1.jpg?w=1&token=Ab1Ab1", "signed URLs"),
    "api_key": ("https://b.example/1.jpg?api_key=Ab1", "signed URLs"),
    "word": ("https://b.example/1.jpg?password=Ab1", "signed URLs"),
    "path": ("from /home/me/pictures/1.jpg", "paths of a machine"),
    "windows": (r"C:\Users\me\1.jpg", "paths of a machine"),
}
HARMLESS = ["a/b or c", "/m/01g317", "https://a.example/?sig=*** hf_short"]


def made(root: Path, **columns: list) -> str:
    """Six pictures, three for training."""
    paths = folder(root / "in", 6)
    parts = {"train": slice(0, 3), "test": slice(3, 6)}
    tables = {s: table(paths[part], **{k: v[part] for k, v in columns.items()}) for s, part in parts.items()}
    with imgprep.session("local", workers=0):
        images.transform(tables, str(root / "out"), lambda image: image)
    return str(root / "out")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return made(tmp_path_factory.mktemp("plain"), one=["a"] * 6, empty=pa.array([None] * 6, pa.string()))


@pytest.fixture
def unopened(monkeypatch):
    """Without `datasets` opening the folder beforehand, a second each time; other tests are about that."""
    monkeypatch.setattr(PublishPlan, "opens", lambda plan: True)


def examine(out: str, drop: tuple[str, ...] = ()) -> checks.Findings:
    return checks.examine(dataset.open(out), allow_gps=False, drop_columns=drop)


def test_what_is_not_for_everyone_is_named_with_its_row_and_may_be_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(shape, "redact_column", lambda column: column)  # as datasets of 0.1 are
    columns = {name: [*HARMLESS, "", value, value] for name, (value, _) in HIDDEN.items()}
    nested = [[{"by": "me", "at": [TOKEN]}]] * 6
    out = made(tmp_path, **columns, nested=nested, pair=pa.array([["", TOKEN]] * 6, pa.list_(pa.string(), 2)))
    told = dict(line.split(" holds ", 1) for line in examine(out).problems)
    second = dataset.open(out).table("test")["image_id"][1].as_py()
    for name, (_, what) in HIDDEN.items():
        fix = f"leave the column out with drop_columns=['{name}']"
        assert told.pop(f"'{name}'").startswith(f"{what} in 2 rows, the first is {second!r}: ")
        assert fix in " ".join(examine(out).problems)
    assert told.pop("'nested'").startswith("secrets in 6 rows")
    assert told.pop("'pair'").startswith("secrets in 6 rows") and not told
    assert examine(out, (*HIDDEN, "nested", "pair")).problems == []


class Batches:
    """What `images.write` asks of a Ray Dataset."""

    def iter_batches(self, **_: object) -> list[pa.Table]:
        return [pa.table({"image": [codec.encode(picture(n)) for n in range(3)]})]


def test_files_with_nothing_to_take_out_go_as_they_are_others_are_written_anew(plain, tmp_path):
    found = checks.examine(images.write(Batches(), str(tmp_path / "out")), allow_gps=False, drop_columns=())
    assert found.dirty == set() and found.root == ""
    assert len(examine(plain).dirty) == 2 and examine(plain).root.endswith("/in/")


def test_a_place_in_a_picture_is_blanked_in_the_published_file_and_the_rest_stays(tmp_path, unopened):
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "in" / name).write_bytes(taken_at_sea("JPEG"))
    (tmp_path / "in" / "c.png").write_bytes(codec.encode(picture(3)))
    out = str(tmp_path / "out")
    paths = {"train": ["a.jpg", "c.png"], "test": ["b.jpg"]}
    rows = {s: table([str(tmp_path / "in" / n) for n in p], license=["mit"] * len(p)) for s, p in paths.items()}
    with imgprep.session("local", workers=0):
        raw = images.download(rows, out)
    plan = publish.publish(out)
    assert plan.problems == [] and "license_name: see-column-license" in plan.card
    assert "2 of them said in their metadata where they were taken; that was blanked" in plan.card
    file = next(n for n in plan.added if n.startswith("data/train"))
    before, after = pq.read_table(raw.data_files(split="train")[0]), pq.read_table(Path(out, ".imgprep/publish", file))
    old, new = (t["image"][0].as_py()["bytes"] for t in (before, after))
    assert old == taken_at_sea("JPEG") != new and len(old) == len(new)
    assert after["sha256"][0].as_py() == hashlib.sha256(new).hexdigest()
    was, now = (Image.open(io.BytesIO(data)).getexif() for data in (old, new))
    assert was.get_ifd(0x8825) and not now.get_ifd(0x8825) and was[0x010F] == now[0x010F]
    assert after.drop_columns("source").slice(1).equals(before.drop_columns("source").slice(1))
    assert checks.examine(raw, allow_gps=True, drop_columns=()).gps == 2


def test_a_file_that_is_not_what_the_books_say_is_named(tmp_path):
    out = made(tmp_path)
    first = next(f for f in dataset.open(out).files if f["config"] == "default")
    path, manifest = Path(out, first["file"]), Path(out, ".imgprep/manifest.jsonl")
    whole, books = path.read_bytes(), manifest.read_text()
    path.write_bytes(whole[:-10])
    assert examine(out).problems[0].startswith(f"{first['file']} is not as it was written: run the stage again")
    path.write_bytes(whole)
    books = re.sub(', "checksum": "[0-9a-f]+"', "", books)  # as earlier versions wrote it: nothing says that it changed
    manifest.write_text(books.replace(f'"file": "{first["file"]}", "rows": 3', f'"file": "{first["file"]}", "rows": 2'))
    assert "has 3 rows and the manifest says 2" in examine(out).problems[0]
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    manifest.write_text(books.replace(f'"bytes": {first["bytes"]}', f'"bytes": {path.stat().st_size}'))
    assert "does not carry the features of config 'default'" in examine(out).problems[0]


def test_classes_become_class_labels_placeholders_come_when_asked_and_paths_are_cut_short(tmp_path, unopened):
    paths = [*folder(tmp_path / "in", 5), f"file://{tmp_path}/in/gone.png"]
    label, out = ["cat", "dog", None, "cat", "ant", "dog"], str(tmp_path / "out")
    with imgprep.session("local", workers=0):
        images.download({"train": table(paths, label=label)}, out)
    plan = publish.publish(out, licence="mit", class_column="label", include_placeholders=True)
    files = [str(Path(out, ".imgprep/publish", n)) for n in plan.added if n.startswith("data/")]
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    kind = rows.features["label"]
    assert kind.names == ["ant", "cat", "dog"] and rows["status"][:] == ["ok"] * 5 + ["placeholder"]
    assert [v if v is None else kind.int2str(v) for v in rows["label"]] == label
    assert rows["source"][:] == [Path(p).name for p in paths] and str(tmp_path) not in rows["error"][5]
    assert "6 pictures in 3 classes" in plan.card
    head, body = plan.card.split("\n# ")
    assert "config_name: failures" not in head and "- image-classification" in head and str(tmp_path) not in body
    columns = head.split("config_name: metadata")[-1]
    assert "dtype: image" not in columns and "- name: row" in columns


def test_mistakes_are_told_at_once(plain, monkeypatch):
    monkeypatch.setattr("imgprep.stages.publish.shards.CLASSES", 3)
    for given, text in [
        ({"licence": "CC BY 4.0"}, "none of the Hub's list, .* did you mean 'cc-by-4.0'.* is not on it is 'other'"),
        ({"tag": "my tag"}, "tag is one word"),
        ({"drop_columns": ["image"]}, "drop_columns is a list of empty, error, one, source, not"),
        ({"drop_columns": ["lable"]}, "drop_columns is a list of empty, error, one, source, not"),
        ({"class_column": "lable"}, "no column 'lable'"),
        ({"class_column": "sha256"}, "no column of classes"),
        ({"class_column": "empty"}, "no value in any row"),
        ({"repo_id": "not a name"}, "repo_id is 'owner/name'"),
    ]:
        with pytest.raises(ValueError, match=text):
            publish.publish(plain, **given)


def test_without_a_licence_it_is_asked_for(plain, unopened):
    plan = publish.publish(plain, class_column="one")
    assert "6 pictures in 1 class," in plan.card
    assert plan.problems == ["nobody said under which licence: give licence='cc-by-4.0', or what the Hub calls it"]
    assert repr(plan).startswith("not to be published: nobody said") and "files to send" in repr(plan)


def test_pictures_in_two_splits_are_reported_equal_or_alike(tmp_path):
    (tmp_path / "in").mkdir()
    for name, seed, side in (("0", 0, 16), ("1", 1, 16), ("2", 2, 16), ("again", 0, 16), ("larger", 1, 24)):
        blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        data = codec.encode(np.kron(blocks, np.ones((side, side, 1), np.uint8)))
        (tmp_path / "in" / f"{name}.png").write_bytes(data)
    places = {"train": "012", "test": ("again", "larger")}
    rows = {split: table([str(tmp_path / "in" / f"{name}.png") for name in names]) for split, names in places.items()}
    images.transform(rows, str(tmp_path / "out"), lambda image: image)
    equal, alike = examine(str(tmp_path / "out")).notes
    assert equal == "pictures that stand in more than one split, byte for byte: 1"
    assert alike.startswith("groups that look alike across splits, of 5: 2: ") and "(train) and " in alike


def test_sizes_of_pictures_are_published_also_where_the_first_file_is_of_failures_or_heic(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.heic").write_bytes(HEIC)
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    (tmp_path / "in" / "c.png").write_bytes(codec.encode(picture(3, (80, 60))))
    ds = variants.build(str(tmp_path / "in"), str(tmp_path / "out"), thumbnail_side=32)
    assert ds.files[0]["config"] == "failures"
    plan = publish.publish(ds.folder, licence="mit")
    assert plan.problems == [] and "2 pictures, " in plan.card and "| thumbnail | 2 |" in plan.card
    up = upload.upload(ds, str(tmp_path / "store" / "{variant}"), str(tmp_path / "up"))
    (problem,) = publish.publish(up.folder, licence="mit", drop_columns=["uri"]).problems
    assert problem.startswith("its pictures are elsewhere")


def test_a_secret_in_the_card_is_told_without_being_shown(tmp_path, unopened):
    out = made(tmp_path)
    Path(out, "README.md").write_text(Path(out, "README.md").read_text() + f"\n{TOKEN}\n")
    plan = publish.publish(out, licence="mit")
    (problem,) = plan.problems
    assert problem == f"the card holds secrets in line {plan.card.count(chr(10))}, hf_A…: take it out"
    assert TOKEN not in repr(plan)


def test_provenance_stands_together_behind_the_users_columns(tmp_path):
    schema = pq.read_schema(dataset.open(made(tmp_path, label=["a"] * 6)).data_files()[0])
    ours = ["source", "image", "width", "height", "format", "nbytes", "sha256", "status", "reason", "error"]
    assert schema.names == ["image_id", "label", *ours]


