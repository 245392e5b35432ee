"""One run at a time in a folder: a file lock here, a lease on an object store."""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import filelock

from imgprep.dataset.files import PRIVATE, Folder
from imgprep.words import say

LOCK = f"{PRIVATE}/lock"
LEASE_S = 120.0


@contextlib.contextmanager
def hold(folder: Folder) -> Iterator[None]:
    """One run at a time in a folder; a second one says that it waits."""
    if folder.remote:
        # Looked at first, so that a run which has to wait can say so.
        lock: Any = Lease(folder)
        is_free = lock.acquire(wait=False)
    else:
        os.makedirs(folder.full(PRIVATE), exist_ok=True)
        lock = filelock.FileLock(folder.full(LOCK))
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=0)
        is_free = lock.is_locked
    if not is_free:
        say(f"another run is working on {folder.path}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Lease:
    """The right to work in a folder on a store: an object there, renewed while its run lives.

    A run that died leaves it behind. It is taken over when it was not renewed for LEASE_S, at once where the process
    was one of this machine. A store without conditional PUTs lets everyone in.
    """

    def __init__(self, folder: Folder):
        self._folder, self._over, self._renewed = folder, threading.Event(), 0
        self._mine = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"

    def acquire(self, *, wait: bool = True) -> bool:
        """True when it is ours; False while another run has it and we are not to wait."""
        seen: bytes | None = None
        since = time.monotonic()
        while not self._put(mode="create"):
            there = self._folder.get(LOCK)
            # By what stands there, not by its time: clocks of
            # hosts differ, and a store's times are coarse.
            if there != seen:
                seen, since = there, time.monotonic()
            if there and (self._is_dead(there) or time.monotonic() - since > LEASE_S):
                # Asked again: between the two looks its owner may have renewed it.
                if self._folder.get(LOCK) == there:
                    self._remove()
            elif not wait:
                return False
            else:
                time.sleep(1)
        threading.Thread(target=self._renew, daemon=True).start()
        return True

    def release(self) -> None:
        self._over.set()
        with contextlib.suppress(Exception):  # where the store is away, it ends by itself
            self._remove()

    def _put(self, mode: str) -> bool:
        fs, root = self._folder.filesystem()
        try:
            fs.pipe_file(f"{root}/{LOCK}", f"{self._mine} {self._renewed}".encode(), mode=mode)
        except FileExistsError:
            return False
        return True

    def _remove(self) -> None:
        fs, root = self._folder.filesystem()
        with contextlib.suppress(FileNotFoundError):
            fs.rm_file(f"{root}/{LOCK}")

    def _renew(self) -> None:
        # Four chances within LEASE_S: one PUT that fails does not lose it.
        while not self._over.wait(LEASE_S / 4):
            self._renewed += 1
            with contextlib.suppress(Exception):  # a store that is away for a moment
                self._put(mode="overwrite")

    @staticmethod
    def _is_dead(there: bytes) -> bool:
        import psutil

        words = there.decode("utf-8", "replace").split()
        host, pid = (*words, "", "")[:2]
        is_here = host == socket.gethostname() and pid.isdecimal()
        # A process id says something about this machine alone.
        return is_here and not psutil.pid_exists(int(pid))
