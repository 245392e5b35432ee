"""Everything comes back, every hash is looked at, and what was uploaded is a dataset one call later."""

import base64
import hashlib
import shutil
import uuid
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from conftest import azurite_connection
from made import picture, tree

import imgprep
from imgprep.app.cli import main
from imgprep.io.stores import Store, StoreError
from imgprep.picture import codec
from imgprep.serve import album, server
from imgprep.serve.backup import back_up, restore
from imgprep.serve.places import place_of, result_place
from imgprep.serve.records import all_records, open_records
from imgprep.stages import images

PICTURES = [codec.encode(picture(n)) for n in range(4)]


@pytest.fixture
def media(tmp_path):
    """A service's folder with four objects and four results."""
    with server.start(out=str(tmp_path / "media"), workers=1) as here, httpx.Client(base_url=here.url) as client:
        for data in PICTURES:
            name = client.put("/v1/objects", content=data).json()["id"]
            assert client.get(f"/v1/objects/{name}/fit?max_side=8").status_code == 200
    return tmp_path / "media"


def opened(folder):
    return Store(f"{folder}/store"), open_records(f"{folder}/media.db")


def known(records):
    return {r["id"]: r for kind in ("object", "result") for r in all_records(records, kind)}


def test_what_was_deleted_comes_back_byte_for_byte(media, tmp_path):
    store, records = opened(media)
    before = known(records)
    assert back_up(store, records, str(tmp_path / "copy")) == {"records": 8, "objects": 8, "copied": 8, "gone": 0}
    assert back_up(store, records, str(tmp_path / "copy"))["copied"] == 0
    other, others = opened(tmp_path / "new")
    assert restore(str(tmp_path / "copy"), other, others) == {"records": 8, "objects": 8, "kept": 0}
    assert known(others) == before
    for data in PICTURES:
        name = hashlib.sha256(data).hexdigest()
        assert other.get(f"objects/{name[:2]}/{name}") == store.get(f"objects/{name[:2]}/{name}")


def test_all_is_deleted_and_restored_while_the_service_runs(tmp_path):
    out, copy = str(tmp_path / "media"), str(tmp_path / "copy")
    with server.start(out=out, workers=1) as here, httpx.Client(base_url=here.url) as client:
        names = [client.put("/v1/objects", content=data).json()["id"] for data in PICTURES]
        paths = [f"/v1/objects/{name}{what}" for name in names for what in ("/content", "/fit?max_side=8")]
        before = [hashlib.sha256(client.get(path).content).hexdigest() for path in paths]
        assert main(["backup", copy, "--out", out]) == 0
        for name in names:
            assert client.delete(f"/v1/objects/{name}").status_code == 204
        assert {client.get(path).status_code for path in paths} == {404}
        assert here.service.store.list() == []
        assert main(["restore", copy, "--out", out]) == 0
        assert [hashlib.sha256(client.get(path).content).hexdigest() for path in paths] == before


def test_what_a_person_did_since_the_backup_stays(media, tmp_path):
    store, records = opened(media)
    back_up(store, records, str(tmp_path / "copy"))
    changed, gone, *_ = (one["id"] for one in all_records(records, "object"))
    mine = {**records.get(changed), "tags": [{"kind": "tag", "name": "cat", "accepted": True}], "results": []}
    records.put(changed, mine)
    records.delete(gone)
    assert restore(str(tmp_path / "copy"), store, records) == {"records": 7, "objects": 8, "kept": 1}
    assert records.get(changed)["tags"] == mine["tags"] and len(records.get(changed)["results"]) == 1
    assert records.get(gone) is not None


@pytest.mark.store
def test_a_store_that_refuses_is_no_store_without_objects(azurite, media, tmp_path, monkeypatch):
    store, records = opened(media)
    there = Store(f"az://t{uuid.uuid4().hex}/media")
    there.ready()
    assert back_up(store, records, str(tmp_path / "first"))["gone"] == 0
    restore(str(tmp_path / "first"), there, open_records(str(tmp_path / "other.db")))
    monkeypatch.setenv("WRONG", azurite_connection(azurite, base64.b64encode(b"no key").decode()))
    with pytest.raises(StoreError):
        back_up(Store(there.uri, "WRONG"), records, str(tmp_path / "second"))
    assert not (tmp_path / "second" / "manifest.json").exists()
    there.delete(there.list()[0])
    assert back_up(there, records, str(tmp_path / "second"))["gone"] == 1


def test_a_backup_that_is_not_whole_or_is_damaged_is_refused(media, tmp_path):
    store, records = opened(media)
    back_up(store, records, str(tmp_path / "copy"))
    one = next((tmp_path / "copy" / "objects").glob("*/*"))
    one.write_bytes(b"x" + one.read_bytes()[1:])
    with pytest.raises(ValueError, match="damaged"):
        restore(str(tmp_path / "copy"), *opened(tmp_path / "new"))
    (tmp_path / "copy" / "manifest.json").unlink()
    with pytest.raises(ValueError, match="no finished backup"):
        restore(str(tmp_path / "copy"), *opened(tmp_path / "new"))


FOREIGN = {
    "manifest.json": b'{"name": "my web app"}',
    "records.parquet": b"years of measurements",
    "notes/thesis.txt": b"years of work",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_of_somebody_else_is_no_place_for_a_backup(media, tmp_path, name):
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(FOREIGN[name])
    with pytest.raises(ValueError, match="mine has files that no backup wrote .*name another folder"):
        back_up(*opened(media), str(tmp_path / "mine"))
    assert [p for p in (tmp_path / "mine").rglob("*") if p.is_file()] == [path]
    assert path.read_bytes() == FOREIGN[name]


def test_the_backup_of_another_service_is_not_replaced(media, tmp_path):
    copy, (store, records) = str(tmp_path / "copy"), opened(media)
    back_up(store, records, copy)
    before = tree(copy)
    with server.start(out=str(tmp_path / "second"), workers=1) as here:
        with httpx.Client(base_url=here.url) as client:
            client.put("/v1/objects", content=codec.encode(picture(9)))
    with pytest.raises(ValueError, match="copy holds the backup of other pictures.*name another folder"):
        back_up(*opened(tmp_path / "second"), copy)
    with pytest.raises(ValueError, match="copy holds the backup of other pictures"):
        back_up(*opened(tmp_path / "empty"), copy)  # as with a wrong --out
    assert tree(copy) == before


class Stopped(Exception):
    pass


def test_a_backup_that_is_cut_off_anywhere_leaves_the_one_before_whole(media, tmp_path, monkeypatch):
    """And the next one goes on."""
    store, records = opened(media)
    back_up(store, records, str(tmp_path / "whole"))
    with server.start(out=str(media), workers=1) as here, httpx.Client(base_url=here.url) as client:
        client.put("/v1/objects", content=codec.encode(picture(9)))
    done = 0
    for step in range(9):
        copy, new, last = (str(tmp_path / f"{step}-{name}") for name in ("copy", "new", "last"))
        shutil.copytree(tmp_path / "whole", copy)
        with monkeypatch.context() as patch:
            steps = []
            for place, name in ((Path, "write_bytes"), (Path, "replace"), (pq, "write_table")):
                patch.setattr(place, name, stopping(getattr(place, name), steps, step))
            try:
                back_up(store, records, copy)
                done += 1
            except Stopped:
                pass
        was = opened(new)
        assert restore(copy, *was)["records"] in (8, 9)
        for name, record in known(was[1]).items():
            assert was[0].get(place_of(name) if record["kind"] == "object" else result_place(name))
        assert back_up(store, records, copy)["records"] == 9
        assert restore(copy, *opened(last))["records"] == 9
        assert known(opened(last)[1]) == known(records) and not [*Path(copy).rglob("*.part")]
    assert done == 4, "five steps can be cut off"


def stopping(real, steps, step):
    """The function; its call number `step` of all is cut off in the middle."""

    def half(*given, **more):
        steps.append(real)
        if len(steps) == step + 1:
            if real.__name__ == "write_bytes":
                real(given[0], given[1][: len(given[1]) // 2])
            if real.__name__ == "write_table":
                Path(given[1]).write_bytes(b"PAR1 half")
            raise Stopped
        return real(*given, **more)

    return half


def test_what_was_uploaded_is_a_dataset_one_call_later(media, tmp_path):
    store, records = opened(media)
    with imgprep.session("local", workers=0):
        found = images.transform(album.table(store, records), str(tmp_path / "out"), lambda image: image)
    assert found.counts()["ok"] == 4
    assert set(found.table("train", ["image_id"])["image_id"].to_pylist()) == {
        hashlib.sha256(data).hexdigest() for data in PICTURES
    }
