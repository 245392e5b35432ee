"""A folder that is served: its pictures are in the album, under their names, once."""

import os
import shutil
import time

import httpx
import pytest
from made import picture
from served import Served

from imgprep.picture import codec
from imgprep.serve import server, taking


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "photos"
    (found / "holiday").mkdir(parents=True)
    (found / ".hidden").mkdir()
    for name in ("a.png", "holiday/beach.png", ".hidden/b.png", ".c.png"):
        (found / name).write_bytes(codec.encode(picture(len(name), (64, 48))))
    shutil.copy(found / "a.png", found / "again.png")
    (found / "notes.txt").write_text("no picture")
    (found / "empty.jpg").touch()
    os.symlink("nowhere", found / "broken-link.jpg")
    return found


def names_of(url):
    return sorted(one["name"] for one in httpx.get(f"{url}/v1/objects").json()["objects"])


def until(ask, wait_s=60):
    deadline = time.monotonic() + wait_s
    while not ask():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_folder_is_in_the_album_once_and_stays_as_it_is(folder, tmp_path, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    told = ""
    for again in (False, True):
        with server.start(out=str(tmp_path / "media"), workers=1, pictures=str(folder)) as here:

            def said():
                nonlocal told
                told += "".join(capsys.readouterr())
                return "6 files of" in told

            until(said)
            assert len(names_of(here.url)) == 2 and "holiday/beach.png" in names_of(here.url)
        assert ("there already 3" if again else "taken ") in told
        assert all(f"{reason} 1" in told for reason in ("not_an_image", "empty", "missing_file"))
        told = ""
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before


@pytest.mark.parametrize("out", ["photos", "photos/media", "."])
def test_a_service_never_writes_among_the_pictures_that_it_takes(folder, tmp_path, out):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="lie in each other: name another out"):
        server.start(out=str(tmp_path / out), workers=1, pictures=str(folder))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_large_file_is_copied_and_never_shared_with_its_owner(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(taking, "SMALL_BYTES", 10)
    monkeypatch.setattr("imgprep.serve.objects.SMALL_BYTES", 10)
    out = tmp_path / "media"
    with server.start(out=str(out), workers=1, pictures=str(folder / "holiday")) as here:
        until(lambda: names_of(here.url) == ["holiday/beach.png"] or len(names_of(here.url)) == 1)
    kept = [path for path in (out / "store" / "objects").rglob("*") if path.is_file()]
    assert [path.stat().st_nlink for path in kept] == [1]
    assert not list(out.glob("taking-*"))


def test_a_folder_that_is_none_is_a_sentence(tmp_path):
    refused = Served(tmp_path, "--workers", "1", "--pictures", str(tmp_path / "nowhere"))
    try:
        assert refused.process.wait(60) == 2
    finally:
        refused.__exit__()
    told = refused.log.read_text()
    assert "is no folder of this machine" in told and "Traceback" not in told
