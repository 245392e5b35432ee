"""What a row's source is: a URL, a path under its root, an object, a row of a dataset."""

import contextlib
import os
import posixpath
import re
from urllib.parse import quote, unquote_to_bytes

from imgprep.failures import Failure
from imgprep.io.web import addresses

# What fsspec opens; never file:// (a table must not name it).
STORES = ("s3", "s3a", "az", "abfs", "abfss", "gs", "gcs", "memory", "hf")
SCHEME = r"^[A-Za-z][A-Za-z0-9+.-]+:"  # two letters at least
SCHEME_AT_START = re.compile(SCHEME)  # asked for every row: `re` would look it up each time
OUTSIDE = "outside-root:"  # what a source begins with where a path leaves its root
# What a source begins with where a path is no UTF-8: its bytes follow, percent-encoded.
RAW_PATH = "raw-path:"


class SourceError(Failure):
    """The bytes behind a row cannot be read."""


def scheme(source: str) -> str:
    """What a source is: "http", "path", "store" (fsspec), "hf" (a row of a dataset), "other".

    "" for an empty one.

    >>> [scheme(s) for s in ("https://example.org/a.jpg", "a b/1.jpg", "s3://bucket/1.jpg")]
    ['http', 'path', 'store']
    >>> scheme("file:///etc/passwd")
    'other'
    """
    if source.startswith("//"):  # a URL without its scheme, as pages have them
        return "other"
    match = SCHEME_AT_START.match(source)
    if not match or source.startswith((OUTSIDE, RAW_PATH)):
        return "path" if source else ""
    name = match[0][:-1].lower()
    if name in ("http", "https"):
        return "http"
    if name == "hf+row":
        return "hf"
    # fsspec would follow a chain, to file:// too.
    return "store" if name in STORES and "::" not in source else "other"


def inside_folder(path: str, root: str) -> str:
    """The path under root (as `absolute` gives it), or "outside-root:…" where it leaves that.

    Links are not resolved.

    >>> inside_folder("a/../1.jpg", "/data"), inside_folder("/data/1.jpg", "/data")
    ('/data/1.jpg', '/data/1.jpg')
    >>> inside_folder("../1.jpg", "s3://bucket/a")
    'outside-root:../1.jpg'
    """
    start, colon, folder = root.rpartition("://")
    full = posixpath.normpath(posixpath.join(folder, path))
    if not full.startswith(folder.rstrip("/") + "/"):
        return OUTSIDE + path
    return start + colon + full


def source_of(path: str) -> str:
    """The source of a path; one that is no UTF-8, which no table can hold, is percent-encoded.

    >>> source_of("/data/cat.jpg"), source_of("/data/caf\\udce9.jpg")
    ('/data/cat.jpg', 'raw-path:/data/caf%E9.jpg')
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return RAW_PATH + quote(os.fsencode(path))
    return path


def path_of(source: str) -> str:
    """The path that a source of the kind "path" names."""
    if source.startswith(RAW_PATH):
        return os.fsdecode(unquote_to_bytes(source.removeprefix(RAW_PATH)))
    return source


def printable(path: str) -> str:
    """A path as text that can be shown and kept: what is no UTF-8 is escaped.

    >>> printable("caf\\udce9.jpg")
    'caf\\\\xe9.jpg'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def identity(source: str) -> str:
    """What names the content behind a source: a URL without its secrets, a path with size and time.

    The same for a file that is not there.
    """
    kind = scheme(source)
    if kind == "http":  # first: a table of a million rows is of these
        return addresses.url_identity(source)
    if kind == "path":
        # ValueError: a NUL in the name, which no file has.
        with contextlib.suppress(OSError, ValueError):
            info = os.stat(path_of(source))
            return f"{source}\n{info.st_size}\n{info.st_mtime_ns}"
    return source if kind in ("path", "hf") else addresses.url_identity(source)
