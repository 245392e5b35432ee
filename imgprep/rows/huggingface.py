"""Hugging Face datasets as rows: on the Hub, a folder, one Parquet file, or an object in memory."""

import os
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imgprep import dataset, words
from imgprep.io import uris
from imgprep.io.uris.columns import locate
from imgprep.rows import column_types
from imgprep.rows.opened import Opened, filled

# The names that a stage gives its own columns. `index` may be the user's.
RESERVED = (*dataset.COLUMNS, "image_id", "original", "parent_id", "file", "row")
MADE_HERE = {"image_id", "source", "status"}  # the columns of a dataset that imgprep made


def open_hf_dataset(where: str, split: str, url_column: str | None) -> Opened:
    """A split of a dataset in a folder, a Parquet file or on the Hub. Its only split is taken under
    any name.
    """
    try:
        found = uris.open_splits(where)
    except Exception as e:
        raise ValueError(f"{where} does not open as a Hugging Face dataset: {words.line(e)}") from e
    if split not in found and len(found) > 1:
        raise ValueError(f"{where} has no split {split!r}; it has: {', '.join(found)}")
    # Under any name: a CSV's only split is "train" to `datasets`, whatever it is to the user.
    part = split if split in found else next(iter(found))
    rows = found[part]
    table, notes = column_types.plain(filled(where, rows.data.table))
    for note in notes:
        words.say(f"{where}: {note}")
    features = dict(rows.features)
    pictures = [name for name, feature in features.items() if is_picture_feature(feature)]
    column = _picture_column(where, url_column, pictures, table)
    if column is None:
        return Opened(where, table, root=where, features=features)
    number = pa.array(range(table.num_rows), pa.int64()).cast(pa.string())
    start = uris.hf_rows(where, part, column, rows)
    return _without_pictures(
        Opened(
            where,
            table,
            source=pc.binary_join_element_wise(start, number, ""),
            name=pc.binary_join_element_wise(f"{part}#", number, ""),
            features=features,
            picture_column=column,
        )
    )


def open_in_memory(rows: Any, where: str, split: str, url_column: str | None) -> Opened:
    """A `datasets.Dataset`: its pictures are files, or rows of the file it was loaded from."""
    # A filtered Dataset is a table and a list of rows: what counts is the list.
    rows = rows if rows._indices is None else rows.flatten_indices()
    table, _ = column_types.plain(filled(where, rows.data.table))
    features = dict(rows.features)
    pictures = [name for name, feature in features.items() if is_picture_feature(feature)]
    column = _picture_column(where, url_column, pictures, table)
    if column is None:
        return Opened(where, table, root=os.getcwd(), features=features)
    sources, names = _places(rows, column, table[column], split)
    opened = Opened(
        where, table, source=sources, name=names, features=features, picture_column=column
    )
    return _without_pictures(opened)


def is_picture_feature(feature: Any) -> bool:
    """An Image, or what Parquet without features has of one: a struct of bytes and path."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return type(feature).__name__ == "Image"


def is_picture_type(type_: pa.DataType) -> bool:
    """The Arrow type of encoded pictures: bytes, or a struct of bytes and path."""
    if pa.types.is_struct(type_):
        return {type_.field(place).name for place in range(type_.num_fields)} == {"bytes", "path"}
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_))


def _picture_column(
    where: str, url_column: str | None, pictures: list[str], table: pa.Table
) -> str | None:
    """The column that holds the pictures; None where the url_column holds their places."""
    columns = table.column_names
    if url_column in columns:
        assert url_column is not None
        is_picture = url_column in pictures or is_picture_type(table.schema.field(url_column).type)
        return url_column if is_picture else None
    if len(pictures) != 1:
        raise ValueError(
            f"{where} has {len(pictures)} columns of pictures; "
            f"name one as url_column: {', '.join(columns)}"
        )
    return pictures[0]


def _without_pictures(one: Opened) -> Opened:
    """Its table without the pictures; of a dataset that imgprep made, also without what a stage
    makes again.
    """
    left_out = {one.picture_column}
    if set(one.table.column_names) >= MADE_HERE:
        one.ids = one.table["image_id"]
        left_out |= {*RESERVED}
    one.features = {name: feature for name, feature in one.features.items() if name not in left_out}
    one.table = one.table.select([name for name in one.table.column_names if name not in left_out])
    return one


def _places(
    rows: Any, column: str, pictures: pa.ChunkedArray, split: str
) -> tuple[pa.Array, pa.Array]:
    """(sources, names) of the pictures of a Dataset that is in memory."""
    if pa.types.is_struct(pictures.type):
        data, paths = (pc.struct_field(pictures, name) for name in ("bytes", "path"))
        # Only paths: these pictures are files, and their paths are sources as they are.
        if data.null_count == len(data):
            return locate(paths, os.sep)
    sources: list[str] = []
    for cached in rows.cache_files:
        file = cached["filename"]
        (part,) = uris.open_splits(file).values()
        start = uris.hf_rows(file, "train", column, part)
        sources += [f"{start}{number}" for number in range(part.num_rows)]
    # Of a slice of a file nobody says where it begins.
    if len(sources) != rows.num_rows:
        raise ValueError(
            "the pictures of this Dataset are only in memory: write it with "
            "ds.to_parquet('pictures/train.parquet') and give {'train': 'pictures'}"
        )
    names = [f"{split}#{number}" for number in range(len(sources))]
    return pa.array(sources, pa.string()), pa.array(names, pa.string())
