"""A server process under load: what comes at once is answered or told to wait, and what is in work is finished."""

import asyncio
import collections
import contextlib
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from blas_calls import blas_calls
from made import picture
from served import Served

from imgprep.picture import codec
from imgprep.serve import workers

SLOW = """
import os, time

def slow(image):
    while not os.path.exists("gate"):
        time.sleep(0.02)
    return image
"""
PNG = codec.encode(picture(6, (64, 48)))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("serve"), "--workers", "2") as found:
        yield found


def at_once(url, bodies, method="POST"):
    """The answers to all of these bodies, sent together."""

    async def ask_all():
        limits = httpx.Limits(max_connections=len(bodies))
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            asked = [client.request(method, url, content=body) for body in bodies]
            return await asyncio.gather(*asked)

    return asyncio.run(ask_all())


def test_300_uploads_at_once_are_taken_or_told_to_wait(here):
    bodies = [codec.encode(picture(n, (64, 48))) for n in range(300)]
    answers = at_once(f"{here.url}/v1/objects", bodies, "PUT")
    found = collections.Counter(a.status_code for a in answers)
    assert found.keys() <= {201, 503} and found[201] >= 60
    refused = [a for a in answers if a.status_code == 503]
    assert all(int(a.headers["retry-after"]) >= 1 for a in refused)
    assert all(a.json()["reason"] == "busy" for a in refused)
    with here.client() as client:
        assert len(client.get("/v1/objects?limit=1000").json()["objects"]) == found[201]


class Watched:
    """The most memory of one process while this lasts."""

    def __init__(self, pid: int):
        self.process = psutil.Process(pid)
        self.mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._stop.wait(0.02):
            self.mib = max(self.mib, self.process.memory_info().rss / 2**20)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()


def test_100_uploads_of_19_mb_at_once_stay_under_400_mib(here):
    body = b"\xff\xd8" + b"x" * 19_000_000
    with Watched(here.process.pid) as watched:
        answers = at_once(f"{here.url}/v1/fit", [body] * 100)
    found = collections.Counter(a.status_code for a in answers)
    # What is admitted is no picture: 415 or 422 says so.
    assert found.keys() <= {415, 422, 503} and found[503] >= 50
    assert all("retry-after" in a.headers for a in answers if a.status_code == 503)
    assert watched.mib < 400, watched.mib


def test_sigterm_ends_it_when_all_that_is_in_work_is_answered(tmp_path):
    words = ("--workers", "2", "--timeout-s", "60")
    with Served(tmp_path, *words, code=SLOW, names=("slow",)) as here, here.client() as client:
        with ThreadPoolExecutor(20) as threads:
            asked = [threads.submit(client.post, "/v1/slow", content=PNG) for _ in range(20)]
            until_waiting(here, 20)
            children = psutil.Process(here.process.pid).children(recursive=True)
            here.process.send_signal(signal.SIGTERM)
            until_refused(here)
            (tmp_path / "gate").touch()
        assert [one.result().status_code for one in asked] == [200] * 20
        assert here.process.wait(30) == 0
        _, left = psutil.wait_procs(children, timeout=10)
        assert not left  # its workers go with it


def until_refused(here):
    """Who comes after the signal is not taken any more."""
    deadline = time.monotonic() + 10
    with contextlib.suppress(httpx.HTTPError):
        while time.monotonic() < deadline:
            httpx.get(f"{here.url}/healthz", timeout=5)
        raise AssertionError("it takes requests still")


def until_waiting(here, count):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = httpx.get(f"{here.url}/metrics", timeout=30).text.splitlines()
        (waiting,) = [line for line in lines if line.startswith("imgprep_waiting ")]
        if float(waiting.split()[1]) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("they did not get in")


def test_a_port_that_is_taken_is_a_sentence(here, tmp_path):
    other = Served(tmp_path, "--workers", "1", "--port", str(here.port))
    try:
        assert other.process.wait(60) == 2
    except subprocess.TimeoutExpired:
        raise AssertionError("it goes on without its port") from None
    finally:
        other.__exit__()
    assert "Traceback" not in other.log.read_text() and str(here.port) in other.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted by /proc")
def test_blas_starts_no_threads_in_a_forked_worker():
    """Its threads do not come along with a fork, and sometimes it waits for them for ever, spinning."""
    pool = workers.Pool(blas_calls, workers=1)
    try:
        assert asyncio.run(pool.run("blas", b"-"))[1] == 1
    finally:
        pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told to keep memory")
def test_a_worker_keeps_the_memory_of_a_picture_for_the_next():
    pool = workers.Pool(blas_calls, workers=1)
    try:
        pages = asyncio.run(pool.run("memory", b"-"))[1]
    finally:
        pool.close()
    assert pages < 200  # of 2,048


FOREVER = """
def forever(image):
    open("begun", "w").write(str(__import__("os").getpid()))
    while True:
        pass
"""


def ask_in_vain(url: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(url, content=PNG, timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="it ends with its parent by prctl")
def test_kill_9_of_the_server_leaves_no_worker_in_an_endless_loop(tmp_path):
    with Served(tmp_path, "--workers", "1", "--timeout-s", "600", code=FOREVER, names=("forever",)) as one:
        threading.Thread(target=ask_in_vain, args=(f"{one.url}/v1/forever",), daemon=True).start()
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)
        busy = psutil.Process(int((tmp_path / "begun").read_text()))
        one.process.kill()
        gone, alive = psutil.wait_procs([busy], timeout=20)
        assert not alive


def test_port_0_is_a_free_one_and_is_said(tmp_path):
    command = [sys.executable, "-m", "imgprep", "serve", "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as served:
        # What says nothing would be waited for.
        deadline = threading.Timer(90, served.kill)
        deadline.start()
        try:
            url = served.stdout.readline().split()[0]
            assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200
        finally:
            deadline.cancel()
            served.terminate()
