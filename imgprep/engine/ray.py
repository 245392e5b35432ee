"""Tasks on Ray Data. Pixels never go through it."""

import pickle
from collections.abc import Generator
from typing import Any

from imgprep.engine import worker
from imgprep.engine.cluster import named_cluster, start_ray
from imgprep.engine.hosts import check_hosts
from imgprep.engine.modules import dumps
from imgprep.engine.session import at_once, workers
from imgprep.engine.task import Job, Summary, Task


def run_ray(tasks: list[Task], job: Job) -> Generator[tuple[Task, Summary | Exception]]:
    """One row = one task = one block: more rows in a block would wait for one another."""
    start_ray()
    check_hosts(job.folder)
    import ray

    # Summaries come in any order: the key says of which task.
    by_key = {task.key: task for task in tasks}
    # Pickled here, since Arrow would take a task apart into columns.
    rows = [{"task": pickle.dumps(task)} for task in tasks]
    dataset = ray.data.from_items(rows, override_num_blocks=len(tasks))
    done = _on_actors(dataset, job, len(tasks)) if job.once else _on_tasks(dataset, job, len(tasks))
    for row in done.iter_rows():
        yield by_key[row["key"]], pickle.loads(row["done"])


def _on_actors(dataset: Any, job: Job, tasks: int) -> Any:
    """Each actor keeps a loaded model from task to task."""
    import ray

    size = at_once(job.most)
    # As many actors as there are GPUs for, whatever the cores: more would wait for one for ever.
    if job.num_gpus:
        size = max(1, int(ray.cluster_resources().get("GPU", 0) / job.num_gpus))
    return dataset.map(
        _Actor,
        fn_constructor_args=(dumps(worker.Orders.of(job)), dumps(job.fn)),
        compute=_pool_of(min(size, tasks)),
        # num_cpus=0: on a machine with more GPUs than cores,
        # actors that ask for a core would not all start.
        num_cpus=0 if job.num_gpus else 1,
        num_gpus=job.num_gpus,
    )


def _pool_of(size: int) -> Any:
    """Actors for all cores. In a cluster fewer will do: a host may go, and its actors find no other
    place before some of the others, which have nothing more to do, are let go."""
    import ray

    if not named_cluster():
        return ray.data.ActorPoolStrategy(size=size)
    return ray.data.ActorPoolStrategy(min_size=1, max_size=size, initial_size=size)


def _on_tasks(dataset: Any, job: Job, tasks: int) -> Any:
    import ray

    compute = None
    if at_once(job.most) < workers() or (named_cluster() and job.most is not None):
        compute = ray.data.TaskPoolStrategy(size=min(at_once(job.most), tasks))
    elif not named_cluster():
        # How many workers there are is known here. Ray Data finds out after a second, in which
        # only one has work, and lets each wait for its next task, where a task may as well wait.
        dataset.context.op_resource_reservation_enabled = False
        compute = ray.data.TaskPoolStrategy(size=min(2 * workers(), tasks))
    blobs = (dumps(worker.Orders.of(job)), dumps(job.fn))
    return dataset.map(_work_row, fn_args=blobs, num_cpus=1, compute=compute)


class _Actor:
    def __init__(self, *blobs: bytes):
        self.blobs = blobs

    def __call__(self, row: dict[str, bytes]) -> dict[str, Any]:
        return _work_row(row, *self.blobs)


def _work_row(row: dict[str, bytes], orders: bytes, fn: bytes) -> dict[str, Any]:
    done = worker.work(row["task"], orders, fn)
    return {"key": pickle.loads(row["task"]).key, "done": pickle.dumps(done)}
