"""Where the result of each key stands: in a part of a run, or in a committed file."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep.dataset import INDEX, Dataset, expand, sizes
from imgprep.dataset.files import Folder
from imgprep.resume.parts import PARTS

NOWHERE = {"file": "", "start": 0, "count": 1, "done": False, "lines": 1}


class Located:
    """Results by key, as lines of INDEX: in which file, from which row, how many."""

    def __init__(self) -> None:
        self._tables: dict[str, pa.Table] = {}
        self._merged: pa.Table | None = None
        self.files: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.files)

    def add(self, name: str, index: pa.Table) -> None:
        self._tables[name], self._merged = index, None

    def forget(self, name: str) -> None:
        self._tables.pop(name, None)
        self._merged = None

    def add_part(self, folder: Folder, name: str, *, verify: bool = False) -> None:
        """verify: read all of it first; OSError where it is damaged, as after a loss of power."""
        if verify:
            whole = pq.ParquetFile(folder.open(name), page_checksum_verification=True)
            for group in range(whole.num_row_groups):
                whole.read_row_group(group)
        columns = ["key", "done", "nbytes", "etag"]
        table = pq.read_table(folder.open(name), columns=columns, partitioning=None)
        if table.num_rows:
            self.add(name, _index_of_part(name, table))
            self.files.append(name)

    def forget_failures(self) -> None:
        done = pc.field("done")
        self._tables = {name: table.filter(done) for name, table in self._tables.items()}
        self._merged = None

    @property
    def table(self) -> pa.Table:
        if self._merged is None:
            # The newest first: `find` takes the first of equal keys.
            newest_first = reversed(self._tables.values())
            self._merged = pa.concat_tables([INDEX.empty_table(), *newest_first])
        return self._merged

    def find(self, keys: pa.Array) -> np.ndarray:
        """For each key its row in `table`, or -1. Null keys are not found."""
        known = self.table["key"].combine_chunks()
        hit = pc.index_in(keys, known, skip_nulls=True).fill_null(-1)
        return np.asarray(hit.to_numpy(zero_copy_only=False), np.int64)


def _index_of_part(name: str, table: pa.Table) -> pa.Table:
    # Children of one picture stand one after another under its key.
    keys = np.array(table["key"].to_pylist(), object)
    is_new = np.ones(len(keys), bool)
    is_new[1:] = keys[1:] != keys[:-1]
    starts = np.flatnonzero(is_new)
    first = table.take(pa.array(starts))
    columns = {
        "key": first["key"],
        "file": pa.array([name] * len(starts)),
        "start": starts,
        "count": np.diff(np.append(starts, len(keys))).astype(np.int32),
        "done": np.logical_and.reduceat(table["done"].to_numpy(), starts),
        "nbytes": np.add.reduceat(sizes(table), starts),
        "etag": first["etag"],
        "lines": np.ones(len(starts), np.int32),
    }
    return pa.table(columns, schema=INDEX)


@dataclass
class Known:
    """What is there already when a stage begins.

    before: the committed dataset, or None. parts, committed: where results stand that may be used. etags: of the
    committed results, where the servers are to be asked for newer versions.
    """

    before: Dataset | None = None
    parts: Located = field(default_factory=Located)
    committed: Located = field(default_factory=Located)
    etags: dict[bytes, str] = field(default_factory=dict)

    @property
    def listed(self) -> set[str]:
        """The files that readers of the committed dataset are shown."""
        return {f["file"] for f in self.before.files} if self.before else set()

    def places(self, keys: pa.Array) -> pa.Table:
        """The lines of INDEX for each key; one with file "" and count 1 where it has no result.

        What an unfinished run left comes before what is committed.
        """
        fresh, old = self.parts.find(keys), self.committed.find(keys)
        nowhere = pa.Table.from_pylist([NOWHERE], INDEX)
        whole = pa.concat_tables([nowhere, self.committed.table, self.parts.table])
        at = np.where(fresh >= 0, 1 + self.committed.table.num_rows + fresh, 1 + old)
        lines = whole["lines"].take(pa.array(at)).to_numpy()
        return whole.take(pa.array(expand(at, lines)))


def known_in(folder: Folder, before: Dataset | None, *, retry: bool, refresh: bool) -> Known:
    """What stands in a dataset folder. retry: leave out the failures. refresh: with the ETags."""
    known = Known(before)
    for name in folder.list(PARTS):
        with contextlib.suppress(pa.ArrowInvalid, OSError, KeyError):  # foreign or damaged: no part
            known.parts.add_part(folder, f"{PARTS}/{name}", verify=not folder.remote)
    if retry:
        known.parts.forget_failures()
    if before is None:
        return known
    gone = {f["file"] for f in before.files if folder.size(f["file"]) != f["bytes"]}
    for split in before.splits:
        books = [f["file"] for f in before.files if f["config"] == "index" and f["split"] == split]
        if gone.intersection(books):
            continue  # a lost index costs a recomputation, never a wrong row
        index = _usable(before.index(split), gone, retry=retry)
        if refresh:
            asked = index.filter(pc.field("etag") != "")
            pairs = zip(asked["key"].to_pylist(), asked["etag"].to_pylist(), strict=True)
            known.etags.update(pairs)
        known.committed.add(split, index)
    return known


def _usable(index: pa.Table, gone: Iterable[str], *, retry: bool) -> pa.Table:
    """The lines of keys whose results are whole. retry: and that did not fail."""
    index = index.filter(pc.field("key").is_valid())
    lost = pc.is_in(index["file"], pa.array(sorted(gone), pa.string()))
    if retry:
        lost = pc.or_(lost, pc.invert(index["done"]))
    without = index["key"].filter(lost).combine_chunks()
    return index.filter(pc.invert(pc.is_in(index["key"], without)))
