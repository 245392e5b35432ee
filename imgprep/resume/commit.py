"""What is finished becomes a dataset: files gathered, listed in card and manifest, and the others removed."""

import hashlib
import json
import socket
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep import engine, hashing
from imgprep.dataset import INDEX, MANIFEST, Dataset, card
from imgprep.dataset.counts import count
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.dataset.manifest import FileEntry, manifest_bytes
from imgprep.dataset.whole import OURS
from imgprep.project import made_with
from imgprep.redaction import redact_values
from imgprep.resume.again import write_circumstances
from imgprep.resume.gather import gather
from imgprep.resume.kept import merged, write_kept
from imgprep.resume.known import Known
from imgprep.resume.parts import PARTS
from imgprep.resume.plan import Batch, Plan, RunOptions

if TYPE_CHECKING:
    from imgprep.resume.stage import Stage


@dataclass
class Commit:
    """The batches of a plan that are gathered, and how they come to be listed."""

    stage: "Stage"
    folder: Folder
    plan: Plan
    known: Known
    options: RunOptions
    leaving: pa.Table = field(default_factory=INDEX.empty_table)  # committed rows that the plan has no more
    gathered: dict[Batch, list[FileEntry]] = field(default_factory=dict)
    partial: dict[Batch, list[FileEntry]] = field(default_factory=dict)  # what can be read of the others already
    _settled: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """What an unfinished run showed of a batch is shown until there is more."""
        if self.known.before is None:
            return
        for batch in self.plan.batches:
            mine = [f for f in self.known.before.files if (f["split"], f["batch"]) == batch.place]
            if any(f.get("partial") for f in mine):
                self.partial[batch] = mine

    @property
    def is_whole(self) -> bool:
        return len(self.gathered) == len(self.plan.batches)

    @property
    def names(self) -> set[str]:
        """Of the files of what is gathered."""
        return {f["file"] for files in self.gathered.values() for f in files}

    def gather(self, batch: Batch) -> None:
        """Write the files of a batch, or find that they are there."""
        rows, keys = self._rows_of(batch)
        digest = self._digest(rows, keys)
        there = self._there(batch, keys, digest)
        if there:
            self.gathered[batch] = there
            return
        files = self._written(batch, rows, keys)
        entries = [{"split": batch.split, "batch": batch.number, **f} for f in files]
        entries[-1]["digest"] = digest
        self.gathered[batch] = entries

    def show_begun(self) -> None:
        """List what is ok of the batches that are not whole, so that a first run can be read. Replaced by `gather`."""
        for batch in self.plan.batches:
            if batch not in self.gathered:
                self._show_begun(batch)
        self.publish(complete=False)

    def _show_begun(self, batch: Batch) -> None:
        rows, keys = self._rows_of(batch)
        there = pa.array(np.flatnonzero(self.known.ok(keys)))
        if not len(there):
            return
        files = self._written(batch, rows.take(there), keys.take(there))
        place = {"split": batch.split, "batch": batch.number, "partial": True}
        self.partial[batch] = [{**place, **f, "digest": ""} for f in files]

    def _rows_of(self, batch: Batch) -> tuple[pa.Table, pa.Array]:
        rows = self.plan.rows[batch.split].slice(batch.start, batch.rows)
        return rows, self.plan.keys[batch.split].slice(batch.start, batch.rows)

    def _written(self, batch: Batch, rows: pa.Table, keys: pa.Array) -> list[FileEntry]:
        return gather(
            self.folder,
            self.stage.shape,
            self.plan.schemas,
            name=batch.name,
            carried=rows,
            keys=keys,
            places=self.known.places(keys),
        )

    def _there(self, batch: Batch, keys: pa.Array, digest: str) -> list[FileEntry]:
        """The committed files of a batch that would not become others; [] where they would."""
        before = self.known.before
        if before is None or (self.known.parts.find(keys) >= 0).any():
            return []
        files = [f for f in before.files if (f["split"], f["batch"]) == batch.place]
        books = [f for f in files if f["config"] == "index"]
        is_same = bool(books) and books[0]["digest"] == digest
        is_whole = not any(f["file"] in self.known.damaged for f in files)
        return files if is_same and is_whole else []

    def _digest(self, rows: pa.Table, keys: pa.Array) -> str:
        """All that a batch's files depend on beside the results: the rows, their keys, how they are finished."""
        table = rows.replace_schema_metadata(None).append_column("__key__", keys)
        # A slice's last byte has bits of the rows behind it.
        table = table.take(np.arange(len(keys))).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table)
        # Through Arrow's own stream, since it says types and nulls as well as values.
        h = hashlib.blake2b(sink.getvalue(), digest_size=16)
        schema = self.plan.schemas["failures"]
        placeholder = self.stage.shape.placeholder
        finish = placeholder, schema.to_string(), schema.metadata, self.options.batch_size
        h.update(repr(finish).encode())
        return h.hexdigest()

    def publish(self, *, complete: bool) -> bool:
        """Card and manifest, each in one step. False when they say this already."""
        files = []
        for batch in self.plan.batches:
            begun = [] if complete else self.partial.get(batch, [])
            files += self.gathered.get(batch, begun)
        info = self._info(complete)
        manifest = manifest_bytes(info, files)
        is_said = self.known.before is not None and self.folder.get(MANIFEST) == manifest
        before = (self.folder.get("README.md") or b"").decode("utf-8", "replace")
        if is_said and not card.damage(before, files):
            return False
        # On the disk before a list names them: after a
        # loss of power a list may not lead to nothing.
        self._settle(files)
        # The card is what readers follow; the manifest comes last, so that a run killed in between does both again.
        text = card.write(info, files, self.plan.schemas, before=before)
        self.folder.put("README.md", text.encode(), settled=True)
        self.folder.put(MANIFEST, manifest, settled=True)
        return True

    def _settle(self, files: list[FileEntry]) -> None:
        """What is to be listed is on the disk first; what was listed before is there."""
        before = self.known.before.files if self.known.before else []
        there = {f["file"] for f in before} - self.known.damaged.keys() | self._settled
        new = [f["file"] for f in files if f["file"] not in there]
        self.folder.settle(new)
        self._settled.update(new)

    def _info(self, complete: bool) -> dict[str, Any]:
        stage = self.stage
        return {
            "imgprep": 1,
            "stage": stage.name,
            "options": redact_values(stage.options),
            "earlier": redact_values(stage.earlier),
            "operation": self.plan.operation,
            "why": {word: hashing.digest(value) for word, value in stage.operation.items()},
            "splits": list(stage.inputs),
            "configs": list(self.plan.schemas),
            "batch_size": self.options.batch_size,
            "complete": complete,
        }

    def keep_leaving(self) -> None:
        """Note where the results of rows that leave stand, before the files are listed no more."""
        if self.stage.reusable:
            return  # no later run would find them
        keys = list(self.plan.keys.values())
        # What an unfinished run of other rows left is finished work, too.
        parts = self.known.parts.table.filter(pc.field("done")).select(INDEX.names)
        mine = pc.starts_with(parts["file"], f"{PARTS}/{self.plan.prefix}")
        leaving = pa.concat_tables([self.leaving, parts.filter(mine)])
        self.known.kept = merged(self.known.kept, leaving, keys)
        write_kept(self.folder, self.known.kept)

    def note_circumstances(self) -> None:
        """With which options pictures were refused, for when these change."""
        reasons = count([f for files in self.gathered.values() for f in files])["reasons"]
        write_circumstances(self.folder, self.stage.circumstances, reasons)

    def remove_unlisted(self) -> None:
        """Files of ours without use, and parts. Those of the version before this one may still be read."""
        keep = self.known.listed | self.names | set(self.known.kept["file"].to_pylist())
        for place in ("data", "failures", f"{PRIVATE}/index"):
            for name in self.folder.list(place):
                if f"{place}/{name}" not in keep and OURS.fullmatch(name):
                    # By our pattern of names only: what a person put beside the files stays.
                    self.folder.delete(f"{place}/{name}")
        for name in self.folder.list(PARTS):
            if f"{PARTS}/{name}" not in keep:
                self.folder.delete(f"{PARTS}/{name}")
        self.folder.sweep()


@dataclass(frozen=True)
class Clock:
    """When a run began: by the calendar, and by a clock that nobody sets."""

    started: datetime
    began: float

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 2)


def write_log(commit: Commit, clock: Clock, totals: engine.Summary) -> None:
    """What this run took, into .imgprep/runs."""
    rows = Dataset(commit.folder).counts()["rows"]
    missing = commit.plan.missing
    record = {
        "started": clock.started.isoformat(timespec="seconds"),
        "seconds": clock.seconds,
        "stage": commit.stage.name,
        "engine": engine.name() if missing else "none",
        "workers": engine.workers(),
        "host": socket.gethostname(),
        "rows": rows,
        "computed": missing,
        "reused": rows - missing,
        "why": commit.plan.why,
        "made_with": made_with(),
        "bytes": totals.bytes,
        "attempts": totals.attempts,
        "unchanged": totals.unchanged,
        "reasons": totals.reasons,
    }
    text = json.dumps(redact_values(record), indent=1)
    commit.folder.put(f"{PRIVATE}/runs/{commit.options.run_id}.json", text.encode())
