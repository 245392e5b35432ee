"""Where work runs: run(tasks, job) on Ray Data, on a pool of processes, or here. Only it imports ray.

A task writes its own artifact and returns a small summary, so pixels never travel between processes.
"""

import atexit

from imgprep.engine.cluster import RayMissing, foresee_ray, start_ray
from imgprep.engine.run import foresee, run, start
from imgprep.engine.session import Session, close, current, name, session, workers
from imgprep.engine.task import Job, Summary, Task
from imgprep.engine.watch import Limits
from imgprep.engine.worker import beat
from imgprep.words import sentence

__all__ = [
    "Job",
    "Limits",
    "RayMissing",
    "Session",
    "Summary",
    "Task",
    "beat",
    "close",
    "current",
    "foresee",
    "foresee_ray",
    "name",
    "run",
    "sentence",
    "session",
    "start",
    "start_ray",
    "workers",
]

atexit.register(close)
