"""Facts about request files: what a batch API is sent, how it is cut into files, and how answers come back."""

import base64
import hashlib
import json
import os
import stat
import urllib.request
import uuid
from pathlib import Path

import pytest
from conftest import AZURITE_KEY
from made import in_sizes

import imgprep
from imgprep.stages import batch_requests, images, upload

ASK = {"model": "gpt-4o-mini", "prompt": "What is in the picture? Ein Wort, é."}


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """9 pictures in three sizes, and one that is broken."""
    with imgprep.session("local", 0):
        return in_sizes(tmp_path_factory.mktemp("asked"), 9, {"x.png": b"no picture"})


@pytest.fixture
def uploaded(sizes, azurite, tmp_path):
    with imgprep.session("local", 0):
        return upload.upload(sizes, f"az://t{uuid.uuid4().hex}", str(tmp_path / "up"))


def lines(place: Path, stem: str = "requests") -> list[dict]:
    return [json.loads(line) for file in sorted(place.glob(f"{stem}-*.jsonl")) for line in file.open(encoding="utf-8")]


def answer(name: str, text: str = "cat") -> dict:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"choices": [choice], "usage": {"prompt_tokens": 90, "completion_tokens": 3}}
    return {"id": "b1", "custom_id": name, "response": {"status_code": 200, "body": body}, "error": None}


def results(path: Path, *found: dict) -> str:
    path.write_text("".join(json.dumps(one) + "\n" for one in found), "utf-8")
    return str(path)


def test_a_request_is_what_the_batch_api_reads_and_holds_the_pictures_bytes(sizes, tmp_path):
    made = batch_requests.write(sizes, str(tmp_path), body={"max_tokens": 5}, **ASK)
    asked = lines(tmp_path)
    assert (made.requests, made.files, made.bytes) == (9, 1, (tmp_path / "requests-00001.jsonl").stat().st_size)
    rows = {f"train/{r['image_id']}": r for r in sizes.table("train").to_pylist() if r["variant"] == "vision"}
    assert {one["custom_id"] for one in asked} == {name for name, row in rows.items() if row["status"] == "ok"}
    for one in asked:
        body = one["body"]
        assert (one["method"], one["url"]) == ("POST", "/v1/chat/completions")
        assert (body["model"], body["max_tokens"], len(body["messages"])) == ("gpt-4o-mini", 5, 1)
        text, picture = body["messages"][0]["content"]
        assert text == {"type": "text", "text": ASK["prompt"]} and picture["type"] == "image_url"
        head, _, data = picture["image_url"]["url"].partition(",")
        assert head == "data:image/png;base64"
        assert hashlib.sha256(base64.b64decode(data)).hexdigest() == rows[one["custom_id"]]["sha256"]


def test_files_are_cut_by_lines_and_by_bytes_and_are_for_their_owner_alone(sizes, tmp_path):
    batch_requests.write(sizes, str(tmp_path), max_lines=4, **ASK)
    files = sorted(tmp_path.glob("requests-*.jsonl"))
    assert [len(file.read_bytes().splitlines()) for file in files] == [4, 4, 1]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    longest = max(len(line) for file in files for line in file.read_bytes().splitlines(keepends=True))
    whole = sorted(line for file in files for line in file.read_bytes().splitlines())

    made = batch_requests.write(sizes, str(tmp_path), max_bytes=2 * longest, **ASK)
    files = sorted(tmp_path.glob("requests-*.jsonl"))
    assert made.files == len(files) >= 5 and all(file.stat().st_size <= 2 * longest for file in files)
    assert sorted(line for file in files for line in file.read_bytes().splitlines()) == whole
    batch_requests.write(sizes, str(tmp_path), **ASK)
    assert [f.name for f in tmp_path.iterdir()] == ["requests-00001.jsonl"], "those of the call before are gone"
    with pytest.raises(ValueError, match=f"more than max_bytes={longest - 1:,} of a file"):
        batch_requests.write(sizes, str(tmp_path), max_bytes=longest - 1, **ASK)
    assert [f.name for f in tmp_path.iterdir()] == ["requests-00001.jsonl"], "as before"


def test_a_dry_run_counts_and_writes_nothing(sizes, tmp_path):
    told = batch_requests.write(sizes, str(tmp_path / "none"), dry_run=True, max_lines=5, **ASK)
    assert not (tmp_path / "none").exists()
    made = batch_requests.write(sizes, str(tmp_path), max_lines=5, **ASK)
    assert told == made and repr(told).startswith(f"9 requests in 2 files, {made.bytes:,} bytes, about ")
    tokens = 9 * (2833 + 5667 + len(ASK["prompt"]) // 4)
    assert made.tokens == tokens
    assert made.usd(2.5, 10, answer_tokens=100) == pytest.approx((tokens * 2.5 + 9 * 100 * 10) / 1e6)


@pytest.mark.store
def test_by_url_the_pictures_are_read_without_credentials_and_the_key_stays_here(uploaded, tmp_path):
    batch_requests.write(uploaded, str(tmp_path / "asked"), variant="thumbnail", expires_s=600, **ASK)
    rows = {f"train/{r['image_id']}": r for r in uploaded.table("train").to_pylist()}
    for one in lines(tmp_path / "asked"):
        with urllib.request.urlopen(one["body"]["messages"][0]["content"][1]["image_url"]["url"]) as found:
            assert hashlib.sha256(found.read()).hexdigest() == rows[one["custom_id"]]["sha256"]
        assert rows[one["custom_id"]]["variant"] == "thumbnail"
    text = (tmp_path / "asked" / "requests-00001.jsonl").read_text()
    assert "sig=" in text and AZURITE_KEY not in text
    assert not [f for f in (tmp_path / "up").rglob("*") if f.is_file() and b"sig=" in f.read_bytes()]


@pytest.mark.store
def test_answers_come_back_as_columns_and_what_failed_is_asked_again(uploaded, tmp_path):
    place = str(tmp_path / "asked")
    batch_requests.write(uploaded, place, expires_s=600, **ASK)
    names = [one["custom_id"] for one in lines(tmp_path / "asked")]
    says = "cannot download https://a.example/1.jpg?sp=r&sig=hush"
    refused = {"status_code": 400, "body": {"error": {"code": "bad_image", "message": says}}}
    output = results(tmp_path / "output.jsonl", *(answer(name) for name in names[:6]))
    errors = results(tmp_path / "errors.jsonl", {"custom_id": names[6], "response": refused, "error": None},
                     {"custom_id": names[7], "response": None, "error": {"code": "batch_expired"}})  # fmt: skip
    found = batch_requests.read(uploaded, place, [output, errors]).to_pylist()
    assert [f"{row['split']}/{row['image_id']}" for row in found] == names
    assert [row["status"] for row in found] == ["ok"] * 6 + ["failed"] * 3
    assert [row["reason"] for row in found[6:]] == ["http_400", "error", "no_answer"]
    assert (found[0]["answer"], found[0]["finish_reason"], found[0]["tokens_in"]) == ("cat", "stop", 90)
    assert "hush" not in found[6]["error"] and "cannot download" in found[6]["error"]
    assert found[7]["error"] == "batch_expired"

    again = lines(tmp_path / "asked", "requeue")
    assert [one["custom_id"] for one in again] == names[6:]
    with urllib.request.urlopen(again[0]["body"]["messages"][0]["content"][1]["image_url"]["url"]) as picture:
        assert picture.status == 200
    asked = {one["custom_id"]: one for one in lines(tmp_path / "asked")}
    for one in again:
        one["body"]["messages"][0]["content"][1] = asked[one["custom_id"]]["body"]["messages"][0]["content"][1]
        assert one == asked[one["custom_id"]]
    assert {stat.S_IMODE(f.stat().st_mode) for f in Path(place).iterdir()} == {0o600}

    more = results(tmp_path / "more.jsonl", *(answer(name, "dog") for name in names[5:]))
    found = batch_requests.read(uploaded, place, [output, errors, more]).to_pylist()
    assert [row["answer"] for row in found] == ["cat"] * 6 + ["dog"] * 3 and not lines(Path(place), "requeue")


def test_odd_answers_are_rows_and_odd_files_are_told(sizes, tmp_path):
    place = str(tmp_path / "asked")
    batch_requests.write(sizes, place, **ASK)
    names = [one["custom_id"] for one in lines(tmp_path / "asked")]
    silent = {"status_code": 200, "body": {"choices": [{"message": None}]}}
    odd = (silent, {"status_code": 500, "body": "down"}, {"status_code": None})
    odd = [{"custom_id": name, "response": response} for name, response in zip(names[:3], odd, strict=True)]
    mixed = [*odd, answer(names[3]), {"custom_id": names[3], "error": "late"}, answer("train/foreign")]
    output = results(tmp_path / "output.jsonl", *mixed)
    found = batch_requests.read(sizes.folder, place, output).to_pylist()
    assert [r["reason"] for r in found[:4]] == ["no_answer", "http_500", "error", ""]
    assert [r["status"] for r in found[:4]] == ["failed"] * 3 + ["ok"], "an answer without a text is none"
    assert (found[1]["error"], found[3]["answer"], len(found)) == ("down", "cat", 9)
    for n, text in enumerate(['{"custom_id": "tr', "[]", '{"id": 1}']):
        (tmp_path / f"{n}.jsonl").write_text(text)
    for n in range(4):  # the last is not there
        with pytest.raises(ValueError, match=f"{n}.jsonl holds no results of a batch"):
            batch_requests.read(sizes, place, [str(tmp_path / f"{n}.jsonl")])
    assert lines(Path(place), "requeue")
    batch_requests.write(sizes.folder, place, body={"messages": [], "model": "other"}, **ASK)
    assert not lines(Path(place), "requeue"), "those of the requests before"
    (first, *_) = lines(Path(place))
    assert first["body"]["model"] == ASK["model"] and len(first["body"]["messages"][0]["content"]) == 2


REFUSED = {"code": "content_filter", "message": "The prompt was filtered."}
ODD = [  # what stands in the choice or the response; the row's reason; the words that tell it
    ({"message": {"content": None}, "finish_reason": "content_filter"}, "declined", "was filtered (content_filter)"),
    ({"message": {"content": "ca", "refusal": "I can't."}, "finish_reason": "stop"}, "declined", "declined: I can't."),
    ({"message": {"content": "a ca"}, "finish_reason": "length"}, "truncated", "the answer was cut"),
    ({"message": {"content": " "}, "finish_reason": "stop"}, "no_answer", "the answer has no text"),
    ({"status_code": 400, "body": {"error": REFUSED}}, "declined", "The prompt was filtered."),
]


def test_what_was_declined_or_cut_is_no_answer_and_only_what_may_change_is_asked_again(sizes, tmp_path, caplog):
    place = str(tmp_path / "asked")
    batch_requests.write(sizes, place, **ASK)
    names = [one["custom_id"] for one in lines(tmp_path / "asked")]
    came = [{**answer(n), "response": what} if "status_code" in what else _chosen(n, what)
            for n, (what, *_) in zip(names, ODD, strict=False)]  # fmt: skip
    found = batch_requests.read(sizes, place, results(tmp_path / "o.jsonl", *came, *map(answer, names[5:])))
    rows = found.to_pylist()
    assert [row["reason"] for row in rows] == [reason for _, reason, _ in ODD] + [""] * 4
    for row, (_, _, says) in zip(rows, ODD, strict=False):
        assert says in row["error"] and row["status"] == "failed"
    assert rows[2]["answer"] == "a ca" and rows[2]["tokens_out"] == 3, "what came is kept, and was paid for"
    again = [one["custom_id"] for one in lines(Path(place), "requeue")]
    assert again == names[2:4], "what was declined would be again"
    assert batch_requests.spent(found) == batch_requests.Spent(8 * 90, 8 * 3)
    assert batch_requests.spent(found).usd(1, 10) == pytest.approx((8 * 90 + 8 * 30) / 1e6)
    assert "4 of 9 requests are answered, 720 tokens in, 24 out; the others: declined 3, " in caplog.text


def _chosen(name: str, choice: dict) -> dict:
    found = answer(name)
    found["response"]["body"]["choices"] = [choice]
    return found


SCHEMA = {"type": "object", "properties": {"mood": {"enum": ["calm", "tense"]}}, "required": ["mood"]}


def test_an_answer_that_is_not_the_json_that_was_asked_for_is_none(sizes, tmp_path):
    place = str(tmp_path / "asked")
    batch_requests.write(sizes, place, schema=SCHEMA, **ASK)
    asked = lines(tmp_path / "asked")
    wanted = asked[0]["body"]["response_format"]
    assert wanted["type"] == "json_schema" and wanted["json_schema"]["schema"] == SCHEMA
    names = [one["custom_id"] for one in asked]
    texts = ['{"mood": "calm"}', "calm", '{"mood": "ethereal"}', "{}", '{"mood": "cal']
    came = [answer(name, text) for name, text in zip(names, texts, strict=False)]
    rows = batch_requests.read(sizes, place, results(tmp_path / "o.jsonl", *came)).to_pylist()
    assert [row["reason"] for row in rows] == ["", *["no_json"] * 4, *["no_answer"] * 4]
    assert "'ethereal' is not one of ['calm', 'tense']" in rows[2]["error"]
    assert "'mood' is a required property" in rows[3]["error"]
    batch_requests.write(sizes, place, body={"response_format": {"type": "json_object"}}, **ASK)
    rows = batch_requests.read(sizes, place, str(tmp_path / "o.jsonl")).to_pylist()
    assert [row["reason"] for row in rows[:5]] == ["", "no_json", "", "", "no_json"]


def test_files_that_are_cut_or_of_other_requests_are_told(sizes, tmp_path, caplog):
    place = str(tmp_path / "asked")
    batch_requests.write(sizes, place, **ASK)
    names = [one["custom_id"] for one in lines(tmp_path / "asked")]
    output = Path(results(tmp_path / "o.jsonl", *map(answer, names)))
    output.write_bytes(output.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"o.jsonl holds no results of a batch: line 9 is cut or damaged; fetch"):
        batch_requests.read(sizes, place, str(output))
    results(output, *(answer(f"test/{n}") for n in range(3)))
    with pytest.raises(ValueError, match="no results of a batch of these requests: its 3 are of others"):
        batch_requests.read(sizes, place, str(output))
    results(output, answer(names[0]), answer("test/0"))
    batch_requests.read(sizes, place, str(output))
    assert "o.jsonl: 1 of its answers are to requests of another folder, and left out" in caplog.text


def test_mistakes_are_told(sizes, tmp_path):
    with pytest.raises(ValueError, match="no ok picture of the size 'huge'"):
        batch_requests.write(sizes, str(tmp_path / "asked"), variant="huge", **ASK)
    with pytest.raises(ValueError, match="folder is one of this machine"):
        batch_requests.write(sizes, "s3://bucket/asked", **ASK)
    with pytest.raises(ValueError, match="write them first"):
        batch_requests.read(sizes, str(tmp_path), [])
    imgprep.session("local", 0)
    local = upload.upload(sizes, str(tmp_path / "store"), str(tmp_path / "up"))
    with pytest.raises(ValueError, match="has no URLs to sign: send the pictures themselves"):
        batch_requests.write(local, str(tmp_path / "asked"), **ASK)
    plain = images.transform(str(sizes.folder), str(tmp_path / "plain"), len_of, features={"n": "int32"})
    assert batch_requests.write(plain, str(tmp_path / "b"), **ASK).requests == 9  # of any dataset: vision
    assert not os.listdir(tmp_path / "asked")
    imgprep.close()


def len_of(image):
    return {"n": image.size}
