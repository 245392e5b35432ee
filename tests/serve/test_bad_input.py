"""What a client may send that is wrong, row by row: an answer with a reason, and never a fault of the server."""

import base64
import io
import json
import socket

import grpc
import httpx
import numpy as np
import pytest
from confluent_kafka import Producer
from made import picture
from PIL import Image
from test_answers_without_secrets import repeat

from imgprep.failures import REASONS
from imgprep.picture import codec
from imgprep.serve import answers, events, practice, server, workers
from imgprep.serve.remote import Client

PNG = codec.encode(picture(6, (64, 48)))
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = TUS | {"Content-Type": "application/offset+octet-stream"}
DOORS_OWN = {"wrong_option", "no_such_operation", "not_allowed", "conflict", "bad_message"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
DEEP = "[" * 100_000
HALF = '"\\ud800"'  # half a character, as JSON has it


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("media"))
    options = {"workers": 1, "max_bytes": 300_000, "upload_bytes": 500_000, "grpc_port": 0}
    with server.start(repeat, stretch, out=out, **options) as found:
        yield found


def stretch(image, *, by: float = 1.0):
    return {"by": by}


@pytest.fixture(scope="module")
def client(here):
    with httpx.Client(base_url=here.url, timeout=60) as found:
        yield found


@pytest.fixture(scope="module")
def name(client):
    return client.put("/v1/objects", content=PNG).json()["id"]


def check_refused(answer, status, reason):
    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text
    assert answer.json()["error"] and reason in {*REASONS} | DOORS_OWN


def form(count, *, files=0):
    parts = {f"f{n}": (None, "x") for n in range(count)}
    return {"files": parts | {f"p{n}": (f"{n}.png", PNG) for n in range(files)}}


@pytest.mark.parametrize(
    ("path", "given", "status", "reason"),
    [
        ("/v1/fit", {"files": {"file": ("a.png", bytes(400_000))}}, 413, "too_large"),
        ("/v1/fit", form(30, files=1), 422, "wrong_option"),
        ("/v1/fit", form(0, files=2), 422, "wrong_option"),
        ("/v1/fit", form(2), 422, "empty"),
        ("/v1/fit", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 422, "wrong_option"),
        ("/v1/fit", {"content": SVG}, 415, None),
        ("/v1/fit", {"content": b"<!doctype html><script>alert(1)</script>"}, 415, "not_an_image"),
        ("/v1/fit", {"content": b"%PDF-1.7 " + bytes(100)}, 415, None),
        ("/v1/fit", {"content": b"PK\3\4" + bytes(100)}, 415, None),
        ("/v1/fit?quality=²", {"content": PNG}, 422, "wrong_option"),
        ("/v1/fit?quality=" + "9" * 5000, {"content": PNG}, 422, "wrong_option"),
        ("/v1/fit?max_side=" + "9" * 5000, {"content": PNG}, 422, "wrong_option"),
        ("/v1/fit?max_side=1e999", {"content": PNG}, 422, "wrong_option"),
        ("/v1/fit?max_side=64&max_side=32", {"content": PNG}, 422, "wrong_option"),
        ("/v1/stretch?by=nan", {"content": PNG}, 422, "wrong_option"),
        ("/v1/fit_pad?size_wh=" + DEEP[:20_000], {"content": PNG}, 422, "wrong_option"),
        ("/v1/fit_pad?size_wh=[64]", {"content": PNG}, 422, None),
        ("/v1/fit_pad?size_wh=[-1,64]", {"content": PNG}, 422, None),
        ("/v1/fit_pad?size_wh=[99999,99999]", {"content": PNG}, 422, None),
        ("/v1/corrections", {"content": DEEP}, 422, "wrong_option"),
        ("/v1/corrections", {"content": b"\xff\xfe"}, 422, "wrong_option"),
        ("/v1/corrections", {"json": {"corrections": [{"image_id": "x"}]}}, 422, "wrong_option"),
        ("/v1/uploads", {"headers": TUS}, 422, "wrong_option"),
        ("/v1/uploads", {"headers": TUS | {"Upload-Length": "-1"}}, 422, "wrong_option"),
        ("/v1/uploads", {"headers": TUS | {"Upload-Length": "9" * 5000}}, 422, "wrong_option"),
        ("/v1/uploads", {"headers": {**TUS, "Upload-Length": b"\xb2"}}, 422, "wrong_option"),
        ("/v1/uploads", {"headers": TUS | {"Upload-Length": "1000000000000"}}, 413, "too_large"),
    ],
)  # fmt: skip
def test_a_request_of_rest(client, path, given, status, reason):
    answer = client.post(path, **given)
    assert answer.status_code in (status, 400) if reason == "wrong_option" else answer.status_code == status
    check_refused(answer, answer.status_code, reason or answer.json()["reason"])


@pytest.mark.parametrize(
    "body",
    [
        DEEP, "{", "null", "3", '"fit"', '{"steps": {}}', '{"steps": [[]]}', '{"steps": [null]}',
        '{"steps": [{"fit": {"max_side": NaN}}]}', '{"steps": [{"fit": {"max_side": 1e999}}]}',
        f'{{"steps": [{{"repeat": {{"words": {HALF}}}}}]}}', f'{{"steps": [{HALF}]}}',
        '{"steps": [{"fit": [1]}]}', '{"steps": [{"fit": {}, "grey": {}}]}', '{"steps": [{"stretch": {"by": "inf"}}]}',
        '{"steps": [{"segment": {"operator": ""}}]}', '{"steps": [{"segment": {"operator": [" "]}}]}',
        '{"steps": [{"segment": {"operator": {"a": 1}}}]}', '{"steps": [{"segment": {"operator": "/etc/x.onnx"}}]}',
        '{"steps": [{"segment": {"nosuch": 1}}]}', '{"steps": [{"transcode": {"heights": "x"}}]}',
        '{"steps": [{"transcode": {"nosuch": 1}}]}', '{"steps": [{"transcode": {"heights": [NaN]}}]}',
        b"\xff\xff",
    ],
)  # fmt: skip
def test_steps_that_are_none(client, name, body):
    answer = client.post(f"/v1/objects/{name}/steps", content=body)
    assert answer.status_code in (404, 422) and answer.json()["error"], answer.text
    assert client.get("/v1/objects").status_code == client.get("/v1/album").status_code == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=0-9", 206), ("bytes=-5", 206), ("bytes=5-", 206), ("bytes=9-2", 416), ("bytes=-0", 416),
        ("bytes=99999999-", 416), ("bytes=0-1,4-5", 200), ("bytes=x-y", 200), ("bytes=--5", 200),
        ("bytes=1-x", 200), ("items=0-9", 200), ("bytes=" + "9" * 5000 + "-", 200), ("bytes=-", 200),
    ],
)  # fmt: skip
def test_a_range(client, name, asked, status):
    answer = client.get(f"/v1/objects/{name}/content", headers={"range": asked})
    assert answer.status_code == status
    assert answer.content == PNG or status != 200


@pytest.mark.parametrize("query", ["limit=x", "limit=" + "9" * 5000])
def test_a_number_in_the_query_that_is_none(client, query):
    check_refused(client.get(f"/v1/objects?{query}"), 422, "wrong_option")


@pytest.mark.parametrize("offset", ["", "x", "-1", "9" * 5000, "2"])
def test_a_piece_with_a_wrong_offset(client, offset):
    url = client.post("/v1/uploads", headers=TUS | {"Upload-Length": "10"}).headers["location"]
    answer = client.patch(url, headers=PIECE | {"Upload-Offset": offset}, content=b"12")
    assert answer.status_code in (409, 422) and answer.json()["error"]
    assert client.head(url, headers=TUS).headers["upload-offset"] == "0"


@pytest.mark.parametrize("query", ["expires=²", "expires=" + "9" * 5000, "expires=x", "expires=99999999999"])
def test_an_address_that_is_not_signed_by_us(tmp_path, here, name, query, monkeypatch):
    doors = here.service.access
    given = dict([query.split("=")])
    assert not doors.is_signed(f"/v1/objects/{name}/fit", given | {"signature": "ü²"})
    assert not doors.is_signed(f"/v1/objects/{name}/fit", given | {"signature": "0" * 64})


def test_other_origins_get_no_word_of_consent(client):
    asked = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    answers = [client.get("/v1/objects", headers=asked), client.options("/v1/fit", headers=asked)]
    for answer in answers:
        assert not [h for h in answer.headers if h.startswith("access-control-")]
    assert answers[1].status_code == 405


def test_what_is_sent_back_is_nothing_that_a_browser_runs(client, name):
    polyglot = io.BytesIO()
    Image.fromarray(picture(3, (40, 30))).save(polyglot, "GIF", comment=b"<script>alert(1)</script>")
    other = client.put("/v1/objects?name=<script>alert(1)</script>", content=polyglot.getvalue())
    for path in (f"/v1/objects/{other.json()['id']}/content", f"/v1/objects/{name}/grey", f"/v1/objects/{name}"):
        answer = client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["content-type"].startswith(("image/", "application/json"))
    assert "attachment" in client.get(f"/v1/objects/{name}/content").headers["content-disposition"]


def raw(here, data, wait_s=20):
    """The status line of the answer to bytes on a socket; "" where it hangs up without one."""
    host, port = here.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), wait_s) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        return line.recv(300).split(b"\r\n")[0].decode()


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"POST /v1/fit HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
        b"POST /v1/fit HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/fit HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_hardly_http(here, client, data):
    try:
        told = raw(here, data)
    except ConnectionError:
        told = ""
    assert " 5" not in told[8:11]
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("op", "options_json", "format", "code"),
    [
        ("fit", DEEP, "", "INVALID_ARGUMENT"),
        ("fit", "[]", "", "INVALID_ARGUMENT"),
        ("fit", "{", "", "INVALID_ARGUMENT"),
        ("fit", '{"max_side": NaN}', "", "INVALID_ARGUMENT"),
        ("fit", "{}", "svg", "INVALID_ARGUMENT"),
        ("../fit", "{}", "", "NOT_FOUND"),
        ("", "{}", "", "NOT_FOUND"),
    ],
)
def test_a_call_of_grpc(here, op, options_json, format, code):
    from imgprep.serve import messages, remote

    asked = messages.RunRequest(op=op, data=PNG, options_json=options_json, format=format)
    with grpc.insecure_channel(f"127.0.0.1:{here.service.grpc_port}") as channel:
        call = channel.unary_unary(
            f"/{remote.SERVICE_NAME}/Run",
            request_serializer=messages.RunRequest.SerializeToString,
            response_deserializer=messages.RunReply.FromString,
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(asked, timeout=30)
    assert caught.value.code().name == code and caught.value.details()


def test_a_message_of_grpc_that_is_too_long(here):
    remote = Client(f"127.0.0.1:{here.service.grpc_port}")
    with pytest.raises(grpc.RpcError) as caught:
        remote.run("fit", bytes(2_000_000))
    remote.close()
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_every_bad_message_of_a_topic_is_told_of(here):
    data = base64.b64encode(PNG).decode()
    fit = {"op": "fit", "data_base64": data}
    unread = [b"", b"{not json", b"null", b"3", b"[]", b"\xff\xff", DEEP.encode(), b'{"op": 3}', b'{"op": "fit"}']
    unread += [json.dumps(fit | {"options": [1]}).encode(), b'{"op": "fit", "source": 3}']
    unread += [b'{"specversion": "1.0"}', b'{"specversion": "1.0", "data": "x"}', b'{"op": "fit", "source": NaN}']
    unread += [f'{{"op": {HALF}, "source": "x"}}'.encode()]
    more = [{"op": "nothing"}, {"format": "svg"}, {"options": {"max": 1}}, {"data_base64": "%"}]
    wrong = [fit | one for one in more]
    wrong += [{"op": "fit", "source": source} for source in ("/etc/passwd", "../x", "", "http://127.0.0.1/", "0" * 64)]
    broker = practice.practice_broker()
    topics = events.Topics("bad.in", "bad.done", "bad.dead")
    producer = Producer({"bootstrap.servers": broker})
    for message in [*unread, *(json.dumps(one).encode() for one in [*wrong, fit])]:
        producer.produce(topics.source, message)
    assert producer.flush(20) == 0
    counts = events.catch_up(here.service, broker, topics)
    assert (counts.ok, counts.failed, counts.letters) == (1, len(wrong), len(unread))
    assert {letter["reason"] for letter in practice.read_topic(broker, topics.dead)} == {"bad_message"}
    reasons = [row["reason"] for row in counts.rows]
    assert set(reasons) == {"", "no_such_operation", "wrong_option", "corrupt", "no_permission", "missing_file"}

def test_one_picture_in_two_formats_is_two_results(here):
    """The job was named without its format: the second message was told to have been done."""
    broker = practice.practice_broker()
    topics = events.Topics("formats.in", "formats.done", "formats.dead")
    asked = {"op": "grey", "data_base64": base64.b64encode(PNG).decode()}
    practice.send_messages(broker, topics.source, [asked, asked | {"format": "png"}, asked | {"format": "jpeg"}])
    counts = events.catch_up(here.service, broker, topics)
    told = practice.read_topic(broker, topics.told)
    assert {one["media_type"] for one in told} == {"image/png", "image/jpeg"}
    assert {one["media_type"] for one in counts.rows} == {"image/png", "image/jpeg"}


def test_a_body_goes_by_the_pipe_where_there_is_no_shared_memory(client, monkeypatch):
    large = codec.encode(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
    assert len(large) > workers.BY_FILE_BYTES
    first = client.post("/v1/grey?format=png", content=large)
    monkeypatch.setattr(workers, "SHARED_MEMORY", "/proc/nowhere")
    assert client.post("/v1/grey?format=png", content=large).content == first.content


@pytest.mark.parametrize("text", [DEEP, "NaN", "[Infinity]", "1e999", HALF, f"[{{{HALF}: 1}}]", "", "[1,]"])
def test_json_that_could_not_be_told_again(text):
    with pytest.raises(ValueError, match="."):
        answers.read_json(text)
    assert answers.read_json('{"a": [1, 2.5, "\\ud83d\\ude00"]}') == {"a": [1, 2.5, "😀"]}
