"""Tasks on Ray Data; and how Ray is started, joined, shared and ended. Pixels never go through it."""

import logging
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Generator
from typing import Any

from imgprep.engine import worker
from imgprep.engine.modules import dumps
from imgprep.engine.session import at_close, current, workers
from imgprep.engine.task import Job, Summary, Task
from imgprep.quiet import silent_stderr
from imgprep.words import say

SETTINGS = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # `uv run` would ship the working directory
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
OBJECT_STORE_BYTES = 256 << 20  # enough for summaries
_undertaker: subprocess.Popen | None = None


def run_ray(tasks: list[Task], job: Job) -> Generator[tuple[Task, Summary | Exception]]:
    """One row = one task = one block: more rows in a block would wait for one another."""
    start_ray()
    import ray

    if not job.folder.remote and not _all_here(ray.nodes()):
        told = f"{job.folder.path} is a path of this machine, but the Ray cluster has others"
        raise ValueError(f"{told}: use a URI")
    by_key = {task.key: task for task in tasks}
    rows = [{"task": pickle.dumps(task)} for task in tasks]
    dataset = ray.data.from_items(rows, override_num_blocks=len(tasks))
    done = _on_actors(dataset, job, len(tasks)) if job.once else _on_tasks(dataset, job, len(tasks))
    for row in done.iter_rows():
        yield by_key[row["key"]], pickle.loads(row["done"])


def _on_actors(dataset: Any, job: Job, tasks: int) -> Any:
    """Each actor keeps a loaded model from task to task."""
    import ray

    size = workers()
    if job.num_gpus:
        size = max(1, int(ray.cluster_resources().get("GPU", 0) / job.num_gpus))
    return dataset.map(
        _Actor,
        fn_constructor_args=(dumps(worker.Orders.of(job)), dumps(job.fn)),
        compute=ray.data.ActorPoolStrategy(size=min(size, tasks)),
        num_cpus=0 if job.num_gpus else 1,
        num_gpus=job.num_gpus,
    )


def _on_tasks(dataset: Any, job: Job, tasks: int) -> Any:
    import ray

    compute = None
    if not os.environ.get("RAY_ADDRESS"):
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


def _all_here(nodes: list[dict[str, Any]]) -> bool:
    hosts = {node["NodeManagerHostname"] for node in nodes if node["Alive"]}
    return hosts <= {socket.gethostname()}


def start_ray() -> str:
    """Join or start Ray, quietly, unless this process has it already. Returns its address."""
    for setting, value in SETTINGS.items():
        os.environ.setdefault(setting, value)
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # after the import: it sets its own
    if not ray.is_initialized():
        address = _shared_address() or os.environ.get("RAY_ADDRESS")
        if address and address != "local":
            _init(address=address)
        else:
            _start_here()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray.get_runtime_context().gcs_address


def _start_here() -> None:
    global _undertaker
    import ray

    say("starting Ray: about 10 s")
    command = [sys.executable, "-c", UNDERTAKER, os.path.dirname(ray.__file__)]
    _undertaker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    _init(
        address="local",  # never join a stranger's cluster by accident
        num_cpus=workers(),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
    )
    assert _undertaker.stdin is not None
    _undertaker.stdin.write(b"up")
    _undertaker.stdin.flush()


def _init(**options: Any) -> None:
    import ray

    options |= {"log_to_driver": False, "logging_level": logging.ERROR}
    with silent_stderr():
        try:
            ray.init(**options)
        except Exception:  # a busy machine may miss Ray's own deadline for its start
            ray.shutdown()
            ray.init(**options)


def cluster_cpus() -> int:
    """Cores of the cluster that this process has joined; 0 where it has not."""
    if "ray" not in sys.modules:
        return 0
    import ray

    return int(ray.cluster_resources().get("CPU", 1)) if ray.is_initialized() else 0


@at_close
def stop_ray() -> None:
    """End or leave Ray, if this process has one."""
    global _undertaker
    if "ray" in sys.modules:
        import ray

        with silent_stderr():
            ray.shutdown()
    if _undertaker is not None:
        _undertaker.communicate()
        _undertaker = None


def _shared_address() -> str | None:
    """Ask the pipeline runner, where there is one, for the Ray that its notebooks share."""
    session = current()
    if not session.ray_socket:
        return None
    from multiprocessing.connection import Client

    with Client(session.ray_socket, authkey=session.ray_key.encode()) as line:
        return line.recv()


# After a kill -9 of this process Ray's agents would stay for a minute. A child of ours, which looks
# at what Ray starts until Ray is up, ends them when the pipe to us closes, however that happens:
# Ray's programs, and no other child.
UNDERTAKER = """
import os, select, sys, psutil
us, kin = psutil.Process(os.getppid()), {}
def is_of_ray(process):
    return any(word.startswith((sys.argv[1], "ray::")) for word in process.cmdline())
def look():
    for process in us.children(recursive=True):
        if process.pid != os.getpid() and is_of_ray(process):
            kin[process.pid] = process.create_time()
while not select.select([sys.stdin], [], [], 0.5)[0]:
    try:
        look()
    except psutil.Error:
        pass
sys.stdin.read()
for pid, born in kin.items():
    try:
        if psutil.Process(pid).create_time() == born:
            psutil.Process(pid).kill()
    except psutil.Error:
        pass
"""
