"""Three hosts, each with its own raylet, files and names: the bytes are those of one machine, whatever host dies."""

import contextlib
import io
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hosts import ROOT, SHARED, Cluster, lacking
from made import tree
from PIL import Image

pytestmark = [pytest.mark.ray, pytest.mark.slow]
COUNT = 48
PER_HOST = 4  # in flow.py
STEPS = ("raw", "turned", "sizes", "masks", "tags")
# A dead host is missed after some 15 s; here after 3.
HEALTH = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
HEALTH |= {"RAY_health_check_initial_delay_ms": "0"}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}


class Site(ThreadingHTTPServer):
    """Pictures, slowly. most: how many were asked for at once. at: {path or number of tags: what to do then}."""

    daemon_threads = True

    def __init__(self, address: str):
        super().__init__((address, 0), Asked)
        self.lock = threading.Lock()
        self.open = self.most = self.pictures = self.tagged = 0
        self.then: dict[tuple[str, int], object] = {}
        self.url = f"http://{address}:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def count(self, kind: str) -> None:
        with self.lock:
            number = getattr(self, kind) + 1
            setattr(self, kind, number)
            act = self.then.pop((kind, number), None)
        if act:
            act()


class Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site: Site = self.server
        body = b"ok"
        if self.path == "/tagged":
            site.count("tagged")
        else:
            with site.lock:
                site.open += 1
                site.most = max(site.most, site.open)
            site.count("pictures")
            time.sleep(0.1)
            body = jpeg(int(self.path[1:].split(".")[0]))
            with site.lock:
                site.open -= 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def jpeg(number: int) -> bytes:
    blocks = np.random.default_rng(number).integers(0, 256, (4, 6, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(blocks).resize((48, 32), Image.Resampling.NEAREST).save(sink, "JPEG")
    return sink.getvalue()


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """What all hosts see as /mnt/shared; with a picture for `segment`."""
    home = tmp_path_factory.mktemp("disk")
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (40, 60), np.uint8).repeat(16, 0).repeat(16, 1)
    Image.fromarray(grey).save(home / "slide.tif", compression=None)
    return home


@pytest.fixture(scope="module")
def cluster(disk):
    if lack := lacking():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {lack}")
    made = Cluster(disk)
    yield made
    made.close()


@pytest.fixture(scope="module")
def store(cluster):
    """An S3 server on the bridge: its address."""
    words = [sys.executable, "-m", "moto.server", "-H", cluster.address, "-p", "5005"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"http://{cluster.address}:5005"
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def address(cluster, store):
    """RAY_ADDRESS."""
    return cluster.start_ray(AWS_ENDPOINT_URL=store, **CREDENTIALS, **HEALTH)


@pytest.fixture(scope="module")
def site(cluster):
    with Site(cluster.address) as made:
        yield made


@pytest.fixture(scope="module")
def alone(cluster, site, disk):
    """What one of them makes of it, without Ray."""
    flow(cluster, "local", site, f"{SHARED}/alone")
    return disk / "alone"


def on_cluster(cluster, address: str, *words: str, **more: str) -> str:
    run = cluster.hosts[0].run(sys.executable, *words, RAY_ADDRESS=address, **more)
    said, _ = run.communicate(timeout=240)
    assert run.returncode == 0, said
    return said


def files_of(folder: Path) -> dict[str, str]:
    """Without the lock, which a store has while somebody works."""
    return {name: sha for name, sha in tree(folder).items() if name != ".imgprep/lock"}


def flow(cluster, address: str, site: Site, out: str, **more: str) -> str:
    words = [str(ROOT / "tests/engine/flow.py"), site.url, str(COUNT), f"{SHARED}/slide.tif", out]
    return on_cluster(cluster, address, *words, **more)


LOCAL = """
import sys, pathlib, numpy as np, imgprep
from PIL import Image
from imgprep.stages import images
here = pathlib.Path("/tmp/only-here"); here.mkdir(); Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(here / "a.png")
table = imgprep.sources.read({"train": sys.argv[1]}, url_column="url")
for source, out in ((str(here), "/mnt/shared/told"), (table, "/tmp/told")):
    try:
        images.download(source, out, allow_hosts=[sys.argv[2]])
    except ValueError as e:
        print(e)
images.download(table, "/mnt/shared/seen", allow_hosts=[sys.argv[2]])
imgprep.session("local", 1)
images.download(str(here), "/tmp/raw")
imgprep.session()
try:
    images.transform("/tmp/raw", "/mnt/shared/told2", np.flipud)
except ValueError as e:
    print(e)
"""


def test_a_path_that_others_do_not_have_is_told_before_any_work(cluster, address, site, disk):
    (disk / "t.csv").write_text(f"url\n{site.url}/1.jpg\n")
    said = on_cluster(cluster, address, "-c", LOCAL, f"{SHARED}/t.csv", cluster.address)
    told = "is a path that the host host1 of the cluster does not see: use a URI, or a disk that all hosts have"
    for path in ("/tmp/only-here/a.png", "/tmp/told", "/tmp/raw/data/train-00000-"):
        assert [line for line in said.splitlines() if line.startswith(path) and told in line], said


def test_three_hosts_make_the_bytes_of_one_and_ask_no_harder(cluster, address, site, alone, disk):
    site.most = 0
    said = flow(cluster, address, site, f"{SHARED}/flow")
    for step in STEPS:
        assert tree(disk / "flow" / step) == tree(alone / step), said
    assert 1 < site.most <= PER_HOST


# Not where all is checked: Ray may wait minutes for the actors of a host that is gone, longer than a test may take.
@pytest.mark.skipif("CI" in os.environ, reason="how long Ray waits for a lost host's actors is not ours to say")
def test_hosts_that_die_cost_no_row_and_no_byte(cluster, address, store, site, alone, disk):
    fs = fsspec.filesystem("s3", key="k", secret="s", endpoint_url=store, skip_instance_cache=True)
    fs.mkdir("bucket")
    site.pictures = site.tagged = 0
    site.then = {("pictures", 20): cluster.hosts[2].kill, ("tagged", 20): cluster.hosts[1].kill}
    said = flow(cluster, address, site, "s3://bucket/flow", AWS_ENDPOINT_URL=store, **CREDENTIALS)
    assert not site.then, "both hosts were ended while they worked"
    copy = disk / "copied"
    fs.get("bucket/flow", str(copy), recursive=True)
    for step in STEPS:
        assert tree(copy / step) == files_of(alone / step), said
