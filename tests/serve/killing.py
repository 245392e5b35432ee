"""Messages for `imgprep work`, workers that are killed while they work, and what came of all of it."""

import base64
import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

from imgprep.picture import codec
from imgprep.serve import practice
from imgprep.serve.events import Topics

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.1


def picture_bytes(number: int) -> bytes:
    """A small picture of its own for each number."""
    noise = np.random.default_rng(number).integers(0, 255, (24, 40, 3), np.uint8)
    return codec.encode(noise)


def send(broker: str, topic: str, count: int, *, bad_every: int) -> int:
    """So many messages, some of them no JSON: how many of those."""
    producer = Producer({"bootstrap.servers": broker})
    bad = range(7, count, bad_every)
    for number in range(count):
        data = base64.b64encode(picture_bytes(number)).decode()
        asked = {"op": "fit", "options": {"max_side": 8}, "data_base64": data}
        value = b"{not json %d" % number if number in bad else json.dumps(asked).encode()
        producer.produce(topic, value, key=str(number))
    assert producer.flush(60) == 0
    return len(bad)


@dataclass
class Outcome:
    """What came of a topic: counted at its end."""

    seconds: float
    kills: int
    exit_codes: list[int]
    lost: int
    results_twice: int
    told_twice: int
    letters: int


class Killing:
    """Two workers of one group on a topic; whoever is killed is started anew."""

    def __init__(self, broker: str, topics: Topics, folder: Path, *, records: str = ""):
        self.broker = broker
        self.topics = topics
        self.folder = folder
        words = ["work", topics.source, "--broker", broker, "--until-end", "--workers", "1"]
        words += ["--told", topics.told, "--dead", topics.dead, "--out", str(folder)]
        if records:
            words += ["--records", records]
        self.command = [sys.executable, "-m", "imgprep", *words]

    def start(self) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(self.command, env=environment, start_new_session=True, **quiet)

    def results(self) -> int:
        # A kill in the middle of a put leaves a name with a #, which is no result.
        places = (self.folder / "store" / "results").glob("*/*")
        return sum("#" not in place.name for place in places)

    def run(self, count: int, *, kills: int, limit_s: float) -> Outcome:
        """Work on all messages, with so many kills spread over them."""
        began = time.monotonic()
        workers = [self.start(), self.start()]
        killed = 0
        step = count // (kills + 2)
        while time.monotonic() - began < limit_s and any(w.poll() is None for w in workers):
            if killed < kills and self.results() >= step * (killed + 1):
                victim = killed % 2
                end(workers[victim])
                workers[victim] = self.start()
                killed += 1
            time.sleep(POLL_S)
        codes = [worker.poll() for worker in workers]
        for worker in workers:
            end(worker)
        return self.counted(count, time.monotonic() - began, killed, codes)

    def counted(self, count: int, seconds: float, kills: int, codes: list) -> Outcome:
        told = practice.read_topic(self.broker, self.topics.told, "look-told")
        letters = practice.read_topic(self.broker, self.topics.dead, "look-dead")
        jobs = collections.Counter(event["job"] for event in told)
        ok = {event["job"] for event in told if event["status"] == "ok"}
        values = {letter["value"] for letter in letters}
        return Outcome(
            seconds=seconds,
            kills=kills,
            exit_codes=codes,
            lost=count - len(jobs) - len(values),
            results_twice=self.results() - len(ok),
            told_twice=sum(jobs.values()) - len(jobs) + len(letters) - len(values),
            letters=len(values),
        )


def end(worker: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
