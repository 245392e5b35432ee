"""Where work runs: run(tasks, job) on Ray Data, on a pool of processes, or here.

Only it imports ray.

A task writes its own artifact and returns a small summary, so pixels never travel between
processes.
"""

import atexit

from imgprep.engine.cluster import RayMissing, foresee_ray, start_ray
from imgprep.engine.hosts import check_hosts
from imgprep.engine.losses import CRASHED, Loss
from imgprep.engine.run import foresee, run, start
from imgprep.engine.session import Session, close, current, name, session, workers
from imgprep.engine.task import Job, Summary, Task
from imgprep.engine.watch import PICTURE_TIMEOUT_S, Limits
from imgprep.engine.worker import beat, share
from imgprep.words import sentence

__all__ = [
    "CRASHED",
    "PICTURE_TIMEOUT_S",
    "Job",
    "Limits",
    "Loss",
    "RayMissing",
    "Session",
    "Summary",
    "Task",
    "beat",
    "check_hosts",
    "close",
    "current",
    "foresee",
    "foresee_ray",
    "name",
    "run",
    "sentence",
    "session",
    "share",
    "start",
    "start_ray",
    "workers",
]

atexit.register(close)
