"""run(tasks, fn): keyed tasks on Ray Data, on a pool of processes, or here. The only file that imports ray.

A task writes its own artifact and returns a small summary, so pixels never travel between processes. A task whose
worker died twice is split and redone, piece by piece, in a process that may be lost (the poison rule).
"""

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any

from imgprep.dataset.files import STARTED, Folder
from imgprep.engine import modules
from imgprep.words import say

DEATHS = 2  # of workers on one task, before it is redone piece by piece


@dataclass(frozen=True)
class Task:
    """A unit of work: a key that names it, and what the function needs to know (small, picklable)."""

    key: str
    payload: Any


@dataclass(frozen=True)
class Job:
    """How the tasks of one run are done.

    fn: Task -> summary (a small dict). split: Task -> tasks of one row each. failed: Task -> summary, for a piece
    that killed its process. folder: where the marks of started tasks are kept. once: fn loads a model, so each
    worker keeps one copy of it for the whole run (a Ray actor pool). threads: fn spends its time in libraries that
    release the GIL, so that without Ray threads of this process serve better than other processes.
    """

    fn: Callable[[Task], dict]
    split: Callable[[Task], list[Task]]
    failed: Callable[[Task], dict]
    folder: Folder
    run_id: str
    once: bool = False
    num_gpus: float = 0
    threads: bool = False


class Session:
    """The engine that stages use until it is closed. Starts nothing before the first task that is missing."""

    def __init__(self, engine: str, workers: int | None):
        if engine not in ("ray", "local"):
            raise ValueError(f"engine is 'ray' or 'local', not {engine!r}")
        if workers is not None and (not isinstance(workers, int) or workers < 0):
            raise ValueError(f"workers is a number of processes (0: run here), not {workers!r}")
        self.engine, self.workers = engine, workers

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        close()

    def __repr__(self) -> str:
        return f"imgprep session: {name()}, {workers()} workers"


_session: Session | None = None
_undertaker: subprocess.Popen | None = None
_pool: Any = None  # the processes of the local engine, kept from stage to stage


def session(engine: str = "ray", workers: int | None = None) -> Session:
    """Choose what computes from here on: "ray" (started when first needed) or "local" (a pool of processes).

    workers: processes; None: one per core; 0: no other process, for tests and debuggers.
    RAY_ADDRESS names a cluster to join instead of starting Ray on this machine.
    """
    global _session
    _session = Session(engine, workers)
    return _session


def close() -> None:
    """End the session: stop the processes that were started here. Does nothing when there are none."""
    global _session, _pool, _undertaker
    _session = None
    if _pool is not None:
        _pool.shutdown(wait=True, kill_workers=True)
        _pool = None
    if "ray" in sys.modules:
        import ray

        with _calm_stderr():
            ray.shutdown()
    if _undertaker is not None:
        _undertaker.communicate()
        _undertaker = None


atexit.register(close)


def name() -> str:
    """"ray", "local" or "inline": what `run` would use now."""
    if workers() == 0:
        return "inline"
    if _session:
        return _session.engine
    return "ray" if os.environ.get("RAY_ADDRESS") else "local"


def workers() -> int:
    """How many tasks run at once."""
    if _session and _session.workers is not None:
        return _session.workers
    if "ray" in sys.modules and os.environ.get("RAY_ADDRESS"):
        import ray

        if ray.is_initialized():
            return max(1, int(ray.cluster_resources().get("CPU", 1)))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start() -> None:
    """Start what takes long to start, so that the time which `run` takes is the time of the work."""
    if name() == "ray":
        start_ray()


def run(tasks: Sequence[Task], job: Job) -> Iterator[tuple[Task, dict]]:
    """Do the tasks, in any order; yields each with its summary, and in it `task_s`, as it is finished.

    A summary {"fatal": sentence} is a fault that is not the data's (a full disk, a wrong option): it raises
    RuntimeError, or ValueError when the user can mend it; an exception there is raised as it is. Closing the
    generator, or an interrupt, ends the work.
    """
    if not tasks:
        return
    engine = {"inline": _run_inline, "local": _run_threads if job.threads else _run_local, "ray": _run_ray}[name()]
    with contextlib.closing(engine(list(tasks), job)) as results:
        for task, summary in results:
            if isinstance(summary.get("fatal"), Exception):
                raise summary["fatal"]
            if summary.get("fatal"):
                raise (ValueError if summary.get("user") else RuntimeError)(summary["fatal"])
            yield task, summary


def _run_inline(tasks: list[Task], job: Job) -> Iterator[tuple[Task, dict]]:
    for task in tasks:
        yield task, _attempt(task, job.fn)


def _run_threads(tasks: list[Task], job: Job) -> Iterator[tuple[Task, dict]]:
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one task per core already
    pool = ThreadPoolExecutor(min(workers(), len(tasks)))
    try:
        futures = {pool.submit(_attempt, task, job.fn): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:  # what is in work ends by itself: the stop button does not wait for it
        pool.shutdown(wait=False, cancel_futures=True)
        cv2.setNumThreads(before)


def _run_local(tasks: list[Task], job: Job) -> Iterator[tuple[Task, dict]]:
    import loky

    global _pool
    left = {t.key: t for t in tasks}
    blobs, barren = _dumps(job), 0
    while left:
        pool = _pool = loky.get_reusable_executor(
            max_workers=min(workers(), len(tasks)), timeout=600, initializer=_start_worker, initargs=(os.getpid(),),
            env=dict(os.environ),  # a key that was set since ends the processes that do not know it
        )
        futures = {pool.submit(_work, pickle.dumps(t), *blobs): t for t in left.values()}
        before = len(left)
        try:
            for future in loky.as_completed(futures):
                summary = future.result()
                task = left.pop(futures[future].key)
                yield task, summary
        except loky.process_executor.BrokenProcessPool as e:
            # Every task that was running is suspect; their marks count the deaths, the loop submits them again.
            barren = barren + 1 if len(left) == before else 0
            if barren > 2 * DEATHS + 2:
                raise RuntimeError(f"the worker processes keep dying before they begin: {e}") from None
        except BaseException:  # the stop button, or the consumer went away: nothing goes on behind its back
            pool.shutdown(wait=False, kill_workers=True)
            raise


def _run_ray(tasks: list[Task], job: Job) -> Iterator[tuple[Task, dict]]:
    start_ray()
    import ray

    if not job.folder.remote and any(not _is_here(n) for n in ray.nodes() if n["Alive"]):
        raise ValueError(f"{job.folder.path} is a path of this machine, but the Ray cluster has others: use a URI")
    by_key = {t.key: t for t in tasks}
    blobs = _dumps(job)
    # One row = one task = one block: more than two rows in a block would wait for one another.
    rows = ray.data.from_items([{"task": pickle.dumps(t)} for t in tasks], override_num_blocks=len(tasks))
    if job.once:
        size = max(1, int(ray.cluster_resources().get("GPU", 0) / job.num_gpus)) if job.num_gpus else workers()
        pool = ray.data.ActorPoolStrategy(size=min(size, len(tasks)))
        done = rows.map(
            _Actor, fn_constructor_args=blobs, compute=pool, num_cpus=0 if job.num_gpus else 1, num_gpus=job.num_gpus
        )
    else:
        compute = None
        if not os.environ.get("RAY_ADDRESS"):
            # How many workers there are is known here. Ray Data finds out after a second, in which only one has work,
            # and it lets each of them wait for its next task, where a task may as well wait for a worker.
            rows.context.op_resource_reservation_enabled = False
            compute = ray.data.TaskPoolStrategy(size=min(2 * workers(), len(tasks)))
        done = rows.map(_on_ray, fn_args=blobs, num_cpus=1, compute=compute)
    for row in done.iter_rows():
        yield by_key[row["key"]], pickle.loads(row["summary"])


def _dumps(job: Job) -> tuple[bytes, bytes]:
    """The job without its function, and the function: to unpickle that, and import what it needs, may kill a worker.

    The user's own modules are in it: a worker that lives on would keep the code it has imported once.
    """
    import cloudpickle

    named = [(n, m) for n, m in list(sys.modules.items()) if getattr(m, "__name__", "") == n and n != "__main__"]
    own = [m for n, m in named if getattr(m, "__file__", None) and not modules.installed(n)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(replace(job, fn=None)), cloudpickle.dumps(job.fn)
    except Exception as e:
        told = f"the function cannot be sent to the workers ({e})"
        raise ValueError(f"{told}: make what it uses inside it, or in the __init__ of a class") from e
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _is_here(node: dict) -> bool:
    import socket

    return node["NodeManagerHostname"] == socket.gethostname()


class _Actor:
    """A Ray actor that keeps the job (and with it a loaded model) from task to task."""

    def __init__(self, *blobs: bytes):
        self.blobs = blobs

    def __call__(self, row: dict) -> dict:
        return _on_ray(row, *self.blobs)


def _on_ray(row: dict, *blobs: bytes) -> dict:
    summary = _work(row["task"], *blobs)
    return {"key": pickle.loads(row["task"]).key, "summary": pickle.dumps(summary)}


# In a worker ---------------------------------------------------------------------------------------------------------


_functions: dict[bytes, Callable] = {}  # the newest one: unpickled once per worker, not once per task


def _function(blob: bytes) -> Callable[[Task], dict]:
    if blob not in _functions:
        _functions.clear()
        _functions[blob] = pickle.loads(blob)
        _pin_threads()
    return _functions[blob]


def _work(task: bytes, job: bytes, fn: bytes) -> dict:
    return _guarded(pickle.loads(task), pickle.loads(job), fn)


def _alone(piece: bytes, fn: bytes) -> dict:
    return _attempt(pickle.loads(piece), fn)


def _start_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stop button reaches the whole group; the driver decides
    _pin_threads()
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _pin_threads() -> None:
    # One task per core already: threads inside a task would only get in each other's way.
    import cv2
    import pyarrow

    cv2.setNumThreads(1)
    pyarrow.set_cpu_count(1)


def _guarded(task: Task, job: Job, fn: bytes) -> dict:
    """Do a task; the mark it leaves while it runs is what counts the deaths of workers on it."""
    began = f"{job.run_id}.{task.key}"
    deaths = sum(m.startswith(began) for m in job.folder.list(STARTED))
    if deaths >= DEATHS:
        return _piece_by_piece(task, job, fn)
    mark = f"{STARTED}/{began}.{uuid.uuid4().hex[:8]}"
    job.folder.put(mark, b"")
    summary = _attempt(task, fn)
    job.folder.delete(mark)
    return summary


def _attempt(task: Task, fn: Callable[[Task], dict] | bytes) -> dict:
    began = time.monotonic()
    try:
        fn = _function(fn) if isinstance(fn, bytes) else fn
        return {**fn(task), "task_s": time.monotonic() - began}
    except ValueError as e:
        return {"fatal": str(e), "user": True}
    except Exception as e:
        return {"fatal": sentence(e)}


def sentence(error: BaseException) -> str:
    """A fault that is not the data's, for a person."""
    if isinstance(error, OSError) and error.errno == 28:
        return "no space left on the disk: free some and run again, finished work is kept"
    where = error.__traceback__
    while where and where.tb_next:
        where = where.tb_next
    at = f" ({os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno})" if where else ""
    return f"{type(error).__name__}: {error}{at}"


def _piece_by_piece(task: Task, job: Job, fn: bytes) -> dict:
    """The poison rule: every row in turn in a child that may die; the one it dies on is the culprit."""
    import loky

    total: dict[str, Any] = {}
    child = None
    try:
        for piece in job.split(task):
            child = child or loky.ProcessPoolExecutor(1, initializer=_start_worker, initargs=(os.getpid(),))
            try:
                summary = child.submit(_alone, pickle.dumps(piece), fn).result()
            except loky.process_executor.BrokenProcessPool:
                child, summary = None, job.failed(piece)
            if summary.get("fatal"):
                return summary
            total = merge(total, summary)
    finally:
        if child is not None:
            child.shutdown(kill_workers=True)
    return total


def merge(a: dict, b: dict) -> dict:
    """Two summaries as one: numbers add up, dicts of numbers too, lists are joined."""
    out = dict(a)
    for key, value in b.items():
        if isinstance(value, dict):
            out[key] = merge(out.get(key, {}), value)
        elif isinstance(value, int | float | list):
            out[key] = out[key] + value if key in out else value
        else:
            out[key] = value
    return out


# Ray -----------------------------------------------------------------------------------------------------------------


def start_ray() -> str:
    """Join or start Ray, quietly, unless this process has it already. Returns the cluster's address."""
    global _undertaker
    import logging

    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # `uv run` would ship the working directory
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # after the import: it sets its own level
    if not ray.is_initialized():
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        address = _shared_address() or os.environ.get("RAY_ADDRESS")
        if not address or address == "local":
            address = "local"  # never join a stranger's cluster by accident
            options.update(num_cpus=workers(), include_dashboard=False, object_store_memory=256 << 20)
            say("starting Ray: about 10 s")
            command = [sys.executable, "-c", _UNDERTAKER, os.path.dirname(ray.__file__)]
            _undertaker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        with _calm_stderr():
            try:
                ray.init(address=address, **options)
            except Exception:  # a busy machine may miss Ray's own deadline for its start
                ray.shutdown()
                ray.init(address=address, **options)
        if address == "local":
            _undertaker.stdin.write(b"up")
            _undertaker.stdin.flush()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray.get_runtime_context().gcs_address


# After a kill -9 of this process Ray's agents would stay for a minute. A child of ours, which looks at what Ray starts
# until Ray is up, ends them when the pipe to us closes, however that happens: Ray's programs, and no other child.
_UNDERTAKER = """
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


def _shared_address() -> str | None:
    """Ask the pipeline runner, where there is one, for the Ray that its notebooks share."""
    where = os.environ.get("IMGPREP_RAY")
    if not where:
        return None
    from multiprocessing.connection import Client

    with Client(where, authkey=os.environ.get("IMGPREP_RAY_KEY", "").encode()) as line:
        return line.recv()


@contextlib.contextmanager
def _calm_stderr() -> Iterator[None]:
    """Ray's C++ side writes to file descriptor 2 past Python; a start and a stop need no such lines."""
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
