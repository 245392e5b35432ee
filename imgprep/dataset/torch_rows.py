"""Rows for training, out of the files as they are: what a torch DataLoader takes. Needs torch."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import IterableDataset, get_worker_info

from imgprep.dataset.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.picture import codec

PIECES_EACH = 4  # for each reader at least, so that all have work to the end

Row = dict[str, Any]


class Piece(NamedTuple):
    """Rows start..stop of a row group, which are read together."""

    file: str
    group: int
    start: int
    stop: int


class TorchRows(IterableDataset[Row]):
    """The ok rows of a split as dicts, each once an epoch, dealt among the workers of a DataLoader.

    columns: which, or all. Pictures are (H, W, 3) uint8 RGB by `decode`, or their bytes where that
    is None. shuffle_rows: rows that are mixed with one another, in memory; 0: the order of the
    dataset, within each worker. seed, and `set_epoch` before each epoch, decide the order. rank,
    world: this process's number among those that train, and how many there are.
    Reads a row group at a time (32 MiB of pictures) with the columns asked for, and nothing twice.
    """

    def __init__(
        self,
        folder: str | Dataset,
        split: str = "train",
        *,
        columns: Sequence[str] | None = None,
        config: str | None = None,
        decode: Callable[[bytes], Any] | None = codec.decode,
        shuffle_rows: int = 0,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ):
        ds = folder if isinstance(folder, Dataset) else Dataset(folder)
        if split not in ds.splits:
            raise ValueError(f"no split {split!r}; {ds.folder} has {', '.join(ds.splits)}")
        wanted = config or ds.configs[0]
        self._folder = Folder(ds.folder)
        self._files = [f for f in ds.files if (f["config"], f["split"]) == (wanted, split)]
        self._columns = list(columns) if columns is not None else None
        self._decode, self._shuffle_rows, self._seed = decode, shuffle_rows, seed
        self._rank, self._world, self._epoch = rank, world, 0
        if self._columns and self._files:
            known = pq.read_schema(self._folder.open(self._files[0]["file"])).names
            for name in self._columns:
                if name not in known:
                    raise ValueError(f"no column {name!r}; {ds.folder} has {', '.join(known)}")

    def __len__(self) -> int:
        """Rows of all processes together; of one it is about a part of that."""
        return sum(f["rows"] for f in self._files)

    def set_epoch(self, epoch: int) -> None:
        """Another order for another epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Row]:
        worker = get_worker_info()
        mine, readers = self._rank, self._world
        if worker is not None:
            mine = self._rank * worker.num_workers + worker.id
            readers = self._world * worker.num_workers
        order = random.Random(f"{self._seed}/{self._epoch}")
        pieces = self._pieces(readers)
        if self._shuffle_rows:
            order.shuffle(pieces)
        rows = self._rows(pieces[mine::readers])
        if not self._shuffle_rows:
            return map(self._finished, rows)
        mixed = shuffled(rows, self._shuffle_rows, random.Random(f"{self._seed}/{self._epoch}/{mine}"))
        return map(self._finished, mixed)

    def _pieces(self, readers: int) -> list[Piece]:
        """All row groups; in parts, where there are few."""
        groups = []
        for file in self._files:
            meta = pq.read_metadata(self._folder.open(file["file"]))
            groups += [(file["file"], g, meta.row_group(g).num_rows) for g in range(meta.num_row_groups)]
        parts = 1 if readers == 1 else -(-PIECES_EACH * readers // max(1, len(groups)))
        pieces = []
        for name, group, rows in groups:
            ends = np.linspace(0, rows, parts + 1).astype(int).tolist()
            pieces += [Piece(name, group, lo, hi) for lo, hi in zip(ends, ends[1:], strict=False) if hi > lo]
        return pieces

    def _rows(self, pieces: list[Piece]) -> Iterator[Row]:
        opened: tuple[str, pq.ParquetFile] | None = None
        for piece in pieces:
            if opened is None or opened[0] != piece.file:
                opened = piece.file, pq.ParquetFile(self._folder.open(piece.file))
            table = opened[1].read_row_group(piece.group, columns=self._columns, use_threads=False)
            yield from _dicts(table.slice(piece.start, piece.stop - piece.start))

    def _finished(self, row: Row) -> Row:
        """With its picture decoded: only now, so that what waits is small."""
        if self._decode is not None and row.get("image") is not None:
            row["image"] = self._decode(row["image"])
        return row


def _dicts(table: pa.Table) -> Iterator[Row]:
    """The rows of a table; of a picture its bytes alone."""
    columns = []
    for name in table.column_names:
        column = table[name].combine_chunks()
        if name == "image":
            column = column.field("bytes") if not column.offset else column.flatten()[0]
        columns.append(column)
    names = table.column_names
    # A few rows at a time: to make objects of all of a group would copy every picture of it.
    for start in range(0, table.num_rows, 64):
        cells = [column.slice(start, 64).to_pylist() for column in columns]
        for values in zip(*cells, strict=True):
            yield dict(zip(names, values, strict=True))


def shuffled(rows: Iterator[Row], size: int, order: random.Random) -> Iterator[Row]:
    """Rows in another order: each changes places with one of the `size` that wait."""
    waiting: list[Row] = []
    for row in rows:
        if len(waiting) < size:
            waiting.append(row)
            continue
        at = order.randrange(size)
        row, waiting[at] = waiting[at], row
        yield row
    order.shuffle(waiting)
    yield from waiting
