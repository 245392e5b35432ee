"""run(tasks, job): keyed tasks on Ray Data, on a pool of processes, in threads, or here."""

import contextlib
from collections.abc import Generator, Sequence

from imgprep.engine import local, ray
from imgprep.engine.session import name
from imgprep.engine.task import Job, Summary, Task


def start() -> None:
    """Start what takes long to start, so that the time of `run` is the time of the work."""
    if name() == "ray":
        ray.start_ray()


def run(tasks: Sequence[Task], job: Job) -> Generator[tuple[Task, Summary]]:
    """Do the tasks, in any order; yields each with its summary as it is finished.

    What a task raises ends the run: a ValueError, or one of `failures.Told`, as it is; any other
    fault that is not the data's (a full disk) as a RuntimeError in one sentence. Closing the
    generator, or an interrupt, ends the work.
    """
    if not tasks:
        return
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
