"""Passes before the rows of a stage: jobs over everything that is missing, in order.

A pass is data: what is to be done, the function that does it, what becomes of it. Each of its
tasks leaves a file, and what has left one is not done again: so each pass is resumable by itself.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from imgprep import engine, hashing
from imgprep.dataset.files import Folder
from imgprep.engine.progress import Progress, alongside, tell_while

TICK_S = 2.0


def same_state(state: Any) -> Any:
    return state


@dataclass(frozen=True)
class Pass:
    """One job over everything that is missing.

    tasks: state -> {file: payload}, the file being what the task leaves behind, last of all. fn:
    Task -> summary, as in engine.Job. lost: (Task, Loss) -> summary, leaves something behind for a
    task whose process was lost. reduce: state -> the state that the next pass sees; runs here, when
    all files are there.
    unit: what progress counts. once, num_gpus, threads, limits: as in engine.Job.
    """

    name: str
    tasks: Callable[[Any], dict[str, Any]]
    fn: Callable[[engine.Task], engine.Summary]
    lost: Callable[..., engine.Summary]
    reduce: Callable[[Any], Any] = same_state
    unit: str = "files"
    once: bool = False
    num_gpus: float = 0
    threads: bool = False
    limits: engine.Limits = engine.Limits()


def run_passes(
    passes: Sequence[Pass], given: list[Any], folder: Folder, *, stage: str, run_id: str
) -> Any:
    """Do the passes, one after the other; `given` is the first state. Returns the last one."""
    state: Any = given
    for one in passes:
        # Asked for each pass anew: what the one before decided may say which files there are to be.
        with tell_while(f"{stage}: {one.name}: looking what there is"):
            missing = _missing(folder, one.tasks(state))
        _run_pass(one, missing, folder, f"{stage}: {one.name}", f"{run_id}-{one.name}")
        with tell_while(f"{stage}: {one.name}: taking the files together"):
            state = one.reduce(state)
    return state


def _missing(folder: Folder, wanted: dict[str, Any]) -> list[engine.Task]:
    """A task for each file that is not there. A file that is wanted twice is made once."""
    there: set[str] = set()
    for home in {os.path.dirname(file) for file in wanted}:
        there.update(f"{home}/{name}" for name in folder.list(home))
    return [
        # The file's name as the key: a pass has no rows, and a file is what is there or is not.
        engine.Task(hashing.digest(file), payload)
        for file, payload in wanted.items()
        if file not in there
    ]


def _run_pass(one: Pass, tasks: list[engine.Task], folder: Folder, label: str, run_id: str) -> None:
    if not tasks:
        return
    job = engine.Job(
        fn=one.fn,
        split=_whole,
        failed=one.lost,
        folder=folder,
        run_id=run_id,
        once=one.once,
        num_gpus=one.num_gpus,
        threads=one.threads,
        limits=one.limits,
    )
    progress = Progress(label, len(tasks), one.unit)
    try:
        with _ticking(progress):
            for _, summary in engine.run(tasks, job):
                progress.update(1, summary.reasons, summary.task_s)
    finally:
        progress.close()


@contextlib.contextmanager
def _ticking(progress: Progress) -> Iterator[None]:
    """The line goes on while a task takes long: one file of a huge picture takes minutes."""

    def tick(over: threading.Event) -> None:
        while not over.wait(TICK_S):
            progress.update(0, {}, TICK_S)

    with alongside(tick):
        yield


def _whole(task: engine.Task) -> list[engine.Task]:
    """A task is no rows that could be done one by one."""
    return [task]
