"""Threads that nobody waits for: a request that hangs must not keep a run, or a process, from
ending."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

Submitted = tuple[Future, Callable[..., Any], tuple[Any, ...]]


class Threads:
    """A pool of threads for the time of a `with`; `submit` gives a Future.

    What is still under way at its end is left alone.
    """

    def __init__(self, threads: int):
        self._threads = threads
        self._jobs: queue.SimpleQueue[Submitted | None] = queue.SimpleQueue()

    def __enter__(self) -> "Threads":
        for _thread in range(self._threads):
            # daemon: a request that hangs must not keep the interpreter from ending.
            threading.Thread(target=self._work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in range(self._threads):
            self._jobs.put(None)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        future: Future = Future()
        self._jobs.put((future, function, arguments))
        return future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function, arguments = job
            try:
                future.set_result(function(*arguments))
            except BaseException as e:
                future.set_exception(e)
