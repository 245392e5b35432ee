"""How we speak to people: sentences, sizes, times."""

import difflib
import errno
import logging
import os
import re
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from imgprep.redaction import redact


def no_column(name: str, columns: list[str], where: str) -> str:
    """The sentence for a column that is not there, with the near match behind it."""
    near = difflib.get_close_matches(name, columns, 1)
    return f"no column {name!r}; {where} has: {', '.join(columns)}" + (
        f"; did you mean {near[0]!r}?" if near else ""
    )


def missing(where: str) -> str:
    """The sentence for a file or folder that does not exist, with the near match beside it."""
    folder, name = os.path.split(where.rstrip("/"))
    near = []
    with suppress(OSError):
        near = difflib.get_close_matches(name, os.listdir(folder or "."), 1)
    return f"there is no {where}" + (f"; did you mean {near[0]!r}?" if near else "")


def number_of(n: int, noun: str, plural: str = "") -> str:
    """A number with what it counts.

    >>> number_of(1, "file"), number_of(1200, "file"), number_of(0, "entry", "entries")
    ('1 file', '1,200 files', '0 entries')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def line(error: BaseException) -> str:
    """The first line of an error's text, as it may be shown."""
    return redact((str(error).strip() or type(error).__name__).splitlines()[0])


def sentence(error: BaseException) -> str:
    """A fault that is not the data's, for a person."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on the disk: free some and run again, finished work is kept"
    if isinstance(error, PermissionError) or getattr(error, "errno", 0) == errno.EROFS:
        what = getattr(error, "filename", None) or "a file that is needed"
        return f"no permission for {what}: change its rights, or name another place"
    where = error.__traceback__
    while where and where.tb_next:
        where = where.tb_next
    at = ""
    if where:
        at = f" ({os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno})"
    return f"{type(error).__name__}: {redact(str(error))}{at}"


def bytes_text(n: float) -> str:
    """A size as people write it.

    >>> bytes_text(210_300), bytes_text(3_200_000), bytes_text(12)
    ('210 KB', '3.2 MB', '12 B')
    """
    units = iter(("B", "KB", "MB", "GB", "TB"))
    unit = next(units)
    while n >= 999.5 and unit != "TB":
        n, unit = n / 1000, next(units)
    return f"{n:.1f} {unit}".replace(".0 ", " ") if n < 9.95 else f"{n:,.0f} {unit}"


class _Spoken(logging.Handler):
    """Prints a message as it is, to where `print` writes now: a cell, a terminal, a log."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), flush=True)


LOG = logging.getLogger("imgprep")
LOG.propagate = False  # else a root logger would say everything twice
if not LOG.handlers:
    LOG.addHandler(_Spoken())
if LOG.level == logging.NOTSET:
    LOG.setLevel(logging.INFO)


def say(text: str) -> None:
    """One sentence for the person at the notebook or terminal, by the logger `imgprep`.

    Who uses this as a library silences it: `logging.getLogger("imgprep").setLevel("WARNING")`.
    """
    LOG.info("%s", redact(text))


def clock(seconds: float) -> str:
    """
    >>> clock(7.2), clock(75), clock(3700)
    ('7 s', '1:15', '1:01:40')
    """
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60}:{s % 60:02}" if s < 3600 else f"{s // 3600}:{s // 60 % 60:02}:{s % 60:02}"


def extra(name: str) -> str:
    """The command that installs what an extra needs, from where the user is.

    In a checkout by its own Python; elsewhere the packages by name: on the index `imgprep` is not
    ours.
    """
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / "pyproject.toml").is_file():
        return f"pip install {extra_packages(name)}"
    python = Path(sys.prefix) / "bin" / "python"
    shown = os.path.relpath(python) if python.is_relative_to(checkout) else "python"
    return f'{shown} -m pip install -e "{os.path.relpath(checkout)}[{name}]"'


def extra_packages(name: str) -> str:
    """The packages of an extra, as pip takes them.

    The same on every machine, so data may say it.
    """
    checkout = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if checkout.is_file():
        import tomllib  # only where an extra is missing

        extras = tomllib.loads(checkout.read_text("utf-8"))["project"]["optional-dependencies"]
        needed = list(extras[name])
    else:
        mark = re.compile(rf"extra == ['\"]{re.escape(name)}['\"]")
        said = metadata.requires("imgprep") or []
        needed = [one.partition(";")[0] for one in said if mark.search(one)]
    return " ".join(re.split(r"[\s<>=!~(]", one.strip(), maxsplit=1)[0] for one in needed)
