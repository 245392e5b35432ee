"""Records of objects and jobs: claimed, kept, listed in order, gone."""

import contextlib
import multiprocessing
import socket
import time

import httpx
import pytest

from imgprep.serve import server
from imgprep.serve.records import FINISHED, MONGO_LIMITS, RecordsDown, all_records, open_records

RECORD = {"kind": "object", "status": "ok", "format": "PNG", "results": []}


@pytest.fixture
def records(tmp_path):
    found = open_records(str(tmp_path / "sub" / "media.db"))
    yield found
    found.close()


def test_what_is_put_is_there_until_it_is_deleted(records):
    assert records.get("a") is None and not records.delete("a")
    records.put("a", RECORD)
    assert records.get("a") == RECORD
    assert records.delete("a") and records.get("a") is None


def test_a_list_goes_on_behind_its_last(records):
    for name in "dacb":
        records.put(name, RECORD)
    records.put("job", {"kind": "job", "status": "ok"})
    assert [r["id"] for r in records.list(kind="object", limit=3)] == ["a", "b", "c"]
    assert [r["id"] for r in records.list(kind="object", after="c")] == ["d"]
    assert [r["id"] for r in all_records(records, "object", page=2)] == ["a", "b", "c", "d"]


def test_a_claim_counts_until_the_job_is_finished(records):
    assert [records.claim("job"), records.claim("job")] == [1, 2]
    assert records.get("job") is None  # begun is not known yet
    records.put("job", {"kind": "job", "status": "failed", "reason": "truncated"})
    assert records.claim("job") == FINISHED


def claim_some(path, out):
    records = open_records(path)
    out.put([records.claim(f"{n:03}") for n in range(100)])


def test_two_processes_never_begin_the_same_job_first(tmp_path):
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    both = [context.Process(target=claim_some, args=(str(tmp_path / "m.db"), out)) for _ in range(2)]
    for process in both:
        process.start()
    one, other = out.get(timeout=60), out.get(timeout=60)
    for process in both:
        process.join()
    assert sorted(one + other) == [1] * 100 + [2] * 100


@contextlib.contextmanager
def silent_server():
    """A port that takes connections, reads, and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield listening.getsockname()[1]


def test_a_mongodb_that_hangs_is_a_sentence(monkeypatch):
    short = {name: 300 for name in MONGO_LIMITS if name.endswith("MS")}
    monkeypatch.setattr("imgprep.serve.records.MONGO_LIMITS", MONGO_LIMITS | short)
    with silent_server() as port:
        began = time.monotonic()
        with pytest.raises(RecordsDown, match="MongoDB cannot be had") as told:
            open_records(f"mongodb://me:s3cret@127.0.0.1:{port}/media")
    assert time.monotonic() - began < 20
    assert "s3cret" not in str(told.value)


def test_a_mongodb_that_stops_answering_is_told_to_clients_as_busy(tmp_path, monkeypatch):
    with server.start(out=str(tmp_path), workers=1) as here:

        def down(name):
            raise RecordsDown("the records in MongoDB cannot be had: timed out")

        monkeypatch.setattr(here.service.records, "get", down)
        answer = httpx.get(f"{here.url}/v1/objects/{'0' * 64}")
        assert (answer.status_code, answer.json()["reason"]) == (503, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        assert httpx.get(f"{here.url}/readyz").status_code == 503
