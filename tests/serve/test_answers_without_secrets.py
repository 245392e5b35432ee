"""The service's answers, records, log and album hold no secret, whatever it is told."""

import os
import signal
import time
from urllib.parse import quote

import httpx
import numpy as np
import psutil
import pytest
from secret_forms import FORMS, HUSH, MARKS
from served import Served

from imgprep.picture import codec
from imgprep.serve import server
from imgprep.serve.records import all_records


def repeat(image, *, words: str = ""):
    """Says what it was told, or fails with it."""
    if image[0, 0, 0] > 128:
        raise ValueError(words)
    return {"words": words}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Where a service kept its things, and all that it answered."""
    out = tmp_path_factory.mktemp("media")
    answers = []
    with server.start(repeat, out=str(out), workers=1) as here, httpx.Client(base_url=here.url, timeout=60) as client:

        def ask(method, path, **more):
            answer = client.request(method, path, **more)
            answers.append((method, path.partition("?")[0], answer.status_code, answer.text + repr(answer.headers)))
            return answer

        for n, form in enumerate(FORMS):
            text = quote(form, safe="")
            data = codec.encode(np.full((8, 8, 3), 255 if n % 2 else n, np.uint8))
            ask("POST", f"/v1/repeat?words={text}", content=data)
            ask("POST", f"/v1/repeat?url={text}")
            ask("POST", f"/v1/repeat?{text}=1", content=data)
            ask("POST", f"/v1/repeat?format={text}", content=data)
            ask("GET", f"/v1/objects/{text}")
            ask("GET", f"/v1/jobs/{text}")
            other = codec.encode(np.full((9, 9, 3), n, np.uint8))
            name = ask("PUT", f"/v1/objects?name={text}", content=other).json()["id"]
            ask("GET", f"/v1/objects/{name}/repeat?words={text}")
            steps = {"steps": [{"repeat": {"words": form}}, form]}
            ask("POST", f"/v1/objects/{name}/steps", json=steps)
            ask("POST", f"/v1/objects/{name}/steps", json={"steps": [{"repeat": {"words": form}}]})
        jobs = [one["id"] for one in all_records(here.service.records, "job")]
        for path in ("/v1/objects?limit=1000", "/", "/v1/album", "/metrics", *(f"/v1/jobs/{job}" for job in jobs)):
            until_done(ask, path)
    return out, answers


def until_done(ask, path):
    """Asks until a job has ended; anything else once."""
    deadline = time.monotonic() + 60
    while '"queued"' in ask("GET", path).text and time.monotonic() < deadline:
        time.sleep(0.2)


def marks_in(text):
    return [mark for mark in MARKS if mark in text]


def test_what_is_refused_and_what_is_known_of_objects(told):
    leaks = {}
    for method, path, status, text in told[1]:
        # What a function of one's own answers to its own options is its affair.
        if not path.endswith("/repeat") or status >= 400:
            leaks |= {(method, path, status): text[:300]} if marks_in(text) else {}
    assert not leaks
    assert {status for _, _, status, _ in told[1]} >= {200, 201, 404, 422}


def test_what_is_kept_of_jobs_and_objects(told):
    """No file of the service but the results that the function itself made of its options."""
    leaks = {}
    for path in told[0].rglob("*"):
        if path.is_file() and "results" not in path.parts:
            found = [mark for mark in MARKS if mark.encode() in path.read_bytes()]
            leaks |= {str(path.relative_to(told[0])): found} if found else {}
    assert not leaks
    done = [answer for _, path, _, answer in told[1] if path.startswith("/v1/jobs/") and '"ok"' in answer]
    assert len(done) > len(FORMS) / 3  # it was done with the options as they came


def test_a_job_whose_options_are_hidden_waits_to_be_asked_again_after_a_restart(tmp_path):
    form = FORMS[0]
    steps = {"steps": [{"repeat": {"words": form}}]}
    data = codec.encode(np.full((8, 8, 3), 1, np.uint8))
    with server.start(repeat, out=str(tmp_path), workers=1) as here:
        name = httpx.put(f"{here.url}/v1/objects", content=data).json()["id"]
        job = httpx.post(f"{here.url}/v1/objects/{name}/steps", json=steps).json()["id"]
        records = here.service.records
        deadline = time.monotonic() + 30
        while records.get(job)["status"] == "queued" and time.monotonic() < deadline:
            time.sleep(0.1)
        known = records.get(job)
        fresh = [step | {"status": "queued"} for step in known["steps"]]
        records.put(job, known | {"status": "queued", "steps": fresh})  # as if it had been cut
        assert known["status"] == "ok" and form not in repr(known)
    with server.start(repeat, out=str(tmp_path), workers=1) as here:
        time.sleep(0.5)
        assert httpx.get(f"{here.url}/v1/jobs/{job}").json()["status"] == "queued"
        assert httpx.post(f"{here.url}/v1/objects/{name}/steps", json=steps).json()["id"] == job
        deadline = time.monotonic() + 30
        while httpx.get(f"{here.url}/v1/jobs/{job}").json()["status"] == "queued":
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_the_log_and_an_end_by_ctrl_c(tmp_path):
    """As a person starts it: what it logs holds none of what it is asked, and it ends quietly."""
    with Served(tmp_path, "--workers", "1") as here:
        with here.client(timeout=60) as client:
            for form in FORMS:
                text = quote(form, safe="")
                client.get(f"/v1/objects/{text}")
                client.post(f"/v1/fit?max_side=8&words={text}", headers={"User-Agent": quote(form)})
                client.post(f"/v1/{text}?url={text}", content=b"no picture")
            client.get(f"/v1/played/{'0' * 64}/1/{HUSH}/master.m3u8")
        children = psutil.Process(here.process.pid).children(recursive=True)
        os.killpg(here.process.pid, signal.SIGINT)
        assert here.process.wait(30) == 0
        _, left = psutil.wait_procs(children, timeout=10)
    said = here.log.read_text()
    assert not left and said.count("/v1/") >= 3 * len(FORMS) and "Traceback" not in said
    assert not marks_in(said), said[said.index(marks_in(said)[0]) - 300 :][:600]
