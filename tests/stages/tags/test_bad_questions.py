"""Bad input around questions to models: one sentence, or that row's reason, and never a wrong tag."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from vision_server import KEY, VisionServer, mood_of

import imgprep
from imgprep import tags
from imgprep.dataset import Dataset
from imgprep.display import gallery
from imgprep.io.vision import Prompt
from imgprep.picture import codec
from imgprep.stages.tags.asking import _asked_picture

HTML = ["<img src=x onerror='window.ran = 1'>", "</script><script>window.ran = 2</script>", "a & b", "calm"]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("VISION_KEY", KEY)


def found_of(where: Path, count: int) -> Dataset:
    folder = where / "pictures"
    folder.mkdir()
    for n in range(count):
        image = np.full((40, 60 + n, 3), 25 * n, np.uint8)
        (folder / f"p{n}.png").write_bytes(codec.encode(image, "PNG"))
    (folder / "broken.png").write_bytes(b"no picture")
    with imgprep.session("local", 0):
        return tags.find(str(folder), str(where / "found"), taggers=["tone"], max_failed=1.0)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return found_of(tmp_path_factory.mktemp("three"), 3)


def model(url: str, **more) -> tags.Vision:
    quick = {"requests_per_minute": 1e6, "tokens_per_minute": 1e9, "attempts": 2} | more
    return tags.Vision(url, "fake", key_env="VISION_KEY", **quick)


def asked_rows(ds: Dataset) -> list[dict]:
    rows = ds.table("train", ["status", "tags", "ask_reason"]).to_pylist()
    pictures = ds.pictures("train", range(len(rows)))
    for row, data in zip(rows, pictures, strict=True):
        row["truth"] = mood_of(_asked_picture(data)) if row["status"] == "ok" else None
        row["moods"] = [one for one in row["tags"] or [] if one["kind"] == "mood"]
    return [row for row in rows if row["status"] == "ok"]


class Answering(VisionServer):
    """A service that says the same of every picture, whole or not."""

    def __init__(self, content: str, finish: str = "stop"):
        super().__init__()
        self.content, self.finish = content, finish

    def _answer(self, body):
        code, answer, headers = super()._answer(body)
        answer["choices"][0]["message"]["content"] = self.content
        answer["choices"][0]["finish_reason"] = self.finish
        return code, answer, headers


@pytest.mark.parametrize("count", [0, 1])
def test_a_collection_of_no_picture_or_one_is_asked_about_so_often(tmp_path, count):
    server = VisionServer()
    found = found_of(tmp_path, count)
    with server as url:
        asked = tags.ask(found, str(tmp_path / "asked"), model(url))
    assert server.asked == count
    assert [row["truth"] for row in asked_rows(asked)] == ["calm"] * count
    assert [[one["name"] for one in row["moods"]] for row in asked_rows(asked)] == [["calm"]] * count


@pytest.mark.parametrize(
    ("content", "finish"),
    [
        ('{"Stimmung": ["ruhig"]}', "stop"),
        ('{"mood": ["ruhig", "спокойный", "穏やか"]}', "stop"),
        ("この写真はとても穏やかです。", "stop"),
        ('{"mood": ["calm", "ten', "length"),
        ('{"mood": ["cal', "length"),
        ("", "length"),
    ],
)
def test_an_answer_in_another_language_or_cut_off_is_a_reason_and_no_tag(
    three, tmp_path, content, finish
):
    with Answering(content, finish) as url:
        asked = tags.ask(three, str(tmp_path / "asked"), model(url))
    for row in asked_rows(asked):
        assert (row["moods"], row["ask_reason"]) == ([], "no_json")
        assert {one["kind"] for one in row["tags"]} == {"tone"}


class Closing(VisionServer):
    """A service whose door closes after so many answers: the key is withdrawn, or all is spent."""

    def __init__(self, after: int, code: int, error: dict):
        super().__init__()
        self.after, self.refusal = after, (code, {"error": error}, {})

    def _answer(self, body):
        return self.refusal if len(self.bodies) >= self.after else super()._answer(body)


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (401, {"message": f"Incorrect API key provided: {KEY}"}, "does not take the key"),
        (429, {"message": "You exceeded", "code": "insufficient_quota"}, "quota is used up"),
    ],
)
def test_a_key_that_ends_in_the_middle_is_one_sentence_and_what_was_paid_is_kept(
    tmp_path, code, error, told
):
    found, out = found_of(tmp_path, 8), str(tmp_path / "asked")
    with Closing(5, code, error) as url, pytest.raises(ValueError, match=told) as raised:
        tags.ask(found, out, model(url, at_once=1))
    assert "\n" not in str(raised.value) and KEY not in str(raised.value)
    assert not Path(out, "README.md").exists(), "half an answer is no dataset"
    server = VisionServer()
    with server as url:
        asked = tags.ask(found, out, model(url))
    assert server.asked == 3
    for row in asked_rows(asked):
        assert [one["name"] for one in row["moods"]] == [row["truth"]]


def test_a_prompt_that_changed_between_two_halves_keeps_both_apart(tmp_path):
    """The first half is answered in the old words, then the money ends and the words change."""
    found = found_of(tmp_path, 8)
    old, new = Prompt(name="old"), Prompt(text="Another question.", name="new")
    with VisionServer() as url:
        half = tags.ask(found, str(tmp_path / "half"), model(url, max_tokens_total=2_000, at_once=1), old)
        whole = tags.ask(half, str(tmp_path / "whole"), model(url), new)
        versions = {name: model(url).version(prompt) for name, prompt in (("old", old), ("new", new))}
    before, after = asked_rows(half), asked_rows(whole)
    answered = [row for row in before if row["moods"]]
    assert 0 < len(answered) < 8
    assert {row["ask_reason"] for row in before if not row["moods"]} == {"out_of_budget"}
    for then, now in zip(before, after, strict=True):
        said = {one["version"]: one["name"] for one in now["moods"]}
        assert said.pop(versions["new"]) == now["truth"]
        assert said == ({versions["old"]: then["truth"]} if then["moods"] else {})
        assert now["ask_reason"] == ""


def test_a_prompt_that_changes_while_it_is_asked_is_asked_as_it_was():
    """A cell that edits the object in another thread: the version must not lie about the words."""
    prompt = Prompt()
    text, schema = prompt.text, copy.deepcopy(prompt.schema())
    pictures = [codec.encode(np.full((9, 9 + n, 3), 9 * n, np.uint8), "PNG") for n in range(12)]

    def change(_: int) -> None:
        prompt.text = "Other words."
        prompt.vocabulary["mood"].append("furious")

    server = VisionServer()
    with server as url:
        answers = model(url, at_once=1).ask(prompt, pictures, tell=change)
    assert [one.words["mood"] for one in answers] == [[mood_of(data)] for data in pictures]
    assert {body["messages"][0]["content"] for body in server.bodies} == {text}
    assert all(body["response_format"] == schema for body in server.bodies)


def test_words_that_are_html_are_words_and_stay_text_in_the_page(three, tmp_path):
    prompt = Prompt({"<b>mood</b>": HTML})
    content = json.dumps({"<b>mood</b>": HTML[:3]})
    with Answering(content) as url:
        asked = tags.ask(three, str(tmp_path / "asked"), model(url), prompt)
    for row in asked.table("train", ["tags", "status"]).to_pylist():
        if row["status"] == "ok":
            said = [one["name"] for one in row["tags"] if one["source"] == "fake"]
            assert said == HTML[:3]
    page = Path(gallery.write_gallery(tmp_path / "page.html", asked)).read_text("utf-8")
    assert "window.ran" in page, "as data"
    assert "<img src=x" not in page and "<script>window.ran" not in page


@pytest.mark.parametrize(
    "words",
    [["calm", "calm"], ["calm", "CALM "], ["very  calm", "very calm"], ["<b>x</b>", "<B>X</B>"]],
)
def test_a_vocabulary_with_doubles_is_told_before_anything_is_asked(words):
    with pytest.raises(ValueError, match="twice: each word once"):
        Prompt({"mood": words})


@pytest.mark.parametrize("given", [{"embedder": "nobody/a-model"}, {"taggers": ["nobody/a-model"]}])
def test_a_name_of_the_hub_without_a_network_is_a_sentence_before_any_work(tmp_path, given):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(codec.encode(np.zeros((9, 9, 3), np.uint8), "PNG"))
    with pytest.raises(ValueError, match="no folder here, and the Hub cannot be asked"):
        tags.find(str(tmp_path / "in"), str(tmp_path / "out"), **given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("outage", ["away", "500", "drop"])
def test_an_outage_of_the_model_is_no_answer_and_the_next_run_asks_again(three, tmp_path, outage):
    found, out = three, str(tmp_path / "asked")
    if outage == "away":
        first = tags.ask(found, out, model("http://127.0.0.1:1/v1", attempts=1))
    else:
        with VisionServer(always=outage) as url:
            first = tags.ask(found, out, model(url, attempts=1))
    assert not any(row["moods"] for row in asked_rows(first))
    assert all(row["ask_reason"] for row in asked_rows(first))
    server = VisionServer()
    with server as url:
        asked = tags.ask(found, out, model(url))
    assert server.asked == 3 and not any(row["ask_reason"] for row in asked_rows(asked))
    assert [[one["name"] for one in row["moods"]] for row in asked_rows(asked)] == [
        [row["truth"]] for row in asked_rows(asked)
    ]
