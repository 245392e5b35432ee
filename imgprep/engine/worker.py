"""In a worker: one task at a time, with a mark while it runs, and the rule for tasks that kill.

A task whose worker died twice is redone piece by piece, in a process that may be lost (the poison
rule): the piece it dies on is the culprit, and its row says so.
"""

import contextlib
import gc
import os
import pickle
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from imgprep.dataset.files import STARTED, Folder
from imgprep.engine.losses import Loss, count_oom_kills, loss_by_exit, loss_by_limit
from imgprep.engine.session import at_once
from imgprep.engine.task import Job, Summary, Task
from imgprep.engine.watch import Limits, Watch, noted
from imgprep.failures import Told
from imgprep.words import sentence

GC_OBJECTS = 20_000  # made since the last look for cycles, until the next
DEATHS = 2  # of workers on one task, before it is redone piece by piece


@dataclass(frozen=True)
class Orders:
    """What a worker knows of a job before its function: to unpickle that may be what kills it."""

    split: Callable[[Task], list[Task]]
    failed: Callable[..., Summary]
    folder: Folder
    run_id: str
    limits: Limits
    at_once: int  # tasks of this job, on all hosts

    @staticmethod
    def of(job: Job) -> "Orders":
        most = at_once(job.most)
        return Orders(job.split, job.failed, job.folder, job.run_id, job.limits, most)


def work(task: bytes, orders: bytes, fn: bytes) -> Summary | Exception:
    """Do one pickled task in this process, guarded. A fault comes back as what `run` raises."""
    global _at_once
    known: Orders = pickle.loads(orders)
    _at_once = known.at_once
    return _guarded(pickle.loads(task), known, fn)


_at_once = 1


def share() -> float:
    """This worker's part of what all workers of a job may do together."""
    return 1 / max(1, _at_once)


def attempt(task: Task, fn: Callable[[Task], Summary]) -> Summary | Exception:
    """Do one task; its summary with the time it took, or the fault."""
    began = time.monotonic()
    try:
        done = fn(task)
    except Exception as e:
        return portable(e)
    return replace(done, task_s=time.monotonic() - began)


def portable(error: Exception) -> Exception:
    """The error as it can be raised in another process:
    a user's mistake, or a fault in a sentence.
    """
    if isinstance(error, Told):
        return error
    if isinstance(error, ValueError):
        return ValueError(str(error))
    return RuntimeError(sentence(error))


def start_worker(parent: int) -> None:
    """How a process of the pool begins: it leaves decisions to the driver, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stop button reaches the whole group
    pin_threads()
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def pin_threads() -> None:
    """One thread per library: one task per core already, more would get in each other's way."""
    import cv2
    import pyarrow

    cv2.setNumThreads(1)
    pyarrow.set_cpu_count(1)


def _die_with(parent: int) -> None:
    # Asked, not told: Linux's PR_SET_PDEATHSIG fires when
    # the thread that forked ends, and macOS has none.
    while os.getppid() == parent:
        time.sleep(1)
    # Not sys.exit: in a thread that would end the thread alone.
    os._exit(1)


_functions: dict[bytes, Callable[[Task], Summary]] = {}


def _unpickled(blob: bytes) -> Callable[[Task], Summary]:
    """The newest function: unpickled once per worker, not once per task."""
    if blob not in _functions:
        # One at a time: the one before may hold a model.
        _functions.clear()
        _functions[blob] = pickle.loads(blob)
        # Here too, since Ray's workers do not begin with start_worker.
        pin_threads()
        # What is imported is looked through each time: 3 % of a download's work at the usual 700.
        gc.set_threshold(GC_OBJECTS)
    return _functions[blob]


def _attempt_pickled(task: Task, fn: bytes, limits: Limits, note: str) -> Summary | Exception:
    try:
        function = _unpickled(fn)
    except Exception as e:
        return portable(e)
    with _watched(limits, note):  # not before: to import what it needs is no picture's fault
        return attempt(task, function)


def _do_piece(piece: bytes, fn: bytes, limits: Limits, note: str) -> Summary | Exception:
    return _attempt_pickled(pickle.loads(piece), fn, limits, note)


_watch: Watch | None = None


@contextlib.contextmanager
def _watched(limits: Limits, note: str) -> Iterator[None]:
    """While it lasts, a picture that breaks a limit ends this process."""
    global _watch
    if not limits:
        yield
        return
    if _watch is None or _watch.limits != limits:
        _watch = Watch(limits)
    _watch.begin(note)
    try:
        yield
    finally:
        _watch.end()


def beat() -> None:
    """A result has come: the time of the next picture begins."""
    if _watch is not None:
        _watch.beat()


def _guarded(task: Task, orders: Orders, fn: bytes) -> Summary | Exception:
    """The mark that a task leaves while it runs is what counts the deaths of workers on it."""
    began = f"{orders.run_id}.{task.key}"
    # By the run's id: the marks of a run that was killed say nothing about this one's workers.
    marks = [name for name in orders.folder.list(STARTED) if name.startswith(began)]
    if len(marks) >= DEATHS:
        return _piece_by_piece(task, orders, fn)
    # A name for each attempt, so that two deaths leave two marks.
    mark = f"{STARTED}/{began}.{uuid.uuid4().hex[:8]}"
    orders.folder.put(mark, b"")
    with tempfile.TemporaryDirectory(prefix="imgprep-watch-") as elsewhere:
        # A note beside the mark is a second death: the task is redone piece by piece at once.
        note = os.path.join(elsewhere, "note") if orders.folder.remote else orders.folder.full(mark)
        done = _attempt_pickled(task, fn, orders.limits, note)
    # Not in a `finally`: a fault comes back as a value, so what skips this line is a death.
    orders.folder.delete(mark)
    return done


def _piece_by_piece(task: Task, orders: Orders, fn: bytes) -> Summary | Exception:
    """Every row in turn in a child that may die; the one it dies on is the culprit."""
    total = Summary()
    with tempfile.TemporaryDirectory(prefix="imgprep-watch-") as notes:
        with contextlib.closing(_Child(fn, orders.limits)) as child:
            for number, piece in enumerate(orders.split(task)):
                note = os.path.join(notes, str(number))
                done = child.do(piece, note)
                if isinstance(done, Loss):
                    done = orders.failed(piece, done)
                if isinstance(done, Exception):
                    return done
                total = total + done
    return total


class _Child:
    """A process that may be lost: the next piece gets a new one."""

    def __init__(self, fn: bytes, limits: Limits):
        self.fn = fn
        self.limits = limits
        self._pool: Any = None

    def do(self, piece: Task, note: str) -> Summary | Exception | Loss:
        """What came of the piece; a Loss where the process died on it."""
        from loky.process_executor import BrokenProcessPool, ProcessPoolExecutor

        if self._pool is None:
            # Made anew after each death: loky's pool never works again once a process of it broke.
            start = {"initializer": start_worker, "initargs": (os.getpid(),)}
            self._pool = ProcessPoolExecutor(1, **start)
        killed_before = count_oom_kills()
        processes: list[Any] = []
        try:
            job = self._pool.submit(_do_piece, pickle.dumps(piece), self.fn, self.limits, note)
            processes = list(self._pool._processes.values())
            done: Summary | Exception = job.result()
            return done
        except BrokenProcessPool:
            self._pool = None
        word = noted(note)
        if word:
            return loss_by_limit(word, self.limits)
        code = processes[0].exitcode if processes else None
        return loss_by_exit(code, out_of_memory=count_oom_kills() > killed_before)

    def close(self) -> None:
        if self._pool is not None:
            # Not asked politely: the picture that is worked on may hang in a C library.
            self._pool.shutdown(kill_workers=True)
