"""A batch API of OpenAI's shape (OpenAI, Azure, vLLM …), over HTTP: files go up, a batch runs,
files come down.

Every failure is one sentence: ValueError for what the user can mend, RunStopped for what time or
the service mends. What the service says may repeat a signed URL or a key: it is shown without them.
"""

import io
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from imgprep.failures import RunStopped
from imgprep.redaction import redact
from imgprep.words import bytes_text, say

TIMEOUT = httpx.Timeout(25.0, connect=10.0, write=300.0)
TRIES = 4
FIRST_PAUSE_S, MOST_PAUSE_S = 1.0, 60.0
BUSY = {408, 409, 429, 500, 502, 503, 504}
PAGE = 100
UPLOAD_TOLD_S = 8.0
SENT_ONCE = "run it again, and what was sent is not sent twice"


class BatchApi:
    """One service. Nothing is asked before a method is.

    base_url: up to and with /v1. key_env: the NAME of the variable that holds the key; None for a
        service without.
    """

    def __init__(self, base_url: str, key_env: str | None):
        address = httpx.URL(base_url) if isinstance(base_url, str) else httpx.URL()
        # A name in the URL would go into every log along the way.
        if address.scheme not in ("http", "https") or not address.host or address.userinfo:
            raise ValueError("base_url is https://host/v1, without a name or a key in it")
        self._key = os.environ.get(key_env or "", "")
        if key_env and not self._key:
            # What does not look like a name is not repeated: it may be the key itself.
            name = key_env if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", key_env) else "that key_env names"
            raise ValueError(f"the environment variable {name} is not set")
        self.host = address.host
        # Azure reads the second; the others leave it alone.
        headers = {"Authorization": f"Bearer {self._key}", "api-key": self._key}
        self._client = httpx.Client(
            base_url=str(address).rstrip("/") + "/",
            headers=headers if self._key else {},
            timeout=TIMEOUT,
        )

    def __enter__(self) -> "BatchApi":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def upload(self, path: Path) -> str:
        """A file of requests; its id. A large one tells how far it is."""
        with _Told(path) as file:
            form = {"files": {"file": (path.name, file)}, "data": {"purpose": "batch"}}
            return self._ask("POST", "files", **form).json()["id"]

    def create(self, file_id: str, mark: str) -> dict[str, Any]:
        """A batch of an uploaded file. mark: finds it again where the answer to this is lost."""
        asked = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"imgprep": mark},
        }
        return self._ask("POST", "batches", json=asked).json()

    def find(self, mark: str) -> dict[str, Any] | None:
        """The batch that was created with this mark, unless the service refused it."""
        for batch in self._batches():
            is_marked = (batch.get("metadata") or {}).get("imgprep") == mark
            if is_marked and batch.get("status") != "failed":
                return batch
        return None

    def look(self, batch_id: str) -> dict[str, Any]:
        return self._ask("GET", f"batches/{batch_id}").json()

    def content(self, file_id: str) -> bytes:
        return self._ask("GET", f"files/{file_id}/content").content

    def _batches(self) -> Iterator[dict[str, Any]]:
        after: dict[str, str] = {}
        while True:
            page = self._ask("GET", "batches", params={"limit": str(PAGE), **after}).json()
            found = page.get("data") or []
            yield from found
            if not page.get("has_more") or not found:
                return
            after = {"after": found[-1]["id"]}

    def _ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Ask, again where trying again makes sense."""
        for attempt in range(1, TRIES + 1):
            try:
                answer = self._client.request(method, path, **given)
            except httpx.HTTPError as e:
                answer, said = None, type(e).__name__
            if answer is not None and answer.is_success:
                return answer
            if answer is not None and not self._passes(answer):
                raise self._refusal(answer)
            if attempt < TRIES:
                # What was read of the file is gone with the failed request.
                for _, file in given.get("files", {}).values():
                    file.seek(0)
                pause_s = _pause_s(answer, attempt)
                why = said if answer is None else str(answer.status_code)
                say(f"{self.host} does not answer ({why}): asking again in {pause_s:.0f} s")
                time.sleep(pause_s)
        if answer is None:
            raise RunStopped(f"{self.host} does not answer ({said}): {SENT_ONCE}")
        raise RunStopped(f"{self.host} has had too much to do ({answer.status_code}): {SENT_ONCE}")

    def _passes(self, answer: httpx.Response) -> bool:
        return answer.status_code in BUSY and _said_by(answer)[0] != "insufficient_quota"

    def _refusal(self, answer: httpx.Response) -> Exception:
        code, said = _said_by(answer)
        # Services quote the key that they refuse.
        if self._key:
            said = said.replace(self._key, "***")
        status = answer.status_code
        if status == 401:
            fix = "check the variable that key_env names"
            return ValueError(f"{self.host} does not take the key: {fix}")
        if code == "insufficient_quota":
            fix = f"raise it, then {SENT_ONCE}"
            return RunStopped(f"{self.host} says that the quota is used up: {fix}")
        if status == 404:
            return ValueError(f"{self.host} has no batch API at this base_url (404): {said}")
        return ValueError(f"{self.host} refuses this ({status}): {said}")


class _Told(io.FileIO):
    """A file that says every UPLOAD_TOLD_S how much of it was read."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._path, self._told = path, time.monotonic()

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() - self._told > UPLOAD_TOLD_S:
            self._told = time.monotonic()
            done, whole = bytes_text(self.tell()), bytes_text(self._path.stat().st_size)
            say(f"sending {self._path.name}: {done} of {whole}")
        return super().read(size) or b""


def _said_by(answer: httpx.Response) -> tuple[str, str]:
    """(code, what was said), fit to be shown."""
    try:
        error = answer.json()["error"]
        code, said = error.get("code") or "", error.get("message") or ""
    except (ValueError, KeyError, TypeError, AttributeError):
        code, said = "", answer.text
    return str(code), redact(" ".join(str(said).split()))[:300] or "no reason was given"


def _pause_s(answer: httpx.Response | None, attempt: int) -> float:
    asked = "" if answer is None else answer.headers.get("Retry-After", "")
    # 4 ** n: 1, 4, 16 s. A queue of hours behind the API is not hurried by asking more often.
    wanted = float(asked) if asked.isdecimal() else FIRST_PAUSE_S * 4 ** (attempt - 1)
    return min(wanted, MOST_PAUSE_S)
