"""Tags by a vision model: from pixels to the row they belong to, paid once."""

import numpy as np
import pytest
from vision_server import KEY, VisionServer, mood_of

from imgprep import tags
from imgprep.picture import codec
from imgprep.stages.tags.asking import _asked_picture


@pytest.fixture
def found(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_KEY", KEY)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(10):
        image = np.full((40, 700 + n, 3), 25 * n, np.uint8)
        (folder / f"p{n}.png").write_bytes(codec.encode(image, "PNG"))
    (folder / "broken.png").write_bytes(b"no picture")
    return tags.find(str(folder), str(tmp_path / "found"), taggers=["tone"])


def model(url: str, **more) -> tags.Vision:
    return tags.Vision(url, "fake", key_env="VISION_KEY", requests_per_minute=1e6, tokens_per_minute=1e9, **more)


def test_each_row_has_its_own_mood_beside_what_it_had(found, tmp_path):
    with VisionServer() as url:
        client = model(url)
        asked = tags.ask(found, str(tmp_path / "asked"), client)
        version = client.version(tags.Prompt())
    table = asked.table("train", ["status", "tags", "ask_reason"]).to_pylist()
    for row, data in zip(table, asked.pictures("train", range(len(table))), strict=True):
        if row["status"] != "ok":
            assert row["tags"] is None
            continue
        moods = [e for e in row["tags"] if e["kind"] == "mood"]
        assert [(e["name"], e["source"], e["version"]) for e in moods] == [
            (mood_of(_asked_picture(data)), "fake", version)
        ]
        assert any(e["kind"] == "tone" for e in row["tags"])
        assert row["ask_reason"] == ""


def test_a_second_run_asks_nothing_and_a_new_prompt_keeps_the_old_words(found, tmp_path):
    server = VisionServer()
    with server as url:
        first = tags.ask(found, str(tmp_path / "asked"), model(url))
        tags.ask(found, str(tmp_path / "asked"), model(url))
        assert server.asked == 10
        other = tags.Prompt({"mood": ["calm", "joyful", "tense", "mysterious", "neutral"]}, name="five")
        both = tags.ask(first, str(tmp_path / "both"), model(url), other)
    row = next(r for r in both.table("train", ["tags", "status"]).to_pylist() if r["status"] == "ok")
    assert len({e["version"] for e in row["tags"] if e["kind"] == "mood"}) == 2


def test_a_picture_that_the_model_declines_has_a_reason_and_no_tag(found, tmp_path):
    with VisionServer(always="refusal") as url:
        asked = tags.ask(found, str(tmp_path / "asked"), model(url))
    rows = [r for r in asked.table("train", ["tags", "status", "ask_reason"]).to_pylist() if r["status"] == "ok"]
    assert {r["ask_reason"] for r in rows} == {"declined"}
    assert not [e for r in rows for e in r["tags"] if e["kind"] == "mood"]


def test_no_key_is_written_anywhere(found, tmp_path):
    with VisionServer() as url:
        tags.ask(found, str(tmp_path / "asked"), model(url))
    for file in (tmp_path / "asked").rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()
