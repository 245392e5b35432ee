"""run(tasks, job): keyed tasks on Ray Data, on a pool of processes, in threads, or here."""

import contextlib
from collections.abc import Generator, Sequence

from imgprep.engine import local, ray
from imgprep.engine.cluster import RayMissing, foresee_ray, named_cluster, start_ray
from imgprep.engine.session import current, name, workers
from imgprep.engine.task import Job, Summary, Task
from imgprep.words import clock, say

# What a row takes, roughly, on one core. Wrong by a factor of three it still tells minutes from
# hours.
ROW_S = 0.02
MODEL_ROW_S = 0.3
WORTH_S = 600  # of work on all cores: beside it the start of Ray is nothing


def foresee(rows: int, *, once: bool = False) -> None:
    """So many rows will be missing: begin to start Ray,
    if it will be used, while that is planned.
    """
    if workers() and rows and _takes_ray(_estimate_s(rows, once=once)):
        foresee_ray()


def start(tasks: Sequence[Task] = (), job: Job | None = None) -> None:
    """Choose the engine, and start what takes long to start:
    then the time of `run` is the work's.
    """
    session = current()
    # A session that is on Ray stays there: its start is paid for.
    if workers() == 0 or session.chosen == "ray":
        return
    rows = sum(map(_rows_in, tasks))
    # Threads of one machine are the fastest for what they are made for.
    seconds = 0 if job is None or job.threads else _estimate_s(rows, once=job.once)
    if not _takes_ray(seconds):
        return
    if session.engine == "auto" and not named_cluster():
        say(f"about {clock(seconds)} of work: on Ray")
    try:
        start_ray()
        session.chosen = "ray"
    except RayMissing as e:
        say(f"Ray did not start ({e}): processes of this machine do the work")
        session.chosen = "local"
        # Not asked again: each stage would wait START_S for the same answer.
        session.has_ray = False


def _rows_in(task: Task) -> int:
    """How many rows a task is; what a pass is given is one thing, whatever it is made of."""
    given = task.payload
    return len(given) if isinstance(given, Sequence) and not isinstance(given, tuple | str) else 1


def _takes_ray(seconds: float) -> bool:
    """Does work that takes so long go to Ray, as the session has it?"""
    session = current()
    if session.engine == "local" or not session.has_ray:
        return False
    return session.engine == "ray" or bool(named_cluster()) or seconds >= WORTH_S


def _estimate_s(rows: int, *, once: bool) -> float:
    return rows * (MODEL_ROW_S if once else ROW_S) / workers()


def run(tasks: Sequence[Task], job: Job) -> Generator[tuple[Task, Summary]]:
    """Do the tasks, in any order; yields each with its summary as it is finished.

    What a task raises ends the run: a ValueError, or one of `failures.Told`, as it is; any other
    fault that is not the data's (a full disk) as a RuntimeError in one sentence. Closing the
    generator, or an interrupt, ends the work.
    """
    if not tasks:
        return
    start(tasks, job)
    # Closed also where the reader goes away or a task's fault is raised
    # below: else workers would go on with what nobody waits for.
    with contextlib.closing(_started(list(tasks), job)) as results:
        for task, done in results:
            if isinstance(done, Exception):
                raise done
            yield task, done


def _started(tasks: list[Task], job: Job) -> Generator[local.Done]:
    engine = name()
    if engine == "inline":
        return local.run_inline(tasks, job)
    if engine == "ray":
        return ray.run_ray(tasks, job)
    return local.run_threads(tasks, job) if job.threads else local.run_pool(tasks, job)
