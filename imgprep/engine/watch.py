"""A process beside a worker that ends it when one picture takes too long, or too much memory.

A thread would not do: a function in a C library may hold the GIL, and a worker may be stopped.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass

PICTURE_TIMEOUT_S = 600.0  # unless told otherwise; a model may take minutes to load
# The watcher is woken for each result, which cost as much as a small picture. So it is told of one
# in a while only, and waits that much longer before it ends anything.
BEAT_S = 0.1
WORDS = ("took_too_long", "too_much_memory")  # reasons; also the endings of what is noted


@dataclass(frozen=True)
class Limits:
    """Of one picture, or of one batch. timeout_s: from one result to the next. max_memory_mb: of
    the whole process, in MiB, with the libraries that it has loaded. None: no limit."""

    timeout_s: float | None = None
    max_memory_mb: int | None = None

    def __post_init__(self) -> None:
        for name in ("timeout_s", "max_memory_mb"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 < value < float("inf")):
                raise ValueError(f"{name} is a number above 0, or None for no limit, not {value!r}")

    def __bool__(self) -> bool:
        return self.timeout_s is not None or self.max_memory_mb is not None

    @property
    def is_chosen(self) -> bool:
        """Did somebody ask for them?"""
        return bool(self) and self != Limits(PICTURE_TIMEOUT_S)

    def unkept_sentence(self) -> str:
        """What a person who asked for them is told where no process may be lost."""
        asked = {"timeout_s": self.timeout_s, "max_memory_mb": self.max_memory_mb}
        if asked["timeout_s"] == PICTURE_TIMEOUT_S:
            asked["timeout_s"] = None
        told = " and ".join(f"{name}={value:g}" for name, value in asked.items() if value)
        return f"{told} cannot be kept with workers=0, where no process may be lost"


class Watch:
    """Tells the watching process what this one does; it is started here and ends with this one."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._told = 0.0  # when it heard of a result last
        timeout_s = limits.timeout_s + BEAT_S if limits.timeout_s else 0
        words = [str(os.getpid()), str(timeout_s), str(limits.max_memory_mb or 0)]
        self._process = subprocess.Popen(
            # -S and -E: it needs nothing that is installed,
            # and starts without the hooks of site-packages.
            [sys.executable, "-S", "-E", "-c", WATCHER, *words, *WORDS],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # the stop button is not for it
        )

    def begin(self, note: str) -> None:
        """Work begins; `note` and a word behind it is the file that says why it was ended."""
        self._tell(f"s{note}\n")

    def beat(self) -> None:
        """A result has come: the time begins anew."""
        now = time.monotonic()
        if now - self._told >= BEAT_S:
            self._told = now
            self._tell("b\n")

    def end(self) -> None:
        """There is no work until the next `begin`."""
        self._tell("e\n")

    def _tell(self, text: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            os.write(stdin.fileno(), os.fsencode(text))
        except OSError:  # somebody ended the watcher: the work goes on without it
            pass


def noted(note: str) -> str:
    """Which limit ended the work behind a note; "" where none did."""
    return next((word for word in WORDS if os.path.exists(f"{note}.{word}")), "")


WATCHER = """
import os, select, sys, time
pid, timeout_s, memory_mb = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
late, large = sys.argv[4:]
page, note, since, rest = os.sysconf("SC_PAGE_SIZE"), b"", 0.0, b""
def used_mb():
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * page / 2**20
while True:
    if select.select([0], [], [], 0.1)[0]:
        said = os.read(0, 1 << 16)
        if not said:
            break
        *lines, rest = (rest + said).split(b"\\n")
        for line in lines:
            note = line[1:] if line[:1] == b"s" else b"" if line[:1] == b"e" else note
        since = time.monotonic()
    if not note:
        continue
    why = late if timeout_s and time.monotonic() - since > timeout_s else ""
    try:
        why = large if not why and memory_mb and used_mb() > memory_mb else why
    except OSError:
        pass
    if why:
        try:
            open(note + b"." + why.encode(), "w").close()
        finally:
            os.kill(pid, 9)
        break
"""
