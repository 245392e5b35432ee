"""Folders of pictures: every file is a row, or is counted in a sentence; folders are classes or splits."""

import os

import pytest
from made import picture
from PIL import Image

import imgprep
from imgprep.io import uris
from imgprep.picture import codec, header
from imgprep.rows import picture_folders, sources
from imgprep.stages import images


@pytest.fixture
def put(tmp_path):
    """put("a/1.png") makes that picture in a folder of the test; returns the folder."""

    def write(*names):
        for n, name in enumerate(names):
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(codec.encode(picture(n)))
        return tmp_path / "set"

    return write


def columns(where, split="train", names=("file_name", "label")):
    table = sources.read({split: where})[split]
    return [tuple(row[name] for name in names if name in row) for row in table.to_pylist()]


def test_every_ending_of_what_is_decoded_is_a_picture():
    decoded = {*header.FORMATS, *header.VAGUE_FORMATS, "HEIF"}
    endings = [ending for ending, form in Image.registered_extensions().items() if form in decoded]
    assert len(endings) > 30 and all(picture_folders.is_picture(f"a{e}") for e in endings)
    named = "a.jfif a.JPE a.Tif a.webp a.heic a.avif a.j2k a.qoi a.tga a.pgm a.mpo a.svs a.jxl a.apng a.hif a.pjpeg"
    assert all(map(picture_folders.is_picture, named.split()))
    assert not any(
        map(picture_folders.is_picture, ["a.txt", "a", "jpg", "a.jpg.txt", "a.pdf", "a.cr2"])
    )


def test_what_is_no_picture_is_counted_in_a_sentence(put, capsys):
    where = put("1.png", "2.jfif")
    for name in ("a.txt", "b.TXT", "c.cr2", "README", "Thumbs.db", ".DS_Store"):
        (where / name).write_bytes(b"x")
    assert columns(where) == [("1.png",), ("2.jfif",)]
    said = (
        f"{where}: 4 files are no pictures by name and left out: .txt 2, without ending 1, .cr2 1\n"
    )
    assert sorted(capsys.readouterr().out) == sorted(said)  # equal counts come in any order


def test_one_file_that_is_no_picture_is_told_as_one(put, capsys):
    where = put("1.png")
    (where / "a.txt").write_text("x")
    columns(where)
    said = f"{where}: 1 file is no picture by name and left out: .txt 1\n"
    assert capsys.readouterr().out == said


def test_links_to_folders_are_followed_and_a_loop_ends(put, tmp_path, capsys):
    where = put("dog/2.png")
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "real/deep/1.png").write_bytes((where / "dog/2.png").read_bytes())
    (where / "cat").symlink_to(tmp_path / "real")
    (where / "again").symlink_to(tmp_path / "real")
    (tmp_path / "real/up").symlink_to(where)
    names = ["again/deep/1.png", "cat/deep/1.png", "dog/2.png"]
    assert [row[0] for row in columns(where)] == names
    assert "leads back to a folder above it" in capsys.readouterr().out


@pytest.mark.skipif(not os.getuid(), reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(put):
    where = put("open/1.png", "shut/2.png")
    (where / "shut").chmod(0)
    with pytest.raises(
        ValueError, match="the folder 'shut' in .* may not be read: Permission denied"
    ):
        sources.read({"train": where})
    (where / "shut").chmod(0o755)


def test_a_folder_that_may_not_be_read_is_named_also_for_root(put, monkeypatch):
    where = put("open/1.png", "shut/2.png")
    scan = os.scandir

    def refusing(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(
        ValueError, match="the folder 'shut' in .* may not be read: Permission denied"
    ):
        sources.read({"train": where})


def test_a_name_that_is_no_utf8_is_a_row_and_its_picture_is_read(put, tmp_path):
    where = put("ok.png")
    data = codec.encode(picture(7))
    with open(os.path.join(os.fsencode(where), b"caf\xe9.png"), "wb") as file:
        file.write(data)
    table = sources.read({"train": where})["train"]
    assert table["file_name"].to_pylist() == ["caf\\xe9.png", "ok.png"]
    source = table["source"][0].as_py()
    assert source == f"raw-path:{where}/caf%E9.png" and uris.scheme(source) == "path"
    assert uris.read_bytes(source, max_bytes=10_000) == data
    with imgprep.session("local", workers=0):
        made = images.download({"train": table}, str(tmp_path / "out"))
    assert made.counts()["ok"] == 2 and made.pictures("train", [0]) == [data]


def test_folders_that_are_splits_give_the_classes_of_the_split_that_is_asked_for(put):
    where = put("train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "valid/dog/4.png")
    assert columns(where) == [("cat/1.png", "cat"), ("dog/2.png", "dog")]
    assert columns(where, "validation") == [("dog/4.png", "dog")]
    assert columns(where, "test", ("label",)) == [("cat",)]
    both = sources.read({"train": where, "test": where})
    assert both["train"].equals(sources.read({"train": where / "train"})["train"]), (
        "as if it was named"
    )
    assert [len(table) for table in both.values()] == [2, 1]
    fix = r"{'test': '.*/test', 'train': '.*/train', 'valid': '.*/valid'}"
    with pytest.raises(
        ValueError, match=f"has no split 'extra', but the folders test, train, valid: {fix}"
    ):
        sources.read({"extra": where})


def test_splits_beside_other_folders_are_asked_for(put):
    where = put("train/1.png", "test/2.png", "extra/3.png")
    with pytest.raises(ValueError, match="has the folders test, train beside others; name them: "):
        sources.read({"train": where})


def test_a_class_may_be_called_as_a_split(put):
    assert columns(put("test/1.png", "cat/2.png"), names=("label",)) == [("cat",), ("test",)]
