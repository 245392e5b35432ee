"""What people open: the labelled table of a split, and its pictures as plain files."""

import hashlib
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.io import uris
from imgprep.rows import tables

OUTCOME = ("status", "reason", "error", "width", "height")
EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}  # else Pillow's name in lower case
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
        sink.write(tables.to_csv(cells))
    return out_csv


def export_imagefolder(ds: Dataset, split: str, folder: str) -> str:
    """The ok pictures of a split as files, and metadata.csv, as `load_dataset("imagefolder")` opens it. Returns folder.

    Files are called by image_id, in characters that every system takes, and differ in more than upper and lower case.
    Unchanged files are left alone; files of an earlier export that are no longer in the dataset are removed.
    """
    target, earlier = Folder(folder), _exported(folder)
    table = ds.table(split)
    rows = np.flatnonzero(pc.equal(table["status"], "ok"))
    table = table.take(rows)
    endings = [EXTENSIONS.get(kind, kind.lower()) for kind in table["format"].to_pylist()]
    files = [f"{stem}.{end}" for stem, end in zip(stems(table["image_id"].to_pylist()), endings, strict=True)]
    for start in range(0, len(rows), CHUNK):
        chunk = slice(start, start + CHUNK)
        for name, data in zip(files[chunk], ds.pictures(split, rows[chunk].tolist()), strict=True):
            target.put(name, data)
    for name in {*earlier.values()} - {*files}:
        target.delete(name)
    # `datasets` takes every column called *_file_name for pictures.
    names = [re.sub(r"(^|_)file_(names?)$", r"\1file\2", name) for name in table.column_names]
    table = table.rename_columns(names).drop_columns(["file", "row"]).add_column(0, "file_name", [files])
    target.put("metadata.csv", tables.to_csv(table))
    return folder


def _rows_of(text: pa.Table, table: pa.Table, where: str) -> pa.Array:
    """Which row of the CSV has the cells of each row of the dataset."""
    changed = f"{where} is not what the dataset was made from; give the same rename, or run the download again"

    def joined(side: pa.Table) -> pa.ChunkedArray:
        typed = [tables.typed(side[name], table.schema.field(name).type) for name in text.column_names]
        typed = [uris.without_secrets(c) if pa.types.is_string(c.type) else c for c in typed]  # as in the dataset
        return pc.binary_join_element_wise(*(pc.fill_null(c.cast(pa.string()), "") for c in typed), "\x1f")

    try:
        rows = pc.index_in(joined(table), value_set=joined(text))
    except (KeyError, pa.ArrowInvalid) as e:
        raise ValueError(changed) from e
    if rows.null_count:
        raise ValueError(changed)
    return rows


def _exported(folder: str) -> dict[str, str]:
    """image_id -> file name, of the export that is in this folder."""
    if Folder(folder).size("metadata.csv") is None:
        return {}
    table = tables.read(Folder(folder).full("metadata.csv"))
    if table.column_names[:2] != ["file_name", "image_id"]:
        raise ValueError(f"{folder} has a metadata.csv that imgprep did not write; name another folder")
    return dict(zip(table["image_id"].to_pylist(), table["file_name"].to_pylist(), strict=True))


def _paths(ds: Dataset, table: pa.Table, out_csv: str, pictures: str | None) -> pa.Array:
    def seen(folder: str, name: str) -> str:
        """A file as it is reached from the folder of out_csv; whole, where one of them is on a store."""
        full = Folder(folder).full(name)
        if "://" in folder or "://" in out_csv:
            return full
        return Path(os.path.relpath(full, os.path.dirname(os.path.abspath(out_csv)))).as_posix()

    files = {i: seen(pictures, name) for i, name in _exported(pictures).items()} if pictures else {}
    at = {file: seen(ds.folder, file) for file in table["file"].unique().to_pylist()}
    rows = zip(*(table[name].to_pylist() for name in ("image_id", "status", "file", "row")), strict=True)
    paths = [files.get(name) or ("" if status == "failed" else f"{at[file]}#{row}") for name, status, file, row in rows]
    return pa.array(paths, pa.string())


def stems(ids: list[str]) -> list[str]:
    """A file name for each id, without extension. Where it is not the id itself, a hash of that is added."""
    plain = [re.sub(r"[^A-Za-z0-9_-]+", "_", one)[:80] for one in ids]
    same = Counter(map(str.lower, plain))
    hashes = [hashlib.sha256(one.encode()).hexdigest()[:16] for one in ids]
    return [p if p == i and same[p.lower()] == 1 else f"{p}-{h}" for p, i, h in zip(plain, ids, hashes, strict=True)]
