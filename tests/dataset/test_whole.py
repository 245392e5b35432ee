"""Facts about folders that were damaged: the next run says so and mends, `imgprep check` says so and exits with 1."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from made import flip_bit, folder, picture, table, tree

import imgprep
from imgprep import dataset
from imgprep.app import cli
from imgprep.dataset.files import Folder
from imgprep.dataset.manifest import manifest_bytes, read_manifest
from imgprep.picture import codec
from imgprep.stages import images

MANIFEST = ".imgprep/manifest.jsonl"


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


def computed(out: Path) -> int:
    """Rows that the last run which did something computed."""
    return dataset.open(str(out)).runs()[-1]["computed"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Ten pictures in three batches, and one that is missing; (tables, folder)."""
    home = tmp_path_factory.mktemp("whole")
    tables = {"train": table([*folder(home / "in", 10), "gone.png"])}
    with imgprep.session("local", workers=0):
        out = images.transform(tables, str(home / "out"), np.flipud, batch_size=4)
    return tables, out.folder


@pytest.fixture
def made(whole, tmp_path):
    """A copy of it, as a person copies a folder."""
    out = shutil.copytree(whole[1], tmp_path / "out")
    images.transform(whole[0], str(out), np.flipud, batch_size=4)
    return whole[0], out


def named(out: Path, kind: str) -> Path:
    """One committed file of a kind."""
    files = {f["config"]: f["file"] for f in dataset.open(str(out)).files}
    return out / {"list": MANIFEST, "card": "README.md"}.get(kind, files.get(kind, ""))


HARM = {
    "a bit": flip_bit,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "missing": os.unlink,
}
KINDS = {"default": 3, "failures": 1, "index": 3, "list": 0}  # rows that may have to be computed again


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("kind", KINDS)
def test_the_next_run_notices_says_and_mends(whole, made, capsys, kind, harm):
    tables, out = made
    path = named(out, kind)
    HARM[harm](path)
    capsys.readouterr()
    done = images.transform(tables, str(out), np.flipud, batch_size=4)
    said = capsys.readouterr().out
    name = str(path.relative_to(out))
    if (kind, harm) != ("list", "missing"):  # then nobody knows that there was one
        assert "damaged" in said and name in said
    assert tree(out) == tree(whole[1]) and len(dataset.open(str(out)).runs()) == 2
    assert computed(out) <= KINDS[kind]
    for number, data in enumerate(done.pictures("train", range(10))):
        assert np.array_equal(codec.decode(data), picture(number)[::-1])
    images.transform(tables, str(out), np.flipud, batch_size=4)
    assert "11 rows, nothing to compute" in capsys.readouterr().out


# One bit of the card may be a person's.
SEEN_BY_CHECK = [(kind, harm) for kind in [*KINDS, "card"] for harm in HARM if (kind, harm) != ("card", "a bit")]


@pytest.mark.parametrize(("kind", "harm"), SEEN_BY_CHECK)
def test_check_names_the_file_and_exits_with_1(made, capsys, kind, harm):
    _, out = made
    path = named(out, kind)
    HARM[harm](path)
    assert cli.main(["check", str(out)]) == 1
    said = capsys.readouterr().out
    assert f": {path.relative_to(out)} " in said and "run the stage that made it again" in said


@pytest.mark.parametrize("harm", ["zeros", "cut", "empty", "missing"])
def test_a_damaged_card_is_written_again(whole, made, harm):
    tables, out = made
    HARM[harm](out / "README.md")
    images.transform(tables, str(out), np.flipud, batch_size=4)
    assert tree(out) == tree(whole[1]) and computed(out) == 0


def test_check_of_a_whole_folder_exits_with_0_and_a_line(made, capsys):
    assert cli.main(["check", str(made[1].parent)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "out: whole, 7 files" in line


def test_check_of_no_dataset_exits_with_2(tmp_path, capsys):
    assert cli.main(["check", str(tmp_path)]) == 2
    assert "no dataset folder" in capsys.readouterr().err


def test_a_bit_that_changed_without_a_trace_is_found_by_check(made, capsys):
    """As on a disk that rots: no time of the file says so."""
    tables, out = made
    flip_bit(named(out, "default"))
    later = os.stat(out / MANIFEST).st_mtime_ns + 10**12
    os.utime(out / MANIFEST, ns=(later, later))
    images.transform(tables, str(out), np.flipud, batch_size=4)
    assert "damaged" not in capsys.readouterr().out
    assert cli.main(["check", str(out)]) == 1


def test_files_that_were_touched_are_read_once(made, monkeypatch):
    tables, out = made
    os.utime(named(out, "default"))
    read = []
    sha256 = Folder.sha256
    monkeypatch.setattr(Folder, "sha256", lambda self, name: read.append(name) or sha256(self, name))
    for _ in range(3):
        images.transform(tables, str(out), np.flipud, batch_size=4)
    assert len(read) == 1


def test_a_folder_of_an_earlier_version_has_nothing_to_compute_and_check_says_what_it_cannot(made, capsys):
    tables, out = made
    lines = (out / MANIFEST).read_bytes().splitlines(keepends=True)
    head = lines[0].rpartition(b', "checksum"')[0] + b"}\n"
    (out / MANIFEST).write_bytes(b"".join([head, *lines[1:]]))
    assert cli.main(["check", str(out)]) == 0
    assert f"not checked: {MANIFEST}" in capsys.readouterr().out
    images.transform(tables, str(out), np.flipud, batch_size=4)
    assert "nothing to compute" in capsys.readouterr().out and computed(out) == 0
    assert cli.main(["check", str(out)]) == 0 and "not checked" not in capsys.readouterr().out


def test_a_changed_number_in_the_list_is_noticed(made):
    _, out = made
    text = (out / MANIFEST).read_text()
    (out / MANIFEST).write_text(text.replace('"rows": 4', '"rows": 5', 1))
    with pytest.raises(ValueError, match="manifest.jsonl, is damaged; run the stage that made it again"):
        dataset.open(str(out))


def test_a_list_is_read_as_it_was_written(tmp_path):
    info = {"stage": "x", "options": {"fill": [0.1, None], "name": "a\u2028b\x85c"}}
    files = [{"file": "data/é", "rows": 3}]
    Folder(tmp_path).put(MANIFEST, manifest_bytes(info, files))
    assert read_manifest(Folder(tmp_path)) == (info, files)


@pytest.mark.parametrize("harm", HARM)
def test_a_stage_over_a_damaged_folder_says_which_stage_mends_it(made, tmp_path, harm):
    HARM[harm](named(made[1], "default"))
    with pytest.raises(ValueError, match="1 file of .*out is damaged: data/train-.*; run flipud again, which made it"):
        images.transform(str(made[1]), str(tmp_path / "next"), np.fliplr)


def test_the_folder_of_another_stage_is_refused_without_its_list_too(made):
    tables, out = made
    os.truncate(out / MANIFEST, 10)
    with pytest.raises(ValueError, match="was made by 'flipud"):
        images.download(tables, str(out))
