"""Worker processes that may be lost: a crash,
an endless loop or a hog costs its own request and no other.

Each process is held by one thread of the server, which waits for it with a deadline.
"""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from imgprep.serve.answers import Refusal
from imgprep.serve.parent import start_parent

# Above this a body goes by a file in memory: a full pipe would be handed over in small pieces.
BY_FILE_BYTES = 64 << 10
SHARED_MEMORY = "/dev/shm"
PR_SET_PDEATHSIG = 1  # of prctl(2)
MEMORY_BYTES = 4 << 30
# Of mallopt(3), and what a worker keeps of what it freed: the arrays of a picture of 12 Mpx.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEPT_BYTES = 32 << 20
Call = Callable[..., tuple[bytes, Any]]


def _child(line: Connection, setup: Callable[[], dict[str, Call]], memory_bytes: int) -> None:
    """The life of a worker: set up, then one call after another until the server hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides
    _end_with_server()
    _keep_freed_memory()
    # No core dumps: a picture that crashes a worker a thousand times would fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    calls = setup()
    # After the setup: what is loaded counts as well, and would be refused half way.
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    line.send_bytes(b"up")
    while True:
        try:
            name, options, path = line.recv()
            data = _taken(path) if path else line.recv_bytes()
        except EOFError:
            return
        body = b""
        try:
            body, facts = calls[name](data, **options)
            told = ("ok", facts)
        except MemoryError:
            told = ("too_much_memory", f"it takes more than {memory_bytes >> 20} MiB")
        except Exception as e:
            told = (getattr(e, "reason", "error"), _sentence(e))
        line.send(told)
        line.send_bytes(body)


def _end_with_server() -> None:
    """Be killed when the server is gone, also in the middle of an endless loop (Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent, which workers are forked from, ends when nobody holds its pipe any more. Each
    # worker is handed an end of it, to start processes of its own, which it never does.
    with contextlib.suppress(AttributeError, TypeError, OSError):
        server: Any = forkserver._forkserver  # type: ignore[attr-defined]
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None


def _keep_freed_memory() -> None:
    """Give up to 32 MiB back to the next picture, not to the system (glibc; elsewhere nothing).

    Else each picture gets its pages anew, two thousand for 12 Mpx: 5 of 60 CPU ms.
    """
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def _taken(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _sentence(error: Exception) -> str:
    text = str(error).strip().splitlines() or [""]
    if hasattr(error, "reason"):
        return text[0][:300]
    return f"{type(error).__name__}: {text[0][:300]}"


class Pool:
    """So many workers and a queue before them.

    setup: called in each worker, gives name -> function(data, **options) -> (bytes, facts);
    picklable.
    queue: calls that may wait; more are refused as busy. timeout_s: for one call, from its start.
    """

    def __init__(
        self,
        setup: Callable[[], dict[str, Call]],
        *,
        workers: int = 2,
        queue: int = 64,
        timeout_s: float = 20,
        memory_bytes: int = MEMORY_BYTES,
    ):
        self.setup = setup
        self.workers = workers
        self.room = workers + queue
        self.timeout_s = timeout_s
        self.memory_bytes = memory_bytes
        self.waiting = 0
        self.deaths = 0
        self.mean_s = 0.1  # of a call, for Retry-After
        start_parent()
        self._context = multiprocessing.get_context("forkserver")
        self._threads = ThreadPoolExecutor(workers, "imgprep-worker")
        self._mine = threading.local()
        self._alive: set[Any] = set()
        # All at once, each in its own thread: the barrier keeps one thread from starting two.
        together = threading.Barrier(workers)
        list(self._threads.map(lambda _: (together.wait(), self._worker()), range(workers)))

    def _worker(self) -> tuple[Any, Connection]:
        """This thread's process, started anew where it was lost."""
        held = getattr(self._mine, "worker", None)
        if held is not None and held[0].is_alive():
            return held
        here, there = self._context.Pipe()
        process = self._context.Process(
            target=_child, args=(there, self.setup, self.memory_bytes), daemon=True
        )
        process.start()
        # Else the child's end stays open here, and its death would be no end of file.
        there.close()
        here.recv_bytes()
        self._mine.worker = (process, here)
        self._alive.add(process)
        return self._mine.worker

    def _drop(self) -> None:
        process, line = self._mine.worker
        self._alive.discard(process)
        line.close()
        self._mine.worker = None
        self.deaths += 1

    def _call(
        self,
        name: str,
        data: bytes | bytearray,
        options: dict[str, Any],
        timeout_s: float,
        until: float,
    ) -> tuple[bytes, Any]:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise Refusal("busy", "it waited too long for a worker", retry_after_s=self.wait_s())
        began = time.monotonic()
        process, line = self._worker()
        try:
            with _handed(line, name, data, options):
                if not line.poll(timeout_s):
                    # kill: what hangs in C hears no polite word.
                    process.kill()
                    self._drop()
                    raise Refusal("timeout", f"it took longer than {timeout_s:g} s")
                status, facts = line.recv()
                body = line.recv_bytes()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            # For its exit code, which the sentence names.
            process.join(1)
            self._drop()
            told = f"the process died on it (exit code {process.exitcode})"
            raise Refusal("crashed", told) from None
        # A mean that forgets: Retry-After is of the load now.
        self.mean_s += 0.1 * (time.monotonic() - began - self.mean_s)
        if status != "ok":
            raise Refusal(status, facts)
        return body, facts

    def wait_s(self) -> float:
        """How long a new call would wait, about."""
        return self.waiting * self.mean_s / self.workers

    async def run(
        self, name: str, data: bytes | bytearray, *, timeout_s: float | None = None, **options: Any
    ) -> tuple[bytes, Any]:
        """Call a function in a worker.

        Refusal: busy, timeout, crashed, or the function's own reason.
        """
        if self.waiting >= self.room:
            raise Refusal("busy", "too many pictures at once", retry_after_s=self.wait_s())
        timeout_s = timeout_s or self.timeout_s
        # What waited twice its time is given up: its client has gone.
        until = time.monotonic() + 2 * timeout_s + self.wait_s()
        loop = asyncio.get_running_loop()
        self.waiting += 1
        try:
            given = (name, data, options, timeout_s, until)
            return await loop.run_in_executor(self._threads, self._call, *given)
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Wait for what is in work, then end the workers."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in [*self._alive]:
            process.kill()
            process.join(5)


@contextlib.contextmanager
def _handed(line: Connection, name: str, data: bytes | bytearray, options: dict[str, Any]) -> Any:
    """The call handed over; a large body by a file that goes when the call is done."""
    path = ""
    if len(data) > BY_FILE_BYTES:
        path = _shared(data)
    try:
        line.send((name, options, path))
        if not path:
            line.send_bytes(data)
        yield
    finally:
        if path:
            os.unlink(path)


def _shared(data: bytes | bytearray) -> str:
    """A file in memory with the body; "" where there is no room for it (containers have 64 MB)."""
    path = f"{SHARED_MEMORY}/imgprep-{os.getpid()}-{threading.get_ident()}"
    try:
        # 0o600: it is somebody's picture, in a folder that all users share.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        return ""
    return path
