"""One Ray for all kernels of a pipeline, started in this process when the first of them asks."""

import contextlib
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing.connection import Client, Listener

from imgprep.words import line

LONGEST_TMP = 70  # the path of a socket holds 107 characters at most


@contextlib.contextmanager
def shared_ray() -> Iterator[dict[str, str]]:
    """Yields the environment in which `imgprep.engine` asks for the address; stops Ray in the end.

    It is asked through a socket that only this user can open.
    """
    # Two locks: the folder is open to this user alone, and the key is known to these kernels only.
    key = secrets.token_hex(16)
    place = "/tmp" if len(tempfile.gettempdir()) > LONGEST_TMP else None
    with tempfile.TemporaryDirectory(prefix="imgprep-", dir=place) as folder:
        with Listener(os.path.join(folder, "ray"), "AF_UNIX", authkey=key.encode()) as listener:
            answering = _Answering(listener)
            try:
                yield _environment(str(listener.address), key)
            finally:
                answering.over.set()
                with contextlib.suppress(OSError, EOFError):
                    # wakes the thread
                    Client(str(listener.address), authkey=key.encode()).close()
                answering.join()


def _environment(address: str, key: str) -> dict[str, str]:
    asking = {"IMGPREP_RAY": address, "IMGPREP_RAY_KEY": key}
    if "RAY_ADDRESS" not in os.environ:
        # A Ray started here wants its token; who joins by an address is not told so by Ray itself.
        asking["RAY_AUTH_MODE"] = os.environ.get("RAY_AUTH_MODE", "token")
    return asking


class _Answering(threading.Thread):
    """Answers every kernel with the address, or why there is none; it is tried once."""

    def __init__(self, listener: Listener):
        super().__init__(daemon=True)
        self.listener = listener
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        from imgprep import engine

        found: dict[str, str] = {}
        while not self.over.is_set():
            # One at a time: the first kernel starts Ray, and the others wait for that one.
            with contextlib.suppress(OSError, EOFError), self.listener.accept() as kernel:
                if self.over.is_set():
                    break
                found = found or _started()
                kernel.send(found)
        # In this thread: Ray's processes die with the one that started them.
        engine.close()


def _started() -> dict[str, str]:
    from imgprep import engine

    try:
        return {"address": engine.start_ray(), "error": ""}
    except Exception as e:
        return {"address": "", "error": line(e)}
