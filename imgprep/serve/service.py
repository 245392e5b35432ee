"""A service: its operations, workers, store, records, keys. What every door calls."""

import asyncio
import functools
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

from imgprep.io.stores import Store
from imgprep.serve import operations, workers
from imgprep.serve.access import Access, keys_of
from imgprep.serve.answers import Refusal, Result
from imgprep.serve.fetching import fetched
from imgprep.serve.metrics import Metrics
from imgprep.serve.objects import Album
from imgprep.serve.records import open_records

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOGS = ("auto", "json", "short", "none")


@dataclass(frozen=True)
class Settings:
    """How a service runs. Secrets are named by the variables that hold them.

    out: the folder of records and store, where those are not named. keys_file, keys_env: lines
    name:role:sha256.
    upload_bytes: of an upload in pieces. source_roots: folders and URIs below which events may name
    sources.
    allow_hosts: hosts whose pictures `?url=` may name.
    secrets_env: the variable with the secrets that sign addresses, newest first, separated by
    spaces.
    steps: done with every upload that does not name others: ["denoise", {"fit": {"max_side":
    800}}].
    pictures: a folder whose pictures are put when it starts.
    detect: a detector of `models.Boxes`, as the operation `detect`.
    is_open: listen on a public address without keys.
    log: the lines of requests: json, short, none; auto is short on a terminal, json elsewhere.
    """

    out: str = "data/media"
    records: str | None = None
    store: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int | None = None
    queue: int = 64
    timeout_s: float = 20
    max_bytes: int = 20_000_000
    in_flight_bytes: int = 200_000_000
    keys_file: str | None = None
    keys_env: str | None = None
    secrets_env: str | None = None
    rate: float | None = None
    upload_bytes: int = 2_000_000_000
    source_roots: Sequence[str] = ()
    allow_hosts: Sequence[str] = ()
    grpc_port: int | None = None
    keep_metadata: bool = False
    steps: Sequence[Any] = ()
    pictures: str | None = None
    detect: str | None = None
    is_open: bool = False
    log: str = "auto"

    def check(self) -> None:
        """ValueError for a service that would stand open to the world, or lacks its pictures."""
        has_keys = bool(self.keys_file or self.keys_env)
        if self.host not in LOOPBACK and not has_keys and not self.is_open:
            told = f"{self.host} can be reached from elsewhere and there are no keys"
            raise ValueError(f"{told}: name keys_file or keys_env, or say open")
        if self.pictures is not None and not os.path.isdir(self.pictures):
            raise ValueError(f"pictures: {self.pictures!r} is no folder of this machine")
        if self.pictures is not None and "://" not in self.out:
            own = Path(self.out).resolve()
            given = Path(self.pictures).resolve()
            # What the service writes would be taken for pictures, or lie among a person's own.
            if own.is_relative_to(given) or given.is_relative_to(own):
                told = f"out {self.out!r} and the pictures {self.pictures!r} lie in each other"
                raise ValueError(f"{told}: name another out")
        if self.log not in LOGS:
            raise ValueError(f"log is one of {', '.join(LOGS)}, not {self.log!r}")


def _setup(blob: bytes) -> dict[str, Callable]:
    """In a worker: name -> what is called with the bytes.

    The functions come as cloudpickle has them.
    """
    import cv2

    from imgprep.serve.looking import file_looked_at, looked_at

    cv2.setNumThreads(1)  # one picture per core already
    functions = cloudpickle.loads(blob)
    calls: dict[str, Callable] = {"look": looked_at, "look_file": file_looked_at}
    for name, function in functions.items():
        calls[f"op:{name}"] = functools.partial(_compute, function)
    return calls


def _compute(function: Callable, data: bytes, **given: Any) -> tuple[bytes, str]:
    result = operations.compute(function, data, **given)
    return result.body, result.media_type


class Service:
    """Everything behind the doors. `start` and `close` belong to the process that holds it."""

    def __init__(self, settings: Settings, functions: Sequence[Callable] = ()):
        settings.check()
        self.settings = settings
        own = [operations.operation(f) for f in functions]
        if settings.detect:
            from imgprep.serve.detecting import detect_operation  # models are not everybody's

            own.append(detect_operation(settings.detect))
        self.operations = operations.builtin() | {one.name: one for one in own}
        # Without secrets of its own, what is signed holds until the process ends.
        signing = os.environ.get(settings.secrets_env or "", "").split() or [secrets.token_hex(32)]
        keys = keys_of(settings.keys_file, settings.keys_env)
        self.access = Access(keys, secrets=signing, rate=settings.rate)
        self.metrics = Metrics()
        self.is_stopping = False
        self.grpc_port = 0  # the one that was taken, while it listens

    def start(self) -> None:
        """Open records and store, start the workers: takes a second or two."""
        settings = self.settings
        # Pickled once: each worker gets the same bytes, and functions of a notebook have no module.
        blob = cloudpickle.dumps({n: o.function for n, o in self.operations.items()})
        self.records = open_records(settings.records or f"{settings.out}/media.db")
        self.store = Store(settings.store or f"{settings.out}/store")
        self.store.ready()
        self.pool = workers.Pool(
            functools.partial(_setup, blob),
            workers=settings.workers or os.cpu_count() or 1,
            queue=settings.queue,
            timeout_s=settings.timeout_s,
        )
        self.objects = Album(
            self.store, self.records, self.pool, keep_metadata=settings.keep_metadata
        )
        self.metrics.watch(
            "imgprep_waiting", "Calls in work and waiting", lambda: self.pool.waiting
        )
        self.metrics.watch("imgprep_worker_deaths", "Workers lost", lambda: self.pool.deaths)

    def close(self) -> None:
        """Finish what is in work."""
        self.pool.close()
        self.records.close()

    def operation(self, name: str) -> operations.Operation:
        """Refusal (no_such_operation) names those there are."""
        if name not in self.operations:
            known = ", ".join(self.operations)
            raise Refusal("no_such_operation", f"no operation {name!r}; there are: {known}")
        return self.operations[name]

    async def run(
        self,
        name: str,
        data: bytes | bytearray,
        options: dict[str, Any],
        format: str,
        quality: int | None,
    ) -> Result:
        """An operation on bytes: the same call behind every door."""
        self.operation(name)
        if not data:
            raise Refusal("empty", "there are no bytes")
        given: dict[str, Any] = {"options": options, "format": format, "quality": quality}
        body, media_type = await self.pool.run(f"op:{name}", data, **given)
        return Result(body, media_type)

    async def fetched(self, url: str) -> bytes:
        """The picture at a URL. Refusal unless its host is one of allow_hosts."""
        settings = self.settings
        ask = functools.partial(
            fetched,
            url,
            allow_hosts=tuple(settings.allow_hosts),
            max_bytes=settings.max_bytes,
            timeout_s=settings.timeout_s,
        )
        return await asyncio.to_thread(ask)

    async def listed(self, after: str, limit: int) -> list[dict[str, Any]]:
        return await asyncio.to_thread(
            functools.partial(self.records.list, kind="object", after=after, limit=limit)
        )

    async def state(self) -> dict[str, str]:
        """What readiness depends on: "ok" or what is wrong."""
        found = {"workers": "stopping" if self.is_stopping else "ok"}
        for name, ask in {
            # "-" is no id: the question is whether there is an answer.
            "records": lambda: self.records.get("-"),
            "store": lambda: self.store.find("-"),
        }.items():
            try:
                async with asyncio.timeout(5):
                    await asyncio.to_thread(ask)
                found[name] = "ok"
            except Exception as e:
                # The class alone: the sentence may hold an address.
                found[name] = f"{type(e).__name__}"
        return found
