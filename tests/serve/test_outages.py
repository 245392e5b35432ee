"""Records, store or disk that are away: clients are told to come again, and nothing that came is lost."""

import base64
import contextlib
import errno
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import grpc
import httpx
import pytest
from conftest import missing
from made import picture
from served import free_port

from imgprep.picture import codec
from imgprep.serve import events, jobs, practice, records, server, uploads
from imgprep.serve.remote import Client

PNG = codec.encode(picture(6, (64, 48)))
OTHER = codec.encode(picture(7, (64, 48)))
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = TUS | {"Content-Type": "application/offset+octet-stream"}
STEPS = {"steps": [{"fit": {"max_side": 8}}]}


def doors(name):
    """Every request of REST that needs records, for an object."""
    mark = {"image_id": name, "kind": "k", "name": "n", "accepted": True}
    return [
        ("GET", "/v1/objects", {}),
        ("GET", f"/v1/objects/{name}", {}),
        ("GET", f"/v1/objects/{name}/content", {}),
        ("GET", f"/v1/objects/{name}/grey", {}),
        ("PUT", "/v1/objects", {"content": OTHER}),
        ("POST", f"/v1/objects/{name}/steps", {"json": STEPS}),
        ("GET", f"/v1/jobs/{'0' * 64}", {}),
        ("GET", f"/v1/results/{'0' * 64}", {}),
        ("GET", "/v1/album", {}),
        ("POST", "/v1/corrections", {"json": {"corrections": [mark]}}),
        ("DELETE", f"/v1/objects/{name}", {}),
    ]


def check_told_to_come_again(answer):
    assert (answer.status_code, answer.json()["reason"]) == (503, "busy"), answer.text
    assert int(answer.headers["retry-after"]) >= 1 and answer.json()["error"]


def check_away(here, client, name, asked=None):
    """Every door says so, and what needs no records goes on."""
    for method, path, given in asked or doors(name):
        check_told_to_come_again(client.request(method, path, **given))
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert client.post("/v1/grey", content=PNG).status_code == 200
    with contextlib.closing(Client(f"127.0.0.1:{here.service.grpc_port}")) as remote:
        with pytest.raises(grpc.RpcError) as caught:
            remote.put(OTHER)
        assert remote.run("grey", PNG)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    told = dict(caught.value.trailing_metadata())
    assert told["reason"] == "busy" and int(told["retry-after"]) >= 1


@pytest.fixture
def short(monkeypatch):
    """Nobody waits long for a database here."""
    limits = {name: 500 for name in records.MONGO_LIMITS if name.endswith("MS")}
    monkeypatch.setattr(records, "MONGO_LIMITS", records.MONGO_LIMITS | limits)
    monkeypatch.setattr(records, "SQLITE_WAIT_S", 0.2)
    monkeypatch.setattr(jobs, "OUTAGE_S", 0.2)


@contextlib.contextmanager
def mongodb(folder, port):
    program = Path(sys.executable).with_name("nx-27017")
    if not program.exists():
        missing("nx-27017, which speaks MongoDB's protocol")
    command = [program, "--db", str(folder / "mongo.db"), "-p", str(port)]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait(30)


def until(ask, wait_s=40):
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if found := ask():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_a_mongodb_that_is_killed_and_comes_back(tmp_path, short):
    port = free_port()
    given = {"out": str(tmp_path / "media"), "workers": 1, "grpc_port": 0}
    given["records"] = f"mongodb://127.0.0.1:{port}/media"
    with contextlib.ExitStack() as stack:
        with mongodb(tmp_path, port):
            here = stack.enter_context(server.start(**given))
            client = stack.enter_context(httpx.Client(base_url=here.url, timeout=60))
            name = client.put("/v1/objects", content=PNG).json()["id"]
        check_away(here, client, name)
        begun = client.post("/v1/uploads", headers=TUS | {"Upload-Length": str(len(OTHER))})
        url = begun.headers["location"]
        check_told_to_come_again(
            client.patch(url, headers=PIECE | {"Upload-Offset": "0"}, content=OTHER)
        )
        with mongodb(tmp_path, port):
            until(lambda: client.get("/readyz").status_code == 200)
            assert client.get(f"/v1/objects/{name}").json()["width"] == 64
            offset = client.head(url, headers=TUS).headers["upload-offset"]
            assert offset == str(len(OTHER))
            done = client.patch(url, headers=PIECE | {"Upload-Offset": offset}, content=b"")
            assert done.status_code == 204
            kept = client.get(f"/v1/objects/{done.headers['object-id']}/content")
            assert (codec.decode(kept.content) == codec.decode(OTHER)).all()


@pytest.fixture
def sqlite(tmp_path, short):
    """A service with an object, a client, the object's id, and the file of its records."""
    out = tmp_path / "media"
    with server.start(out=str(out), workers=1, grpc_port=0) as here:
        with httpx.Client(base_url=here.url, timeout=60) as client:
            name = client.put("/v1/objects", content=PNG).json()["id"]
            yield here, client, name, out / "media.db"


WRITING = ("PUT", "DELETE")


def test_records_that_another_process_locks(sqlite):
    here, client, name, path = sqlite
    writing = [door for door in doors(name) if door[0] in WRITING or "corrections" in door[1]]
    steps = client.post(f"/v1/objects/{name}/steps", json=STEPS).headers["location"]
    until(lambda: client.get(steps).json()["status"] == "ok")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for method, where, given in writing:
        check_told_to_come_again(client.request(method, where, **given))
    assert client.get(f"/v1/objects/{name}").status_code == 200  # who reads does not wait
    other.execute("ROLLBACK")
    other.close()
    assert client.put("/v1/objects", content=OTHER).status_code == 201


def test_a_database_that_is_full(sqlite):
    here, client, name, _ = sqlite
    ((pages,),) = here.service.records._ask("PRAGMA page_count")
    here.service.records._ask(f"PRAGMA max_page_count = {pages}")
    codes = []
    for number in range(40):
        answer = client.put("/v1/objects", content=codec.encode(picture(number, (24, 16))))
        codes.append(answer.status_code)
        if answer.status_code != 201:
            check_told_to_come_again(answer)
            assert "full" in answer.json()["error"]
            break
    assert codes[-1] == 503
    here.service.records._ask("PRAGMA max_page_count = 100000")
    assert client.put("/v1/objects", content=OTHER).status_code == 201


def test_a_file_of_records_that_is_none_any_more(sqlite):
    here, client, name, _ = sqlite
    here.service.records._ask("DROP TABLE records")
    check_away(here, client, name)


def test_a_disk_that_is_full_keeps_what_came(sqlite, monkeypatch):
    here, client, _, _ = sqlite
    begun = client.post("/v1/uploads", headers=TUS | {"Upload-Length": str(len(OTHER))})
    url = begun.headers["location"]
    first = client.patch(url, headers=PIECE | {"Upload-Offset": "0"}, content=OTHER[:100])
    assert first.headers["upload-offset"] == "100"

    def full(file, piece):
        raise OSError(errno.ENOSPC, "No space left on device", "/a/path/of/the/server")

    rest = {"headers": PIECE | {"Upload-Offset": "100"}, "content": OTHER[100:]}
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_write_behind", full)
        answer = client.patch(url, **rest)
    check_told_to_come_again(answer)
    assert "No space left" in answer.json()["error"] and "/a/path" not in answer.text
    assert client.patch(url, **rest).status_code == 204


def test_a_job_goes_on_when_the_records_are_back(sqlite, monkeypatch):
    here, client, name, _ = sqlite
    keeps = here.service.records.put
    down = [True]

    def put(which, record):
        if down and record["kind"] == "job" and record["steps"][0]["status"] != "queued":
            raise records.RecordsDown("the records in SQLite cannot be had: away")
        keeps(which, record)

    monkeypatch.setattr(here.service.records, "put", put)
    url = client.post(f"/v1/objects/{name}/steps", json=STEPS).headers["location"]
    time.sleep(0.5)
    assert client.get(url).json()["status"] == "queued"
    down.clear()
    until(lambda: client.get(url).json()["status"] == "ok")


def test_a_request_that_hangs_is_left_behind_by_the_one_that_goes_on(tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(b"")
    with open(path, "r+b") as old, open(path, "r+b") as new:
        uploads._write_behind(old, b"ab")
        new.seek(2)
        uploads._write_behind(new, b"cd")
        with pytest.raises(uploads.Refusal, match="another request"):
            uploads._write_behind(old, b"XX")
    assert path.read_bytes() == b"abcd"


def test_a_worker_of_events_ends_where_records_are_away_and_loses_no_message(sqlite, monkeypatch):
    here, _, _, _ = sqlite
    broker = practice.practice_broker()
    topics = events.Topics("away.in", "away.done", "away.dead")
    data = base64.b64encode(PNG).decode()
    practice.send_messages(broker, topics.source, [{"op": "grey", "data_base64": data}])

    def away(name):
        raise records.RecordsDown("the records in SQLite cannot be had: away")

    with monkeypatch.context() as patch:
        patch.setattr(here.service.records, "claim", away)
        with pytest.raises(records.RecordsDown):
            events.catch_up(here.service, broker, topics)
    assert events.catch_up(here.service, broker, topics).ok == 1
    (told,) = practice.read_topic(broker, topics.told)
    assert told["status"] == "ok"
