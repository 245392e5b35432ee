"""What a verb on films is given, as tables: one row per film."""

import os
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from imgprep import dataset, words
from imgprep.dataset import COLUMNS, Dataset
from imgprep.io import uris
from imgprep.resume.inputs import Inputs
from imgprep.resume.shape import TAKEN
from imgprep.resume.source import check_apart, of_tables
from imgprep.rows import picture_folders, sources

FILM_ENDINGS = frozenset(
    ".3g2 .3gp .asf .avi .dv .flv .ivf .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut"
    " .ogv .qt .rm .rmvb .ts .vob .webm .wmv".split()
)


def film_inputs(films: Any, out: str, new: list[str]) -> dict[str, Inputs]:
    """The films of each split. new: the columns that the verb adds.

    ValueError where there is such a column already, no film, or `out` lies among the films.
    """
    check_apart(films, out)
    tables = _film_tables(films, new)
    for table in tables.values():
        for name in table.column_names:
            if name in new:
                fix = f"give sources.read rename={{{name!r}: 'my_{name}'}}"
                raise ValueError(f"there is a column {name!r} already: {fix}")
    return of_tables(tables)


def _film_tables(films: Any, new: list[str]) -> dict[str, pa.Table]:
    if isinstance(films, list | tuple):
        return {"train": _named_films([os.fspath(one) for one in films])}
    if isinstance(films, dict) and not all(isinstance(one, pa.Table) for one in films.values()):
        return {split: _film_tables(one, new)["train"] for split, one in films.items()}
    if isinstance(films, str | os.PathLike):
        where = os.fspath(films)
        if not dataset.exists(where) and _is_film(where):
            return {"train": _named_films([where])}
        if not dataset.exists(where) and _is_film_folder(where):
            return {"train": _of_folder(where)}
    found = sources.given(films)
    return _of_made(found, new) if isinstance(found, Dataset) else found


def _is_film(name: str) -> bool:
    # A signed address has its signature behind the name.
    return os.path.splitext(name.partition("?")[0].lower())[1] in FILM_ENDINGS


def _is_film_folder(where: str) -> bool:
    fs, path = fsspec.core.url_to_fs(os.path.expanduser(where))
    return bool(fs.isdir(path))


def _of_folder(where: str) -> pa.Table:
    """Every film below a folder; what by its name is none is left out, and how much is said."""
    where = os.path.expanduser(where).rstrip("/")
    names = picture_folders.file_names(where)
    films = [name for name in names if _is_film(name)]
    if not films:
        raise ValueError(f"{where} has no films in it")
    others = len(names) - len(films)
    if others:
        what = "1 file is no film" if others == 1 else f"{others:,} files are no films"
        words.say(f"{where}: {what} by name and left out")
    shown = pa.array(map(uris.printable, films), pa.string())
    columns: dict[str, Any] = {"file_name": shown}
    if pc.any(pc.match_substring(shown, "/")).as_py():
        columns["label"] = pc.replace_substring_regex(shown, r"^([^/]*)/.*|^.*", r"\1")
    return sources.read(pa.table(columns), url_column="file_name", root=where)["train"]


def _named_films(paths: list[str]) -> pa.Table:
    """Films that were named one by one; the name of the file is the film's id."""
    if not paths:
        raise ValueError("no films: name at least one")
    names = [Path(path.partition("?")[0]).name for path in paths]
    full = [path if uris.scheme(path) != "path" else os.path.abspath(path) for path in paths]
    table = pa.table({"file_name": names, "film": full})
    found = sources.read(table, url_column="film", root="/")["train"]
    return found.drop_columns(["film"])


def _of_made(ds: Dataset, new: list[str]) -> dict[str, pa.Table]:
    """The films that a dataset folder was made of, once each, without what was made of them."""
    tables = {}
    ours = {*COLUMNS, *TAKEN, *new, "image_id"} - {"source"}
    for split in ds.splits:
        table = ds.table(split)
        ids = table["parent_id" if "parent_id" in table.column_names else "image_id"]
        # In one thread: with more the groups come in another order each time.
        first = pa.table({"id": ids, "row": range(len(ids))}).group_by("id", use_threads=False)
        rows = first.aggregate([("row", "min")])["row_min"]
        kept = [name for name in table.column_names if name not in ours]
        whole = table.select(kept).add_column(0, "image_id", ids)
        tables[split] = whole.take(rows)
    return tables
