"""Where the result of each key stands: in a part of a run, or in a committed file."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep.dataset import INDEX, expand, sizes
from imgprep.dataset.files import Folder
from imgprep.resume.again import told_reasons
from imgprep.resume.lookup import Lookup

# `reason`: of a result that is no picture; "" where it is one.
LOCATED = INDEX.append(pa.field("reason", pa.string()))
OF_PART = ["key", "done", "nbytes", "etag", "reason", "error"]
NOWHERE = {"file": "", "start": 0, "count": 1, "done": False, "lines": 1}


class Located:
    """Results by key, as lines of INDEX: in which file,
    from which row, how many; and why one failed.
    """

    def __init__(self) -> None:
        self._tables: dict[str, pa.Table] = {}
        # Built when it is asked for: parts come one by one, and each would merge all of them again.
        self._merged: pa.Table | None = None
        self._lookup: Lookup | None = None
        self.files: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.files)

    def add(self, name: str, lines: pa.Table) -> None:
        """lines: of LOCATED, or of INDEX, where the reasons do not matter."""
        if "reason" not in lines.column_names:
            lines = lines.append_column("reason", pa.array([""] * lines.num_rows, pa.string()))
        self._tables[name] = lines
        self._changed()

    def forget(self, name: str) -> None:
        self._tables.pop(name, None)
        self._changed()

    def _changed(self) -> None:
        self._merged = self._lookup = None

    def add_part(self, folder: Folder, name: str, *, verify: bool = False) -> None:
        """verify: read all of it first; OSError where it is damaged, as after a loss of power."""
        if verify:
            whole = pq.ParquetFile(folder.open(name), page_checksum_verification=True)
            for group in range(whole.num_row_groups):
                whole.read_row_group(group)
        table = pq.read_table(folder.open(name), columns=OF_PART, partitioning=None)
        if table.num_rows:
            self.add(name, _lines_of_part(name, table))
            self.files.append(name)

    def forget_failures(self) -> None:
        done = pc.field("done")
        self._tables = {name: table.filter(done) for name, table in self._tables.items()}
        self._changed()

    @property
    def table(self) -> pa.Table:
        """All lines, of LOCATED."""
        if self._merged is None:
            # The newest first: `find` takes the first of equal keys.
            newest_first = reversed(self._tables.values())
            self._merged = pa.concat_tables([LOCATED.empty_table(), *newest_first])
        return self._merged

    def find(self, keys: pa.Array) -> np.ndarray:
        """For each key its row in `table`, or -1. Null keys are not found."""
        if self._lookup is None:
            self._lookup = Lookup(self.table["key"])
        return self._lookup.find(keys)


def _lines_of_part(name: str, table: pa.Table) -> pa.Table:
    # Children of one picture stand one after another under its key.
    keys = np.array(table["key"].to_pylist(), object)
    is_new = np.ones(len(keys), bool)
    is_new[1:] = keys[1:] != keys[:-1]
    starts = np.flatnonzero(is_new)
    first = table.take(pa.array(starts))
    done = np.logical_and.reduceat(table["done"].to_numpy(), starts)
    columns = {
        "key": first["key"],
        "file": pa.array([name] * len(starts)),
        "start": starts,
        "count": np.diff(np.append(starts, len(keys))).astype(np.int32),
        "done": done,
        "nbytes": np.add.reduceat(sizes(table), starts),
        "etag": first["etag"],
        "lines": np.ones(len(starts), np.int32),
        "reason": pc.if_else(pa.array(done), "", told_reasons(first["reason"], first["error"])),
    }
    return pa.table(columns, schema=LOCATED)


def with_reasons(folder: Folder, lines: pa.Table) -> pa.Table:
    """Lines of INDEX as lines of LOCATED: the reason of a failure stands in the file of its row."""
    done = lines["done"].to_numpy()
    reasons = np.full(len(done), "", object)
    failed = np.flatnonzero(~done)
    files = lines["file"].take(pa.array(failed)).to_numpy()
    starts = lines["start"].take(pa.array(failed)).to_numpy()
    for file in sorted(set(files)):
        # partitioning=None: else pyarrow reads "split=train" in a folder's name as a column.
        rows = pq.read_table(folder.open(file), columns=["reason", "error"], partitioning=None)
        column = told_reasons(rows["reason"], rows["error"])
        mine = files == file
        reasons[failed[mine]] = column.take(pa.array(starts[mine])).to_pylist()
    return lines.append_column("reason", pa.array(reasons, pa.string()))


def whole_rows(index: pa.Table, gone: Iterable[str]) -> pa.Table:
    """The lines of the input rows all of whose results are whole. gone: files that are not."""
    lost = pc.is_in(index["file"], pa.array(sorted(gone), pa.string()))
    row_of = np.cumsum(index["lines"].to_numpy() > 0)
    bad = np.unique(row_of[np.asarray(lost.to_numpy(zero_copy_only=False), bool)])
    return index.filter(pa.array(~np.isin(row_of, bad)))


def usable(lines: pa.Table, gone: Iterable[str], *, retry: bool) -> pa.Table:
    """The lines of keys whose results are whole. retry: and that did not fail."""
    lines = lines.filter(pc.field("key").is_valid())
    lost = pc.is_in(lines["file"], pa.array(sorted(gone), pa.string()))
    if retry:
        lost = pc.or_(lost, pc.invert(lines["done"]))
    without = lines["key"].filter(lost).combine_chunks()
    return lines.filter(pc.invert(pc.is_in(lines["key"], without)))


def lines_of(keys: pa.Array, newer: Located, older: Located) -> pa.Table:
    """The lines of INDEX for each key; one with file "" and count 1 where it has no result."""
    fresh, old = newer.find(keys), older.find(keys)
    # Never from both: the lines of one key in two places would make its rows twice.
    old[fresh >= 0] = -1
    # Line 0 is what every key without a result gets.
    pieces = [pa.Table.from_pylist([NOWHERE], LOCATED)]
    at = np.zeros(len(keys), np.int64)  # in the pieces; at first nowhere
    counts = np.ones(len(keys), np.int64)
    begin = 1
    for located, found in ((older, old), (newer, fresh)):
        hit = np.flatnonzero(found >= 0)
        lines = located.table["lines"].take(pa.array(found[hit])).to_numpy()
        pieces.append(located.table.take(pa.array(expand(found[hit], lines))))
        at[hit] = begin + np.cumsum(lines) - lines
        counts[hit] = lines
        begin += pieces[-1].num_rows
    whole = pa.concat_tables(pieces).combine_chunks()
    return whole.take(pa.array(expand(at, counts))).select(INDEX.names)
