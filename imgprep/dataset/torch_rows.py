"""Rows for training, out of the files as they are: what a torch DataLoader takes. Needs torch."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import IterableDataset, get_worker_info

from imgprep.dataset.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.picture import codec

Row = dict[str, Any]
AT_A_TIME = 64  # rows


class Piece(NamedTuple):
    """Rows start..stop of a row group, which are read together."""

    file: str
    group: int
    start: int
    stop: int


def dealt(groups: list[Piece], mine: int, readers: int) -> list[Piece]:
    """One reader's part: as many rows as the others', and few groups that two of them read.

    >>> dealt([Piece("a", 0, 0, 6), Piece("a", 1, 0, 4)], 1, 2)
    [Piece(file='a', group=0, start=5, stop=6), Piece(file='a', group=1, start=0, stop=4)]
    """
    # Rows are dealt, not groups: with few groups some
    # workers would have none, and others wait for them.
    total = sum(group.stop for group in groups)
    first = total * mine // readers
    last = total * (mine + 1) // readers
    found = []
    begin = 0
    for group in groups:
        start = max(first - begin, 0)
        stop = min(last - begin, group.stop)
        if start < stop:
            found.append(group._replace(start=start, stop=stop))
        begin += group.stop
    return found


class TorchRows(IterableDataset[Row]):
    """The ok rows of a split as dicts, each once an epoch, dealt among the workers of a DataLoader.

    columns: which, or all. Pictures are (H, W, 3) uint8 RGB by `decode`, or their bytes where that
    is None. shuffle_rows: rows that are mixed with one another, in memory; 0: the order of the
    dataset, within each worker. seed, and `set_epoch` before each epoch, decide the order. rank,
    world: this process's number among those that train, and how many there are.
    Reads the columns asked for, a few rows at a time, and nothing twice but the beginning of a row
    group (32 MiB of pictures) that two readers share.
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
        self._rank, self._world = rank, world
        self._known_groups: list[Piece] = []
        # In shared memory: workers that stay between epochs do not see what the main process sets.
        self._epoch = torch.zeros(1, dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers that stay see it, too
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
        self._epoch[0] = epoch

    def __iter__(self) -> Iterator[Row]:
        worker = get_worker_info()
        mine, readers = self._rank, self._world
        if worker is not None:
            mine = self._rank * worker.num_workers + worker.id
            readers = self._world * worker.num_workers
        named = f"{self._seed}/{int(self._epoch)}"
        groups = self._groups()
        if self._shuffle_rows:
            # By groups first, as a group is read at once; within `shuffle_rows` then row by row.
            random.Random(named).shuffle(groups)
        rows = self._rows(dealt(groups, mine, readers))
        if not self._shuffle_rows:
            return map(self._finished, rows)
        # Another order for each worker: they read other rows.
        mixed = shuffled(rows, self._shuffle_rows, random.Random(f"{named}/{mine}"))
        return map(self._finished, mixed)

    def _groups(self) -> list[Piece]:
        """All row groups of the split."""
        if self._known_groups:
            return list(self._known_groups)
        found: list[Piece] = []
        for file in self._files:
            meta = pq.read_metadata(self._folder.open(file["file"]))
            rows = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]
            found += [Piece(file["file"], number, 0, count) for number, count in enumerate(rows)]
        self._known_groups = found
        return list(found)

    def _rows(self, pieces: list[Piece]) -> Iterator[Row]:
        opened: tuple[str, pq.ParquetFile] | None = None
        for piece in pieces:
            if opened is None or opened[0] != piece.file:
                opened = piece.file, self._opened(piece.file)
            yield from _dicts(self._tables(opened[1], piece))

    def _opened(self, name: str) -> pq.ParquetFile:
        """A file of this machine is mapped, which saves a copy: it never changes under its name."""
        if not self._folder.remote:
            return pq.ParquetFile(self._folder.open(name), memory_map=True)
        # A row group's columns are asked for at once. Reading ahead would fetch tens of
        # MiB anew for every column, as each begins where the one before did not end.
        return pq.ParquetFile(self._folder.open(name, ahead=False), pre_buffer=True)

    def _tables(self, parquet: pq.ParquetFile, piece: Piece) -> Iterator[pa.RecordBatch]:
        """A few rows at a time: they stay in the processor's cache until they are objects."""
        # use_threads=False: the workers of the DataLoader are the threads.
        few = parquet.iter_batches(
            AT_A_TIME, row_groups=[piece.group], columns=self._columns, use_threads=False
        )
        begin = 0
        for rows in few:
            start = max(piece.start - begin, 0)
            begin += len(rows)
            if start < len(rows):
                yield rows.slice(start, len(rows) - start - max(begin - piece.stop, 0))
            if begin >= piece.stop:
                return

    def _finished(self, row: Row) -> Row:
        """With its picture decoded: only now, so that what waits is small."""
        if self._decode is not None and row.get("image") is not None:
            row["image"] = self._decode(row["image"])
        return row


def _dicts(tables: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    """The rows of some tables; of a picture its bytes alone."""
    for table in tables:
        names = table.schema.names
        cells = [_cells_of(table, name) for name in names]
        for values in zip(*cells, strict=True):
            yield dict(zip(names, values, strict=True))


def _cells_of(table: pa.RecordBatch, name: str) -> list[Any]:
    column = table[name]
    if name == "image":
        # A slice of a struct has an offset that `field` does not know; `flatten` does.
        column = column.field("bytes") if not column.offset else column.flatten()[0]
    cells: list[Any] = column.to_pylist()
    return cells


def shuffled(rows: Iterator[Row], size: int, order: random.Random) -> Iterator[Row]:
    """Rows in another order: each changes places with one of the `size` that wait.

    They begin to come when an eighth waits, every other one until all do: nobody waits long.
    """
    waiting: list[Row] = []
    is_even = False
    for row in rows:
        is_even = not is_even
        if len(waiting) < size and (is_even or len(waiting) <= size // 8):
            waiting.append(row)
            continue
        if len(waiting) < size:
            waiting.append(row)
            at = int(order.random() * len(waiting))
            waiting[at], waiting[-1] = waiting[-1], waiting[at]
            yield waiting.pop()
            continue
        at = int(order.random() * size)
        row, waiting[at] = waiting[at], row
        yield row
    order.shuffle(waiting)
    yield from waiting
