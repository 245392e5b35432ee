"""Results of units, as they are cached before they are gathered: one small Parquet file each."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from imgprep import engine
from imgprep.dataset import KEY, Writer
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.failures import known_reason
from imgprep.redaction import redact_column

PARTS = f"{PRIVATE}/parts"
GROUP_BYTES = 16 << 20  # of a part's row group
HELD_BYTES = 8 << 20  # of rows that wait to be written
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
OF_PICTURE = ("image", "width", "height", "format", "nbytes", "sha256")


def part_schema(extra: pa.Schema, *, keep_original: bool = False) -> pa.Schema:
    """The schema of a stage's parts."""
    own = [f for f in extra if f.name not in RESULT.names]
    if keep_original:
        own.append(pa.field("original", pa.binary()))
    return pa.schema([*RESULT, *own])


class _Tally:
    """What a unit's summary says of its rows: how many failed, why, and the first words of each reason."""

    def __init__(self) -> None:
        self.bytes = 0
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self._seen: set[bytes] = set()

    def add(self, row: dict[str, Any]) -> None:
        self.bytes += row.get("nbytes") or 0
        if row["key"] in self._seen:
            return  # a child of the same picture
        self._seen.add(row["key"])
        if not row["done"]:
            self.reasons[known_reason(row["reason"])] += 1
            self.examples.setdefault(row["reason"], [row["error"]])


@dataclass(frozen=True)
class PartWriter:
    """Writes the results of a unit as one part of `folder`, holding at most a few MiB."""

    folder: Folder
    schema: pa.Schema

    def write(self, task: engine.Task, results: Iterable[dict[str, Any]]) -> engine.Summary:
        """Write RESULT rows (dicts) as they come; returns the unit's summary."""
        tally = _Tally()
        pending: list[dict[str, Any]] = []
        held = 0
        # It has its name when it is whole: a part that is there is a finished unit.
        with self.folder.create(lambda _: f"{PARTS}/{task.key}.parquet") as sink:
            writer = Writer(sink, self.schema, group_bytes=GROUP_BYTES)
            for row in results:
                engine.beat()  # a limit of time is of one picture
                tally.add(row)
                pending.append(row)
                held += row.get("nbytes") or 0
                if held > HELD_BYTES:
                    writer.write(self._shown(pending))
                    pending, held = [], 0
            writer.write(self._shown(pending))
            writer.close()
        return engine.Summary(
            rows=len(task.payload),
            bytes=tally.bytes,
            reasons=dict(tally.reasons),
            examples=tally.examples,
            parts=[f"{task.key}.parquet"],
        )

    def _shown(self, rows: list[dict[str, Any]]) -> pa.Table:
        """The rows as a table, without what a function repeats of somebody's passwords."""
        # Also what a function gives: a user may well put the URL with its signature into a column.
        table = pa.Table.from_pylist(rows, self.schema)
        for number, field in enumerate(self.schema):
            if field.name not in RESULT.names:
                table = table.set_column(number, field, redact_column(table[field.name]))
        return table


def split_task(task: engine.Task) -> list[engine.Task]:
    """One task per row, for the poison rule."""
    return [engine.Task(f"{task.key}-{i}", [row]) for i, row in enumerate(task.payload)]


@dataclass(frozen=True)
class Crashed:
    """What a row whose process was lost, twice or to a limit, looks like."""

    parts: PartWriter

    def __call__(self, task: engine.Task, loss: engine.Loss = engine.CRASHED) -> engine.Summary:
        error = loss.error or "the process that worked on this picture died, twice"
        row = {"child": -1, "done": False, "reason": loss.reason, "error": error, "etag": ""}
        return self.parts.write(task, [{"key": wanted.key, **row} for wanted in task.payload])
