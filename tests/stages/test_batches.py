"""Facts about batches: each picture is asked about once, the right row gets the answer, and what failed goes again."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from batch_server import KEY, BatchServer, brightness
from made import in_sizes, tree

import imgprep
from imgprep.failures import RunStopped
from imgprep.io import batch_api
from imgprep.stages import batch_requests

ASK = {"model": "fake", "prompt": "How bright is it?", "max_lines": 4}
N = 9


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    with imgprep.session("local", 0):
        return in_sizes(tmp_path_factory.mktemp("asked"), N)


@pytest.fixture
def asked(sizes, tmp_path, monkeypatch):
    """A folder with three files of requests."""
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setattr(batch_api, "FIRST_PAUSE_S", 0.01)
    batch_requests.write(sizes, str(tmp_path / "asked"), **ASK)
    return tmp_path / "asked"


@pytest.fixture
def server():
    with BatchServer() as server:
        yield server


def wanted(sizes) -> dict[str, str]:
    """image_id -> the answer that is right."""
    rows = [r for r in sizes.table("train").to_pylist() if r["variant"] == "vision"]
    numbers = [n for n, r in enumerate(sizes.table("train").to_pylist()) if r["variant"] == "vision"]
    pictures = sizes.pictures("train", numbers)
    return {row["image_id"]: str(brightness(data)) for row, data in zip(rows, pictures, strict=True)}


def got(found) -> dict[str, str]:
    return {row["image_id"]: row["answer"] for row in found.to_pylist() if row["status"] == "ok"}


def names(asked: Path) -> list[str]:
    return [json.loads(text)["custom_id"] for file in sorted(asked.glob("requests-*.jsonl")) for text in file.open()]


def test_each_picture_gets_its_own_answer_whatever_the_order(sizes, asked, server, caplog):
    to = {"base_url": server.url, "key_env": "MY_KEY"}
    assert batch_requests.submit(str(asked), **to) == 3
    assert batch_requests.poll(sizes, str(asked), wait_s=0, **to) is None
    assert "0 of 3 batches are over; the others: in_progress" in caplog.text
    found = batch_requests.poll(sizes, str(asked), every_s=0.01, **to)
    assert got(found) == wanted(sizes) and found.num_rows == N
    assert batch_requests.spent(found) == batch_requests.Spent(100 * N, 5 * N)
    assert {stat.S_IMODE(f.stat().st_mode) for f in asked.iterdir()} == {0o600}
    assert not [f for f in asked.iterdir() if KEY.encode() in f.read_bytes()]


def test_nothing_is_sent_or_paid_for_twice(sizes, asked, server):
    to = {"base_url": server.url, "key_env": "MY_KEY"}
    batch_requests.submit(str(asked), **to)
    assert batch_requests.submit(str(asked), **to) == 0, "they are under way"
    batch_requests.write(sizes, str(asked), **ASK)  # Run All
    assert batch_requests.submit(str(asked), **to) == 0
    found = batch_requests.poll(sizes, str(asked), every_s=0.01, **to)
    before, seen = tree(asked), server.asked.copy()
    assert batch_requests.submit(str(asked), **to) == 0, "they are answered"
    assert batch_requests.poll(sizes, str(asked), **to).equals(found)
    assert server.asked == seen and tree(asked) == before and len(server.batches) == 3


def test_what_failed_goes_again_and_what_was_declined_does_not(sizes, asked, server):
    to = {"base_url": server.url, "key_env": "MY_KEY"}
    ids = names(asked)
    server.faults = dict(zip(ids, ["filter", "refusal", "cut", "error", "lost"], strict=False))
    batch_requests.submit(str(asked), **to)
    found = batch_requests.poll(sizes, str(asked), every_s=0.01, **to)
    assert [row["reason"] for row in found.to_pylist()] == ["declined", "declined", "truncated", "http_500",
                                                            "no_answer"] + [""] * 4  # fmt: skip
    assert batch_requests.submit(str(asked), **to) == 1
    with pytest.raises(ValueError, match="has other requests under way: poll them first"):
        batch_requests.write(sizes, str(asked), **{**ASK, "prompt": "How dark is it?"})
    found = batch_requests.poll(sizes, str(asked), every_s=0.01, **to)
    rest = {k: v for k, v in wanted(sizes).items() if f"train/{k}" not in ids[:2]}
    assert got(found) == rest and len(server.batches) == 4
    assert batch_requests.submit(str(asked), **to) == 0

    batch_requests.write(sizes, str(asked), **{**ASK, "prompt": "How dark is it?"})
    assert not list(asked.glob("output-*")) and not (asked / "batches.json").exists(), "answers to another question"
    assert batch_requests.submit(str(asked), **to) == 3


def test_json_that_was_asked_for_is_checked(sizes, asked, server):
    to = {"base_url": server.url, "key_env": "MY_KEY"}
    schema = {"type": "object", "properties": {"brightness": {"type": "integer"}}, "required": ["brightness"]}
    batch_requests.write(sizes, str(asked), schema=schema, **ASK)
    server.faults = {names(asked)[0]: "prose"}
    batch_requests.submit(str(asked), **to)
    found = batch_requests.poll(sizes, str(asked), every_s=0.01, **to)
    assert [row["reason"] for row in found.to_pylist()] == ["no_json"] + [""] * (N - 1)
    answers = {k: str(json.loads(v)["brightness"]) for k, v in got(found).items()}
    assert answers == {k: v for k, v in wanted(sizes).items() if k in answers}


@pytest.mark.parametrize("lost", [("POST", "/v1/batches"), ("POST", "/v1/files")])
def test_an_answer_that_is_lost_makes_no_second_batch(sizes, asked, server, lost, monkeypatch):
    to = {"base_url": server.url, "key_env": "MY_KEY"}
    monkeypatch.setattr(batch_api, "TRIES", 1)
    server.replies[lost] = [(200, ""), (0, "")]
    with pytest.raises(RunStopped, match="127.0.0.1 does not answer .*what was sent is not sent twice"):
        batch_requests.submit(str(asked), **to)
    assert batch_requests.submit(str(asked), **to) == 2
    assert len(server.batches) == 3
    assert got(batch_requests.poll(sizes, str(asked), every_s=0.01, **to)) == wanted(sizes)


KILLED = """
import os, sys
from imgprep.io import batch_api
from imgprep.stages import batch_requests
from imgprep.stages.batch_requests import state
at, folder, url = sys.argv[1:]
calls, save, create = [], state.State.save, batch_api.BatchApi.create
def dies(call, name):
    def run(*given):
        calls.append(name)
        if f"{name}{calls.count(name)}" == at:
            os.kill(os.getpid(), 9)
        found = call(*given)
        if f"after {name}{calls.count(name)}" == at:
            os.kill(os.getpid(), 9)
        return found
    return run
state.State.save, batch_api.BatchApi.create = dies(save, "save"), dies(create, "create")
batch_requests.submit(folder, base_url=url, key_env="MY_KEY")
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", ["save1", "create2", "after create2", "after save4"])
def test_a_process_that_is_killed_at_any_step_pays_for_each_picture_once(sizes, asked, server, at):
    done = subprocess.run([sys.executable, "-c", KILLED, at, str(asked), server.url], env={**os.environ, "MY_KEY": KEY})
    assert done.returncode == -9
    to = {"base_url": server.url, "key_env": "MY_KEY"}
    batch_requests.submit(str(asked), **to)
    assert len(server.batches) == 3
    assert got(batch_requests.poll(sizes, str(asked), every_s=0.01, **to)) == wanted(sizes)


def test_a_busy_service_is_asked_again(sizes, asked, server):
    to = {"base_url": server.url, "key_env": "MY_KEY"}
    server.replies = {("POST", "/v1/files"): [(429, ""), (503, "")], ("POST", "/v1/batches"): [(0, "")]}
    assert batch_requests.submit(str(asked), **to) == 3
    assert got(batch_requests.poll(sizes, str(asked), every_s=0.01, **to)) == wanted(sizes)


def test_a_batch_that_ran_out_of_time_keeps_what_it_has(sizes, asked, server):
    to = {"base_url": server.url, "key_env": "MY_KEY"}
    server.status, server.faults = "expired", dict.fromkeys(names(asked)[5:], "lost")
    batch_requests.submit(str(asked), **to)
    found = batch_requests.poll(sizes, str(asked), every_s=0.01, **to)
    assert len(got(found)) == 5
    server.status = "completed"
    assert batch_requests.submit(str(asked), **to) == 1
    assert got(batch_requests.poll(sizes, str(asked), every_s=0.01, **to)) == wanted(sizes)


def test_a_file_that_the_service_refuses_is_told_and_goes_again_when_that_is_mended(sizes, asked, server):
    to = {"base_url": server.url, "key_env": "MY_KEY"}
    batch_requests.submit(str(asked), **to)
    server.refusal = "the model `fake` does not exist"
    with pytest.raises(ValueError, match="the service refuses requests-00001.jsonl: the model `fake` does not exist"):
        batch_requests.poll(sizes, str(asked), **to)
    server.refusal = ""
    assert batch_requests.submit(str(asked), **to) == 1
    assert got(batch_requests.poll(sizes, str(asked), every_s=0.01, **to)) == wanted(sizes)


def test_mistakes_are_one_sentence_without_the_key(sizes, asked, server, monkeypatch, tmp_path):
    place, to = str(asked), {"base_url": server.url, "key_env": "MY_KEY"}
    with pytest.raises(ValueError, match="nothing was sent from .*: submit it first"):
        batch_requests.poll(sizes, place, **to)
    with pytest.raises(ValueError, match="no requests in .*: write them first"):
        batch_requests.submit(str(tmp_path), **to)
    with pytest.raises(ValueError, match="the environment variable OPENAI_API_KEY is not set"):
        batch_requests.submit(place, base_url=server.url)
    with pytest.raises(ValueError, match="the environment variable that key_env names is not set") as caught:
        batch_requests.submit(place, base_url=server.url, key_env=KEY)
    assert KEY not in str(caught.value)
    for url in ("localhost:8000/v1", "", "https://me:secret@example.org/v1", "file:///x"):
        with pytest.raises(ValueError, match="base_url is https://host/v1, without a name or a key in it"):
            batch_requests.submit(place, base_url=url, key_env="MY_KEY")
    monkeypatch.setenv("WRONG", "sk-wrong")
    with pytest.raises(ValueError, match="127.0.0.1 does not take the key: check the variable") as caught:
        batch_requests.submit(place, base_url=server.url, key_env="WRONG")
    assert "sk-wrong" not in str(caught.value)
    server.replies = {("POST", "/v1/files"): [(429, "insufficient_quota"), (400, "bad")]}
    with pytest.raises(RunStopped, match="says that the quota is used up"):
        batch_requests.submit(place, **to)
    with pytest.raises(ValueError, match=r"127.0.0.1 refuses this \(400\): no: bad, \*\*\*"):
        batch_requests.submit(place, **to)
    with pytest.raises(ValueError, match="has no batch API at this base_url"):
        batch_requests.submit(place, base_url=f"{server.url}/other", key_env="MY_KEY")
    with pytest.raises(RunStopped, match="does not answer"):
        batch_requests.submit(place, base_url="http://127.0.0.1:9/v1", key_env="MY_KEY")
    assert not server.batches
