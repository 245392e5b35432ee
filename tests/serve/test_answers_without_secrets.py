"""The service's answers, records, log and album hold no secret, whatever it is told."""

from urllib.parse import quote

import httpx
import numpy as np
import pytest
from secret_forms import FORMS, MARKS

from imgprep.picture import codec
from imgprep.serve import server


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
        for path in ("/v1/objects?limit=1000", "/", "/album/data", "/metrics"):
            ask("GET", path)
    return out, answers


def marks_in(text):
    return [mark for mark in MARKS if mark in text]


def test_what_is_refused_and_what_is_known_of_objects(told):
    leaks = {}
    for method, path, status, text in told[1]:
        # What a function of one's own answers to its own options is its affair, and so is a job's request.
        if status >= 400 or path == "/v1/objects":
            leaks |= {(method, path, status): text[:300]} if marks_in(text) else {}
    assert not leaks
    assert {status for _, _, status, _ in told[1]} >= {200, 201, 404, 422}


def test_the_log(told, capfd):
    assert not marks_in(capfd.readouterr().out)
