"""In a worker: one task at a time, with a mark while it runs, and the rule for tasks that kill.

A task whose worker died twice is redone piece by piece, in a process that may be lost (the poison
rule): the piece it dies on is the culprit, and its row says so.
"""

import os
import pickle
import signal
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from imgprep.dataset.files import STARTED, Folder
from imgprep.engine.task import Job, Summary, Task
from imgprep.failures import Told
from imgprep.words import sentence

DEATHS = 2  # of workers on one task, before it is redone piece by piece


@dataclass(frozen=True)
class Orders:
    """What a worker knows of a job before its function: to unpickle that may be what kills it."""

    split: Callable[[Task], list[Task]]
    failed: Callable[[Task], Summary]
    folder: Folder
    run_id: str

    @staticmethod
    def of(job: Job) -> "Orders":
        return Orders(job.split, job.failed, job.folder, job.run_id)


def work(task: bytes, orders: bytes, fn: bytes) -> Summary | Exception:
    """Do one pickled task in this process, guarded. A fault comes back as what `run` raises."""
    return _guarded(pickle.loads(task), pickle.loads(orders), fn)


def attempt(task: Task, fn: Callable[[Task], Summary]) -> Summary | Exception:
    """Do one task; its summary with the time it took, or the fault."""
    began = time.monotonic()
    try:
        done = fn(task)
    except Exception as e:
        return portable(e)
    return replace(done, task_s=time.monotonic() - began)


def portable(error: Exception) -> Exception:
    """The error as it can be raised in another process: a user's mistake, or a fault in a sentence."""
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
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


_functions: dict[bytes, Callable[[Task], Summary]] = {}


def _unpickled(blob: bytes) -> Callable[[Task], Summary]:
    """The newest function: unpickled once per worker, not once per task."""
    if blob not in _functions:
        _functions.clear()
        _functions[blob] = pickle.loads(blob)
        pin_threads()
    return _functions[blob]


def _attempt_pickled(task: Task, fn: bytes) -> Summary | Exception:
    try:
        function = _unpickled(fn)
    except Exception as e:
        return portable(e)
    return attempt(task, function)


def _do_piece(piece: bytes, fn: bytes) -> Summary | Exception:
    return _attempt_pickled(pickle.loads(piece), fn)


def _guarded(task: Task, orders: Orders, fn: bytes) -> Summary | Exception:
    """The mark that a task leaves while it runs is what counts the deaths of workers on it."""
    began = f"{orders.run_id}.{task.key}"
    marks = [name for name in orders.folder.list(STARTED) if name.startswith(began)]
    if len(marks) >= DEATHS:
        return _piece_by_piece(task, orders, fn)
    mark = f"{STARTED}/{began}.{uuid.uuid4().hex[:8]}"
    orders.folder.put(mark, b"")
    done = _attempt_pickled(task, fn)
    orders.folder.delete(mark)
    return done


def _piece_by_piece(task: Task, orders: Orders, fn: bytes) -> Summary | Exception:
    """Every row in turn in a child that may die; the one it dies on is the culprit."""
    from loky.process_executor import BrokenProcessPool, ProcessPoolExecutor

    total = Summary()
    child: Any = None
    try:
        for piece in orders.split(task):
            if child is None:
                child = ProcessPoolExecutor(1, initializer=start_worker, initargs=(os.getpid(),))
            try:
                done = child.submit(_do_piece, pickle.dumps(piece), fn).result()
            except BrokenProcessPool:
                child = None
                done = orders.failed(piece)
            if isinstance(done, Exception):
                return done
            total = total + done
    finally:
        if child is not None:
            child.shutdown(kill_workers=True)
    return total
