"""Request files for the batch APIs of vision models (OpenAI's shape, which Azure and vLLM read too), and their answers.

Requests by URL hold signed URLs: until these expire, whoever has a file can read its pictures. So the files are for
their owner alone (mode 0600), and nothing else that imgprep writes holds such a URL.
"""

import base64
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.io.web.addresses import redact
from imgprep.stages.upload import locate

MAX_LINES, MAX_BYTES = 50_000, 200_000_000  # of one file: OpenAI's API reference, "Create batch", 2025
TWO_DAYS_S = 172_800  # a batch may take one
ANSWER = pa.schema(
    [(name, pa.string()) for name in ("split", "image_id", "answer", "finish_reason", "status", "reason", "error")]
    + [("tokens_in", pa.int64()), ("tokens_out", pa.int64())]
)


@dataclass
class Requests:
    """What was, or would be, written: files of requests, their bytes, and the tokens of prompts and pictures."""

    files: int = 0
    requests: int = 0
    bytes: int = 0
    tokens: int = 0

    def usd(self, price_in: float, price_out: float, *, answer_tokens: int = 200) -> float:
        """What it costs, at prices per million tokens; those of a batch are often half."""
        return (self.tokens * price_in + self.requests * answer_tokens * price_out) / 1e6

    def __repr__(self) -> str:
        files = f"{self.files} file{'s' * (self.files != 1)}"
        return f"{self.requests:,} requests in {files}, {self.bytes:,} bytes, about {self.tokens:,} tokens"


def write(
    source: str | Dataset,
    folder: str,
    *,
    model: str,
    prompt: str,
    variant: str = "vision",
    body: dict[str, Any] | None = None,
    expires_s: int = TWO_DAYS_S,
    max_lines: int = MAX_LINES,
    max_bytes: int = MAX_BYTES,
    credentials_env: str | None = None,
    dry_run: bool = False,
) -> Requests:
    """Write one request about each ok picture of one size to folder/requests-00001.jsonl and so on.

    source: a dataset of `upload.upload`, whose URLs are signed, or one with pictures, which are sent as base64.
    body: further parameters, such as {"max_tokens": 300}. expires_s: of signed URLs, which may end before, with the
        credentials that made them. max_lines, max_bytes: of a file.
    A request's custom_id is split/image_id. dry_run: only count. The files of an earlier call are replaced.
    Raises ValueError where there is no such picture, or one is too large for a file.
    """
    if "://" in folder:
        raise ValueError("folder is one of this machine: the files may hold signed URLs")
    source = dataset.open(source) if isinstance(source, str) else source
    text, total = {"type": "text", "text": prompt}, Requests()

    def lines() -> Iterator[bytes]:
        found = _pictures(source, lambda row: row.get("variant", variant) == variant, expires_s, credentials_env)
        for name, row, url in found:
            content = [text, {"type": "image_url", "image_url": {"url": url}}]
            request = {**(body or {}), "model": model, "messages": [{"role": "user", "content": content}]}
            total.tokens += picture_tokens(row["width"], row["height"], model) + len(prompt) // 4
            yield _line({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": request})
        if not total.requests:
            raise ValueError(f"{source.folder} has no ok picture of the size {variant!r}")

    _write(folder, "requests", lines(), total, max_lines, max_bytes, dry_run)
    for old in () if dry_run else Path(folder).glob("requeue-*.jsonl"):
        old.unlink()
    return total


def read(
    source: str | Dataset,
    folder: str,
    results: Sequence[str],
    *,
    expires_s: int = TWO_DAYS_S,
    credentials_env: str | None = None,
) -> pa.Table:
    """What the batch answered: a row of ANSWER per request, in their order.

    source, folder: as `write` had them. results: all output and error files so far; an ok answer wins over an error.
    What failed or has no answer goes to folder/requeue-00001.jsonl and so on, with fresh signatures.
    """
    requests, answers = sorted(Path(folder).glob("requests-*.jsonl")), {}
    if not requests:
        raise ValueError(f"no requests in {folder}: write them first")
    for file in [results] if isinstance(results, str) else results:
        try:
            for result in (json.loads(line) for line in Path(file).open("rb") if line.strip()):
                if answers.get(result["custom_id"], {}).get("status") != "ok":
                    answers[result["custom_id"]] = _answer(result)
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(f"{file} holds no results of a batch: give the files as they came") from None
    nothing = {"status": "failed", "reason": "no_answer", "error": "the result files do not have this request"}
    rows = {name: {**nothing, **answers.get(name, {})} for file in requests for name, _ in _lines(file)}
    failed = {name for name, row in rows.items() if row["status"] != "ok"}
    source = dataset.open(source) if isinstance(source, str) else source
    is_signed = "uri" in source.table(source.splits[0]).column_names
    found = _pictures(source, lambda row: row["custom_id"] in failed, expires_s, credentials_env) if is_signed else ()
    fresh = {name: url for name, _, url in found}

    def again() -> Iterator[bytes]:
        for name, line in (pair for file in requests for pair in _lines(file) if pair[0] in failed):
            request = json.loads(line)
            picture = request["body"]["messages"][0]["content"][1]["image_url"]
            picture["url"] = fresh.get(name, picture["url"])
            yield _line(request)

    _write(folder, "requeue", again(), Requests(), MAX_LINES, MAX_BYTES, False)
    ids = (dict(zip(("split", "image_id"), name.split("/", 1), strict=True)) for name in rows)
    return pa.Table.from_pylist([i | row for i, row in zip(ids, rows.values(), strict=True)], ANSWER)


def picture_tokens(width: int, height: int, model: str = "gpt-4o") -> int:
    """What gpt-4o counts for a picture in high detail (OpenAI's guide "Images and vision", 2025); other models differ.

    It is fitted into 2048 x 2048, its shorter side to 768; each tile of 512 x 512 counts 170, and all of it 85; for
    gpt-4o-mini 5667 and 2833.

    >>> picture_tokens(1024, 1024), picture_tokens(4096, 2048), picture_tokens(1024, 1024, "gpt-4o-mini")
    (765, 1105, 25501)
    """
    whole, tile = (2833, 5667) if "gpt-4o-mini" in model else (85, 170)
    scale = min(1, 2048 / max(width, height))
    scale *= min(1, 768 / (min(width, height) * scale))
    return whole + tile * ceil(width * scale / 512) * ceil(height * scale / 512)


def _pictures(
    source: Dataset, wanted: Callable[[dict], bool], expires_s: int, credentials_env: str | None
) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(custom_id, row, signed URL or data: URI) of the wanted rows that are ok."""
    for split in source.splits:
        table = source.table(split)
        by_url = "uri" in table.column_names
        at_once = 1000 if by_url else 16
        for start in range(0, table.num_rows, at_once):
            rows = [row | {"custom_id": f"{split}/{row['image_id']}", "n": start + i}
                    for i, row in enumerate(table.slice(start, at_once).to_pylist())]  # fmt: skip
            rows = [row for row in rows if row["status"] == "ok" and wanted(row)]
            urls: Iterable[str] = ()
            if by_url and rows:  # of one size, so of one store
                stores, names = zip(*(locate(row["uri"], credentials_env) for row in rows), strict=True)
                urls = stores[0].sign(names, expires_s=expires_s)
            elif rows:
                data = source.pictures(split, [row["n"] for row in rows])
                kinds = (Image.MIME.get(row["format"], f"image/{row['format'].lower()}") for row in rows)
                urls = (f"data:{k};base64,{base64.b64encode(d).decode()}" for k, d in zip(kinds, data, strict=True))
            yield from ((row["custom_id"], row, url) for row, url in zip(rows, urls, strict=True))


def _answer(result: dict[str, Any]) -> dict[str, Any]:
    response, error = result.get("response") or {}, result.get("error")
    body, status = response.get("body") or {}, response.get("status_code") or 0
    body = body if isinstance(body, dict) else {"error": body}
    if not error and status == 200 and body.get("choices"):
        choice, usage = body["choices"][0], body.get("usage") or {}
        text = (choice.get("message") or {}).get("content") or ""
        return {"status": "ok", "reason": "", "error": "", "answer": str(text),
                "finish_reason": choice.get("finish_reason") or "", "tokens_in": usage.get("prompt_tokens"),
                "tokens_out": usage.get("completion_tokens")}  # fmt: skip
    error = error or body.get("error") or {}
    said = error.get("message") or error.get("code") or "no answer" if isinstance(error, dict) else str(error)
    said = redact(" ".join(said.split()))[:300]  # it may repeat a signed URL
    return {"reason": f"http_{status}" if status >= 400 else "error", "error": said}


def _line(request: dict[str, Any]) -> bytes:
    return json.dumps(request, ensure_ascii=False).encode() + b"\n"


def _lines(file: Path) -> Iterator[tuple[str, bytes]]:
    """The custom_id of each request, which `write` puts first: a line may have 10 MB."""
    with file.open("rb") as lines:
        for line in lines:
            yield json.loads(re.match(rb'\{"custom_id": ("(?:[^"\\]|\\.)*")', line)[1]), line


def _write(
    folder: str, stem: str, lines: Iterable[bytes], total: Requests, max_lines: int, max_bytes: int, dry_run: bool
) -> None:
    """Files of at most so many lines and bytes. They appear, and those of before go, when all are whole."""
    home, n, size = Path(folder), 0, 0
    if not dry_run:
        home.mkdir(parents=True, exist_ok=True)
    try:
        for line in lines:
            if len(line) > max_bytes:
                raise ValueError(f"a request has {len(line):,} bytes, more than max_bytes={max_bytes:,} of a file")
            is_next = not total.files or n >= max_lines or size + len(line) > max_bytes
            total.files, n, size = (total.files + 1, 0, 0) if is_next else (total.files, n, size)
            n, size, total.requests, total.bytes = n + 1, size + len(line), total.requests + 1, total.bytes + len(line)
            part, mode = home / f".{stem}-{total.files:05d}.jsonl", "wb" if is_next else "ab"
            if not dry_run:
                with open(part, mode, opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                    file.write(line)
        for old in [] if dry_run else home.glob(f"{stem}-*.jsonl"):
            old.unlink()
        for number in range(0 if dry_run else total.files):
            name = f"{stem}-{number + 1:05d}.jsonl"
            (home / f".{name}").rename(home / name)
    finally:
        for rest in home.glob(f".{stem}-*.jsonl"):
            rest.unlink()
