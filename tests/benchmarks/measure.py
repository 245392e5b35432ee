"""CPU time and memory of a process and all that it started; contestants run as processes of their own."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def tree_cpu_s() -> float:
    """CPU seconds, user and system, of this process and everything below it, the dead ones too."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])  # user, system, and both of the children that ended
        except psutil.Error:
            pass
    return total


class Peak:
    """`with Peak() as p:` p.mib: the most memory of this process and all below it, each shared page counted once."""

    def __enter__(self) -> "Peak":
        self.mib, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            total = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    pass
            self.mib = max(self.mib, total / 2**20)

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()


def busy_s() -> float:
    """CPU seconds that anything on this machine, and what it shares its cores with, has taken since it started."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


def measured(work: Callable[[], object]) -> dict[str, float]:
    """A call's wall and CPU seconds (of the whole tree), and what part of the machine's cores others took meanwhile."""
    cpu, busy, wall = tree_cpu_s(), busy_s(), time.perf_counter()
    work()
    cpu, busy, wall = tree_cpu_s() - cpu, busy_s() - busy, time.perf_counter() - wall
    return {"s": wall, "cpu_s": cpu, "others": max(0.0, busy - cpu) / wall / psutil.cpu_count()}


def child(*command: object, **environment: str) -> dict:
    """Run `python command` and return the JSON of the last line that it prints, with its whole wall and CPU time."""
    began, busy = time.perf_counter(), busy_s()
    env = ENVIRONMENT | environment
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    errors: list[bytes] = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()), daemon=True)
    reader.start()
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}\n{errors[0].decode()[-3000:]}")
    last = out.decode().strip().splitlines()[-1:]
    found = json.loads(last[0]) if last and last[0].startswith("{") else {}
    wall, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    others = max(0.0, busy_s() - busy - cpu) / wall / psutil.cpu_count()
    return {"whole_s": wall, "whole_cpu_s": cpu, "others": others} | found
