"""What a row's source is: a URL, a path under its root, an object, a row of a dataset."""

import contextlib
import os
import posixpath
import re
from urllib.parse import quote, unquote_to_bytes

import pyarrow as pa
import pyarrow.compute as pc

from imgprep.failures import Failure
from imgprep.io.web import addresses
from imgprep.redaction import SIGNED

# What fsspec opens; never file:// (a table must not name it).
STORES = ("s3", "s3a", "az", "abfs", "abfss", "gs", "gcs", "memory", "hf")
SCHEME = r"^[A-Za-z][A-Za-z0-9+.-]+:"  # two letters at least
SCHEME_AT_START = re.compile(SCHEME)  # asked for every row: `re` would look it up each time
OUTSIDE = "outside-root:"  # what a source begins with where a path leaves its root
# What a source begins with where a path is no UTF-8: its bytes follow, percent-encoded.
RAW_PATH = "raw-path:"
# What copying leaves at URLs and paths: spaces of all kinds, zero-width ones, marks of direction
# and of byte order.
TRACES = (
    " \t\n\r\x0b\x0c\x00\x85\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060-\u2064\u3000\ufeff"
)
# Where a path is more than names with a slash between.
ODD = r"^/|//|(^|/)\.{1,2}(/|$)"


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


def locate(cells: pa.ChunkedArray, root: str) -> tuple[pa.Array, pa.Array]:
    """(sources, names) of the cells of a column.

    Paths are put under root, all else stays as it is, null becomes "". A name does not change when
    a folder moves or a signature ends: a path from root on, a URL without its secrets.
    """
    text = pc.fill_null(cells.cast(pa.string()), "").combine_chunks()
    cells = pc.replace_substring_regex(text, f"^[{TRACES}]+|[{TRACES}]+$", "")
    start = root.rstrip("/") + "/"
    is_path = pc.invert(pc.match_substring_regex(cells, f"{SCHEME}|^//|^$"))
    source = pc.if_else(is_path, pc.binary_join_element_wise(start, cells, ""), cells)
    is_odd = pc.and_(is_path, pc.match_substring_regex(cells, ODD))
    placed = [inside_folder(cell, root) for cell in cells.filter(is_odd).to_pylist()]
    source = _replaced_cells(source, is_odd, placed)
    source = _fenced(source, root)
    is_inside = pc.starts_with(source, start)
    name = pc.if_else(is_inside, pc.utf8_slice_codeunits(source, len(start)), source)
    speaks = pc.match_substring_regex(name, f"@|{SIGNED.pattern}", ignore_case=True)
    may_be_secret = pc.and_(pc.invert(is_path), speaks)
    urls = [addresses.url_identity(url) for url in name.filter(may_be_secret).to_pylist()]
    return source, _replaced_cells(name, may_be_secret, urls)


def _fenced(source: pa.Array, root: str) -> pa.Array:
    """The sources; what leads out of root by a link, or in a form of our own, is outside."""
    from imgprep.io.uris import fences

    if "://" in root:
        return source
    ours = pc.match_substring_regex(source, rf"(?i)^({RAW_PATH}|hf\+row:)")
    within = []
    for cell in source.filter(ours).to_pylist():
        is_raw = cell.startswith(RAW_PATH)
        path = path_of(cell) if is_raw else fences.dataset_of(cell)
        within.append(cell if fences.is_in(path, os.path.realpath(root)) else OUTSIDE + cell)
    source = _replaced_cells(source, ours, within)
    start = root.rstrip("/") + "/"
    paths = source.filter(pc.starts_with(source, start)).to_pylist()
    out = fences.links_out(paths, root)
    if not out:
        return source
    led = pc.is_in(source, pa.array(sorted(out), pa.string()))
    cells = [OUTSIDE + cell.removeprefix(start) for cell in source.filter(led).to_pylist()]
    return _replaced_cells(source, led, cells)


def _replaced_cells(column: pa.Array, mask: pa.Array, values: list[str]) -> pa.Array:
    return pc.replace_with_mask(column, mask, pa.array(values, pa.string()))


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
        with contextlib.suppress(OSError, ValueError):
            info = os.stat(path_of(source))
            return f"{source}\n{info.st_size}\n{info.st_mtime_ns}"
    return source if kind in ("path", "hf") else addresses.url_identity(source)
