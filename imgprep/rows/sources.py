"""Tables, folders of pictures and Hugging Face datasets, as one Arrow table per split. Nothing is
downloaded here.

`uris` says what may stand in the column `source`, and gives the bytes behind it.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from imgprep import dataset, project, words
from imgprep.io.uris.columns import locate
from imgprep.rows import beside, column_types, frames, huggingface, picture_folders, tables
from imgprep.rows.classes import align_classes
from imgprep.rows.csv_text import Hints
from imgprep.rows.huggingface import RESERVED
from imgprep.rows.image_ids import image_ids
from imgprep.rows.opened import Opened, check_column, features_of, filled, is_hub_name
from imgprep.rows.samples import check_count, chosen_rows

HF_FILE = re.compile(
    r"\.(parquet|arrow|tar)$|(^|/)metadata\.(csv|jsonl)$"
)  # a folder with one is opened by `datasets`


def read(
    sources: Any,
    *,
    url_column: str | None = None,
    root: str | Path | None = None,
    id_column: str | None = None,
    rename: dict[str, str] | None = None,
    limit: int | None = None,
    sample: int | None = None,
    stratify: str | None = None,
    sep: str | None = None,
    encoding: str | None = None,
) -> dict[str, pa.Table]:
    """One Arrow table per split: `image_id`, the user's columns untouched and in their order,
    `source`.

    sources: split name -> a table (ENDINGS, also .gz, also an fsspec URI), a folder of pictures
        (columns `file_name` and, where there are subfolders, `label`), a Hugging Face dataset
        (folder or "owner/name"), or a table in memory (pandas, Polars, Arrow, `datasets.Dataset`).
        One of these alone is the split "train". "photos/*" is the pictures of a folder, also where
        it is a dataset folder as well.
    url_column: the table's column of URLs, s3:// az:// gs:// URIs, or paths. A path counts from
        `root` (default: the table's folder) and must stay inside it. An empty cell keeps its row,
        with source "".
    id_column: needs to be in one split only (test.csv has `index`, train.csv has not). Where it is
        not, the id is a hash of the source, with "-2", "-3" where that appears again in the split,
        by the order of the rows' cells.
    rename: {"status": "my_status"}; done first, so the other options use the new names.
    limit, sample: the first rows of each split; then that many of them, spread over the classes of
        the column `stratify` in proportion, at least one of each. The same rows every time, in
        input order.
    sep, encoding: of a CSV or TSV. None finds out what parts its columns (, ; | tab) and whether it
        is UTF-8, UTF-16 or Windows-1252, and says so where it is not the usual.

    A column's type is decided over all rows of all splits: int64 or float64 only where every cell
    that is not empty prints back as it was written, else text. Where a split lacks a column, it is
    null. Classes with names (ClassLabel) get one list of names for all splits.
    Raises ValueError, one sentence, for what the user has to mend.
    """
    check_count("limit", limit)
    check_count("sample", sample)
    wanted = _by_split(sources)
    if root is not None and "://" not in str(root) and not os.path.isdir(project.absolute(root)):
        raise ValueError(f"root {str(root)!r} is not a folder")
    new_names = rename or {}
    # The options use the new names; what is opened still has the old ones.
    old_names = {new: old for old, new in new_names.items()}
    column = old_names.get(url_column, url_column) if url_column else None
    text = Hints(sep, encoding)
    inputs = [_open(where, split, column, text) for split, where in wanted.items()]
    for name in new_names:
        # After the options' names were looked at, before
        # rows are: a typing error is told in a second.
        check_column(name, inputs)
    for one in inputs:
        _rename(one, new_names, id_column)
    for name in filter(None, (id_column, stratify)):
        check_column(name, inputs)
    align_classes(inputs)
    types = _types(inputs)
    for one in inputs:
        if one.source is None:
            _locate(one, url_column, types, project.absolute(one.root if root is None else root))
    read_tables = [_finished(one, types, id_column) for one in inputs]
    chosen = [chosen_rows(table, limit, sample, stratify) for table in read_tables]
    return dict(zip(wanted, chosen, strict=True))


read.__doc__ = (read.__doc__ or "").replace("ENDINGS", tables.endings())


def given(source: Any) -> dataset.Dataset | dict[str, pa.Table]:
    """What a verb works on: a dataset folder, or tables as `read` gives them.

    source: a path, a `Dataset`, what `read` gives, or what it takes without options. ValueError for
    anything else.
    """
    if isinstance(source, str | os.PathLike):
        where = os.fspath(source)
        if not dataset.exists(where):
            return read({"train": where})
        _tell_read_as_dataset(where)
        return dataset.Dataset(where)
    if isinstance(source, dataset.Dataset):
        return source
    if frames.is_frame(source):
        is_read = isinstance(source, pa.Table) and {"image_id", "source"} <= set(
            source.column_names
        )
        return {"train": source} if is_read else read({"train": source})
    if (
        isinstance(source, Mapping)
        and source
        and all(isinstance(one, pa.Table) for one in source.values())
    ):
        return dict(source)
    raise ValueError(
        "give a path, a Dataset, or give what sources.read gives, {split: table}, "
        f"not {str(source)[:100]!r}"
    )


def _tell_read_as_dataset(where: str) -> None:
    told = beside.told_dataset(where)
    if told:
        words.say(told)


def _by_split(sources: Any) -> dict[str, Any]:
    """split -> source, of what was given."""
    if isinstance(sources, str | os.PathLike | dataset.Dataset) or frames.is_frame(sources):
        return {"train": sources}
    if not isinstance(sources, Mapping):
        example = "{split: table or folder}, for example {'train': 'train.csv'}"
        raise ValueError(f"sources is {example}, not {sources!r}")
    if not sources:
        raise ValueError("no sources; name at least one, for example {'train': 'train.csv'}")
    return dict(sources)


def _open(source: Any, split: str, url_column: str | None, text: Hints) -> Opened:
    if isinstance(source, dataset.Dataset):
        return _open_path(source.folder, split, url_column, text)
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source).removeprefix("file://"), split, url_column, text)
    if frames.is_frame(source):
        return frames.open_frame(source, split, url_column)
    raise ValueError(
        f"{split!r} is a path, a name on the Hub or a table in memory "
        f"(pandas, Polars, Arrow, datasets.Dataset), not {type(source).__name__} {str(source)[:100]!r}"
    )


def _open_path(where: str, split: str, url_column: str | None, text: Hints) -> Opened:
    where = os.path.expanduser(where)
    pictures = beside.folder_of(where)
    if tables.is_table(where) and not os.path.isdir(where):
        return _open_table(where, split, url_column, text)
    try:
        fs, path = fsspec.core.url_to_fs(pictures or where)
        exists, is_folder = fs.exists(path), fs.isdir(path)
    except Exception as e:  # every store has errors of its own
        raise ValueError(f"{where} cannot be opened: {type(e).__name__}: {words.line(e)}") from e
    if not exists:
        # "data/pictures" could be a name on the Hub, but beside a folder "data" it is a typing
        # error.
        if is_hub_name(where) and not os.path.isdir(where.split("/")[0]):
            return huggingface.open_hf_dataset(where, split, url_column)
        raise ValueError(words.missing(where))
    if not is_folder:
        raise ValueError(tables.unknown(where))
    if pictures:
        return picture_folders.open_pictures(pictures, split, beside.pictures_beside(pictures))
    names = picture_folders.file_names(where)
    if any(map(HF_FILE.search, names)):
        if dataset.exists(where):
            _tell_read_as_dataset(where)
        return huggingface.open_hf_dataset(where, split, url_column)
    return picture_folders.open_pictures(where, split, names)


def _open_table(where: str, split: str, url_column: str | None, text: Hints) -> Opened:
    is_text = tables.is_text(where)
    table = filled(where, tables.read_table(where, sep=text.sep, encoding=text.encoding))
    asked = table.column_names if url_column is None else [url_column]
    kinds = [table.schema.field(name).type for name in asked if name in table.column_names]
    if any(map(huggingface.is_picture_type, kinds)) and os.path.isfile(where):
        return huggingface.open_hf_dataset(where, split, url_column)
    folder, slash, _ = where.rpartition("/")
    return Opened(where, table, root=folder or slash, features=features_of(table), is_text=is_text)


def _rename(one: Opened, rename: dict[str, str], id_column: str | None) -> None:
    names = [rename.get(name, name) for name in one.table.column_names]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"{one.where} has two columns named {twice[0]!r}; give each its own name")
    if "" in names:
        raise ValueError(
            f"column {names.index('') + 1} of {one.where} has no name; give rename={{'': 'number'}}"
        )
    taken = [
        name for name in names if name in RESERVED and (name, id_column) != ("image_id", "image_id")
    ]
    if taken:
        fix = {name: f"my_{name}" for name in taken}
        raise ValueError(
            f"{one.where} has a column {taken[0]!r}, a name that imgprep needs; give rename={fix}"
        )
    one.table = one.table.rename_columns(names)
    one.features = {rename.get(name, name): feature for name, feature in one.features.items()}


def _types(inputs: list[Opened]) -> dict[str, pa.DataType]:
    types = {}
    names = dict.fromkeys(name for one in inputs for name in one.table.column_names)
    for name in names:
        if name == "image_id":
            continue
        having = [one for one in inputs if name in one.table.column_names]
        is_text = [one.is_text and name not in one.typed_here for one in having]
        types[name] = column_types.unified(name, [one.table[name] for one in having], is_text)
    return types


def _locate(one: Opened, url_column: str | None, types: dict[str, pa.DataType], root: str) -> None:
    """Sets source and name from the cells of the url_column."""
    if url_column is None:
        columns = ", ".join(one.table.column_names)
        raise ValueError(f"url_column says which column holds the URLs; {one.where} has: {columns}")
    check_column(url_column, [one])
    kind = types[url_column]
    if not column_types.is_text_type(kind):
        raise ValueError(f"column {url_column!r} of {one.where} holds {kind}, not URLs or paths")
    one.source, one.name = locate(one.table[url_column], root)


def _finished(one: Opened, types: dict[str, pa.DataType], id_column: str | None) -> pa.Table:
    columns = {}
    for name, type_ in types.items():
        has_it = name in one.table.column_names
        columns[name] = (
            column_types.typed(one.table[name], type_)
            if has_it
            else pa.nulls(one.table.num_rows, type_)
        )
    table = pa.table({"image_id": image_ids(one, id_column), **columns, "source": one.source})
    return table.replace_schema_metadata(_metadata(one.features, table.schema))


def _metadata(features: dict[str, Any], schema: pa.Schema) -> dict[bytes, bytes] | None:
    """The features of the columns, as `datasets` writes them; without those of columns that have
    another type now.
    """
    if not features:
        return None
    # It takes seconds to import.
    from datasets import Features

    storage = Features(features).arrow_schema
    kept = {
        name: one
        for name, one in features.items()
        if schema.field(name).type == storage.field(name).type
    }
    metadata: dict[bytes, bytes] = Features(kept).arrow_schema.metadata
    return metadata
