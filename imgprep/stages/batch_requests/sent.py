"""Sends files of requests to a batch API, and waits for what it answers."""

import hashlib
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.io.batch_api import BatchApi
from imgprep.stages.batch_requests import state
from imgprep.stages.batch_requests.answers import read
from imgprep.stages.batch_requests.asked import TWO_DAYS_S
from imgprep.stages.batch_requests.files import (
    RequestFiles,
    asks_of,
    asks_of_file,
    put_private,
    requests_in,
)
from imgprep.stages.batch_requests.state import Sent, State
from imgprep.words import number_of, say

OPENAI = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"
DAY_S = 86_400.0
POLL_TOLD_S = 600.0


def submit(folder: str, *, base_url: str = OPENAI, key_env: str | None = OPENAI_KEY) -> int:
    """Send the request files of a folder, each as a batch. Returns how many were sent.

    The first time these are the files of `write`; once they are answered and `poll` has looked,
    what failed.
    base_url: of a service of OpenAI's shape, up to and with /v1. key_env: the NAME of the variable
        with the key; None where the service takes none.
    What was sent is known (batches.json in the folder) and not sent twice, also where this process
    dies in between.
    Raises ValueError for a wrong key or address, and while batches are under way; RunStopped where
    none answers.
    """
    home = Path(folder)
    with BatchApi(base_url, key_env) as api:
        known = _planned_files(home)
        waiting = [one for one in known.rounds[-1] if not one.batch]
        for one in waiting:
            _send(api, home, known, one)
    what = f"{number_of(len(waiting), 'file')} of requests"
    say(f"sent {what} to {api.host}" if waiting else f"nothing to send to {api.host}: it is there")
    return len(waiting)


def _planned_files(home: Path) -> State:
    """What is to be sent, written down before anything is."""
    first = RequestFiles(home, "requests").paths()
    if not first:
        raise ValueError(f"no requests in {home}: write them first")
    known = state.load_state(home)
    if known is None:
        known = State(_asks_of_all(first), [_round(first)])
    elif all(one.batch for one in known.files) and known.is_over:
        again = RequestFiles(home, "requeue").paths()
        if not again:
            return known
        known.rounds.append(_round(again))
    else:
        files = [home / one.file for one in known.rounds[-1] if not one.batch]
        asks = [one.asks for one in known.rounds[-1] if not one.batch]
        if not all(file.exists() for file in files) or list(map(asks_of_file, files)) != asks:
            told = "were cut otherwise when they were sent"
            fix = "write them as before, or into another folder"
            raise ValueError(f"the requests in {home} {told}: {fix}")
    known.save(home)
    return known


def _round(files: list[Path]) -> list[Sent]:
    return [Sent(file.name, asks_of_file(file)) for file in files]


def _asks_of_all(files: list[Path]) -> str:
    """What all requests ask, however they are cut into files."""
    whole = hashlib.sha256()
    for _, text in requests_in(files):
        whole.update(asks_of(text))
    return whole.hexdigest()


def _send(api: BatchApi, home: Path, known: State, one: Sent) -> None:
    # Round and content: the same requests may be asked again, on purpose.
    mark = f"{len(known.rounds)}-{one.asks[:40]}"
    batch = api.find(mark) or api.create(api.upload(home / one.file), mark)
    one.batch = batch["id"]
    one.status = batch.get("status") or ""
    known.save(home)


def poll(
    source: str | Dataset,
    folder: str,
    *,
    base_url: str = OPENAI,
    key_env: str | None = OPENAI_KEY,
    wait_s: float = DAY_S,
    every_s: float = 60.0,
    expires_s: int = TWO_DAYS_S,
    credentials_env: str | None = None,
) -> pa.Table | None:
    """What the batches of a folder answered, as `read` gives it; None while one is under way after
    wait_s.

    source, folder: as `write` had them; base_url, key_env: as `submit`. wait_s: 0 looks once.
        every_s: between looks.
    What failed stands in folder/requeue-00001.jsonl and so on: `submit` sends it.
    Raises ValueError where nothing was sent, or the service refused a whole file; RunStopped where
    none answers.
    """
    home = Path(folder)
    known = state.load_state(home)
    if known is None:
        raise ValueError(f"nothing was sent from {home}: submit it first")
    end = time.monotonic() + wait_s
    told = -POLL_TOLD_S
    with BatchApi(base_url, key_env) as api:
        while not _look(api, home, known):
            left = end - time.monotonic()
            if left <= 0 or time.monotonic() - told >= POLL_TOLD_S:
                told = time.monotonic()
                say(_progress(known))
            if left <= 0:
                return None
            time.sleep(min(every_s, left))
    results = [str(home / name) for one in known.files for name in one.results]
    return read(source, folder, results, expires_s=expires_s, credentials_env=credentials_env)


def _look(api: BatchApi, home: Path, known: State) -> bool:
    """Ask how each batch stands and fetch what it answered. True when all are over."""
    for one in known.files:
        if one.is_over or not one.batch:
            continue
        batch = api.look(one.batch)
        status = batch.get("status") or ""
        if status == "failed":
            _refused_file(home, known, one, batch)
        if status in state.ENDED:
            one.results = _fetched(api, home, one, batch)
        one.status = status
        known.save(home)
    return known.is_over


def _fetched(api: BatchApi, home: Path, one: Sent, batch: dict[str, Any]) -> list[str]:
    names = []
    for kind in ("output", "error"):
        if file_id := batch.get(f"{kind}_file_id"):
            name = f"{kind}-{one.batch}.jsonl"
            put_private(home / name, api.content(file_id))
            names.append(name)
    return names


def _refused_file(home: Path, known: State, one: Sent, batch: dict[str, Any]) -> None:
    """The service took none of a file's requests: it may be sent anew when that is mended."""
    errors = (batch.get("errors") or {}).get("data") or [{}]
    one.batch = one.status = ""
    known.save(home)
    why = errors[0].get("message") or errors[0].get("code") or "no reason was given"
    raise ValueError(f"the service refuses {one.file}: {' '.join(str(why).split())[:300]}")


def _progress(known: State) -> str:
    over = sum(one.is_over for one in known.files)
    states = {one.status for one in known.files if not one.is_over}
    waiting = ", ".join(sorted(states - {""})) or "not sent"
    return f"{over} of {len(known.files)} batches are over; the others: {waiting}"
