"""Tables, folders of pictures and Hugging Face datasets, as one Arrow table per split. Nothing is downloaded here.

`uris` says what may stand in the column `source`, and gives the bytes behind it.
"""

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from imgprep import dataset, project, words
from imgprep.io import uris
from imgprep.rows import tables

RESERVED = (*dataset.COLUMNS, "image_id", "original", "parent_id", "file", "row")  # `index` may be the user's
PICTURE = re.compile(r"(?i)\.(jpe?g|jpe|mpo|png|gif|bmp|webp|tiff?|avif|hei[cf]|jxl|jp2|psd|p[pgb]m|ico|tga|svs)$")
HF_FILE = re.compile(r"\.(parquet|arrow|tar)$|(^|/)metadata\.(csv|jsonl)$")  # a folder with one is opened by `datasets`


@dataclass
class _Input:
    """A split as it was opened. A folder knows its sources at once; in a table they follow from the url_column."""

    where: str
    table: pa.Table
    root: str = ""
    source: Any = None
    name: Any = None  # what image_id is a hash of: does not change when a folder moves or a signature ends
    ids: Any = None  # of a Hugging Face dataset that imgprep made
    features: dict[str, Any] = field(default_factory=dict)  # of a Hugging Face dataset (ClassLabel …)


def read(
    sources: dict[str, str | Path],
    *,
    url_column: str | None = None,
    root: str | Path | None = None,
    id_column: str | None = None,
    rename: dict[str, str] | None = None,
    limit: int | None = None,
    sample: int | None = None,
    stratify: str | None = None,
) -> dict[str, pa.Table]:
    """One Arrow table per split: `image_id`, the user's columns untouched and in their order, `source`.

    sources: split name -> a table (.csv .tsv .parquet .jsonl, also .gz, also an fsspec URI), a folder of pictures
        (columns `file_name` and, where there are subfolders, `label`), a Hugging Face dataset (folder or "owner/name").
    url_column: the table's column of URLs, s3:// az:// gs:// URIs, or paths. A path counts from `root` (default: the
        table's folder) and must stay inside it. An empty cell keeps its row, with source "".
    id_column: needs to be in one split only (test.csv has `index`, train.csv has not). Where it is not, the id is a
        hash of the source, with "-2", "-3" where that appears again in the split.
    rename: {"status": "my_status"}; done first, so the other options use the new names.
    limit, sample: the first rows of each split; then that many of them, spread over the classes of the column
        `stratify` in proportion, at least one of each. The same rows every time, in input order.

    A CSV is UTF-8. A column's type is decided over all rows of all splits: int64 or float64 only where every cell that
    is not empty prints back as it was written, else text. Where a split lacks a column, it is null.
    Raises ValueError, one sentence, for what the user has to mend.
    """
    for name, n in {"limit": limit, "sample": sample}.items():
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise ValueError(f"{name} is a number of rows, at least 1, not {n!r}")
    if not sources:
        raise ValueError("no sources; name at least one, for example {'train': 'train.csv'}")
    if root is not None and "://" not in str(root) and not os.path.isdir(project.absolute(root)):
        raise ValueError(f"root {str(root)!r} is not a folder")
    inputs = [_open(str(where).removeprefix("file://"), split, url_column) for split, where in sources.items()]
    for name in rename or {}:
        _known(name, inputs)
    for one in inputs:
        _rename(one, rename or {}, id_column)
    for name in filter(None, (id_column, stratify)):
        _known(name, inputs)
    types = _types(inputs)
    for one in inputs:
        if one.source is None:
            _locate(one, url_column, types, project.absolute(one.root if root is None else root))
    chosen = [_chosen(_table(one, types, id_column), limit, sample, stratify) for one in inputs]
    return dict(zip(sources, chosen, strict=True))


def _open(where: str, split: str, url_column: str | None) -> _Input:
    where = os.path.expanduser(where)
    if tables.NAME.search(where) and not os.path.isdir(where):
        folder, slash, _ = where.rpartition("/")
        return _Input(where, _filled(where, tables.read(where)), root=folder or slash)
    try:
        fs, path = fsspec.core.url_to_fs(where)
        exists, is_folder = fs.exists(path), fs.isdir(path)
    except Exception as e:  # every store has errors of its own
        raise ValueError(f"{where} cannot be opened: {type(e).__name__}: {words.line(e)}") from e
    if not exists:
        # "data/pictures" could be a name on the Hub, but beside a folder "data" it is a typing error.
        if re.fullmatch(r"[\w.-]+/[\w.-]+", where) and not os.path.isdir(where.split("/")[0]):
            return _open_hf(where, split, url_column)
        raise ValueError(words.missing(where))
    if not is_folder:
        raise ValueError(words.unknown(where))
    path = path.rstrip("/")
    names = sorted(found[len(path) + 1 :] for found in fs.find(path))
    names = [name for name in names if not re.search(r"(^|/)\.", name)]
    if any(map(HF_FILE.search, names)):
        return _open_hf(where, split, url_column)
    pictures = pa.array([name for name in names if PICTURE.search(name)], pa.string())
    columns = {"file_name": pictures}
    if pc.any(pc.match_substring(pictures, "/")).as_py():
        columns["label"] = pc.replace_substring_regex(pictures, r"^([^/]*)/.*|^.*", r"\1")
    source = pc.binary_join_element_wise(project.absolute(where), pictures, "/")
    return _Input(where, _filled(where, pa.table(columns), "pictures in it"), source=source, name=pictures)


def _open_hf(where: str, split: str, url_column: str | None) -> _Input:
    import datasets  # takes seconds to import

    try:
        found = datasets.load_dataset(where)
    except Exception as e:
        raise ValueError(f"{where} does not open as a Hugging Face dataset: {words.line(e)}") from e
    if split not in found and len(found) > 1:
        raise ValueError(f"{where} has no split {split!r}; it has: {', '.join(found)}")
    part = split if split in found else next(iter(found))
    rows, features = _filled(where, found[part].data.table), dict(found[part].features)
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if url_column in features and url_column not in images:
        return _Input(where, rows, root=where, features=features)
    if url_column not in images and len(images) != 1:
        raise ValueError(
            f"{where} has {len(images)} columns of pictures; name one as url_column: {', '.join(features)}"
        )
    column = url_column if url_column in images else images[0]
    del features[column]
    ids = None
    if {"image_id", "source", "status"} <= set(features):  # made by imgprep: its own columns are made again
        ids, features = rows["image_id"], {n: feature for n, feature in features.items() if n not in RESERVED}
    number = pa.array(range(rows.num_rows), pa.int64()).cast(pa.string())
    source = pc.binary_join_element_wise(uris.hf_rows(where, part, column, found[part]), number, "")
    name = pc.binary_join_element_wise(f"{part}#", number, "")
    return _Input(where, rows.select(list(features)), source=source, name=name, ids=ids, features=features)


def _filled(where: str, table: pa.Table, what: str = "rows") -> pa.Table:
    if not table.num_rows:
        raise ValueError(f"{where} has no {what}")
    return table


def _known(name: str, inputs: list[_Input]) -> None:
    columns = list(dict.fromkeys(n for one in inputs for n in one.table.column_names))
    if name not in columns:
        raise ValueError(words.no_column(name, columns, ", ".join(one.where for one in inputs)))


def _rename(one: _Input, rename: dict[str, str], id_column: str | None) -> None:
    names = [rename.get(name, name) for name in one.table.column_names]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"{one.where} has two columns named {twice[0]!r}; give each its own name")
    if "" in names:
        raise ValueError(f"column {names.index('') + 1} of {one.where} has no name; give rename={{'': 'number'}}")
    taken = [name for name in names if name in RESERVED and (name, id_column) != ("image_id", "image_id")]
    if taken:
        fix = {name: f"my_{name}" for name in taken}
        raise ValueError(f"{one.where} has a column {taken[0]!r}, a name that imgprep needs; give rename={fix}")
    one.table = one.table.rename_columns(names)
    one.features = {rename.get(name, name): feature for name, feature in one.features.items()}


def _types(inputs: list[_Input]) -> dict[str, pa.DataType]:
    types = {}
    for name in dict.fromkeys(n for one in inputs for n in one.table.column_names if n != "image_id"):
        having = [one for one in inputs if name in one.table.column_names]
        is_text = [tables.is_text(one.where) for one in having]
        types[name] = tables.unified(name, [one.table[name] for one in having], is_text)
    return types


def _locate(one: _Input, url_column: str | None, types: dict[str, pa.DataType], root: str) -> None:
    """Sets source and name from the cells of the url_column."""
    if url_column is None:
        columns = ", ".join(one.table.column_names)
        raise ValueError(f"url_column says which column holds the URLs; {one.where} has: {columns}")
    _known(url_column, [one])
    kind = types[url_column]
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ValueError(f"column {url_column!r} of {one.where} holds {kind}, not URLs or paths")
    one.source, one.name = uris.locate(one.table[url_column], root)


def _image_ids(one: _Input, id_column: str | None) -> pa.Array | pa.ChunkedArray:
    if id_column in one.table.column_names:
        ids = pc.fill_null(one.table[id_column].cast(pa.string()), "")
        empty = pc.index(ids, "").as_py()
        if empty >= 0:
            raise ValueError(f"row {empty + 1} of {one.where} has no {id_column!r}, which id_column names")
        again = ids.to_pandas()[lambda ids: ids.duplicated()].unique()
        if len(again):
            some = ", ".join(map(repr, again[:3]))
            raise ValueError(f"{len(again)} ids of {one.where} appear more than once in {id_column!r}: {some} …")
        return ids
    if one.ids is not None:
        return one.ids
    names = one.name.to_pandas()
    again = names.groupby(names).cumcount()
    ids = names.map(lambda name: hashlib.sha256(name.encode()).hexdigest()[:16])
    ids[again > 0] += "-" + (again[again > 0] + 1).astype(str)
    return pa.array(ids, pa.string())


def _table(one: _Input, types: dict[str, pa.DataType], id_column: str | None) -> pa.Table:
    rows, has = one.table.num_rows, one.table.column_names
    columns = {n: tables.typed(one.table[n], t) if n in has else pa.nulls(rows, t) for n, t in types.items()}
    table = pa.table({"image_id": _image_ids(one, id_column), **columns, "source": one.source})
    if not one.features:
        return table.replace_schema_metadata(None)
    import datasets

    return table.replace_schema_metadata(datasets.Features(one.features).arrow_schema.metadata)


def _chosen(table: pa.Table, limit: int | None, sample: int | None, stratify: str | None) -> pa.Table:
    """The first `limit` rows, then `sample` of them, in their order."""
    table = table.slice(0, limit)
    if sample is None or sample >= table.num_rows:
        return table
    # By a hash of its id, so that a row stays in the sample when others come and go.
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in table["image_id"].to_pylist()]
    classes = table[stratify].to_pandas().astype(str) if stratify else np.zeros(table.num_rows)
    by_class = pd.Series(np.frombuffer(b"".join(digests), np.uint64)).groupby(classes, dropna=False)
    place, size = by_class.rank("first"), by_class.transform("size")
    # The first of each class, of large classes first; then the same share of all.
    order = np.lexsort((-size, np.where(place == 1, 0, place / size)))
    return table.take(np.sort(order[:sample]))
