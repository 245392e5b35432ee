"""The REST door of a service that listens: its answers, and what it refuses."""

import hashlib
import io
import os
import socket
import threading
import time

import cv2
import hostile_server
import httpx
import pytest
from made import picture
from PIL import Image

from imgprep.picture import codec
from imgprep.serve import access, server
from imgprep.serve.service import Settings

DATA = codec.encode(cv2.resize(picture(5), (640, 480)), "JPEG")
PNG = codec.encode(picture(6, (64, 48)))


def warm(image, *, by: int = 10):
    """Warmer by so many levels.

    Clips at 255.
    """
    return cv2.add(image, (by, 0, 0, 0))


def mean(image):
    return {"mean": float(image.mean())}


def crash(image):
    os.abort()


def loop(image):
    while True:
        pass


def hog(image):
    return bytes(8 << 30)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("media"))
    options = {"timeout_s": 4, "workers": 2, "max_bytes": 2_000_000}
    with server.start(warm, mean, crash, loop, hog, out=out, **options) as found:
        yield found


@pytest.fixture
def client(here):
    with httpx.Client(base_url=here.url, timeout=60) as found:
        yield found


def test_a_function_of_a_notebook_is_an_endpoint(client):
    answer = client.post("/v1/warm?by=30&format=png", content=PNG)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    assert answer.content == codec.encode(warm(codec.decode(PNG), by=30))
    assert client.post("/v1/mean", content=PNG).json() == {"mean": float(codec.decode(PNG).mean())}
    form = client.post("/v1/warm?by=30&format=png", files={"file": ("../../x", PNG)})
    assert form.content == answer.content


def test_the_documentation_is_the_signature(client):
    paths = client.get("/openapi.json").json()["paths"]
    described = paths["/v1/warm"]["post"]
    options = {p["name"]: p["schema"] for p in described["parameters"]}
    assert described["summary"] == "Warmer by so many levels." and "Clips" in described["description"]
    assert (options["by"]["type"], options["by"]["default"]) == ("integer", 10)
    put = paths["/v1/objects"]["put"]
    assert "application/octet-stream" in put["requestBody"]["content"]
    assert [one["name"] for one in put["parameters"]] == ["name", "steps"]


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("/v1/warm?by=much", PNG, 422, "wrong_option"),
        ("/v1/warm?format=svg", PNG, 422, "wrong_option"),
        ("/v1/warm", b"no picture", 415, "not_an_image"),
        ("/v1/warm", b"", 422, "empty"),
        ("/v1/warm", DATA[:2000], 422, "truncated"),
        ("/v1/nothing", PNG, 404, "no_such_operation"),
        ("/v1/fit?max_side=0", PNG, 422, "error"),
    ],
)
def test_every_answer_has_a_reason(client, path, body, status, reason):
    answer = client.post(path, content=body)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json()["error"]


def test_what_is_lost_costs_nobody_else_anything(client):
    found = {}

    def ask(number, path):
        found[number] = client.post(path, content=PNG, timeout=60)

    bad = {"crash": "/v1/crash", "loop": "/v1/loop", "hog": "/v1/hog"}
    given = [*bad.items(), *((n, "/v1/warm") for n in range(10))]
    threads = [threading.Thread(target=ask, args=one) for one in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n].status_code for n in range(10)] == [200] * 10
    reasons = {name: found[name].json()["reason"] for name in bad}
    assert reasons == {"crash": "crashed", "loop": "timeout", "hog": "too_much_memory"}


def test_an_object_is_named_by_its_bytes(client):
    first = client.put("/v1/objects", content=DATA)
    name = first.json()["id"]
    assert first.status_code == 201 and name == hashlib.sha256(DATA).hexdigest()
    assert (first.json()["width"], first.json()["height"], first.json()["format"]) == (640, 480, "JPEG")
    assert client.put("/v1/objects", content=DATA).status_code == 200
    assert name in [one["id"] for one in client.get("/v1/objects").json()["objects"]]


def test_a_result_is_made_once_and_cached(client, here):
    name = client.put("/v1/objects", content=DATA).json()["id"]
    first = client.get(f"/v1/objects/{name}/fit?max_side=100")
    assert first.status_code == 200 and "immutable" in first.headers["cache-control"]
    assert codec.decode(first.content).shape == (75, 100, 3)
    calls = here.service.pool.mean_s  # moves with every call of a worker
    again = client.get(f"/v1/objects/{name}/fit?max_side=100")
    assert again.content == first.content and here.service.pool.mean_s == calls
    headers = {"if-none-match": first.headers["etag"]}
    assert client.get(f"/v1/objects/{name}/fit?max_side=100", headers=headers).status_code == 304


def test_browsers_get_the_format_they_accept(client):
    name = client.put("/v1/objects", content=DATA).json()["id"]
    accept = {"accept": "image/avif,image/webp,*/*"}
    found = [client.get(f"/v1/objects/{name}/fit", headers=h).headers for h in (accept, {"accept": "*/*"})]
    assert [h["content-type"] for h in found] == ["image/avif", "image/jpeg"]
    assert {h["vary"] for h in found} == {"Accept"}


def test_content_comes_in_ranges_and_without_its_metadata(client):
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    out = io.BytesIO()
    Image.fromarray(picture(7, (64, 48))).save(out, "JPEG", exif=exif)
    name = client.put("/v1/objects", content=out.getvalue()).json()["id"]
    whole = client.get(f"/v1/objects/{name}/content")
    assert b"where I live" in out.getvalue() and b"where I live" not in whole.content
    assert "attachment" in whole.headers["content-disposition"]
    part = client.get(f"/v1/objects/{name}/content", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    last = client.get(f"/v1/objects/{name}/content", headers={"range": "bytes=-5"})
    assert last.content == whole.content[-5:]
    assert client.get(f"/v1/objects/{name}/content", headers={"range": "bytes=999999-"}).status_code == 416


def test_a_deleted_object_is_gone_with_what_was_made_of_it(client, here):
    name = client.put("/v1/objects", content=PNG).json()["id"]
    client.get(f"/v1/objects/{name}/fit?max_side=10")
    assert client.delete(f"/v1/objects/{name}").status_code == 204
    for path in ("", "/content", "/fit?max_side=10"):
        assert client.get(f"/v1/objects/{name}{path}").status_code == 404
    assert not [place for place in here.service.store.list() if name in place]


@pytest.mark.parametrize("name", ["../../etc/passwd", "..%2f..%2fmedia.db", "0" * 64, "a" * 63, "%00"])
def test_only_ids_reach_the_store(client, name):
    for path in ("", "/content", "/fit"):
        assert client.get(f"/v1/objects/{name}{path}").status_code == 404


def test_health_and_counters(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    client.post("/v1/warm", content=b"no picture")
    assert 'imgprep_requests_total{op="warm",reason="not_an_image"}' in client.get("/metrics").text


def raw(here, head: bytes, chunks=(), wait_s=12):
    """The first line of the answer to bytes on a socket, and how many were sent."""
    host, port = here.url.removeprefix("http://").split(":")
    sent = 0
    with socket.create_connection((host, int(port)), wait_s) as line:
        line.sendall(head)
        try:
            for chunk in chunks:
                line.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
        answer = line.recv(300)
    return answer.split(b"\r\n")[0].decode(), sent


def test_a_body_that_is_too_large_is_refused_before_it_comes(here):
    head = b"POST /v1/warm HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n"
    assert "413" in raw(here, head + b"\r\n")[0]
    assert "413" in raw(here, head + b"Expect: 100-continue\r\n\r\n")[0]


def test_an_endless_body_is_cut(here):
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"POST /v1/warm HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer, sent = raw(here, head, (piece for _ in range(3000)))
    assert "413" in answer and sent < 50_000_000


def test_half_a_body_is_let_go(here):
    head = b"POST /v1/warm HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"
    assert "408" in raw(here, head, wait_s=20)[0]


def test_keys_guard_every_door(tmp_path, monkeypatch):
    lines = [access.hashed_key("phone", "read", "r3ad"), access.hashed_key("me", "write", "wr1te")]
    monkeypatch.setenv("MY_KEYS", "\n".join(lines))
    monkeypatch.setenv("MY_SECRETS", "s3cret")
    options = {"keys_env": "MY_KEYS", "secrets_env": "MY_SECRETS", "workers": 1}
    with server.start(out=str(tmp_path), **options) as here, httpx.Client(base_url=here.url) as client:
        assert client.put("/v1/objects", content=PNG).status_code == 401
        assert client.put("/v1/objects", content=PNG, headers={"authorization": "Bearer r3ad"}).status_code == 403
        headers = {"authorization": "Bearer wr1te"}
        name = client.put("/v1/objects", content=PNG, headers=headers).json()["id"]
        for path in (f"/v1/objects/{name}", f"/v1/objects/{name}/fit", "/v1/objects"):
            assert client.get(path).status_code == 401
        signed = here.service.access.sign(f"/v1/objects/{name}/fit", {"max_side": "8"})
        assert client.get(signed).status_code == 200
        assert client.get(signed.replace("max_side=8", "max_side=9")).status_code == 401


def test_a_url_is_fetched_from_named_hosts_only(tmp_path, monkeypatch):
    monkeypatch.setattr(hostile_server, "picture", lambda *given: PNG)
    options = {"workers": 1, "allow_hosts": ["127.0.0.1"]}
    with hostile_server.HostileServer() as other, server.start(out=str(tmp_path), **options) as here:
        ask = lambda url: httpx.post(f"{here.url}/v1/fit", params={"url": url, "max_side": 8}, timeout=60)  # noqa: E731
        assert ask(f"http://127.0.0.1:{other.port}/ok/a").status_code == 200
        away = ask(f"http://localhost:{other.port}/ok/a")
        assert (away.status_code, away.json()["reason"]) == (403, "not_allowed")
        assert ask("file:///etc/passwd").status_code == 403
    with server.start(out=str(tmp_path), workers=1) as here:
        assert httpx.post(f"{here.url}/v1/fit", params={"url": "http://127.0.0.1/a"}).status_code == 403


def test_a_service_that_would_stand_open_to_the_world_does_not_start():
    with pytest.raises(ValueError, match="keys_file or keys_env"):
        Settings(host="0.0.0.0").check()
    Settings(host="0.0.0.0", is_open=True).check()


def test_what_is_in_work_is_answered_before_it_ends(tmp_path):
    def slow(image):
        time.sleep(1)
        return image

    answers = []
    with server.start(slow, out=str(tmp_path), workers=2) as here:
        url = f"{here.url}/v1/slow"
        ask = lambda: answers.append(httpx.post(url, content=PNG, timeout=60).status_code)  # noqa: E731
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while here.service.pool.waiting < 6 and time.monotonic() < deadline:
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert answers == [200] * 6
