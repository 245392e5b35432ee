"""What people open: the labelled table of a split, and its pictures as plain files."""

import hashlib
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep import codec, tables
from imgprep.dataset import Dataset
from imgprep.folder import Folder

OUTCOME = ("status", "reason", "error", "width", "height")
EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}  # else Pillow's name in lower case
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no file names on Windows
CHUNK = 500  # pictures held at once


def write_csv(
    ds: Dataset,
    split: str,
    source: str | Path,
    out_csv: str,
    *,
    rename: dict[str, str] | None = None,
    pictures: str | None = None,
) -> str:
    """The labelled table: the input's rows and cells, then image_id, path, status … height. Returns out_csv.

    source: what sources.read was given for this split, with the same `rename`. Of a CSV or TSV the cells are copied as
        text; of anything else the columns come from the dataset. Rows that `limit` or `sample` left out are left out.
    pictures: the folder that `export_imagefolder` filled; `path` then names its file, relative to out_csv's folder.
        Else it is "<data file>#<row>"; empty where a row has no picture.
    A column of ours gets "_2" where the user has one of that name. Cells are not altered, not even "=1+1".
    Raises ValueError when the table has changed since the dataset was made.
    """
    table = ds.table(split)
    cells = table.select(table.column_names[1 : table.column_names.index("source")])
    if tables.is_text(str(source)) and not os.path.isdir(source):
        text = tables.read(str(source))
        cells = text.rename_columns([(rename or {}).get(name, name) for name in text.column_names])
        cells = cells.take(_rows_of(cells, table, str(source)))
    ours = {"image_id": table["image_id"], "path": _paths(ds, table, out_csv, pictures)}
    for name, column in {**ours, **{name: table[name] for name in OUTCOME}}.items():
        cells = cells.append_column(f"{name}_2" if name in cells.column_names else name, column)
    folder, name = os.path.split(out_csv)
    with Folder(folder).create(lambda _: name) as sink:
        for chunk in tables.to_csv(cells):
            sink.write(chunk)
    return out_csv


def export_imagefolder(
    ds: Dataset, split: str, folder: str, *, name_column: str | None = None, placeholders: bool = False
) -> str:
    """The ok pictures of a split as files, and metadata.csv, as `load_dataset("imagefolder")` opens it. Returns folder.

    Files are called by image_id (or by the cells of name_column), in characters that every system takes, and differ in
    more than upper and lower case. Unchanged files are left alone; files of an earlier export that are no longer in
    the dataset are removed. placeholders: their stand-in pictures too.
    """
    table = ds.table(split)
    if name_column is not None and name_column not in table.column_names:
        raise ValueError(f"no column {name_column!r}; this dataset has: {', '.join(table.column_names)}")
    wanted = pa.array(["ok", "placeholder"] if placeholders else ["ok"])
    rows = np.flatnonzero(pc.is_in(table["status"], wanted).to_numpy(zero_copy_only=False))
    table = table.take(rows)
    stems = _stems(table[name_column or "image_id"].to_pylist(), table["image_id"].to_pylist())
    target, files, earlier = Folder(folder), [], _exported(folder)
    for start in range(0, len(rows), CHUNK):
        chunk = ds.pictures(split, rows[start : start + CHUNK].tolist())
        for stem, data in zip(stems[start : start + CHUNK], chunk, strict=True):
            kind = codec.probe(data, max_pixels=None).format
            files.append(f"{stem}.{EXTENSIONS.get(kind, kind.lower())}")
            target.put(files[-1], data)
    for name in {*earlier.values()} - {*files}:
        target.delete(name)
    # `datasets` takes every column called *_file_name for pictures.
    names = [re.sub(r"(^|_)file_(names?)$", r"\1file\2", name) for name in table.column_names]
    table = table.rename_columns(names).drop_columns(["file", "row"]).add_column(0, "file_name", [files])
    target.put("metadata.csv", b"".join(tables.to_csv(table)))
    return folder


def _rows_of(text: pa.Table, table: pa.Table, where: str) -> np.ndarray:
    """Which row of the CSV each row of the dataset is: the next one with the same cells."""
    changed = f"{where} is not what the dataset was made from; give the same rename, or run the download again"
    if not set(text.column_names) <= set(table.column_names):
        raise ValueError(changed)
    try:
        columns = [tables.typed(text[name], table.schema.field(name).type) for name in text.column_names]
    except pa.ArrowInvalid as e:
        raise ValueError(changed) from e
    sides = columns, [table[name] for name in text.column_names]
    given, kept = ([pc.fill_null(column.cast(pa.string()), "") for column in side] for side in sides)
    if all(a.equals(b) for a, b in zip(given, kept, strict=True)):
        return np.arange(table.num_rows)
    given, kept = (pc.binary_join_element_wise(*side, "\x1f").to_pylist() for side in (given, kept))
    numbers, found = iter(enumerate(given)), []
    for row in kept:
        found.append(next((n for n, cells in numbers if cells == row), None))
    if None in found:
        raise ValueError(changed)
    return np.array(found, np.int64)


def _paths(ds: Dataset, table: pa.Table, out_csv: str, pictures: str | None) -> pa.Array:
    files = {i: _from(out_csv, pictures, name) for i, name in _exported(pictures).items()} if pictures else {}
    at = {file: _from(out_csv, ds.folder, file) for file in table["file"].unique().to_pylist()}
    rows = zip(*(table[name].to_pylist() for name in ("image_id", "status", "file", "row")), strict=True)
    paths = [files.get(name) or ("" if status == "failed" else f"{at[file]}#{row}") for name, status, file, row in rows]
    return pa.array(paths, pa.string())


def _exported(folder: str) -> dict[str, str]:
    """image_id -> file name, of the export that is in this folder."""
    if Folder(folder).size("metadata.csv") is None:
        return {}
    table = tables.read(Folder(folder).full("metadata.csv"))
    if table.column_names[:2] != ["file_name", "image_id"]:
        raise ValueError(f"{folder} has a metadata.csv that imgprep did not write; name another folder")
    return dict(zip(table["image_id"].to_pylist(), table["file_name"].to_pylist(), strict=True))


def _from(out_csv: str, folder: str, name: str) -> str:
    """A file as it is reached from the folder of out_csv; whole, where one of them is on a store."""
    if "://" in folder or "://" in out_csv:
        return Folder(folder).full(name)
    return Path(os.path.relpath(os.path.join(folder, name), os.path.dirname(os.path.abspath(out_csv)))).as_posix()


def _stems(values: list[Any], ids: list[str]) -> list[str]:
    """A file name for each value, without extension. Where it is not the value itself, a hash of the id is added."""
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "_", str(value))[:80].strip("._") or "picture" for value in values]
    same = Counter(map(str.lower, plain))
    unlike = [p != str(v) or same[p.lower()] > 1 or DEVICES.fullmatch(p) for p, v in zip(plain, values, strict=True)]
    hashes = [f"-{hashlib.sha256(i.encode()).hexdigest()[:16]}" for i in ids]
    return [p + (h if u else "") for p, h, u in zip(plain, hashes, unlike, strict=True)]
