"""File descriptor 2 in silence, for libraries that write there past Python:
libtiff, and Ray's C++ side.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0  # how many blocks are silent now, in all threads
_kept_descriptor = -1  # where descriptor 2 went before the first of them


@contextmanager
def silent_stderr() -> Iterator[None]:
    """While the block lasts nothing of this process reaches descriptor 2, which all threads share.

    Blocks may overlap: the last one that ends gives the descriptor back. Does nothing where there
    is none.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _kept_descriptor
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        try:
            _kept_descriptor = os.dup(2)
        except OSError:  # closed, as a daemon has it
            _kept_descriptor = -1
            return
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside or _kept_descriptor < 0:
            return
        os.dup2(_kept_descriptor, 2)
        os.close(_kept_descriptor)
