"""The bytes behind a source: of a path, an object, a row of a dataset."""

import fsspec

from imgprep.io.uris.dataset_rows import picture_of
from imgprep.io.uris.fences import checked_path, dataset_of
from imgprep.io.uris.files import open_regular
from imgprep.io.uris.places import OUTSIDE, STORES, SourceError, path_of, scheme, source_of
from imgprep.redaction import redact_url
from imgprep.words import line

NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def read_bytes(uri: str, *, max_bytes: int) -> bytes:
    """The bytes of a path, an object (s3:// az:// gs:// …) or a row of a Hugging Face dataset.

    No http, no file://. Raises SourceError with .reason missing_file, no_permission, too_large,
    unsupported_scheme, empty or error.
    """
    try:
        data = _read_body(uri, max_bytes)
    except SourceError:
        raise
    except Exception as e:
        raise unread(uri, e) from e
    # One byte more was asked for, so that too large is known without reading the rest.
    if len(data) > max_bytes:
        shown = redact_url(uri)
        raise SourceError("too_large", f"{shown!r} has more than {max_bytes:,} bytes")
    return data


def unread(uri: str, error: Exception) -> SourceError:
    """Why a path or object could not be read, by what its file system or store raised."""
    shown = redact_url(uri)
    if isinstance(error, NOT_THERE):
        return SourceError("missing_file", f"there is no {shown!r}")
    if isinstance(error, PermissionError):
        return SourceError("no_permission", f"{shown!r} may not be read")
    # Every store has errors of its own.
    reason = "no_permission" if "Credential" in type(error).__name__ else "error"
    # Its text may repeat the source, secrets and all.
    address = uri.partition("://")[2] or uri
    said = line(error).replace(address, shown.partition("://")[2] or uri)
    return SourceError(reason, f"{shown!r} cannot be read: {type(error).__name__}: {said}")


def _read_body(uri: str, max_bytes: int) -> bytes:
    """At most max_bytes + 1: a huge object is not read to find that it is huge."""
    if uri.startswith(OUTSIDE):
        path = uri.removeprefix(OUTSIDE)
        raise SourceError("no_permission", f"{path!r} is outside the folder that root names")
    kind = scheme(uri)
    if kind == "path":
        with open_regular(path_of(uri)) as file:
            return file.read(max_bytes + 1)
    if kind == "store":
        fs, path = fsspec.core.url_to_fs(uri)
        return fs.cat_file(path, start=0, end=max_bytes + 1)
    if kind == "hf":
        image = picture_of(uri)
        if image["bytes"] is not None:
            return image["bytes"]
        path = checked_path(image["path"], dataset_of(uri))
        return read_bytes(source_of(path), max_bytes=max_bytes)
    what = f"{redact_url(uri)!r} is neither a path nor one of {', '.join(STORES)}"
    raise SourceError("unsupported_scheme", what)
