"""Does what a plan says: the missing units, each batch committed as soon as it is whole."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep import engine
from imgprep.dataset import KEY, Dataset
from imgprep.dataset.counts import commonest_error
from imgprep.dataset.files import Folder
from imgprep.engine.progress import Progress, tell_while
from imgprep.failures import Interrupted, RunStopped
from imgprep.resume.commit import Clock, Commit, write_log
from imgprep.resume.inputs import Wanted
from imgprep.resume.load import Urls, local_file
from imgprep.resume.parts import PARTS, Crashed, split_task
from imgprep.resume.passes import run_passes
from imgprep.resume.plan import Batch, Plan
from imgprep.words import number_of

if TYPE_CHECKING:
    from imgprep.resume.stage import Stage

# One cause, whatever it looks like from host to host: there is no network, or no way through a
# proxy.
NO_ANSWER = {"dns", "refused", "reset", "timeout", "tls", "proxy", "host_unavailable"}
ALIKE = 0.95  # of the rows fail with one reason: something is wrong with all of them
# Until what is done of a first run can be read, and until more of it can. What is shown is written
# a second time in the end: in a run of two seconds that was a tenth of all CPU, and nobody had come
# to read it.
FIRST_SHOWN_S = 3
SHOWN_S = 30
SHOWN_MORE = 4  # times as many rows
LISTED_AGAIN = 20  # batches are listed one by one, later a twentieth more at a time
FIRST_ROWS = 50  # are done before a run is stopped for that


class Run:
    """One run of a stage: the state of its execution."""

    def __init__(self, stage: "Stage", commit: Commit, max_failed: float):
        self.stage, self.commit, self.max_failed = stage, commit, max_failed
        self.plan, self.known, self.folder = commit.plan, commit.known, commit.folder
        self.totals = engine.Summary()
        self._parts_of: dict[str, list[str]] = {}  # of each unit that is done and not yet listed
        self._show_at = (time.monotonic() + FIRST_SHOWN_S, 1)
        self._waiting = batches_waiting(self.plan)
        self._left: Counter[Batch] = Counter()  # units that a batch waits for
        self._units_of: dict[Batch, list[str]] = {batch: [] for batch in self.plan.batches}
        self._open = Counter({unit: len(batches) for unit, batches in self._waiting.items()})
        self._gathered: list[str] = []  # units whose parts are needed until the next list
        self._list_at = 1  # when so many batches are gathered they are listed
        for unit, batches in self._waiting.items():
            self._left.update(batches)
            for batch in batches:
                self._units_of[batch].append(unit)

    def execute(self, clock: Clock) -> Dataset:
        """Compute, gather, publish, remove what is no longer needed, write the run's log."""
        try:
            self._compute()
            with tell_while(f"{self.stage.name}: writing the dataset"):
                changed = self._finish()
            if changed or self.plan.missing:
                write_log(self.commit, clock, self.totals)
        except KeyboardInterrupt:
            done = f"{self.totals.rows:,} of {number_of(self.plan.missing, 'row')} done and kept"
            raise Interrupted(f"{done}: run it again to go on") from None
        return Dataset(self.folder)

    def _finish(self) -> bool:
        """Write what is not written yet, and list all of it. Has anything changed?"""
        for batch in self.plan.batches:
            if batch not in self.commit.gathered:
                self.commit.gather(batch)
        # Before the list is written, which is the last
        # moment at which the rows that leave can be found.
        self.commit.keep_leaving()
        self.commit.note_circumstances()
        changed = self.commit.publish(complete=True)
        # After the list: until then a reader may be opening them.
        self.commit.remove_unlisted()
        return changed

    def _compute(self) -> None:
        """Do the missing units; commit each batch as soon as its last row is there."""
        if not self.plan.units:
            return
        self.stage.ready()
        job = self._job()
        engine.start(self.plan.units, job)
        engine.check_hosts(self.folder, self._local_files)
        self._run_passes()
        progress = Progress(self.stage.name, self.plan.missing)
        try:
            self._commit([b for b in self.plan.batches if not self._left[b]])
            for task, summary in engine.run(self.plan.units, job):
                self._take(task, summary, progress)
                self._stop_early()
                self._left.subtract(self._waiting[task.key])
                self._commit([b for b in self._waiting[task.key] if not self._left[b]])
                self._show()
        finally:
            progress.close()

    def _run_passes(self) -> None:
        if not self.stage.passes:
            return
        given = [wanted.where for wanted in self._wanted()]
        run_id = self.commit.options.run_id
        run_passes(self.stage.passes, given, self.folder, stage=self.stage.name, run_id=run_id)

    def _show(self) -> None:
        """Of a first run, what is ok so far: after some seconds,
        then seldom, so that it costs little.
        """
        time_s, rows = self._show_at
        # A dataset that was committed before is not replaced by half of a new one.
        if self.known.before is not None or self.commit.is_whole:
            return
        if time.monotonic() < time_s or self.totals.rows < rows:
            return
        if self.totals.rows > sum(self.totals.reasons.values()):
            self.commit.show_begun()
            self._show_at = (time.monotonic() + SHOWN_S, SHOWN_MORE * self.totals.rows)

    def _wanted(self) -> Iterator[Wanted]:
        for task in self.plan.units:
            yield from task.payload

    def _local_files(self) -> Iterator[str]:
        load = getattr(self.stage.work, "load", None)
        return filter(None, (local_file(wanted.where, load) for wanted in self._wanted()))

    def _job(self) -> engine.Job:
        load = getattr(self.stage.work, "load", None)
        most = load.most_at_once(self._wanted()) if isinstance(load, Urls) else None
        return engine.Job(
            fn=self.stage.work,
            split=split_task,
            failed=Crashed(self.stage.work.parts),
            folder=self.folder,
            run_id=self.commit.options.run_id,
            once=self.stage.once,
            num_gpus=self.stage.num_gpus,
            threads=self.stage.threads,
            limits=self.stage.limits,
            most=most,
        )

    def _take(self, task: engine.Task, summary: engine.Summary, progress: Progress) -> None:
        """Note where a unit's results are, and what it says of them."""
        self._parts_of[task.key] = summary.parts
        for name in summary.parts:
            self.known.parts.add_part(self.folder, f"{PARTS}/{name}")
        self.totals += summary
        progress.update(summary.rows, summary.reasons, summary.task_s)

    def _stop_early(self) -> None:
        """No network, a proxy, a wrong key:
        nearly all of what was done so far fails with one reason.
        """
        done, reasons = self.totals.rows, self.totals.reasons
        # Few rows say nothing: 3 dead links of 3 are a small table, not a broken network.
        if not reasons or done < min(FIRST_ROWS, self.plan.missing) or self.max_failed >= 1:
            return
        alike = [{r} for r in reasons if r not in NO_ANSWER] + [NO_ANSWER & reasons.keys()]
        failed, words = max((sum(reasons[r] for r in words), sorted(words)) for words in alike)
        # Beside what was reused: where most rows are
        # fine from before, the network is not the cause.
        reused = self.plan.total - self.plan.missing
        if failed < ALIKE * (done + reused):
            return
        # host_unavailable only follows from others.
        reason = max(words, key=lambda r: (r != "host_unavailable", reasons[r]))
        said = said_of_reason(self.folder, self.known.parts.files, reason)
        what = f"{failed:,} failed alike ({', '.join(words)}: {said} of {done:,})"
        # Their parts would be taken for results when the cause is mended and the run goes on.
        for name in self.known.parts.files:
            self.folder.delete(name)
        raise RunStopped(f"stopped after {done:,} of {number_of(self.plan.missing, 'row')}: {what}")

    def _commit(self, ready: list[Batch]) -> None:
        """Gather the batches that are complete; list them if that takes nothing from a reader."""
        for batch in ready:
            self.commit.gather(batch)
            self._gathered += [unit for unit in self._units_of[batch] if self._is_gathered(unit)]
        gathered = len(self.commit.gathered)
        if gathered < self._list_at or self.commit.is_whole:
            return
        # Only where the new list has all that the old one
        # had: no row may vanish from a reader's view.
        if not self.known.listed <= self.commit.names:
            return
        self.commit.publish(complete=False)
        # All of the list is written each time: a thousand times would cost more than the batches.
        self._list_at = gathered + 1 + gathered // LISTED_AGAIN
        for unit in self._gathered:  # its rows stand in listed files now
            for name in self._parts_of.pop(unit):
                self.folder.delete(f"{PARTS}/{name}")
        self._gathered = []

    def _is_gathered(self, unit: str) -> bool:
        """Was this the last batch that waited for a unit?

        Then nobody looks into its parts again.
        """
        self._open[unit] -= 1
        if self._open[unit]:
            return False
        for name in self._parts_of[unit]:
            # Looking up the others takes no longer at the end than at the start.
            self.known.parts.forget(f"{PARTS}/{name}")
        return True


def said_of_reason(folder: Folder, parts: Iterable[str], reason: str) -> str:
    """The commonest sentence of a reason in these parts, and on how many rows it is."""
    errors: list[str] = []
    for name in parts:
        rows = pq.read_table(folder.open(name), columns=["reason", "error"], partitioning=None)
        errors += rows.filter(pc.field("reason") == reason)["error"].to_pylist()
    error, times = commonest_error(errors)
    return f"{error}, on {times:,}"


def batches_waiting(plan: Plan) -> dict[str, list[Batch]]:
    """Which batches wait for a unit: the one of its rows,
    and those where equal keys stand again.
    """
    waiting: dict[str, list[Batch]] = {task.key: [] for task in plan.units}
    wanted = pa.chunked_array([task.payload.keys for task in plan.units], KEY).combine_chunks()
    unit_of = np.repeat(np.arange(len(plan.units)), [len(task.payload) for task in plan.units])
    hits = {}
    for split, keys in plan.keys.items():
        hits[split] = pc.index_in(keys, wanted, skip_nulls=True).fill_null(-1).to_numpy()
    for batch in plan.batches:
        mine = hits[batch.split][batch.start : batch.stop]
        for unit in np.unique(unit_of[mine[mine >= 0]]):
            waiting[plan.units[unit].key].append(batch)
    return waiting
