"""Results of units, as they are cached before they are gathered: one small Parquet file each, found by row key."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep import engine
from imgprep.dataset import INDEX, KEY, Writer, expand, sizes
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.failures import known_reason

PARTS = f"{PRIVATE}/parts"
# What the computation of one picture gives; a part is rows of these, plus the stage's own columns.
RESULT = pa.schema(
    [
        ("key", KEY),
        ("child", pa.int32()),
        ("done", pa.bool_()),
        ("reason", pa.string()),
        ("error", pa.string()),
        ("image", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("nbytes", pa.int64()),
        ("sha256", pa.string()),
        ("etag", pa.string()),
    ]
)
PICTURE = ("image", "width", "height", "format", "nbytes", "sha256")


class Located:
    """Results by key: in which file, from which row, how many."""

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
        table = pq.read_table(folder.open(name), columns=["key", "done", "nbytes", "etag"], partitioning=None)
        n = table.num_rows
        if not n:
            return
        keys = table["key"].combine_chunks()
        # Children of one picture stand one after another under its key.
        new = np.ones(n, bool)
        raw = np.array(keys.to_pylist(), object)
        new[1:] = raw[1:] != raw[:-1]
        starts = np.flatnonzero(new)
        counts = np.diff(np.append(starts, n))
        total = np.add.reduceat(sizes(table), starts)
        done = np.logical_and.reduceat(table["done"].to_numpy(), starts)
        first = table.take(pa.array(starts))
        columns = [first["key"], pa.array([name] * len(starts)), starts, counts.astype(np.int32), done]
        columns += [total, first["etag"], np.ones(len(starts), np.int32)]
        self.add(name, pa.table(columns, schema=INDEX))
        self.files.append(name)

    def forget_failures(self) -> None:
        self._tables = {name: t.filter(pc.field("done")) for name, t in self._tables.items()}
        self._merged = None

    @property
    def table(self) -> pa.Table:
        if self._merged is None:
            # The newest first: `find` takes the first of equal keys.
            self._merged = pa.concat_tables([INDEX.empty_table(), *reversed(self._tables.values())])
        return self._merged

    def find(self, keys: pa.Array) -> np.ndarray:
        """For each key its row in `table`, or -1. Null keys are not found."""
        hit = pc.index_in(keys, self.table["key"].combine_chunks(), skip_nulls=True)
        return hit.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    @staticmethod
    def locate(fresh: np.ndarray, parts: "Located", old: np.ndarray, committed: "Located") -> pa.Table:
        """The lines of INDEX for each row; one with file "" and count 1 where a row has no result of its own.

        fresh, old: what `find` gives for the rows' keys in parts and in committed; fresh comes first.
        """
        nowhere = pa.Table.from_pylist([{"file": "", "start": 0, "count": 1, "done": False, "lines": 1}], INDEX)
        whole = pa.concat_tables([nowhere, committed.table, parts.table])
        at = np.where(fresh >= 0, 1 + committed.table.num_rows + fresh, 1 + old)
        return whole.take(pa.array(expand(at, whole["lines"].take(pa.array(at)).to_numpy())))


@dataclass(frozen=True)
class PartWriter:
    """Writes the results of a unit as one part of `folder`, holding at most a few MiB; a context manager's factory."""

    folder: Folder
    schema: pa.Schema

    def write(self, task: engine.Task, results: Iterable[dict[str, Any]]) -> engine.Summary:
        """Write RESULT rows (dicts) as they come; returns the unit's summary."""
        reasons: Counter = Counter()
        examples: dict[str, list[str]] = {}
        rows = nbytes = held = 0
        pending: list[dict] = []
        seen = set()
        with self.folder.create(lambda _: f"{PARTS}/{task.key}.parquet") as sink:
            writer = Writer(sink, self.schema, group_bytes=16 << 20)
            for row in results:
                pending.append(row)
                held += row.get("nbytes") or 0
                if row["key"] not in seen:
                    seen.add(row["key"])
                    rows += 1
                    if not row["done"]:
                        reasons[known_reason(row["reason"])] += 1
                        examples.setdefault(row["reason"], [row["error"]])
                nbytes += row.get("nbytes") or 0
                if held > 8 << 20:
                    writer.write(pa.Table.from_pylist(pending, self.schema))
                    pending, held = [], 0
            writer.write(pa.Table.from_pylist(pending, self.schema))
            writer.close()
        return engine.Summary(
            rows=len(task.payload),
            bytes=nbytes,
            reasons=dict(reasons),
            examples=examples,
            parts=[f"{task.key}.parquet"],
        )


def split_task(task: engine.Task) -> list[engine.Task]:
    """One task per row, for the poison rule."""
    return [engine.Task(f"{task.key}-{i}", [row]) for i, row in enumerate(task.payload)]


@dataclass(frozen=True)
class Crashed:
    """What a row that killed its process twice looks like."""

    parts: PartWriter

    def __call__(self, task: engine.Task) -> engine.Summary:
        error = "the process that worked on this picture died, twice"
        row = {"child": -1, "done": False, "reason": "crashed", "error": error, "etag": ""}
        return self.parts.write(task, [{"key": key, **row} for key, *_ in task.payload])


def part_schema(extra: pa.Schema, *, keep_original: bool = False) -> pa.Schema:
    """The schema of a stage's parts."""
    own = [f for f in extra if f.name not in RESULT.names]
    return pa.schema([*RESULT, *own, *([pa.field("original", pa.binary())] if keep_original else [])])
