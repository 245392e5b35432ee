"""Croissant metadata: mlcroissant finds nothing wrong in ours, sees what is broken, and reads the rows by it."""

import functools
import http.server
import threading

import mlcroissant
import pytest
from made import folder, table

import imgprep
from imgprep.stages import croissant, images

ABOUT = {"name": "products", "description": "Some", "license": "https://spdx.org/licenses/CC0-1.0"}


@pytest.fixture(scope="module")
def ds(tmp_path_factory):
    home = tmp_path_factory.mktemp("croissant")
    paths = [*folder(home / "in", 5), str(home / "none.png")]
    train = table(paths, label=list("abcabc"), price=[0.5] * 6, boxes=[[1, 2]] * 6)
    with imgprep.session("local", workers=0):
        yield images.download({"train": train, "test": train.slice(0, 2)}, str(home / "ds"), batch_size=3, max_failed=1)


def issues(said: dict) -> list[str]:
    try:
        found = mlcroissant.Dataset(jsonld=said).metadata.issues
    except mlcroissant.ValidationError as e:
        return [str(e)]
    assert not found.errors
    return sorted(w.split('"')[1].rpartition("/")[2] for w in found.warnings)


def test_nothing_is_wrong_and_nothing_known_is_left_out(ds):
    assert issues(croissant.write(ds, "https://example.org/d", **ABOUT)) == ["citeAs", "datePublished", "version"]


@pytest.mark.parametrize("break_it", [
    lambda said: said["recordSet"][0]["field"][0]["source"]["fileObject"].update({"@id": "elsewhere"}),
    lambda said: said["distribution"][0].pop("contentUrl"),
    lambda said: said["distribution"][0].pop("sha256"),
])  # fmt: skip
def test_the_check_sees_what_is_broken(ds, break_it):
    said = croissant.write(ds, "https://example.org/d", **ABOUT)
    break_it(said)
    assert "error(s) during the validation" in issues(said)[0]


def test_rows_are_read_by_it_from_where_the_folder_is_served(ds, tmp_path, monkeypatch):
    monkeypatch.setattr("mlcroissant._src.core.constants.DOWNLOAD_PATH", tmp_path)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=ds.folder)
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        croissant.write(ds, url, **ABOUT)
        found = mlcroissant.Dataset(jsonld=f"{url}/croissant.json")
        rows = [row for name in ("train-00000", "train-00001") for row in found.records(name)]
        test = [row["test/image_id"].decode() for row in found.records("test")]
        server.shutdown()
    ok = ds.table("train").slice(0, 5)
    assert [row["image_id"].decode() for row in map(short, rows)] == ok["image_id"].to_pylist()
    assert [row["image"].size for row in map(short, rows)] == [(24, 16)] * 5
    assert [(row["price"], list(row["boxes"])) for row in map(short, rows)] == [(0.5, [1, 2])] * 5
    assert test == ds.table("test")["image_id"].to_pylist()


def short(row: dict) -> dict:
    return {name.rpartition("/")[2]: value for name, value in row.items()}
