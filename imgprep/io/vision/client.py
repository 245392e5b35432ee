"""Asking a vision model about pictures: live, within its limits,
with every answer kept so that none is paid twice.
"""

import asyncio
import copy
import hashlib
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from imgprep.failures import known_reason
from imgprep.io.vision.answers import KeptAnswers, Linked, Said, data_url, without_secrets
from imgprep.io.vision.limits import MINUTE_S, Allowance
from imgprep.io.vision.prompt import Prompt
from imgprep.redaction import redact

PICTURE_TOKENS = (
    255  # of 512 pixels in low detail, as most services count; only the limits depend on it
)
STOPS = {
    401: "the service does not take the key",
    403: "the key may not use this model",
    404: "the service has no such model or address",
}


class _Stopped(Exception):
    """Nothing else will be answered either."""


class Vision:
    """A model behind an address, and how it is to be asked.

    base_url: "https://api.openai.com/v1", Azure's, or a local server's. key_env: the NAME of the
    variable that holds the key; None where there is none. requests_per_minute, tokens_per_minute:
    the service's limits. max_tokens_total: a run stops asking before it spends more. cache: an
    SQLite file with all answers. body: more of the request, or {"temperature": None} to leave a key
    out; newer models want {"max_tokens": None, "max_completion_tokens": 300}.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_env: str | None = "OPENAI_API_KEY",
        requests_per_minute: float = 500,
        tokens_per_minute: float = 200_000,
        max_tokens: int = 120,
        max_tokens_total: int | None = None,
        at_once: int = 16,
        attempts: int = 5,
        timeout_s: float = 60,
        body: dict[str, Any] | None = None,
        cache: str | Path | None = None,
        window_s: float = MINUTE_S,
    ):
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url is the http(s) address of the service, not {base_url!r}")
        if key_env is not None and not os.environ.get(key_env):
            raise ValueError(f"the variable {key_env} is not set: it holds the key of the service")
        self.url, self.model, self.key_env = base_url.rstrip("/"), model, key_env
        self.max_tokens, self.max_tokens_total = max_tokens, max_tokens_total
        self.at_once, self.attempts, self.timeout_s = at_once, attempts, timeout_s
        self.body, self.cache = dict(body or {}), cache
        self._limits = requests_per_minute, tokens_per_minute, window_s
        self.sent = self.refused = self.tokens_in = self.tokens_out = 0

    def version(self, prompt: Prompt) -> str:
        """Of a prompt as this model is asked it: tags carry it, and an answer is kept for it."""
        return prompt.version(self.model, self._asked(prompt))

    def estimate(
        self, prompt: Prompt, pictures: int, prices: Sequence[float] = (0, 0)
    ) -> dict[str, float]:
        """Tokens and USD of so many pictures, before a run.

        Prices: USD per million tokens, in and out.
        """
        tokens_in = pictures * (PICTURE_TOKENS + len(prompt.text) // 4 + _words_tokens(prompt))
        tokens_out = pictures * 30
        usd = (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6
        return {"pictures": pictures, "tokens_in": tokens_in, "tokens_out": tokens_out, "usd": usd}

    def ask(
        self,
        prompt: Prompt,
        pictures: Sequence[bytes | Linked],
        *,
        tell: Callable[[int], None] | None = None,
    ) -> list[Said]:
        """The answer for each picture (encoded JPEG, PNG or WebP; or a link), in their order.

        A picture that was asked before, in the same words, costs nothing. ValueError where nothing
        can be answered: a wrong key, an unknown model, a quota that is used up; what was answered
        until then is kept.
        """
        run = _Run(self, prompt)
        try:
            # Notebooks have a loop of their own in this thread.
            with ThreadPoolExecutor(1) as thread:
                return thread.submit(lambda: asyncio.run(run.all(pictures, tell))).result()
        except _Stopped as e:
            raise ValueError(str(e)) from None
        finally:
            run.close()

    def _asked(self, prompt: Prompt) -> dict[str, Any]:
        """The request but for model and messages."""
        whole = {
            "temperature": 0,
            "max_tokens": self.max_tokens,
            "response_format": prompt.schema(),
            **self.body,
        }
        return {key: value for key, value in whole.items() if value is not None}


def _words_tokens(prompt: Prompt) -> int:
    return sum(len(word) // 4 + 2 for words in prompt.vocabulary.values() for word in words)


class _Run:
    """One call of `Vision.ask`."""

    def __init__(self, vision: Vision, prompt: Prompt):
        self._vision = vision
        # Of its own: whoever edits theirs meanwhile does not change what is being asked.
        self._prompt = prompt = copy.deepcopy(prompt)
        self._version, self._asked = vision.version(prompt), vision._asked(prompt)
        self._kept = KeptAnswers(vision.cache)
        self._need = PICTURE_TOKENS + len(prompt.text) // 4 + vision.max_tokens
        self._spent = self._promised = 0
        self._paused_until = 0.0
        self._once: dict[str, asyncio.Lock] = {}

    def close(self) -> None:
        self._kept.close()

    async def all(
        self, pictures: Sequence[bytes | Linked], tell: Callable[[int], None] | None
    ) -> list[Said]:
        requests, tokens, window_s = self._vision._limits
        self._requests = Allowance(requests, window_s=window_s)
        self._tokens = Allowance(tokens, window_s=window_s)
        gate, done = asyncio.Semaphore(self._vision.at_once), 0
        limits = httpx.Limits(max_connections=self._vision.at_once)
        async with httpx.AsyncClient(timeout=self._vision.timeout_s, limits=limits) as client:

            async def one(data: bytes | Linked) -> Said:
                nonlocal done
                async with gate:
                    answer = await self._answer(client, data)
                done += 1
                if tell:
                    tell(done)
                return answer

            tasks = [asyncio.ensure_future(one(data)) for data in pictures]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

    async def _answer(self, client: httpx.AsyncClient, data: bytes | Linked) -> Said:
        sha = data.sha256 if isinstance(data, Linked) else hashlib.sha256(data).hexdigest()
        # The same picture twice is asked once.
        async with self._once.setdefault(sha, asyncio.Lock()):
            known = self._kept.get(sha, self._version)
            if known is not None:
                return known
            answer = without_secrets(await self._asked_often(client, data))
            # A refusal is an answer, and paid for; a timeout is none.
            if answer.status == "ok" or answer.reason == "declined":
                self._kept.put(sha, self._version, answer)
            return answer

    async def _asked_often(self, client: httpx.AsyncClient, data: bytes | Linked) -> Said:
        vision, last = self._vision, Said("failed", "error", "never asked")
        for attempt in range(vision.attempts):
            if vision.max_tokens_total is not None:
                if self._spent + self._promised + self._need > vision.max_tokens_total:
                    told = (
                        f"{self._spent:,} tokens are spent, of {vision.max_tokens_total:,} allowed"
                    )
                    return Said("failed", known_reason("out_of_budget"), told)
            # Promised before it is sent: sixteen at once would each see the budget that is left.
            self._promised += self._need
            try:
                last, wait_s = await self._once_asked(client, data)
            finally:
                self._promised -= self._need
            if wait_s is None:
                return last
            # With jitter, so that what was refused together does not come back together.
            await asyncio.sleep(wait_s * 2**attempt * random.random())
        return last

    async def _once_asked(
        self, client: httpx.AsyncClient, data: bytes | Linked
    ) -> tuple[Said, float | None]:
        """An answer, and how long to wait before asking again; None where it is final."""
        # Tokens first: a request that waits for them must not hold a place among the requests.
        tokens, request = await self._tokens.take(self._need), await self._requests.take(1)
        try:
            # Again after each sleep, as another answer may have asked for a longer pause.
            while (left := self._paused_until - time.monotonic()) > 0:
                await asyncio.sleep(left + random.random() * 0.1)
            self._vision.sent += 1
            url = f"{self._vision.url}/chat/completions"
            response = await client.post(url, json=self._body(data), headers=self._headers())
        except httpx.TimeoutException:
            return Said("failed", "timeout", "the service did not answer in time"), 0.5
        except httpx.HTTPError as e:
            return Said(
                "failed", "reset", f"the connection to the service failed ({type(e).__name__})"
            ), 0.5
        finally:
            self._tokens.answered(tokens)
            self._requests.answered(request)
        if response.status_code != 200:
            return self._failed(response)
        return self._read(response)

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self._vision.key_env or "", "")
        return {"Authorization": f"Bearer {key}", "api-key": key} if key else {}

    def _body(self, data: bytes | Linked) -> dict[str, Any]:
        url = data.url if isinstance(data, Linked) else data_url(data)
        picture = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
        # The text first: services keep what many requests begin with.
        messages = [
            {"role": "system", "content": self._prompt.text},
            {"role": "user", "content": [picture]},
        ]
        return {**self._asked, "model": self._vision.model, "messages": messages}

    def _failed(self, response: httpx.Response) -> tuple[Said, float | None]:
        code, said = response.status_code, _error_of(response)
        if code == 429 and said.get("code") != "insufficient_quota":
            self._vision.refused += 1
            # Azure says milliseconds; without both a second.
            wait_s = float(response.headers.get("retry-after-ms", 0)) / 1000
            wait_s = wait_s or float(response.headers.get("retry-after", 1))
            self._paused_until = max(self._paused_until, time.monotonic() + wait_s)  # for all
            return Said("failed", "http_429", "the service's limit was reached"), 0.05
        message = self._without_key(" ".join(str(said.get("message") or "").split()))[:200]
        if code == 429:
            raise _Stopped(f"the service's quota is used up: {message}")
        if code in STOPS:
            variable = f" (its variable is {self._vision.key_env})" if code in (401, 403) else ""
            raise _Stopped(f"{STOPS[code]}{variable}: {message}")
        if code == 400 and said.get("code") == "content_filter":
            return Said("failed", "declined", message), None
        again = code >= 500 or code == 408
        return Said("failed", f"http_{code}", message), 0.5 if again else None

    def _without_key(self, text: str) -> str:
        """Services quote the key they refuse, and the link they cannot read."""
        key = os.environ.get(self._vision.key_env or "", "")
        return redact(text.replace(key, "…") if key else text)

    def _read(self, response: httpx.Response) -> tuple[Said, float | None]:
        try:
            whole = response.json()
            choice, usage = whole["choices"][0], whole.get("usage") or {}
            message = choice["message"]
        except (ValueError, KeyError, IndexError, TypeError):
            return Said("failed", "no_json", "the service did not answer in OpenAI's shape"), 0.5
        tokens: dict[str, Any] = {
            "tokens_in": usage.get("prompt_tokens") or 0,
            "tokens_out": usage.get("completion_tokens") or 0,
        }
        self._spent += sum(tokens.values())
        self._vision.tokens_in += tokens["tokens_in"]
        self._vision.tokens_out += tokens["tokens_out"]
        if message.get("refusal") or choice.get("finish_reason") == "content_filter":
            told = message.get("refusal") or "the answer was filtered (content_filter)"
            return Said("failed", "declined", told[:200], **tokens), None
        try:
            words, left_out = self._prompt.words_of(message.get("content") or "")
        except ValueError as e:
            return Said("failed", "no_json", str(e)[:200], **tokens), 0.2
        return Said("ok", words=words, left_out=left_out, **tokens), None


def _error_of(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json().get("error")
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {"message": found}
