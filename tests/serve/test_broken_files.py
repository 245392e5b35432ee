"""Every broken file of the corpus through every door: an outcome in time, never a fault of the server."""

import base64
import contextlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest

from imgprep.failures import REASONS
from imgprep.serve import events, practice, server
from imgprep.serve.remote import Client

pytestmark = [pytest.mark.corpus, pytest.mark.slow]
HUNG_S = 30
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = TUS | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
DOORS_OWN = {"too_much_memory", "wrong_option"}
GRPC_FAULTS = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)


@pytest.fixture(scope="module")
def files(corpus):
    found = [p.read_bytes() for p in sorted((corpus / "broken").rglob("*")) if p.is_file()]
    assert len(found) > 50
    return found


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("media"))
    with server.start(out=out, workers=2, grpc_port=0) as found:
        yield found


@pytest.fixture(scope="module")
def client(here):
    with httpx.Client(base_url=here.url, timeout=HUNG_S) as found:
        yield found


def each(files, ask):
    """What is answered to each file, four at once; what takes too long raises in `ask`."""
    with ThreadPoolExecutor(4) as threads:
        return list(threads.map(ask, files))


def check_answers(answers):
    for answer in answers:
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.json()["reason"] in {*REASONS} | DOORS_OWN and answer.json()["error"]
    assert any(a.status_code >= 400 for a in answers) and any(a.status_code < 300 for a in answers)


def test_an_operation_on_a_body(client, files):
    path = "/v1/fit?max_side=200"
    check_answers(each(files, lambda data: client.post(path, content=data)))


def test_an_object_that_is_put(client, files):
    answers = each(files, lambda data: client.put("/v1/objects", content=data))
    check_answers(answers)
    ids = [a.json()["id"] for a in answers if a.status_code < 300]
    made = each(ids, lambda name: client.get(f"/v1/objects/{name}/fit?max_side=100"))
    assert all(a.status_code in (200, 415, 422) for a in made)


def test_an_upload_in_pieces(client, files):
    def ask(data):
        length = {"Upload-Length": str(len(data))}
        url = client.post("/v1/uploads", headers=TUS | length).headers["location"]
        return client.patch(url, headers=PIECE, content=data)

    check_answers(each(files, ask))


def test_a_call_by_grpc(here, files):
    remote = Client(f"127.0.0.1:{here.service.grpc_port}")

    def ask(data):
        began = time.monotonic()
        code = None
        try:
            remote.run("fit", data, max_side=200)
        except grpc.RpcError as e:
            code = e.code()
        assert time.monotonic() - began < HUNG_S
        return code

    with contextlib.closing(remote):
        codes = each(files, ask)
    assert not [c for c in codes if c in GRPC_FAULTS]
    assert None in codes and grpc.StatusCode.INVALID_ARGUMENT in codes


@pytest.mark.skipif(sys.platform != "linux", reason="the practice broker is librdkafka's")
def test_an_event(here, files):
    broker = practice.practice_broker()
    topics = events.Topics("broken.in", "broken.done", "broken.dead")
    fit = {"op": "fit", "options": {"max_side": 200}}
    texts = [base64.b64encode(data).decode() for data in files]
    practice.send_messages(broker, topics.source, [fit | {"data_base64": text} for text in texts])
    began = time.monotonic()
    counts = events.catch_up(here.service, broker, topics)
    assert time.monotonic() - began < 2 * HUNG_S
    assert counts.ok + counts.failed + counts.letters + counts.again == len(files)
    assert counts.ok and counts.failed
    assert {row["reason"] for row in counts.rows} <= {""} | {*REASONS} | DOORS_OWN
