"""The labelled table of a split: what the user gave, and what came of each row."""

import os
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.redaction import redact_column
from imgprep.rows import column_types, tables
from imgprep.rows import entities as entities

LABELLED_WITH = ("status", "reason", "error", "width", "height")


def write_csv(
    ds: Dataset,
    split: str,
    source: str | Path,
    out_csv: str,
    *,
    rename: dict[str, str] | None = None,
    pictures: str | None = None,
    sep: str | None = None,
    encoding: str | None = None,
    escape_formulas: bool = False,
) -> str:
    """The labelled table: the input's rows and cells, then image_id, path, status … height.

    source: what sources.read was given for this split, with the same `rename`, `sep`, `encoding`.
        Of a CSV or TSV the cells are copied as text; of anything else the columns come from the
        dataset. Rows that `limit` or `sample` left out are left out.
    pictures: the folder that `exports.export(ds, folder, "imagefolder")` filled; `path` then names
        its file, relative to out_csv's folder. Else it is "<data file>#<row>"; empty where a row
        has no picture.
    escape_formulas: put ' before text that a spreadsheet would run (it begins with = + - @). Else
        cells are not altered, not even "=1+1": for programs that is right, for a table from
        strangers that people open it is not. But passwords, keys and signatures are hidden, as in
        the dataset.
    A column of ours gets "_2" where the user has one of that name.
    Returns out_csv. Raises ValueError when the table has changed since the dataset was made, and
    where out_csv is a file that is no labelled table: it would be lost.
    """
    _check_replaceable(out_csv)
    table = ds.table(split)
    cells = table.select(table.column_names[1 : table.column_names.index("source")])
    if tables.is_text(str(source)) and not os.path.isdir(source):
        text = tables.read_table(str(source), sep=sep, encoding=encoding, quiet=True)
        cells = text.rename_columns([(rename or {}).get(name, name) for name in text.column_names])
        # In the order of the dataset's rows, which `limit` and `sample` may have thinned.
        cells = cells.take(_rows_of(cells, table, str(source)))
        for number, name in enumerate(cells.column_names):
            cells = cells.set_column(number, name, redact_column(cells[name]))
    ours = {"image_id": table["image_id"], "path": _paths(ds, split, table, out_csv, pictures)}
    ours |= {name: table[name] for name in LABELLED_WITH}
    for name, column in ours.items():
        free = f"{name}_2" if name in cells.column_names else name
        cells = cells.append_column(free, column)
    folder, name = os.path.split(out_csv)
    with Folder(folder).create(lambda _: name) as sink:
        sink.write(tables.to_csv(cells, escape_formulas=escape_formulas))
    return out_csv


def _check_replaceable(out_csv: str) -> None:
    """An earlier labelled table may be replaced; the input, or another file of somebody's, not."""
    folder, name = os.path.split(out_csv)
    there = Folder(folder)
    if not there.size(name):
        return
    head = (there.get(name) or b"").partition(b"\n")[0]
    if not all(word.encode() in head for word in ("image_id", "path", *LABELLED_WITH)):
        raise ValueError(f"{out_csv} is there already, and no labelled table: name another file")


def _rows_of(text: pa.Table, table: pa.Table, where: str) -> pa.Array:
    """Which row of the CSV has the cells of each row of the dataset."""
    changed = (
        f"{where} is not what the dataset was made from; "
        "give the same rename, or run the download again"
    )
    try:
        rows = pc.index_in(
            _rows_as_text(table, text, table), value_set=_rows_as_text(text, text, table)
        )
    except (KeyError, pa.ArrowInvalid) as e:
        raise ValueError(changed) from e
    if rows.null_count:
        raise ValueError(changed)
    return rows


def _rows_as_text(side: pa.Table, text: pa.Table, table: pa.Table) -> pa.ChunkedArray:
    """Each row of one side as one text: its cells in the CSV's columns, with the dataset's types."""
    columns = []
    for name in text.column_names:
        column = column_types.typed(side[name], table.schema.field(name).type)
        if pa.types.is_string(column.type):
            column = redact_column(column)  # as in the dataset
        columns.append(pc.fill_null(column.cast(pa.string()), ""))
    # \x1f, ASCII's own separator of units: no cell that a person typed holds it.
    return pc.binary_join_element_wise(*columns, "\x1f")


def _exported(folder: str, split: str) -> dict[str, str]:
    """image_id -> the file of its picture in an ImageFolder that `exports` wrote."""
    if Folder(folder).size("README.md") is None:
        fix = f"exports.export(ds, {folder!r}, 'imagefolder')"
        raise ValueError(f"{folder} is no ImageFolder: fill it with {fix}")
    listed = f"{split}/metadata.parquet"
    if Folder(folder).size(listed) is None:
        return {}  # no picture of this split is ok
    table = pq.read_table(Folder(folder).open(listed), columns=["image_id", "file_name"])
    pairs = zip(table["image_id"].to_pylist(), table["file_name"].to_pylist(), strict=True)
    return {image_id: f"{split}/{name}" for image_id, name in pairs if name}


def _paths(
    ds: Dataset, split: str, table: pa.Table, out_csv: str, pictures: str | None
) -> pa.Array:
    """Where each row's picture is, as one goes there from the folder of out_csv."""
    files = _exported(pictures, split) if pictures else {}
    paths = []
    for row in table.select(["image_id", "status", "file", "row"]).to_pylist():
        if row["image_id"] in files:
            paths.append(_seen_from(out_csv, str(pictures), files[row["image_id"]]))
        elif row["status"] == "failed":
            paths.append("")
        else:
            paths.append(f"{_seen_from(out_csv, ds.folder, row['file'])}#{row['row']}")
    return pa.array(paths, pa.string())


def _seen_from(out_csv: str, folder: str, name: str) -> str:
    """A file as it is reached from the folder of out_csv; whole, where one of them is on a store."""
    full = Folder(folder).full(name)
    if "://" in folder or "://" in out_csv:
        return full
    start = os.path.dirname(os.path.abspath(out_csv))
    return Path(os.path.relpath(full, start)).as_posix()


def __getattr__(name: str) -> NoReturn:
    # A name of 0.1: for one release it says where it went.
    if name == "export_imagefolder":
        raise AttributeError(
            "labels.export_imagefolder is gone: exports.export(ds, folder, 'imagefolder') does it"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
