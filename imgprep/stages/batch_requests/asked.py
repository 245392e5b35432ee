"""Requests about the pictures of a dataset folder, as a batch API reads them."""

import base64
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.redaction import redact, redact_values
from imgprep.stages.batch_requests import state
from imgprep.stages.batch_requests.files import MAX_BYTES, MAX_LINES, RequestFiles, request_line
from imgprep.stages.batch_requests.tokens import Requests, picture_tokens
from imgprep.stages.upload import locate_store

TWO_DAYS_S = 172_800  # a batch may take one
SIGNED_AT_ONCE, READ_AT_ONCE = 1000, 16
Asked = tuple[str, dict[str, Any], str]  # custom_id, row, signed URL or data: URI


def write(
    source: str | Dataset,
    folder: str,
    *,
    model: str,
    prompt: str,
    variant: str = "vision",
    schema: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
    expires_s: int = TWO_DAYS_S,
    max_lines: int = MAX_LINES,
    max_bytes: int = MAX_BYTES,
    credentials_env: str | None = None,
    dry_run: bool = False,
) -> Requests:
    """Write one request about each ok picture of one size to folder/requests-00001.jsonl and so on.

    source: a dataset of `upload.upload`, whose URLs are signed, or one with pictures, which are
        sent as base64.
    schema: a JSON schema that each answer has to keep; `read` looks whether it does.
    body: further parameters, such as {"max_tokens": 300}. expires_s: of signed URLs, which may end
        before, with the credentials that made them. max_lines, max_bytes: of a file.
    A request's custom_id is split/image_id. dry_run: only count. The files of an earlier call are
    replaced.
    Raises ValueError where there is no such picture, one is too large for a file, or other requests
    are under way.
    """
    if "://" in folder:
        raise ValueError("folder is one of this machine: the files may hold signed URLs")
    ds = dataset.open(source)
    extra = _body(body, schema, model)
    tokens = 0

    def lines() -> Iterator[bytes]:
        nonlocal tokens
        found = False
        wanted = asked_of(ds, lambda row: is_of(row, variant), expires_s, credentials_env)
        for name, row, url in wanted:
            found = True
            tokens += picture_tokens(row["width"], row["height"], model) + len(prompt) // 4
            yield request_line(_request(name, redact(prompt), url, extra))
        if not found:
            raise ValueError(f"{ds.folder} has no ok picture of the size {variant!r}")

    files = RequestFiles(Path(folder), "requests", max_lines, max_bytes, dry_run)
    files.write(state.watched(Path(folder), lines()))
    if not dry_run:
        RequestFiles(Path(folder), "requeue").clear()
    return Requests(files.files, files.lines, files.nbytes, tokens)


def is_of(row: dict[str, Any], variant: str) -> bool:
    """Is the row's picture of this size? One of a dataset without sizes is of any."""
    return row.get("variant", variant) == variant


def _body(body: dict[str, Any] | None, schema: dict[str, Any] | None, model: str) -> dict[str, Any]:
    found: dict[str, Any] = redact_values(dict(body or {}))
    if schema is not None:
        told = {"name": "answer", "schema": schema, "strict": True}
        found["response_format"] = {"type": "json_schema", "json_schema": told}
    return found | {"model": model}


def _request(name: str, prompt: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": url}}]
    return {
        "custom_id": name,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body | {"messages": [{"role": "user", "content": content}]},
    }


def asked_of(
    ds: Dataset,
    is_wanted: Callable[[dict[str, Any]], bool],
    expires_s: int,
    credentials_env: str | None,
) -> Iterator[Asked]:
    """The wanted rows that are ok, each with its custom_id and where its picture is read."""
    for split in ds.splits:
        table = ds.table(split)
        by_url = "uri" in table.column_names
        step = SIGNED_AT_ONCE if by_url else READ_AT_ONCE
        for start in range(0, table.num_rows, step):
            rows = []
            for number, row in enumerate(table.slice(start, step).to_pylist(), start):
                row |= {"custom_id": f"{split}/{row['image_id']}", "n": number}
                if row["status"] == "ok" and is_wanted(row):
                    rows.append(row)
            urls = _signed(rows, expires_s, credentials_env) if by_url else _data(ds, split, rows)
            for row, url in zip(rows, urls, strict=True):
                yield row["custom_id"], row, url


def _signed(rows: list[dict], expires_s: int, credentials_env: str | None) -> Iterable[str]:
    if not rows:
        return []
    places = [locate_store(row["uri"], credentials_env) for row in rows]
    store, _ = places[0]  # they are of one size, so of one store
    return store.sign([name for _, name in places], expires_s=expires_s)


def _data(ds: Dataset, split: str, rows: list[dict]) -> Iterator[str]:
    pictures = ds.pictures(split, [row["n"] for row in rows])
    for row, data in zip(rows, pictures, strict=True):
        kind = Image.MIME.get(row["format"], f"image/{row['format'].lower()}")
        yield f"data:{kind};base64,{base64.b64encode(data or b'').decode()}"
