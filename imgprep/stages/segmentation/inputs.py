"""What `segment` is given as source and truth, as tables: one row per picture."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from imgprep import project
from imgprep.rows import sources
from imgprep.words import number_of


def tables_of(source: Any, truth: Any = None) -> dict[str, pa.Table]:
    """One table per split with image_id, source and, where it is known, each picture's truth."""
    if isinstance(source, dict):
        return _with_truths(source, truth)
    if _is_folder(source):
        return _with_truths(sources.read({"train": os.fspath(source)}), truth)
    paths = _path_list(source)
    truths = _path_list(truth)
    if not paths:
        raise ValueError("no pictures: name at least one path or URI")
    if truths and len(truths) != len(paths):
        told = f"{number_of(len(truths), 'truth')} for {number_of(len(paths), 'picture')}"
        raise ValueError(f"{told}: give one for each")
    columns = {"image_id": _path_ids(paths), "source": [project.absolute(p) for p in paths]}
    if truths:
        columns["truth"] = [project.absolute(t) for t in truths]
    texts = {name: pa.array(column, pa.string()) for name, column in columns.items()}
    return {"train": pa.table(texts)}


def _with_truths(tables: dict[str, pa.Table], truth: Any) -> dict[str, pa.Table]:
    """truth: None, a column of the tables, or * and the ending of files beside the pictures."""
    ending = os.path.basename(truth) if isinstance(truth, str) else ""
    if ending.startswith("*"):
        return {split: _with_files(table, ending[1:]) for split, table in tables.items()}
    names = {name for table in tables.values() for name in table.column_names}
    if truth is not None and truth not in names:
        known = ", ".join(sorted(names))
        told = f"'*' and the end of the files' names here, or a column ({known})"
        raise ValueError(f"truth is {told}, not {truth!r}")
    return tables


def _with_files(table: pa.Table, ending: str) -> pa.Table:
    """The pictures, each with the file beside it whose name ends so; those are no pictures."""
    is_picture = [not source.endswith(ending) for source in table["source"].to_pylist()]
    pictures = table.filter(is_picture)
    beside = [os.path.splitext(source)[0] + ending for source in pictures["source"].to_pylist()]
    there = [path if os.path.exists(path) else "" for path in beside]
    return pictures.append_column("truth", pa.array(there, pa.string()))


def _is_folder(source: Any) -> bool:
    is_path = isinstance(source, str | os.PathLike) and os.path.isdir(source)
    return is_path and Path(source).suffix != ".zarr"


def _path_list(value: Any) -> list[str]:
    if isinstance(value, str | os.PathLike):
        return [os.fspath(value)]
    return [os.fspath(one) for one in value or []]


def _path_ids(paths: list[str]) -> list[str]:
    """The files' names; `-2` for a second appearance."""
    seen: Counter[str] = Counter()
    ids = []
    for path in paths:
        # Without the query: a signature is no part of a name.
        name = Path(path.split("?")[0]).stem
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return ids
