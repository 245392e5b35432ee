"""Ray itself: started here, joined by its address, shared by the runner, ended without orphans."""

import logging
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from imgprep.engine.lean import end_half_started, lean_ray
from imgprep.engine.session import at_close, current, workers
from imgprep.quiet import silent_stderr
from imgprep.words import line, say

SETTINGS = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # `uv run` would ship the working directory
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
OBJECT_STORE_BYTES = 256 << 20  # enough for summaries
START_S = 90  # Ray gives up after 30 s, which on a busy machine are too few: it is tried twice
CONNECT_S = 5
ANSWER_S = 6  # both within the 15 s in which a wrong address is told


class RayMissing(RuntimeError):
    """Ray did not start on this machine. str(): why, in one line."""


def start_ray() -> str:
    """Join or start Ray, quietly, unless this process has it already. Returns its address.

    ValueError where RAY_ADDRESS does not lead to a cluster, RayMissing where none starts here.
    """
    ray = _imported()
    if not ray.is_initialized():
        address = _shared_address() or named_cluster()
        if address:
            check_cluster(address)
            _join(address)
        else:
            foresee_ray()
            # For mypy: without a named cluster and without a runner, a keeper was made.
            assert _keeper is not None
            _keeper.wait()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    joined = ray.get_runtime_context().gcs_address
    return str(joined)


def foresee_ray() -> None:
    """Begin to start Ray in the background, here or in the runner: there will be work for it."""
    global _keeper
    if named_cluster() or _keeper is not None:
        # Nothing of ours to start: joining a cluster takes no time worth hiding.
        return
    if current().ray_socket:
        threading.Thread(target=_wake_runner, daemon=True).start()
        return
    _keeper = _Keeper()
    _keeper.start()


def named_cluster() -> str:
    """The cluster that RAY_ADDRESS names, or "" for a Ray of our own."""
    address = os.environ.get("RAY_ADDRESS", "")
    # "local" is Ray's own word for "start one here", and no address.
    return "" if address == "local" else address


def cluster_cpus() -> int:
    """Cores of the cluster that this process has joined; 0 where it has not."""
    if "ray" not in sys.modules:
        return 0
    import ray

    return int(ray.cluster_resources().get("CPU", 1)) if ray.is_initialized() else 0


@at_close
def stop_ray() -> None:
    """End or leave Ray, if this process has one."""
    global _keeper
    if "ray" in sys.modules:
        import ray

        # Ray's shutdown tells of each process that it ends, and a notebook would show that in red.
        with silent_stderr():
            ray.shutdown()
    if _keeper is not None:
        _keeper.end()
        _keeper = None


def check_cluster(address: str) -> None:
    """ValueError, within seconds, unless a Ray answers at host:port and takes our token.

    Ray itself would try for minutes.
    """
    told = f"RAY_ADDRESS={address}"
    match = re.fullmatch(r"(.+):(\d+)", address)
    if not match or "://" in address:
        raise ValueError(f"{told}: give host:port of the cluster's head, such as 10.0.0.1:6379")
    try:
        # A plain socket first: Ray's client retries for minutes where nothing listens.
        socket.create_connection((match[1], int(match[2])), CONNECT_S).close()
    except (OSError, OverflowError) as e:
        fix = "start the cluster, or unset RAY_ADDRESS"
        raise ValueError(f"{told}: nothing answers there ({line(e)}): {fix}") from None
    asking = _Asking(address)
    asking.start()
    # In a thread that is left alone: the client has no timeout, and cannot be stopped either.
    asking.join(ANSWER_S)
    if asking.is_alive():
        raise ValueError(f"{told}: what listens there does not answer as Ray does")
    if "token" in asking.error.lower():
        fix = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the cluster's own"
        raise ValueError(f"{told}: the cluster does not take our token: {fix}")
    if asking.error:
        raise ValueError(f"{told}: what listens there is no Ray ({asking.error})")


class _Asking(threading.Thread):
    """One question to a cluster's head. error: why it has no answer for us."""

    def __init__(self, address: str):
        super().__init__(daemon=True)
        self.address = address
        self.error = ""

    def run(self) -> None:
        from ray._raylet import GcsClient  # type: ignore[attr-defined]

        try:
            with silent_stderr():
                GcsClient(address=self.address)
        except Exception as e:
            self.error = line(e)


class _Keeper(threading.Thread):
    """Starts Ray and stays while it is used: its processes die with the thread that began them."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="imgprep-ray")
        self.error = ""
        self._is_up = threading.Event()
        self._over = threading.Event()
        self._undertaker: subprocess.Popen[bytes] | None = None
        say("starting Ray: about 10 s")

    def wait(self) -> None:
        """Until it is up. RayMissing when it does not come."""
        if not self._is_up.wait(START_S):
            self.error = f"it was not up after {START_S} s"
        if self.error:
            raise RayMissing(self.error)

    def end(self) -> None:
        """Let it go, and those of its processes that are left."""
        self._over.set()
        # Briefly: the thread may be within ray.init, which
        # does not hear it; the undertaker ends the rest.
        self.join(1)
        if self._undertaker is not None:
            # Closes its stdin, which is what it waits for, and waits until it has looked.
            self._undertaker.communicate()

    def run(self) -> None:
        try:
            self._start_ray()
        except BaseException as e:  # Ray ends with SystemExit, too
            self.error = line(e)
        self._is_up.set()
        self._over.wait()

    def _start_ray(self) -> None:
        ray = _imported()
        command = [sys.executable, "-c", UNDERTAKER, os.path.dirname(ray.__file__)]
        # A session of its own, so that Ctrl-C, which
        # goes to our whole group, does not end it first.
        self._undertaker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        try:
            # Twice: on a busy machine Ray gives up on its own
            # processes, and the second try finds them warm.
            _init_here()
        except Exception:
            end_half_started(self._undertaker.pid)
            _init_here()
        stdin = self._undertaker.stdin
        assert stdin is not None
        stdin.write(b"up")
        stdin.flush()


_keeper: _Keeper | None = None


def _imported() -> Any:
    for setting, value in SETTINGS.items():
        # setdefault: what somebody set by hand is wanted.
        os.environ.setdefault(setting, value)
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # after the import: it sets its own
    return ray


def _join(address: str) -> None:
    try:
        _init(address=address)
    except Exception as e:
        raise ValueError(f"RAY_ADDRESS={address}: the cluster cannot be joined ({line(e)})") from e


def _init_here() -> None:
    with lean_ray():
        _init(
            address="local",  # never join a stranger's cluster by accident
            num_cpus=workers(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
        )


def _init(**options: Any) -> None:
    import ray

    with silent_stderr():
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        # A half-started Ray counts as initialized: the next try would be told so, and nothing else.
        except BaseException:
            with suppress(Exception):
                ray.shutdown()
            raise


def _wake_runner() -> None:
    with suppress(RayMissing, OSError, EOFError):
        _shared_address()


def _shared_address() -> str:
    """Ask the pipeline runner, where there is one, for the Ray that its notebooks share."""
    session = current()
    if not session.ray_socket:
        return ""
    from multiprocessing.connection import Client

    with Client(session.ray_socket, authkey=session.ray_key.encode()) as runner:
        found = runner.recv()
    if found["error"]:
        raise RayMissing(found["error"])
    return str(found["address"])


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
