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
TRACE_RANGES = ((0x2000, 0x200F), (0x2028, 0x202F), (0x2060, 0x2064))
# What copying leaves at URLs and paths: spaces of all kinds, zero-width ones, marks of direction
# and of byte order.
TRACES = " \t\n\r\x0b\x0c\x00\x85\xa0\xad\u1680\u205f\u3000\ufeff" + "".join(
    chr(code) for first, last in TRACE_RANGES for code in range(first, last + 1)
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
    # As columns: a table of a million URLs goes through here before anything is done.
    text = pc.fill_null(cells.cast(pa.string()), "").combine_chunks()
    cells = pc.utf8_trim(text, TRACES)
    is_path = pc.invert(pc.match_substring_regex(cells, f"{SCHEME}|^//|^$"))
    source = _fenced(_placed(cells, is_path, root), root)
    start = root.rstrip("/") + "/"
    is_inside = pc.starts_with(source, start)
    name = source
    if pc.any(is_inside).as_py():  # no copy of a million URLs
        name = pc.if_else(is_inside, pc.utf8_slice_codeunits(source, len(start)), source)
    may_be_secret = pc.and_(pc.invert(is_path), _may_sign(name))
    urls = [addresses.url_identity(url) for url in name.filter(may_be_secret).to_pylist()]
    return source, _replaced_cells(name, may_be_secret, urls)


def _placed(cells: pa.Array, is_path: pa.Array, root: str) -> pa.Array:
    """The cells; the paths among them put under root."""
    if not pc.any(is_path).as_py():
        return cells
    start = root.rstrip("/") + "/"
    source = pc.if_else(is_path, pc.binary_join_element_wise(start, cells, ""), cells)
    is_odd = pc.and_(is_path, pc.match_substring_regex(cells, ODD))
    placed = [inside_folder(cell, root) for cell in cells.filter(is_odd).to_pylist()]
    return _replaced_cells(source, is_odd, placed)


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
    if not values:  # the usual case, and a copy of a million cells
        return column
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
        # ValueError: a NUL in the name, which no file has.
        with contextlib.suppress(OSError, ValueError):
            info = os.stat(path_of(source))
            return f"{source}\n{info.st_size}\n{info.st_mtime_ns}"
    return source if kind in ("path", "hf") else addresses.url_identity(source)


def identities(sources: pa.Array) -> list[str]:
    """`identity` of each; null is "". URLs without a secret, as they are, cost next to nothing."""
    text = pc.fill_null(sources.cast(pa.string()), "")
    is_web = pc.or_(pc.starts_with(text, "http://"), pc.starts_with(text, "https://"))
    is_itself = pc.and_not(is_web, _may_sign(text))
    found: list[str] = text.to_pylist()
    for row in pc.indices_nonzero(pc.invert(is_itself)).to_pylist():
        found[row] = identity(found[row])
    return found


def _may_sign(text: pa.Array) -> pa.Array:
    """Which of these would be another text without user, password and signature: a few more."""
    return pc.match_substring_regex(text, f"@|{SIGNED.pattern}", ignore_case=True)
