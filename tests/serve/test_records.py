"""Records of objects and jobs: claimed, kept, listed in order, gone."""

import multiprocessing

import pytest

from imgprep.serve.records import FINISHED, all_records, open_records

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
