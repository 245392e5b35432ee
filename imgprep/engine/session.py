"""Which engine computes and with how many workers; and what the pipeline runner asks of a kernel.

The environment is read here, once per session, and nowhere else.
"""

import os
from collections.abc import Callable

ENGINES = ("auto", "ray", "local")


class Session:
    """The engine that stages use until it is closed. Starts nothing before a task is missing.

    dry_run: stages only say what they would do, and write that to plan_file too. progress_file:
    where progress is written for the runner, line by line. ray_socket, ray_key: where the runner
    tells the address of the Ray that its notebooks share.
    """

    def __init__(self, engine: str = "auto", workers: int | None = None):
        if engine not in ENGINES:
            raise ValueError(f"engine is 'auto', 'ray' or 'local', not {engine!r}")
        is_number = isinstance(workers, int) and not isinstance(workers, bool) and workers >= 0
        if workers is not None and not is_number:
            raise ValueError(f"workers is a number of processes (0: run here), not {workers!r}")
        self.engine = engine
        self.chosen = ""  # what `run` came to use
        self.has_ray = True  # until it did not start
        self.workers = workers
        self.dry_run = bool(os.environ.get("IMGPREP_DRY_RUN"))
        self.plan_file = os.environ.get("IMGPREP_PLAN", "")
        self.progress_file = os.environ.get("IMGPREP_PROGRESS", "")
        self.ray_socket = os.environ.get("IMGPREP_RAY", "")
        self.ray_key = os.environ.get("IMGPREP_RAY_KEY", "")

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        close()

    def __repr__(self) -> str:
        return f"imgprep session: {name()}, {workers()} workers"


_current: Session | None = None
_closers: list[Callable[[], None]] = []


def session(engine: str = "auto", workers: int | None = None) -> Session:
    """Choose what computes from here on.

    engine: "local" is a pool of processes, "ray" is Ray, started when first needed. "auto" takes
        Ray where RAY_ADDRESS names a cluster or the work is worth Ray's start, else processes.
        Where Ray does not start on this machine, processes do the work.
    workers: processes; None: one per core; 0: no other process, for tests and debuggers.
    RAY_ADDRESS names a cluster to join instead of starting Ray on this machine.
    """
    global _current
    _current = Session(engine, workers)
    return _current


def current() -> Session:
    """The session in use; where none was opened, one that follows the environment."""
    global _current
    if _current is None:
        _current = Session()
    return _current


def at_close(end: Callable[[], None]) -> Callable[[], None]:
    """Name what ends an engine's processes; `close` calls it."""
    _closers.append(end)
    return end


def close() -> None:
    """End the session: stop the processes that were started here. Does nothing without any."""
    global _current
    _current = None
    for end in _closers:
        end()


def name() -> str:
    """What `run` used last, or would use for a small job now: "ray", "local" or "inline"."""
    # Asked first: with no workers no engine is used, whatever it is called.
    if workers() == 0:
        return "inline"
    if current().chosen:
        return current().chosen
    if current().engine == "auto":
        return "ray" if os.environ.get("RAY_ADDRESS") else "local"
    return current().engine


def workers() -> int:
    """How many tasks run at once."""
    wanted = current().workers
    if wanted is not None:
        return wanted
    if os.environ.get("RAY_ADDRESS"):
        from imgprep.engine.cluster import cluster_cpus

        return cluster_cpus() or cores()
    return cores()


def at_once(most: int | None) -> int:
    """How many tasks run at once of a job that may have so many at most; None: any number."""
    return workers() if most is None else min(workers(), most)


def cores() -> int:
    """How many cores this process may use."""
    # The cores that a container or taskset leaves us,
    # not those of the machine; macOS has no such call.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
