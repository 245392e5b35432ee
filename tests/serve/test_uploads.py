"""An upload that was cut goes on; a job is done in the background, also over a restart."""

import hashlib
import os
import time

import cv2
import httpx
import pytest
from made import picture

from imgprep.picture import codec
from imgprep.serve import server
from imgprep.serve.uploads import Spool

DATA = codec.encode(cv2.resize(picture(5), (640, 480)), "PNG")
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = TUS | {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("media"))
    options = {"max_bytes": 100_000, "upload_bytes": 5_000_000, "workers": 1}
    with server.start(out=out, **options) as here, httpx.Client(base_url=here.url, timeout=60) as found:
        yield found


def begin(client, length):
    answer = client.post("/v1/uploads", headers=TUS | {"Upload-Length": str(length)})
    assert answer.status_code == 201
    return answer.headers["location"]


def patch(client, url, offset, data):
    return client.patch(url, headers=PIECE | {"Upload-Offset": str(offset)}, content=data)


def test_a_client_that_was_killed_goes_on_where_it_was(client):
    url = begin(client, len(DATA))
    part = int(len(DATA) * 0.4)

    def cut():
        yield DATA[:part]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        patch(client, url, 0, cut())
    deadline = time.monotonic() + 10
    offset = 0
    while not offset and time.monotonic() < deadline:
        offset = int(client.head(url, headers=TUS).headers["upload-offset"])
    assert 0 < offset <= part
    done = patch(client, url, offset, DATA[offset:])
    name = hashlib.sha256(DATA).hexdigest()
    assert done.status_code == 204 and done.headers["object-id"] == name
    assert client.get(f"/v1/objects/{name}").status_code == 200
    assert client.head(url, headers=TUS).status_code == 404


def test_an_upload_has_its_own_limit_told_before_a_byte_comes(client):
    assert client.post("/v1/uploads", headers=TUS | {"Upload-Length": str(10**12)}).status_code == 413
    assert client.options("/v1/uploads").headers["tus-max-size"] == "5000000"


def test_a_wrong_offset_and_too_much_are_refused(client):
    url = begin(client, 10)
    assert patch(client, url, 5, b"12345").status_code == 409
    assert patch(client, url, 0, b"1234").headers["upload-offset"] == "4"
    assert patch(client, url, 4, b"x" * 100).status_code == 413
    assert client.delete(url, headers=TUS).status_code == 204
    assert patch(client, url, 4, b"x").status_code == 404


def test_what_is_no_picture_is_told_so_and_forgotten(client):
    url = begin(client, 4)
    assert patch(client, url, 0, b"nope").status_code == 415
    assert client.head(url, headers=TUS).status_code == 404


@pytest.mark.parametrize("name", ["../media.db", "..%2Fmedia", "a" * 32])
def test_no_name_of_a_client_reaches_a_path(client, name):
    assert client.head(f"/v1/uploads/{name}", headers=TUS).status_code == 404


def finished(client, url):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        job = client.get(url).json()
        if job["status"] != "queued":
            return job
        time.sleep(0.05)
    raise AssertionError("the job did not end")


def put(client):
    small = codec.encode(picture(9, (64, 48)))
    return client.put("/v1/objects", content=small).json()["id"]


def test_steps_are_done_each_for_itself(client):
    name = put(client)
    steps = {"steps": [{"fit": {"max_side": 16}}, {"fit": {"max_side": 0}}, "denoise"]}
    begun = client.post(f"/v1/objects/{name}/steps", json=steps)
    assert begun.status_code == 202
    job = finished(client, begun.headers["location"])
    assert [s["status"] for s in job["steps"]] == ["ok", "failed", "ok"] and job["status"] == "failed"
    assert codec.decode(client.get(job["steps"][0]["result"]).content).shape == (12, 16, 3)
    again = client.post(f"/v1/objects/{name}/steps", json=steps)
    assert again.json()["id"] == begun.json()["id"] and again.json()["status"] == "failed"


@pytest.mark.parametrize("body", ["{", '{"steps": "fit"}', '{"steps": []}', '{"steps": [{"nosuch": {}}]}'])
def test_steps_that_are_none_are_refused(client, body):
    answer = client.post(f"/v1/objects/{put(client)}/steps", content=body)
    assert answer.status_code in (404, 422) and answer.json()["error"]


def test_a_job_of_a_stopped_server_is_taken_up(tmp_path):
    steps = {"steps": [{"fit": {"max_side": n}} for n in range(8, 12)]}
    with server.start(out=str(tmp_path), workers=1) as here, httpx.Client(base_url=here.url) as client:
        url = client.post(f"/v1/objects/{put(client)}/steps", json=steps).headers["location"]
    with server.start(out=str(tmp_path), workers=1) as here, httpx.Client(base_url=here.url) as client:
        assert finished(client, url)["status"] == "ok"


def test_only_uploads_of_ours_expire(tmp_path):
    spool = Spool(str(tmp_path / "uploads"), max_bytes=9)
    mine = tmp_path / "uploads" / spool.begin(5)
    somebodys = tmp_path / "uploads" / "notes"
    for path in (mine, somebodys):
        path.write_text("x")
        path.with_suffix(".json").write_text('{"length": 5}')
        os.utime(path, (0, 0))
    spool.sweep()
    assert somebodys.exists() and somebodys.with_suffix(".json").exists() and not mine.exists()
