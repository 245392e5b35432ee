"""Why a piece of work was given up: what can be known of how its process ended, alone with it.

Its own fault (a bad access, an abort, an exit) makes the piece `crashed`. A signal that only others
send (the system, out of memory; somebody) says nothing about it: `killed`, which the next run tries
again.
"""

import contextlib
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imgprep.engine.watch import Limits

# No fault in a program raises them: they come from outside.
SENT = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT}


@dataclass(frozen=True)
class Loss:
    """reason: a word of `failures.REASONS`. error: the sentence; "" where the stage has its own."""

    reason: str = "crashed"
    error: str = ""


CRASHED = Loss()


def loss_by_limit(word: str, limits: Limits) -> Loss:
    """Of a process that the watch ended."""
    if word == "took_too_long":
        return Loss(word, f"no result in timeout_s={limits.timeout_s:g}")
    return Loss(word, f"the process took more than max_memory_mb={limits.max_memory_mb}")


def loss_by_exit(code: int | None, *, out_of_memory: bool) -> Loss:
    """Of a process that ended with this code, as `multiprocessing` has it: -9 is signal 9.

    out_of_memory: did the system end processes for that meanwhile?
    """
    if code is None or -code not in SENT:
        return CRASHED
    name = signal.Signals(-code).name
    told = f"the process that worked on this was ended from outside ({name})"
    if out_of_memory and -code == signal.SIGKILL:
        told += ": the machine was out of memory"
    return Loss("killed", told)


def count_oom_kills() -> int:
    """How many processes the system ended because memory ran out; 0 where it does not say.

    Of this process's control group (a container has its own), else of the whole machine.
    """
    for path in (*_group_counters(), "/proc/vmstat"):
        with contextlib.suppress(OSError):
            found = re.search(r"^oom_kill (\d+)$", Path(path).read_text(), re.MULTILINE)
            if found:
                return int(found[1])
    return 0


def _group_counters() -> Iterator[str]:
    """Where a control group counts them: of version 1 and of version 2."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, group = line.split(":", 2)
            if kinds == "memory":
                yield f"/sys/fs/cgroup/memory{group}/memory.oom_control"
            elif not kinds:
                yield f"/sys/fs/cgroup{group}/memory.events"
