"""A stage: plan what is missing, compute it in units, gather the parts in input order, commit batch by batch."""

import contextlib
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep import dataset, engine, hashing
from imgprep.dataset import COLUMNS, KEY, MANIFEST, Dataset, card
from imgprep.dataset.files import PRIVATE, Folder, Lease
from imgprep.engine.progress import Progress
from imgprep.failures import Interrupted, RunStopped
from imgprep.io import uris
from imgprep.project import made_with
from imgprep.resume.gather import Shape, gather
from imgprep.resume.parts import PARTS, PICTURE, Crashed, Located, split_task
from imgprep.resume.passes import Pass, run_passes
from imgprep.words import say

# One cause, whatever it looks like from host to host: there is no network, or no way through a proxy.
NO_ANSWER = {"dns", "refused", "reset", "timeout", "tls", "proxy", "host_unavailable"}
OURS = re.compile(r".+-[0-9]{5}(\.[0-9]+)?-[0-9a-f]{12}\.parquet")  # the names of data files; nothing else is removed
UNIT_ROWS = 200
UNIT_BYTES = 64 << 20


class Listed(list):
    """Inputs of a stage: one per row."""

    def take(self, rows: list[int]) -> list:
        return [self[row] for row in rows]


@dataclass
class Stage:
    """What `build` needs to know of a stage.

    name: a word. options: what is written into the card (plain values). operation: hash of all that changes an ok
    picture's bytes, with the words that `why` shows when one of them changed. rows: per split the columns that are
    carried through, in input order, beginning with image_id; may hold `status`, `reason`, `error` of earlier stages.
    identities: per split one string per row, or None for a row that has no picture to compute from. inputs: per
    split what the work is given for rows, by `take(rows)`. nbytes: known size of the inputs, or None.
    work: the picklable function of a unit. passes: what is done before the first unit, where there is one, with the
    inputs of all rows that are missing as its first state.
    reusable: why results may not be reused, or "".
    earlier: name and options of the stages that made the input, for the card.
    """

    name: str
    options: dict[str, Any]
    operation: dict[str, Any]
    rows: dict[str, pa.Table]
    identities: dict[str, list[str | None]]
    inputs: dict[str, Any]
    nbytes: dict[str, np.ndarray | None]
    work: Callable[[engine.Task], engine.Summary]
    shape: Shape
    once: bool = False
    num_gpus: float = 0
    threads: bool = False
    reusable: str = ""
    earlier: list[dict[str, Any]] = field(default_factory=list)
    passes: Sequence[Pass] = ()


def build(
    stage: Stage,
    out: str,
    *,
    batch_size: int = 10_000,
    retry_failed: bool = False,
    refresh: bool = False,
    max_failed: float = 0.5,
    dry_run: bool = False,
) -> Dataset | None:
    """Make or bring up to date the dataset folder `out`. Returns it (None after a dry run).

    Raises RunStopped when nearly everything fails alike, or more than max_failed of the rows are not ok.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size is a number of rows, not {batch_size!r}")
    if isinstance(max_failed, bool) or not isinstance(max_failed, int | float) or not 0 <= max_failed <= 1:
        raise ValueError(f"max_failed is a share of the rows, from 0 to 1, not {max_failed!r}")
    if not isinstance(out, str | os.PathLike) or not os.fspath(out):
        raise ValueError(f"out names a folder, not {out!r}")
    folder = Folder(out)
    if os.path.isfile(folder.path):
        raise ValueError(f"{folder.path} is a file: out names a folder")
    readme = (folder.get("README.md") or b"").decode("utf-8", "replace")
    card.own_keys(readme)  # a person's; to be read now, not when the first batch is done
    if folder.size(MANIFEST) is None and readme and not card.is_ours(readme):
        raise ValueError(f"{folder.path} has a README.md that imgprep did not write: name another folder")
    if dry_run or engine.current().dry_run:
        tell_plan(folder.path, stage.name, _Run(stage, folder, batch_size, retry_failed, refresh, max_failed).why)
        return None
    try:
        with lock(folder):
            folder.sweep()
            run = _Run(stage, folder, batch_size, retry_failed, refresh, max_failed)
            say(f"{stage.name}: {run.why}")
            found = run.execute()
    except OSError as e:
        raise RuntimeError(engine.sentence(e)) from e
    counts = found.counts()
    if counts["rows"] and (counts["rows"] - counts["ok"]) / counts["rows"] > max_failed:
        raise RunStopped(f"{dataset.summary(counts)}: more than max_failed={max_failed} of the rows, in {folder.path}")
    return found


class _Run:
    """One call of `build`: the plan, and the state of its execution."""

    def __init__(self, stage: Stage, folder: Folder, batch_size: int, retry: bool, refresh: bool, max_failed: float):
        self.stage, self.folder, self.batch_size = stage, folder, batch_size
        self.began, self.started = time.monotonic(), datetime.now(UTC)
        self.id = f"{self.started:%Y%m%dT%H%M%S%f}-{os.getpid()}"
        self.before = Dataset(folder) if folder.size(MANIFEST) is not None else None
        self.totals = engine.Summary()
        self.parts_of: dict[str, list[str]] = {}
        self.max_failed = max_failed
        self.schemas = self._schemas()
        self.rows = {split: self._typed(table) for split, table in stage.rows.items()}
        self.parts = Located()
        self.committed = Located()
        self.operation = hashing.digest(stage.operation)
        self.keys = {s: self._keys(s) for s in stage.rows}
        self._find_results(retry, refresh)
        self._plan_units(refresh)
        self.why = self._why(retry, refresh)

    # Planning --------------------------------------------------------------------------------------------------------

    def _schemas(self) -> dict[str, pa.Schema]:
        """The schema of each config. Raises ValueError for names and types that no dataset can have."""
        shape, tables = self.stage.shape, list(self.stage.rows.values())
        for split in self.stage.rows:
            if not re.fullmatch(r"\w+(\.\w+)*", split) or split.lower() == "all":
                raise ValueError(f"split {split!r} is no name for `datasets`: use letters, digits and _")
        for name in [name for table in tables for name in table.column_names]:
            if name in (*PICTURE, "original", "file", "row"):
                raise ValueError(f"there is a column {name!r}, a name that imgprep needs: rename it")
        try:
            user = pa.unify_schemas([t.schema.remove_metadata() for t in tables])
        except (pa.ArrowTypeError, pa.ArrowInvalid) as e:
            raise ValueError(f"the columns do not go together: {e}") from None
        meta = next((t.schema.metadata for t in tables if t.schema.metadata), None)
        own = [f for f in user if f.name not in {"image_id", *COLUMNS, *shape.extra.names}]
        plain = dataset.schema_of(pa.schema(own, meta), shape.extra, children=shape.children)
        whole = dataset.with_original(plain) if shape.keep_original else plain
        return {c: whole if c in ("original", "failures") else plain for c in (*shape.configs, "failures")}

    def _typed(self, rows: pa.Table) -> pa.Table:
        """The carried columns as they are written: without passwords, null where a split lacks what another has."""
        known = dict.fromkeys(n for t in self.stage.rows.values() for n in t.column_names)
        schema = pa.schema([self.schemas["failures"].field(n) for n in known])
        columns = {f.name: rows[f.name] if f.name in rows.column_names else pa.nulls(len(rows), f.type) for f in schema}
        table = pa.table(columns).cast(schema)
        for i, f in enumerate(schema):  # a dataset is made to be passed on
            if pa.types.is_string(f.type):
                table = table.set_column(i, f, uris.without_secrets(table[f.name], tokens=f.name == "source"))
        return table

    def _keys(self, split: str) -> pa.Array:
        base = hashlib.blake2b(self.operation.encode(), digest_size=16)
        if self.stage.reusable:
            base.update(self.id.encode())
        keys: list[bytes | None] = []
        for identity in self.stage.identities[split]:
            if identity is None:
                keys.append(None)
            else:
                h = base.copy()
                h.update(identity.encode("utf-8", "surrogatepass"))
                keys.append(h.digest())
        return pa.array(keys, KEY)

    def _find_results(self, retry_failed: bool, refresh: bool) -> None:
        """Where each key's result stands already: in a part of an earlier run, or in a committed file."""
        for name in self.folder.list(PARTS):
            with contextlib.suppress(pa.ArrowInvalid, OSError, KeyError):  # a foreign or damaged file is not a part
                self.parts.add_part(self.folder, f"{PARTS}/{name}", verify=not self.folder.remote)
        if retry_failed:
            self.parts.forget_failures()
        self.etags: dict[bytes, str] = {}
        if self.before is None:
            return
        gone = [f["file"] for f in self.before.files if self.folder.size(f["file"]) != f["bytes"]]
        for split in self.before.splits:
            if any(f["file"] in gone for f in self.before.files if f["config"] == "index"):
                continue  # a lost index costs a recomputation, never a wrong row
            index = self.before.index(split).filter(pc.field("key").is_valid())
            lost = pc.is_in(index["file"], pa.array(gone, pa.string()))
            if retry_failed:
                lost = pc.or_(lost, pc.invert(index["done"]))
            index = index.filter(pc.invert(pc.is_in(index["key"], index["key"].filter(lost).combine_chunks())))
            if refresh:
                known = index.filter(pc.field("etag") != "")
                self.etags |= dict(zip(known["key"].to_pylist(), known["etag"].to_pylist(), strict=True))
            self.committed.add(split, index)

    def _plan_units(self, refresh: bool) -> None:
        self.units, self.batches, self.old = [], [], {}
        todo: dict[str, np.ndarray] = {}
        seen = pa.array([], KEY)
        for split, keys in self.keys.items():
            for start in range(0, max(len(keys), 1), self.batch_size):
                stop = min(len(keys), start + self.batch_size)
                self.batches.append(_Batch(split, start // self.batch_size, start, stop))
            found, self.old[split] = self.parts.find(keys) >= 0, self.committed.find(keys)
            if not refresh:
                found |= self.old[split] >= 0
            found |= pc.or_(keys.is_null(), pc.is_in(keys, seen)).to_numpy(zero_copy_only=False)
            rows = np.flatnonzero(~found)
            wanted = keys.take(pa.array(rows))
            # Equal keys are computed once, where they stand first.
            first = np.unique(wanted.dictionary_encode().indices.to_numpy(), return_index=True)[1]
            todo[split] = rows[np.sort(first)]
            seen = pa.concat_arrays([seen, wanted])
        self.missing = sum(map(len, todo.values()))
        # Enough units for every worker to have a share, so that the last one does not keep the others waiting.
        limit = int(np.clip(self.missing // (8 * max(1, engine.workers())), 8, UNIT_ROWS))
        for split, rows in todo.items():
            sizes = self.stage.nbytes[split]
            unit: list[int] = []
            size = 0
            for row in rows.tolist():
                nbytes = 0 if sizes is None else int(sizes[row])
                is_next = unit and row // self.batch_size != unit[-1] // self.batch_size
                if is_next or len(unit) >= limit or (unit and size + nbytes > UNIT_BYTES):
                    self._add_unit(split, unit)
                    unit, size = [], 0
                unit.append(row)
                size += nbytes
            if unit:
                self._add_unit(split, unit)

    def _add_unit(self, split: str, rows: list[int]) -> None:
        keys = self.keys[split].take(pa.array(rows)).to_pylist()
        inputs = self.stage.inputs[split].take(rows)
        payload = [(k, given, self.etags.get(k, "")) for k, given in zip(keys, inputs, strict=True)]
        # The run's id is in the name: a refresh of the same rows must not find the part of an earlier one.
        name = hashlib.blake2b(b"".join(keys) + self.id.encode(), digest_size=12).hexdigest()
        self.units.append(engine.Task(name, payload))

    def _why(self, retry_failed: bool, refresh: bool) -> str:
        total = sum(len(k) for k in self.keys.values())
        if not self.missing:
            return f"{total:,} rows, nothing to compute"
        text = f"{self.missing:,} of {total:,} rows to compute"
        if self.stage.reusable:
            return f"{text}: {self.stage.reusable}, so nothing is reused"
        if self.before is None:
            return f"{text}: {'an earlier run was not finished' if self.parts else 'the first run'}"
        if self.before.info["operation"] != self.operation:
            old, new = self.before.info["why"], self.stage.operation
            changed = [k for k in {**old, **new} if old.get(k) != hashing.digest(new.get(k))]
            return f"{text}: {', '.join(changed) or 'something'} changed"
        if refresh:
            return f"{text}: asking the servers for newer versions"
        return f"{text}: {'new rows, and failures to try again' if retry_failed else 'new rows'}"

    # Computing -------------------------------------------------------------------------------------------------------

    def execute(self) -> Dataset:
        try:
            self.compute()
            return self.finish()
        except KeyboardInterrupt:
            done = self.totals.rows
            text = f"{done:,} of {self.missing:,} rows are done and kept: run it again to go on"
            raise Interrupted(text) from None

    def compute(self) -> None:
        """Do the missing units; commit each batch as soon as its last row is there."""
        self.left = {id(b): 0 for b in self.batches}
        self.waiting = self._waiting()
        ready = [b for b in self.batches if not self.left[id(b)]]
        job = engine.Job(
            fn=self.stage.work,
            split=split_task,
            failed=Crashed(self.stage.work.parts),
            folder=self.folder,
            run_id=self.id,
            once=self.stage.once,
            num_gpus=self.stage.num_gpus,
            threads=self.stage.threads,
        )
        self.done: list[_Batch] = []
        if not self.units:
            return
        given = [given for task in self.units for _, given, _ in task.payload]
        run_passes(self.stage.passes, given, self.folder, stage=self.stage.name, run_id=self.id)
        engine.start()
        progress = Progress(self.stage.name, self.missing)
        try:
            self._commit(ready)
            for task, summary in engine.run(self.units, job):
                self.parts_of[task.key] = summary.parts
                for name in self.parts_of[task.key]:
                    self.parts.add_part(self.folder, f"{PARTS}/{name}")
                self.totals += summary
                progress.update(summary.rows, summary.reasons, summary.task_s)
                self._stop_early()
                for batch in self.waiting[task.key]:
                    self.left[id(batch)] -= 1
                self._commit([b for b in self.waiting[task.key] if not self.left[id(b)]])
        finally:
            progress.close()

    def _waiting(self) -> dict[str, list["_Batch"]]:
        """Which batches wait for a unit: the one of its rows, and those where equal keys stand again."""
        waiting: dict[str, list[_Batch]] = {task.key: [] for task in self.units}
        wanted = pa.array([key for task in self.units for key, *_ in task.payload], KEY)
        unit_of = np.repeat(np.arange(len(self.units)), [len(task.payload) for task in self.units])
        hits = {s: pc.index_in(keys, wanted, skip_nulls=True).fill_null(-1).to_numpy() for s, keys in self.keys.items()}
        for batch in self.batches:
            mine = hits[batch.split][batch.start : batch.stop]
            for unit in np.unique(unit_of[mine[mine >= 0]]):
                waiting[self.units[unit].key].append(batch)
                self.left[id(batch)] += 1
        return waiting

    def _stop_early(self) -> None:
        """No network, a proxy, a wrong key: nearly all of what was done so far fails with one reason."""
        done, reasons = self.totals.rows, self.totals.reasons
        if not reasons or done < min(50, self.missing) or self.max_failed >= 1:
            return
        alike = [{r} for r in reasons if r not in NO_ANSWER] + [NO_ANSWER & reasons.keys()]
        failed, words = max((sum(reasons[r] for r in words), sorted(words)) for words in alike)
        reused = sum(len(k) for k in self.keys.values()) - self.missing
        if failed < 0.95 * (done + reused):
            return
        # Their parts would be taken for results when the cause is mended and the run goes on.
        for name in self.parts.files:
            self.folder.delete(name)
        reason = max(words, key=lambda r: (r != "host_unavailable", reasons[r]))  # that one only follows from others
        example = self.totals.examples[reason][0]
        what = f"{failed:,} failed alike ({', '.join(words)}: {example})"
        raise RunStopped(f"stopped after {done:,} of {self.missing:,} rows: {what}")

    # Gathering -------------------------------------------------------------------------------------------------------

    def _commit(self, ready: list["_Batch"]) -> None:
        """Gather the batches that are complete, in input order; list them if that takes nothing from a reader."""
        self.done += [self._gather(b) for b in ready]
        listed = {f["file"] for f in (self.before.files if self.before else [])}
        if not ready or len(self.done) == len(self.batches):
            return
        finished = {id(b) for b in self.done}
        units = [u for u in self.parts_of if all(id(b) in finished for b in self.waiting[u])]
        for name in [n for u in units for n in self.parts_of[u]]:
            self.parts.forget(f"{PARTS}/{name}")  # looking up the others takes no longer at the end than at the start
        if listed <= {f["file"] for b in self.done for f in b.files}:
            self._publish(complete=False)
            for name in [n for u in units for n in self.parts_of.pop(u)]:
                self.folder.delete(f"{PARTS}/{name}")  # its rows stand in listed files now

    def finish(self) -> Dataset:
        """Gather what is left, publish the whole, remove what is no longer needed, write the run's log."""
        gathered = {id(b) for b in self.done}
        self.done += [self._gather(b) for b in self.batches if id(b) not in gathered]
        keep = {f["file"] for f in (self.before.files if self.before else [])}
        changed = self._publish(complete=True)
        keep |= {f["file"] for b in self.done for f in b.files}
        for prefix in ("data", "failures", f"{PRIVATE}/index"):
            for name in self.folder.list(prefix):  # readers of the version before this one may still be at it
                if f"{prefix}/{name}" not in keep and OURS.fullmatch(name):
                    self.folder.delete(f"{prefix}/{name}")
        for name in self.folder.list(PARTS):
            self.folder.delete(f"{PARTS}/{name}")
        self.folder.sweep()
        found = Dataset(self.folder)
        if changed or self.missing:
            self._log(found)
        return found

    def _gather(self, batch: "_Batch") -> "_Batch":
        keys = self.keys[batch.split].slice(batch.start, batch.stop - batch.start)
        carried = self.rows[batch.split].slice(batch.start, batch.stop - batch.start)
        batch.digest = self._digest(carried, keys)
        fresh = self.parts.find(keys)
        if self.before is not None and (fresh < 0).all():
            same = [f for f in self.before.files if f["split"] == batch.split and f["batch"] == batch.number]
            books = [f for f in same if f["config"] == "index"]
            whole = all(self.folder.size(f["file"]) == f["bytes"] for f in same)
            if books and books[0]["digest"] == batch.digest and whole:
                batch.files = same
                return batch
        old = self.old[batch.split][batch.start : batch.stop]
        places = Located.locate(fresh, self.parts, old, self.committed)
        name = f"{batch.split}-{batch.number:05d}"
        files = gather(
            self.folder, self.stage.shape, self.schemas, name=name, carried=carried, keys=keys, places=places
        )
        batch.files = [{"split": batch.split, "batch": batch.number, **f} for f in files]
        batch.files[-1]["digest"] = batch.digest
        return batch

    def _digest(self, carried: pa.Table, keys: pa.Array) -> str:
        """All that a batch's files depend on beside the results: the rows, their keys, how they are finished."""
        h = hashlib.blake2b(digest_size=16)
        sink = pa.BufferOutputStream()
        table = carried.replace_schema_metadata(None).append_column("__key__", keys)
        table = table.take(np.arange(len(keys))).combine_chunks()  # a slice's last byte has bits of the rows behind it
        with pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table)
        h.update(sink.getvalue())
        schema = self.schemas["failures"]
        shape = self.stage.shape.placeholder, schema.to_string(), schema.metadata, self.batch_size
        h.update(repr(shape).encode())
        return h.hexdigest()

    def _publish(self, *, complete: bool) -> bool:
        """Card and manifest, each in one step. False when they say this already."""
        order = {id(b): i for i, b in enumerate(self.batches)}
        batches = sorted(self.done, key=lambda b: order[id(b)])
        files = [f for b in batches for f in b.files]
        info = {
            "imgprep": 1,
            "stage": self.stage.name,
            "options": self.stage.options,
            "earlier": self.stage.earlier,
            "operation": self.operation,
            "why": {k: hashing.digest(v) for k, v in self.stage.operation.items()},
            "splits": list(self.stage.rows),
            "configs": list(self.schemas),
            "batch_size": self.batch_size,
            "complete": complete,
        }
        manifest = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [info, *files]).encode()
        if self.before is not None and self.folder.get(MANIFEST) == manifest and self.folder.size("README.md"):
            return False
        # The card is what readers follow; the manifest comes last, so that a run killed in between does both again.
        before = (self.folder.get("README.md") or b"").decode("utf-8", "replace")
        self.folder.put("README.md", card.write(info, files, self.schemas, before=before).encode())
        self.folder.put(MANIFEST, manifest)
        return True

    def _log(self, found: Dataset) -> None:
        record = {
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self.began, 2),
            "stage": self.stage.name,
            "engine": engine.name() if self.missing else "none",
            "workers": engine.workers(),
            "host": socket.gethostname(),
            "rows": found.counts()["rows"],
            "computed": self.missing,
            "reused": found.counts()["rows"] - self.missing,
            "why": self.why,
            "made_with": made_with(),
            "bytes": self.totals.bytes,
            "attempts": self.totals.attempts,
            "unchanged": self.totals.unchanged,
            "reasons": self.totals.reasons,
        }
        self.folder.put(f"{PRIVATE}/runs/{self.id}.json", json.dumps(record, indent=1).encode())


@dataclass
class _Batch:
    """Rows start..stop of a split, which become one set of files."""

    split: str
    number: int
    start: int
    stop: int
    digest: str = ""
    files: list[dict] = field(default_factory=list)


@contextlib.contextmanager
def lock(folder: Folder) -> Iterator[None]:
    """One run at a time in a folder; a second one says that it waits."""
    if folder.remote:
        lock: Any = Lease(folder)
        is_free = lock.acquire(wait=False)
    else:
        os.makedirs(folder.full(PRIVATE), exist_ok=True)
        lock = filelock.FileLock(folder.full(f"{PRIVATE}/lock"))
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=0)
        is_free = lock.is_locked
    if not is_free:
        say(f"another run is working on {folder.path}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def tell_plan(out: str, stage: str, why: str) -> None:
    say(f"{stage}: {why}")
    if engine.current().plan_file:
        with open(engine.current().plan_file, "a") as file:
            file.write(json.dumps({"stage": stage, "out": os.path.basename(out), "plan": why}) + "\n")
