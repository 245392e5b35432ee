"""The gRPC door gives the bytes of the REST door and of the cell, and refuses with the same words."""

import base64
import subprocess
import sys
from pathlib import Path

import cv2
import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from made import picture

from imgprep.picture import codec
from imgprep.serve import events, messages, practice, server
from imgprep.serve.remote import SERVICE_NAME, Client

PNG = codec.encode(picture(6, (64, 48)))


def warm(image, *, by: int = 10):
    return cv2.add(image, (by, 0, 0, 0))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("media"))
    with server.start(warm, out=out, workers=1, grpc_port=0, max_bytes=200_000) as found:
        yield found


@pytest.fixture(scope="module")
def client(here):
    found = Client(f"127.0.0.1:{here.service.grpc_port}")
    yield found
    found.close()


def test_cell_rest_and_grpc_give_the_same_bytes(here, client):
    cell = codec.encode(warm(codec.decode(PNG), by=30))
    rest = httpx.post(f"{here.url}/v1/warm?by=30&format=png", content=PNG).content
    assert cell == rest == client.run("warm", PNG, format="PNG", by=30)


def test_an_event_gives_the_bytes_of_the_other_doors(here):
    broker = practice.practice_broker()
    topics = events.Topics("doors.in", "doors.done", "doors.dead")
    asked = {"op": "warm", "options": {"by": 30}, "format": "PNG"}
    data = base64.b64encode(PNG).decode()
    practice.send_messages(broker, topics.source, [asked | {"data_base64": data}])
    assert events.catch_up(here.service, broker, topics).ok == 1
    (told,) = practice.read_topic(broker, topics.told)
    assert here.service.store.get(told["place"]) == codec.encode(warm(codec.decode(PNG), by=30))


def test_a_put_in_pieces_is_the_put_of_rest(here, client):
    name = client.put(PNG, piece_bytes=100)
    assert httpx.put(f"{here.url}/v1/objects", content=PNG).json()["id"] == name
    assert httpx.put(f"{here.url}/v1/objects", content=PNG).status_code == 200


@pytest.mark.parametrize(
    ("op", "data", "options", "code", "reason"),
    [
        ("warm", PNG, {"by": "much"}, "INVALID_ARGUMENT", "wrong_option"),
        ("nothing", PNG, {}, "NOT_FOUND", "no_such_operation"),
        ("warm", b"no picture", {}, "INVALID_ARGUMENT", "not_an_image"),
        ("warm", b"", {}, "INVALID_ARGUMENT", "empty"),
    ],
)
def test_refusals_have_a_code_and_the_reason(client, op, data, options, code, reason):
    with pytest.raises(grpc.RpcError) as caught:
        client.run(op, data, **options)
    assert caught.value.code().name == code and caught.value.details()
    assert ("reason", reason) in list(caught.value.trailing_metadata())


def test_too_much_in_pieces_is_refused(client):
    with pytest.raises(grpc.RpcError) as caught:
        client.put(bytes(300_000), piece_bytes=50_000)
    assert caught.value.code().name == "RESOURCE_EXHAUSTED"


def test_it_says_that_it_is_healthy(here):
    with grpc.insecure_channel(f"127.0.0.1:{here.service.grpc_port}") as channel:
        asked = health_pb2.HealthCheckRequest(service=SERVICE_NAME)
        assert health_pb2_grpc.HealthStub(channel).Check(asked).status == 1


def test_the_messages_are_those_of_the_file_for_clients(tmp_path):
    folder = Path(messages.__file__).parent
    words = [f"-I{folder}", f"--python_out={tmp_path}", str(folder / "media.proto")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *words], check=True)
    code = "import media_pb2; print(media_pb2.DESCRIPTOR.serialized_pb.hex())"
    made = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    ours = messages._described().SerializeToString()
    theirs = type(messages._described()).FromString(bytes.fromhex(made.stdout))
    for field in (f for m in theirs.message_type for f in m.field):
        field.ClearField("json_name")
    for method in theirs.service[0].method:
        method.ClearField("options")
    assert theirs == type(theirs).FromString(ours)
