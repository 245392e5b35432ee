"""What a row's source says, and the bytes behind it where that is no http URL: paths, objects, rows of HF datasets."""

import contextlib
import functools
import hashlib
import os
import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, unquote_to_bytes, urlencode, urlsplit

import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.failures import Failure
from imgprep.io.web import addresses
from imgprep.io.web.addresses import SECRET, SIGNED, redact
from imgprep.words import line

STORES = "s3 s3a az abfs abfss gs gcs memory hf".split()  # what fsspec opens; never file:// (a table must not name it)
SCHEME = r"^[A-Za-z][A-Za-z0-9+.-]+:"  # two letters at least
OUTSIDE = "outside-root:"  # what a source begins with where a path leaves its root
RAW_PATH = "raw-path:"  # what a source begins with where a path is no UTF-8: its bytes follow, percent-encoded
# What copying leaves at URLs and paths: spaces of all kinds, zero-width ones, marks of direction and of byte order.
TRACES = " \t\n\r\x0b\x0c\x00\x85\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060-\u2064\u3000\ufeff"


class SourceError(Failure):
    """The bytes behind a row cannot be read."""


def scheme(source: str) -> str:
    """What a source is: "http", "path", "store" (fsspec), "hf" (a row of a dataset), "other", or "" for an empty one.

    >>> [scheme(s) for s in ("https://example.org/a.jpg", "a b/1.jpg", "s3://bucket/1.jpg", "file:///etc/passwd")]
    ['http', 'path', 'store', 'other']
    """
    match = re.match(SCHEME, source)
    if source.startswith("//"):
        return "other"  # a URL without its scheme, as pages have them
    if not match or source.startswith((OUTSIDE, RAW_PATH)):
        return "path" if source else ""
    name = match[0][:-1].lower()
    is_store = name in STORES and "::" not in source  # fsspec would follow a chain, to file:// too
    return {"https": "http", "http": "http", "hf+row": "hf"}.get(name, "store" if is_store else "other")


def inside(path: str, root: str) -> str:
    """The path under root (as `absolute` gives it), or "outside-root:…" where it leaves that. Links are not resolved.

    >>> inside("a/../1.jpg", "/data"), inside("/data/1.jpg", "/data"), inside("../1.jpg", "s3://bucket/a")
    ('/data/1.jpg', '/data/1.jpg', 'outside-root:../1.jpg')
    """
    start, colon, folder = root.rpartition("://")
    full = posixpath.normpath(posixpath.join(folder, path))
    return start + colon + full if full.startswith(folder.rstrip("/") + "/") else OUTSIDE + path


def locate(cells: pa.ChunkedArray, root: str) -> tuple[pa.Array, pa.Array]:
    """(sources, names) of the cells of a column: paths are put under root, all else stays as it is, null becomes "".

    A name does not change when a folder moves or a signature ends: a path from root on, a URL without its secrets.
    """
    cells = pc.fill_null(cells.cast(pa.string()), "").combine_chunks()
    cells = pc.replace_substring_regex(cells, f"^[{TRACES}]+|[{TRACES}]+$", "")
    start = root.rstrip("/") + "/"
    is_path = pc.invert(pc.match_substring_regex(cells, f"{SCHEME}|^//|^$"))
    source = pc.if_else(is_path, pc.binary_join_element_wise(start, cells, ""), cells)
    is_odd = pc.and_(is_path, pc.match_substring_regex(cells, r"^/|//|(^|/)\.{1,2}(/|$)"))
    source = _replaced(source, is_odd, [inside(cell, root) for cell in cells.filter(is_odd).to_pylist()])
    name = pc.if_else(pc.starts_with(source, start), pc.utf8_slice_codeunits(source, len(start)), source)
    may_be_secret = pc.and_(pc.invert(is_path), pc.match_substring_regex(name, f"@|{SIGNED.pattern}", ignore_case=True))
    urls = [addresses.identity(url) for url in name.filter(may_be_secret).to_pylist()]
    return source, _replaced(name, may_be_secret, urls)


def without_secrets(cells: pa.ChunkedArray, *, tokens: bool = False) -> pa.ChunkedArray:
    """The cells; where one is a URL with a password or a signature, that URL redacted.

    tokens: also where it has a parameter that may be a secret (`token`, `key` …).
    """
    secret = f"{SIGNED.pattern}|[?&#;]({SECRET.pattern})=" if tokens else SIGNED.pattern
    is_secret = pc.match_substring_regex(cells, f"{SCHEME}(//[^/?#]*@|.*({secret}))", ignore_case=True)
    is_secret = pc.fill_null(is_secret, False).combine_chunks()
    if not pc.any(is_secret).as_py():
        return cells
    cells = cells.combine_chunks()
    return pa.chunked_array([_replaced(cells, is_secret, list(map(redact, cells.filter(is_secret).to_pylist())))])


def _replaced(column: pa.Array, mask: pa.Array, values: list[str]) -> pa.Array:
    return pc.replace_with_mask(column, mask, pa.array(values, pa.string()))


def hf_rows(name: str, split: str, column: str, rows: Any) -> str:
    """The URI of an opened Hugging Face dataset (a folder or "owner/name"); the row number goes behind it.

    It names the version, so that all processes read the same one.
    """
    where = os.path.abspath(name) if os.path.isdir(name) else name
    return f"hf+row://{quote(where)}?{urlencode({'split': split, 'column': column, 'version': _version(where, rows)})}#"


def source_of(path: str) -> str:
    """The source of a path; one that is no UTF-8, which no table can hold, is written with percents.

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
    """What names the content behind a source: a URL without its secrets, a path with its size and time.

    The same for a file that is not there.
    """
    kind = scheme(source)
    if kind == "path":
        with contextlib.suppress(OSError, ValueError):
            info = os.stat(path_of(source))
            return f"{source}\n{info.st_size}\n{info.st_mtime_ns}"
    return source if kind in ("path", "hf") else addresses.identity(source)


def read_bytes(uri: str, *, max_bytes: int) -> bytes:
    """The bytes of a path, an object (s3:// az:// gs:// …) or a row of a Hugging Face dataset: no http, no file://.

    Raises SourceError with .reason missing_file, no_permission, too_large, unsupported_scheme, empty or error.
    """
    kind, shown = scheme(uri), redact(uri)
    try:
        if uri.startswith(OUTSIDE):
            raise SourceError("no_permission", f"{uri.removeprefix(OUTSIDE)!r} is outside the folder that root names")
        if kind == "path":
            with open(path_of(uri), "rb") as file:
                data = file.read(max_bytes + 1)
        elif kind == "store":
            fs, path = fsspec.core.url_to_fs(uri)
            data = fs.cat_file(path, start=0, end=max_bytes + 1)  # a huge object is not read to find that it is huge
        elif kind == "hf":
            data = _hf_bytes(uri, max_bytes)
        else:
            raise SourceError("unsupported_scheme", f"{shown!r} is neither a path nor one of {', '.join(STORES)}")
    except SourceError:
        raise
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as e:
        raise SourceError("missing_file", f"there is no {shown!r}") from e
    except PermissionError as e:
        raise SourceError("no_permission", f"{shown!r} may not be read") from e
    except Exception as e:  # every store has errors of its own
        reason = "no_permission" if "Credential" in type(e).__name__ else "error"
        said = line(e).replace(uri.partition("://")[2] or uri, shown.partition("://")[2] or uri)
        raise SourceError(reason, f"{shown!r} cannot be read: {type(e).__name__}: {said}") from e
    if len(data) > max_bytes:
        raise SourceError("too_large", f"{shown!r} has more than {max_bytes:,} bytes")
    return data


def _hf_bytes(uri: str, max_bytes: int) -> bytes:
    where, _, row = uri.partition("#")
    rows = _hf_column(where)
    image = rows[int(row)][rows.column_names[0]] or {"bytes": None, "path": None}
    if image["bytes"] is None and not image["path"]:
        raise SourceError("empty", f"{uri!r} has no picture")
    return read_bytes(image["path"], max_bytes=max_bytes) if image["bytes"] is None else image["bytes"]


def open_splits(where: str, revision: str | None = None) -> dict[str, Any]:
    """The splits of a Hugging Face dataset: on the Hub, a folder (also of `save_to_disk`), a Parquet or Arrow file."""
    import datasets

    if where.endswith(".arrow") and os.path.isfile(where):
        return {"train": datasets.Dataset.from_file(where)}
    if os.path.isfile(where):
        return datasets.load_dataset("parquet", data_files={"train": where})
    if os.path.isfile(f"{where}/state.json"):
        return {"train": datasets.load_from_disk(where)}
    if os.path.isfile(f"{where}/dataset_dict.json"):
        return datasets.load_from_disk(where)
    return datasets.load_dataset(where, revision=revision)


@functools.lru_cache(maxsize=8)  # per process: opening takes a second, a row less than a millisecond
def _hf_column(where: str) -> Any:
    import datasets

    parts = urlsplit(where)
    (split,), (column,), (version,) = (parse_qs(parts.query)[key] for key in ("split", "column", "version"))
    revision = version if parts.netloc else None  # on the Hub the version is the commit
    name = unquote(parts.netloc + parts.path)
    rows = open_splits(name, revision)[split]
    if _version(name, rows) != version:
        raise SourceError("missing_file", f"{where} is no longer there: the dataset was written again")
    return rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _version(where: str, rows: Any) -> str:
    """What names this version: of a folder and on the Hub the name that `datasets` has for it, else times and sizes."""
    files = [Path(cached["filename"]) for cached in rows.cache_files]
    if os.path.isfile(where):
        files = [Path(where)]
    elif not files[0].is_relative_to(where):
        # In its cache: the commit on the Hub, a hash of the files' names and times in a folder.
        return files[0].parent.name
    facts = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
