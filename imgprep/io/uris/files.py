"""Regular files only: a pipe, a device or a socket would be waited for without end."""

import os
import stat
from typing import BinaryIO

from imgprep.io.uris.places import SourceError, printable

# What is no file, in words.
KINDS_OF_FILE = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: str) -> BinaryIO:
    """The file of a path, open for reading.

    Raises SourceError no_permission for what is no regular file; OSError as `open` does.
    """
    # Not to block: opening a pipe waits for who writes into it.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        check_regular(path, os.fstat(number))
    except BaseException:
        os.close(number)
        raise
    return os.fdopen(number, "rb")


def check_regular(path: str, info: os.stat_result) -> None:
    """Raises SourceError for a pipe, a device, a socket; IsADirectoryError for a folder."""
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(path)
    if kind != stat.S_IFREG:
        what = KINDS_OF_FILE.get(kind, "no file")
        told = f"{printable(path)!r} is {what}: only regular files are read"
        raise SourceError("no_permission", told)
