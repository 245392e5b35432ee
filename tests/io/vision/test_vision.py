"""The client of a vision model, against a server that looks at the pixels, keeps limits and has bad days."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from PIL import Image
from vision_server import FAULTS, KEY, VisionServer, mood_of

from imgprep.io.vision import Prompt, Vision, limits


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("VISION_KEY", KEY)


def pictures(count: int) -> list[bytes]:
    out = []
    for n in range(count):
        data = io.BytesIO()
        Image.new("RGB", (64 + n % 5, 66), (n % 256, n * 7 % 256, n * 3 % 256)).save(data, "PNG")
        out.append(data.getvalue())
    return out


def vision(url: str, **more) -> Vision:
    quick = {"requests_per_minute": 1e6, "tokens_per_minute": 1e9} | more
    return Vision(url, "fake-vision", key_env="VISION_KEY", **quick)


def test_the_right_answer_comes_to_the_right_picture():
    some = pictures(40)
    with VisionServer() as url:
        answers = vision(url).ask(Prompt(), some)
    assert [a.words["mood"][0] for a in answers] == [mood_of(p) for p in some]


def test_seven_faults_lose_no_picture_and_mix_up_none():
    some = pictures(140)
    with VisionServer(faults=FAULTS) as url:
        answers = vision(url).ask(Prompt(), some)
    reasons = Counter(a.reason for a in answers)
    assert set(reasons) == {"", "declined"}
    assert reasons["declined"] == 6  # refused and filtered ones are final
    for answer, picture in zip(answers, some, strict=True):
        if answer.status == "ok":
            assert answer.words["mood"] == [mood_of(picture)]


@pytest.mark.parametrize("limit", [{"rpm": 120}, {"tpm": 60_000}])
def test_limits_are_kept(limit):
    """Windows of 4 s instead of a minute: no refusal."""
    server = VisionServer(window_s=4.0, delay_s=0.005, **limit)
    with server as url:
        known = {"requests_per_minute": limit.get("rpm", 1e6), "tokens_per_minute": limit.get("tpm", 1e9)}
        client = vision(url, window_s=4.0, **known)
        answers = client.ask(Prompt(), pictures(280))  # more than two windows hold
    assert server.refused == client.refused == 0
    assert all(a.status == "ok" for a in answers)


@pytest.mark.parametrize("units", [1, 7.5, 40])
def test_nine_tenths_of_an_allowance_are_used(monkeypatch, units):
    """By a clock of the test's own: the machine's load says nothing about the client."""
    now_s = 0.0

    async def sleep(seconds):
        nonlocal now_s
        now_s += seconds

    async def take_many(allowance, count):
        for _ in range(count):
            taken = await allowance.take(units)
            await sleep(0.005)  # the answer
            allowance.answered(taken)

    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(limits, "asyncio", SimpleNamespace(sleep=sleep))
    allowance = limits.Allowance(400, window_s=4.0)
    count = int(2000 / units)
    asyncio.run(take_many(allowance, count))
    assert 0.9 * 400 <= count * units / (now_s / 4.0)
    assert count * units <= 400 * (now_s // 4.0 + 1)


def test_a_limit_that_the_client_does_not_know_pauses_all():
    server = VisionServer(rpm=30, window_s=1.0)
    with server as url:
        client = vision(url, attempts=8)
        answers = client.ask(Prompt(), pictures(80))
    assert all(a.status == "ok" for a in answers)
    assert client.refused == server.refused > 0


def test_a_repeat_pays_nothing_and_another_prompt_pays_again(tmp_path):
    some = pictures(12)
    server = VisionServer()
    with server as url:
        first = vision(url, cache=tmp_path / "a.sqlite").ask(Prompt(), [*some, some[0]])
        assert server.asked == 12  # the same picture twice is asked once
        again = vision(url, cache=tmp_path / "a.sqlite").ask(Prompt(), some)
        assert server.asked == 12
        assert all(a.cached for a in again)
        assert [a.words for a in again] == [a.words for a in first[:12]]
        vision(url, cache=tmp_path / "a.sqlite").ask(Prompt(text="Another question."), some)
        assert server.asked == 24


def test_the_version_follows_every_word_of_the_question():
    asked = [
        Prompt(),
        Prompt(text="Other."),
        Prompt({"mood": ["calm", "tense"]}),
    ]
    client = vision("http://127.0.0.1:1")
    versions = {client.version(p) for p in asked}
    versions.add(vision("http://127.0.0.1:1", max_tokens=99).version(Prompt()))
    assert len(versions) == 4
    assert client.version(Prompt()) == client.version(Prompt())


def test_words_of_no_list_are_never_kept():
    with VisionServer(always="mixed") as url:
        answer = vision(url).ask(Prompt(), pictures(1))[0]
    assert answer.words == {"mood": ["calm"]}
    assert answer.left_out == ["ethereal"]
    with VisionServer(always="vocabulary") as url:
        answer = vision(url, attempts=2).ask(Prompt(), pictures(1))[0]
    assert (answer.reason, answer.words) == ("no_json", {})


def test_prose_is_asked_again_and_then_a_reason():
    server = VisionServer(always="prose")
    with server as url:
        answer = vision(url, attempts=3).ask(Prompt(), pictures(1))[0]
    assert (answer.reason, server.asked) == ("no_json", 3)


def test_a_budget_stops_before_it_is_overspent():
    server = VisionServer()
    with server as url:
        client = vision(url, max_tokens_total=5_000, at_once=4)
        answers = client.ask(Prompt(), pictures(60))
    assert sum(server.usage) <= 5_000
    reasons = Counter(a.reason for a in answers)
    assert reasons[""] >= 5
    assert reasons["out_of_budget"] == 60 - reasons[""]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"always": "quota"}, "quota is used up"),
        ({}, "does not take the key"),
    ],
)
def test_what_nobody_can_answer_ends_the_run_at_once(given, told, monkeypatch):
    if not given:
        monkeypatch.setenv("VISION_KEY", "another-secret-key")
    server = VisionServer(**given)
    with server as url, pytest.raises(ValueError, match=told) as raised:
        vision(url, at_once=2).ask(Prompt(), pictures(50))
    assert "another-secret-key" not in str(raised.value)
    assert server.asked < 10


def test_tokens_are_what_the_service_says():
    server = VisionServer()
    with server as url:
        client = vision(url)
        client.ask(Prompt(), pictures(9))
    assert [client.tokens_in, client.tokens_out] == server.usage
    assert client.estimate(Prompt(), 1000, (0.15, 0.6))["usd"] > 0


KILLED = """
import sys; sys.path[:0] = ["tests/servers", "tests/io/vision"]
from test_vision import pictures, vision; from imgprep.io.vision import Prompt
vision(sys.argv[1], cache=sys.argv[2], at_once=2).ask(Prompt(), pictures(60), tell=lambda n: print(n, flush=True))
"""


def test_a_killed_run_pays_no_picture_twice(tmp_path):
    server = VisionServer(delay_s=0.05)
    with server as url:
        command = [sys.executable, "-c", KILLED, url, str(tmp_path / "a.sqlite")]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        for line in run.stdout:
            if int(line) >= 15:
                break
        run.send_signal(signal.SIGKILL)
        run.wait()
        time.sleep(0.3)
        paid = len(server.bodies)
        answers = vision(url, cache=tmp_path / "a.sqlite").ask(Prompt(), pictures(60))
    assert all(a.status == "ok" for a in answers)
    assert 15 <= paid < 60
    assert len(server.bodies) <= 60 + 2  # the two that were on their way when it died


@pytest.mark.parametrize(
    ("vocabulary", "told"),
    [
        ({"mood": ["calm", "Calm"]}, "twice"),
        ({"mood": []}, "is empty"),
        ({"mood": "calm"}, "a list of texts"),
        ({}, "at least one kind"),
    ],
)
def test_a_vocabulary_with_doubles_is_told(vocabulary, told):
    with pytest.raises(ValueError, match=told):
        Prompt(vocabulary)


def test_a_missing_variable_is_told_by_its_name():
    with pytest.raises(ValueError, match="NO_SUCH_KEY is not set"):
        Vision("http://127.0.0.1:1", "m", key_env="NO_SUCH_KEY")


def test_a_service_that_is_not_there_is_a_reason():
    answer = vision("http://127.0.0.1:9", attempts=2).ask(Prompt(), pictures(1))[0]
    assert (answer.status, answer.reason) == ("failed", "reset")
