"""Rows of Hugging Face datasets as sources: `hf+row://…` names a dataset, its version and a row."""

import functools
import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from imgprep.io.uris.fences import check_card
from imgprep.io.uris.places import SourceError


def hf_rows(name: str, split: str, column: str, rows: Any) -> str:
    """The URI of an opened dataset (a folder or "owner/name"); the row number goes behind it.

    It names the version, so that all processes read the same one.
    """
    where = os.path.abspath(name) if os.path.isdir(name) else name
    said = {"split": split, "column": column, "version": _version_of(where, rows)}
    return f"hf+row://{quote(where)}?{urlencode(said)}#"


def open_splits(where: str, revision: str | None = None) -> dict[str, Any]:
    """The splits of a Hugging Face dataset.

    where: its name on the Hub, a folder (also of `save_to_disk`), a Parquet or Arrow file.
    """
    import datasets

    if os.path.isdir(where):
        check_card(where)
    if where.endswith(".arrow") and os.path.isfile(where):
        return {"train": datasets.Dataset.from_file(where)}
    if os.path.isfile(where):
        return datasets.load_dataset("parquet", data_files={"train": where})
    if os.path.isfile(f"{where}/state.json"):
        return {"train": datasets.load_from_disk(where)}
    if os.path.isfile(f"{where}/dataset_dict.json"):
        return datasets.load_from_disk(where)
    return datasets.load_dataset(where, revision=revision)


def picture_of(uri: str) -> dict[str, Any]:
    """The picture of a row as `datasets` keeps it: its `bytes`, or the `path` where they are.

    Raises SourceError empty where there is none.
    """
    where, _, row = uri.partition("#")
    rows = _column(where)
    image = rows[int(row)][rows.column_names[0]]
    if not image or (image["bytes"] is None and not image["path"]):
        raise SourceError("empty", f"{uri!r} has no picture")
    return image


@functools.lru_cache(maxsize=8)  # per process: opening takes a second, a row under a millisecond
def _column(where: str) -> Any:
    import datasets

    parts = urlsplit(where)
    said = parse_qs(parts.query)
    (split,), (column,), (version,) = (said[key] for key in ("split", "column", "version"))
    revision = version if parts.netloc else None  # on the Hub the version is the commit
    name = unquote(parts.netloc + parts.path)
    rows = open_splits(name, revision)[split]
    if _version_of(name, rows) != version:
        what = f"{where} is no longer there: the dataset was written again"
        raise SourceError("missing_file", what)
    # decode=False: a damaged picture must not end the reading of its dataset.
    return rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _version_of(where: str, rows: Any) -> str:
    """What names this version.

    Of a folder and on the Hub the name that `datasets` has for it, else times and sizes.
    """
    files = [Path(cached["filename"]) for cached in rows.cache_files]
    if os.path.isfile(where):
        files = [Path(where)]
    elif not files[0].is_relative_to(where):
        # In its cache: the commit on the Hub, a hash of the files' names and times in a folder.
        return files[0].parent.name
    stats = [(file.name, file.stat()) for file in files]
    facts = [f"{name} {info.st_size} {info.st_mtime_ns}" for name, info in stats]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
