"""Tasks on this machine without Ray: here, in threads, or in a pool of processes."""

import contextlib
import os
import pickle
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from imgprep.engine import worker
from imgprep.engine.modules import dumps
from imgprep.engine.session import at_close, at_once
from imgprep.engine.task import Job, Summary, Task

Done = tuple[Task, Summary | Exception]
_pool: Any = None  # kept from stage to stage


def run_inline(tasks: list[Task], job: Job) -> Generator[Done]:
    """One after another, in this process."""
    for task in tasks:
        yield task, worker.attempt(task, job.fn)


def run_threads(tasks: list[Task], job: Job) -> Generator[Done]:
    """In threads of this process, for work that releases the GIL."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one task per core already
    pool = ThreadPoolExecutor(min(at_once(job.most), len(tasks)))
    try:
        futures = {pool.submit(worker.attempt, task, job.fn): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:  # what is in work ends by itself: the stop button does not wait for it
        pool.shutdown(wait=False, cancel_futures=True)
        cv2.setNumThreads(before)


def run_pool(tasks: list[Task], job: Job) -> Generator[Done]:
    """In a pool of processes. When one dies all that were running are begun again."""
    from loky.process_executor import BrokenProcessPool

    left = {task.key: task for task in tasks}
    orders = dumps(worker.Orders.of(job))
    fn = dumps(job.fn)
    # No more processes than tasks: each has its imports to pay for.
    size = min(at_once(job.most), len(tasks))
    # Tasks that kill are told by their marks after
    # DEATHS, so this counts only pools that never worked.
    barren = 0  # how often in a row the pool broke and nothing was done
    while left:
        before = len(left)
        try:
            todo = _submitted(list(left.values()), orders, fn, size)
            with contextlib.closing(todo) as results:
                for task, done in results:
                    del left[task.key]
                    yield task, done
        except BrokenProcessPool as e:
            # Every task that was running is suspect: their marks count the deaths.
            barren = barren + 1 if len(left) == before else 0
            if barren > 2 * worker.DEATHS + 2:
                told = "the worker processes keep dying before they begin"
                raise RuntimeError(f"{told}: {e}") from None


def _submitted(tasks: list[Task], orders: bytes, fn: bytes, size: int) -> Generator[Done]:
    import loky

    global _pool
    pool = _pool = loky.get_reusable_executor(
        max_workers=size,
        timeout=600,
        initializer=worker.start_worker,
        initargs=(os.getpid(),),
        # A key that was set since ends the processes that do not know it. One thread each, as Ray
        # has it: a picture per core already, and sums of other threads differ in their last digit.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    futures = {pool.submit(worker.work, pickle.dumps(task), orders, fn): task for task in tasks}
    try:
        for future in loky.as_completed(futures):
            yield futures[future], future.result()
    # Seen before BaseException: the pool is broken already, and run_pool begins again.
    except loky.process_executor.BrokenProcessPool:
        raise
    except BaseException:  # the stop button, or the consumer went away: nothing goes on unseen
        pool.shutdown(wait=False, kill_workers=True)
        raise


@at_close
def stop_pool() -> None:
    """End the processes, if there are any."""
    global _pool
    if _pool is not None:
        # wait=True: what a test or a notebook does next
        # must not meet processes that are still ending.
        _pool.shutdown(wait=True, kill_workers=True)
        _pool = None
