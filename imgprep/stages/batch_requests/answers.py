"""What a batch API answered, as rows: an answer that is one, or the reason why there is none."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.compute as pc

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.failures import known_reason
from imgprep.redaction import redact
from imgprep.stages.batch_requests.asked import TWO_DAYS_S, asked_of
from imgprep.stages.batch_requests.files import RequestFiles, request_line, requests_in
from imgprep.stages.batch_requests.tokens import Spent
from imgprep.words import number_of, say

TEXTS = ("split", "image_id", "answer", "finish_reason", "status", "reason", "error")
COUNTS = ("tokens_in", "tokens_out")
ANSWER = pa.schema([(n, pa.string()) for n in TEXTS] + [(n, pa.int64()) for n in COUNTS])
FINAL = ("ok", "declined")  # what would be answered alike if it were asked again
NOTHING = "the result files do not have this request"


def read(
    source: str | Dataset,
    folder: str,
    results: str | Sequence[str],
    *,
    expires_s: int = TWO_DAYS_S,
    credentials_env: str | None = None,
) -> pa.Table:
    """What the batch answered: a row of ANSWER per request, in their order.

    source, folder: as `write` had them. results: all output and error files so far; an ok answer
        wins over an error.
    An answer that the model or a filter declined is `declined`; one that was cut is `truncated`;
    one that is not the JSON that was asked for is `no_json`. What failed or has no answer goes to
    folder/requeue-00001.jsonl and so on, with fresh signatures; what was declined would be again,
    and is not asked again. ValueError for files that are cut, or hold answers to other requests
    only.
    """
    requests = RequestFiles(Path(folder), "requests").paths()
    if not requests:
        raise ValueError(f"no requests in {folder}: write them first")
    names = [name for name, _ in requests_in(requests)]
    answers: dict[str, dict[str, Any]] = {}
    judge = Judge.of(requests[0])
    for file in [results] if isinstance(results, str) else results:
        for name, answer in _answers_in(file, {*names}, judge):
            if answers.get(name, {}).get("status") != "ok":
                answers[name] = answer
    rows = {name: answers.get(name) or unanswered("no_answer", NOTHING) for name in names}
    again = {name for name, row in rows.items() if (row["reason"] or row["status"]) not in FINAL}
    ds = dataset.open(source)
    fresh = _fresh(ds, again, expires_s, credentials_env)
    requeue = RequestFiles(Path(folder), "requeue")
    requeue.write(_asked_again(requests, again, fresh))
    found = _answer_table(rows)
    _tell_answers(found, requeue)
    return found


def spent(answers: pa.Table) -> Spent:
    """The tokens of these answers, as the service counted them."""
    taken = [pc.sum(answers[name]).as_py() or 0 for name in COUNTS]
    return Spent(*taken)


def unanswered(reason: str, error: str, **more: Any) -> dict[str, Any]:
    return {"status": "failed", "reason": known_reason(reason), "error": error, **more}


def _answers_in(file: str, names: set[str], judge: "Judge") -> Iterator[tuple[str, dict[str, Any]]]:
    """(custom_id, row) of each result that answers a request of ours."""
    ours = others = 0
    for number, result in _result_lines(file):
        try:
            name = result["custom_id"]
            row = judge(result)
        except (KeyError, TypeError, AttributeError, IndexError):
            raise ValueError(f"{_no_results(file)}: line {number} is none") from None
        if name in names:
            ours += 1
            yield name, row
        else:
            others += 1
    if others and not ours:
        raise ValueError(f"{_no_results(file)} of these requests: its {others:,} are of others")
    if others:
        say(f"{file}: {others:,} of its answers are to requests of another folder, and left out")


def _result_lines(file: str) -> Iterator[tuple[int, Any]]:
    """(number, JSON) of each line."""
    try:
        with Path(file).open("rb") as lines:
            for number, text in enumerate(lines, 1):
                if text.strip():
                    yield number, json.loads(text)
    except OSError:
        raise ValueError(f"{_no_results(file)}: it cannot be read") from None
    except ValueError:
        told = f"line {number} is cut or damaged; fetch the file again"
        raise ValueError(f"{_no_results(file)}: {told}") from None


def _no_results(file: str) -> str:
    return f"{file} holds no results of a batch"


class Judge:
    """Says of a result what row it is. validator: of the JSON that was asked for; None: any text is
    an answer."""

    def __init__(self, validator: Any = None):
        self.validator = validator

    @staticmethod
    def of(requests: Path) -> "Judge":
        """For what these requests ask."""
        _, first = next(requests_in([requests]))
        wanted = json.loads(first)["body"].get("response_format") or {}
        kind = wanted.get("type")
        if kind not in ("json_schema", "json_object"):
            return Judge()
        schema = (wanted.get("json_schema") or {}).get("schema") or {}
        return Judge(jsonschema.validators.validator_for(schema)(schema))

    def __call__(self, result: dict[str, Any]) -> dict[str, Any]:
        response = result.get("response") or {}
        body = response.get("body") or {}
        body = body if isinstance(body, dict) else {"error": body}
        status = response.get("status_code") or 0
        if result.get("error") or status != 200 or not body.get("choices"):
            return _service_error(result.get("error") or body.get("error") or {}, status)
        choice, usage = body["choices"][0], body.get("usage") or {}
        message = choice.get("message") or {}
        text = str(message.get("content") or "")
        finish = choice.get("finish_reason") or ""
        more = {
            "answer": text,
            "finish_reason": finish,
            "tokens_in": usage.get("prompt_tokens"),
            "tokens_out": usage.get("completion_tokens"),
        }
        if said := message.get("refusal"):
            return unanswered("declined", f"the model declined: {_short(said)}", **more)
        if finish == "content_filter":
            return unanswered("declined", "the answer was filtered (content_filter)", **more)
        if finish == "length":
            return unanswered("truncated", "the answer was cut at the most tokens allowed", **more)
        if not text.strip():
            return unanswered("no_answer", "the answer has no text", **more)
        if self.validator is not None and (trouble := self._trouble(text)):
            return unanswered("no_json", f"not the JSON that was asked for: {trouble}", **more)
        return {"status": "ok", "reason": "", "error": "", **more}

    def _trouble(self, text: str) -> str:
        """Why a text is not the JSON that was asked for; "" where it is."""
        try:
            value = json.loads(text)
        except ValueError:
            return "it is no JSON"
        # By place, so that the same answer gives the same sentence.
        found = sorted((e.json_path, e.message) for e in self.validator.iter_errors(value))
        return _short(found[0][1]) if found else ""


def _service_error(error: Any, status: int) -> dict[str, Any]:
    """The row of a request that failed at the service."""
    code, said = "", error
    if isinstance(error, dict):
        code = str(error.get("code") or "")
        said = error.get("message") or code or "no answer"
    if code == "content_filter":
        return unanswered("declined", _short(said))
    return unanswered(f"http_{status}" if status >= 400 else "error", _short(said))


def _short(said: Any) -> str:
    """One line. It may repeat a signed URL."""
    return redact(" ".join(str(said).split()))[:300]


def _fresh(
    ds: Dataset, names: set[str], expires_s: int, credentials_env: str | None
) -> dict[str, str]:
    """New signatures for the pictures of these requests; {} where requests hold the pictures
    themselves."""
    if "uri" not in ds.table(ds.splits[0]).column_names:
        return {}
    found = asked_of(ds, lambda row: row["custom_id"] in names, expires_s, credentials_env)
    return {name: url for name, _, url in found}


def _asked_again(
    requests: Iterable[Path], names: set[str], fresh: dict[str, str]
) -> Iterator[bytes]:
    for name, text in requests_in(requests):
        if name not in names:
            continue
        request = json.loads(text)
        picture = request["body"]["messages"][0]["content"][1]["image_url"]
        picture["url"] = fresh.get(name, picture["url"])
        yield request_line(request)


def _answer_table(rows: dict[str, dict[str, Any]]) -> pa.Table:
    found = []
    for name, row in rows.items():
        split, image_id = name.split("/", 1)
        found.append({"split": split, "image_id": image_id, **row})
    return pa.Table.from_pylist(found, ANSWER)


def _tell_answers(answers: pa.Table, requeue: RequestFiles) -> None:
    reasons = Counter(r for r in answers["reason"].to_pylist() if r)
    ok = answers.num_rows - reasons.total()
    asked = number_of(answers.num_rows, "request")
    are = "is" if answers.num_rows == 1 else "are"
    text = f"{ok:,} of {asked} {are} answered, {spent(answers)!r}"
    if reasons:
        text += f"; the others: {dataset.words(dict(reasons))}"
    if requeue.lines:
        text += f"; {requeue.lines:,} to ask again stand in {requeue.paths()[0].name}"
    say(text)
