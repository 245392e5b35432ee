"""Parquet files of pictures: written in row groups of a bounded size, read by the number of a row."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep.dataset.files import Folder

FILE_BYTES = 500 << 20  # what the Hub advises for one Parquet shard
ROW_GROUP_BYTES = 32 << 20  # what one reader holds at once
ROW_BYTES = 256  # what a row takes beside its picture, about


class Writer:
    """One Parquet file, in row groups of about ROW_GROUP_BYTES that depend on the rows alone.

    Tables given to `write` have a column `nbytes`; memory held is one row group.
    """

    def __init__(self, sink: Any, schema: pa.Schema, *, group_bytes: int = ROW_GROUP_BYTES):
        self._schema, self._group_bytes = schema, group_bytes
        pictures = ("image", "original")
        texts = [f.name for f in schema if pa.types.is_string(f.type) and f.name not in pictures]
        self._file = pq.ParquetWriter(
            sink,
            schema,
            # A dictionary for words that repeat; of pictures it would be a copy of each.
            use_dictionary=texts,
            # Pictures are compressed already; the leaf names are how pyarrow spells nested columns.
            compression={_leaf(f): "none" if f.name in pictures else "snappy" for f in schema},
            # With a page index a reader skips to a row instead of reading all of its group.
            write_page_index=True,
            # Of each page: a bit that rots is found when it is read, not when a picture looks odd.
            write_page_checksum=True,
            # Chunks by content: an edited row changes its page
            # and not all behind it, so Xet uploads little.
            use_content_defined_chunking=True,
        )
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self.rows = self.bytes = 0

    def write(self, table: pa.Table) -> None:
        table = table.cast(self._schema)  # one schema, with its features, on every file
        self.rows += table.num_rows
        if not table.num_rows:
            return
        if "image" in table.column_names:
            held = sizes(table)
        else:
            held = np.zeros(table.num_rows, np.int64)
        ends = np.cumsum(held + ROW_BYTES)
        self.bytes += int(ends[-1])
        # Cut by the rows alone and not by what came in one call: the same rows give the same bytes.
        while len(ends) and self._pending_bytes + ends[-1] >= self._group_bytes:
            cut = int(np.searchsorted(ends, self._group_bytes - self._pending_bytes)) + 1
            self._pending.append(table.slice(0, cut))
            self._flush()
            table, ends = table.slice(cut), ends[cut:] - ends[cut - 1]
        if table.num_rows:
            self._pending.append(table)
            self._pending_bytes += int(ends[-1])

    def _flush(self) -> None:
        if self._pending:
            group = pa.concat_tables(self._pending).combine_chunks()
            self._file.write_table(group, row_group_size=max(1, group.num_rows))
        self._pending, self._pending_bytes = [], 0

    def close(self) -> None:
        self._flush()
        self._file.close()


def _leaf(field: pa.Field) -> str:
    kind = field.type
    if pa.types.is_struct(kind):
        leaf = "bytes" if field.name == "image" else kind.field(0).name
        return f"{field.name}.{leaf}"
    if pa.types.is_nested(kind):
        return f"{field.name}.list.element"
    return str(field.name)


def sizes(table: pa.Table) -> np.ndarray:
    """Bytes of the picture in each row: the one that is shown, or the larger `original` that cannot be."""
    shown = pc.fill_null(table["nbytes"], 0)
    if "image" in table.column_names:  # it may be kept elsewhere
        shown = pc.if_else(pc.is_valid(table["image"]), shown, 0)
    if "original" in table.column_names:
        original = pc.fill_null(pc.binary_length(table["original"]), 0)
        shown = pc.max_element_wise(shown, original)
    return np.asarray(shown.to_numpy(zero_copy_only=False))


@dataclass
class _Opened:
    """A file that is open, and the row group of it that was read last."""

    file: pq.ParquetFile
    starts: np.ndarray  # of each row group, and the end of the last
    group: tuple[int, tuple[str, ...]] | None = None
    table: pa.Table | None = None

    def read(self, group: int, columns: list[str] | None) -> pa.Table:
        wanted = (group, tuple(columns or ()))
        if self.group != wanted:
            # Both at once would be two groups of pictures in memory.
            self.group = self.table = None  # drop the old group before the new one is read
            self.table = self.file.read_row_group(group, columns=columns)
            self.group = wanted
        return self.table


class Reader:
    """Rows of many Parquet files by number; keeps the last row group it read of each of a few files."""

    def __init__(self, folder: Folder, *, keep: int = 8):
        self._folder, self._keep = folder, keep
        self._files: OrderedDict[str, _Opened] = OrderedDict()

    def rows(self, file: str, rows: np.ndarray, columns: list[str] | None = None) -> pa.Table:
        """These rows (ascending numbers, each once) of one file, in that order."""
        opened = self._opened(file)
        pieces = []
        groups = np.searchsorted(opened.starts, rows, side="right") - 1
        for group in np.unique(groups):
            table = opened.read(int(group), columns)
            mine = rows[groups == group] - opened.starts[group]
            # Neighbours are not copied; to take one picture out of a group costs a millisecond.
            is_run = mine[-1] - mine[0] == len(mine) - 1
            pieces.append(table.slice(mine[0], len(mine)) if is_run else table.take(mine))
        return pa.concat_tables(pieces)

    def _opened(self, name: str) -> _Opened:
        if name not in self._files:
            file = pq.ParquetFile(self._folder.open(name))
            meta = file.metadata
            rows = [meta.row_group(g).num_rows for g in range(meta.num_row_groups)]
            self._files[name] = _Opened(file, np.cumsum([0, *rows]))
            while len(self._files) > self._keep:
                _, oldest = self._files.popitem(last=False)
                oldest.file.close()
        self._files.move_to_end(name)
        return self._files[name]

    def picture(self, file: str, row: int) -> bytes | None:
        """The encoded bytes of a row: `image`, or the `original` of an ok row that Pillow cannot open."""
        (found,) = self.rows(file, np.array([row]), ["image", "original", "nbytes"]).to_pylist()
        data: bytes | None = found["nbytes"] and found.get("original")
        if found["image"]:
            data = found["image"]["bytes"]
        return data or None
