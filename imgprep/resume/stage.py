"""A stage: what a verb hands over, and `build`, which brings the dataset folder up to date with it."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from imgprep import dataset, engine
from imgprep.dataset import MANIFEST, Dataset, card, lock
from imgprep.dataset.dataset import read_runs
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.dataset.manifest import DamagedManifest
from imgprep.dataset.whole import damage_sentence, note_checked
from imgprep.engine.progress import tell_while
from imgprep.failures import RunStopped
from imgprep.resume.again import stay_sentence
from imgprep.resume.commit import Clock, Commit
from imgprep.resume.inputs import Inputs
from imgprep.resume.kept import count_rows, leaving
from imgprep.resume.known import known_in
from imgprep.resume.options import check_run_options
from imgprep.resume.parts import PartWriter
from imgprep.resume.passes import Pass
from imgprep.resume.plan import UNIT_ROWS, RunOptions, make_plan
from imgprep.resume.run import Run
from imgprep.resume.shape import Shape
from imgprep.words import say


class UnitWork(Protocol):
    """What a worker does with one unit: picklable, and it writes its results by `parts`."""

    @property
    def parts(self) -> PartWriter: ...

    def __call__(self, task: engine.Task) -> engine.Summary: ...


@dataclass
class Stage:
    """What `build` needs to know of a stage.

    name: a word. options: what is written into the card (plain values). operation: hash of all that changes an ok
    picture's bytes, with the words that a plan shows when one of them changed. inputs: of each split.
    work: the function of a unit. ready: called before any work, where there is some; may raise. passes: what is done
    before the first unit, with `Wanted.where` of all rows that are missing as their first state. is_begun: did passes
    of an earlier run leave something that is used again?
    circumstances: the options that may refuse a picture and change no ok one (`again.OPTION_OF`); when one changes,
    what it refused is tried again. can_retry: does the verb take retry_failed?
    unit_rows: how many rows are done as one, at most. names_files: columns that name files of the folder.
    limits: of one picture, in processes that may be lost. reusable: why results may not be reused, or "".
    earlier: name and options of the stages that made the input, for the card.
    """

    name: str
    options: dict[str, Any]
    operation: dict[str, Any]
    inputs: dict[str, Inputs]
    work: UnitWork
    shape: Shape
    once: bool = False
    num_gpus: float = 0
    threads: bool = False
    limits: engine.Limits = engine.Limits()
    reusable: str = ""
    earlier: list[dict[str, Any]] = field(default_factory=list)
    ready: Callable[[], None] = lambda: None
    is_begun: Callable[[], bool] = lambda: False
    circumstances: dict[str, Any] = field(default_factory=dict)
    can_retry: bool = False
    passes: Sequence[Pass] = ()
    unit_rows: int = UNIT_ROWS
    names_files: Sequence[str] = ()


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
    check_run_options(
        batch_size=batch_size,
        retry_failed=retry_failed,
        refresh=refresh,
        max_failed=max_failed,
        dry_run=dry_run,
    )
    folder = _folder(out)
    started = datetime.now(UTC)
    clock = Clock(started, time.monotonic())
    options = RunOptions(
        # To the microsecond, and with the process: two
        # runs that begin together must not share marks.
        run_id=f"{started:%Y%m%dT%H%M%S%f}-{os.getpid()}",
        batch_size=batch_size,
        retry_failed=retry_failed,
        refresh=refresh,
        workers=engine.workers(),
    )
    if dry_run or engine.current().dry_run:
        tell_plan(folder.path, stage.name, _told(_planned(stage, folder, options)))
        return None
    try:
        # Held from the look at what is there until all is
        # listed: between the two another run would count.
        with lock.hold(folder):
            # Before the plan: what a killed run left half written is no part.
            folder.sweep()
            if folder.size(MANIFEST) is None:  # so all of it is missing
                rows = sum(given.rows.num_rows for given in stage.inputs.values())
                engine.foresee(rows, once=stage.once)
            with tell_while(f"{stage.name}: looking what there is"):
                commit = _planned(stage, folder, options)
            # Only what a whole look has found well; a damaged file is looked at again next time.
            if commit.known.before and not commit.known.damaged:
                note_checked(folder, commit.known.before.files)
            say(f"{stage.name}: {_told(commit)}")
            found = Run(stage, commit, max_failed).execute(clock)
    # A full disk, a share that went away: nothing that a row could say.
    except OSError as e:
        raise RuntimeError(engine.sentence(e)) from e
    counts = found.counts()
    bad = counts["rows"] - counts["ok"]
    # At the end, not on the way: what was computed is kept and shown, and then the run is refused.
    if counts["rows"] and bad / counts["rows"] > max_failed:
        told = f"more than max_failed={max_failed} of the rows, in {folder.path}"
        said = found.error_words()
        raise RunStopped(f"{dataset.summary(counts, found.noun)}: {told}{'; ' if said else ''}{said}")
    return found


def _folder(out: Any) -> Folder:
    """The folder to write. ValueError where that would take something from somebody."""
    if not isinstance(out, str | os.PathLike) or not os.fspath(out):
        raise ValueError(f"out names a folder, not {out!r}")
    folder = Folder(out)
    if os.path.isfile(folder.path):
        raise ValueError(f"{folder.path} is a file: out names a folder")
    readme = (folder.get("README.md") or b"").decode("utf-8", "replace")
    card.own_keys(readme)  # a person's; to be read now, not when the first batch is done
    if folder.size(MANIFEST) is not None:
        return folder
    if readme and not card.is_ours(readme):
        told = "has a README.md that imgprep did not write: name another folder"
        raise ValueError(f"{folder.path} {told}")
    entries = folder.entries()
    if PRIVATE in entries:
        return folder  # an earlier run began here
    foreign = sorted(name for name in entries if not name.startswith("."))
    if foreign:
        told = f"has files that imgprep did not write ({foreign[0]} …)"
        raise ValueError(f"{folder.path} {told}: name a new folder, or an empty one")
    return folder


def _planned(stage: Stage, folder: Folder, options: RunOptions) -> Commit:
    before = _before(folder)
    maker = before.info["stage"] if before else _last_stage(folder)
    # The same run, or a later notebook of the same verb. Another verb would throw all results away.
    if maker not in ("", stage.name):
        made = f"{folder.path} was made by {maker!r}"
        fix = "name another folder, or delete this one first"
        raise ValueError(f"{made}, and {stage.name!r} would replace it: {fix}")
    known = known_in(
        folder,
        before,
        retry=options.retry_failed,
        refresh=options.refresh,
        names_files=stage.names_files,
    )
    known.is_list_damaged = before is None and folder.size(MANIFEST) is not None
    plan = make_plan(stage, known, options)
    ids = {split: rows["image_id"] for split, rows in plan.rows.items()}
    # Which rows leave is seen before anything is written: afterwards the old index is gone.
    return Commit(stage, folder, plan, known, options, leaving(folder, known.indexes, plan.keys, ids))


def _before(folder: Folder) -> Dataset | None:
    """The dataset as it is; None where there is none, or its list is damaged."""
    try:
        return Dataset(folder) if folder.size(MANIFEST) is not None else None
    except DamagedManifest:
        return None


def _last_stage(folder: Folder) -> str:
    """The stage whose run was the last in a folder without a list; "" where nobody knows."""
    logs = read_runs(folder)
    return str(logs[-1].get("stage", "")) if logs else ""


def _told(commit: Commit) -> str:
    """What a person is told before a run: what is computed and why, and which rows leave."""
    sentences = [str(commit.plan)]
    limits = [commit.stage.limits, *(one.limits for one in commit.stage.passes)]
    if commit.plan.missing and engine.name() == "inline":
        sentences += sorted({one.unkept_sentence() for one in limits if one.is_chosen})
    if commit.known.is_list_damaged:
        sentences.append(f"{MANIFEST} of {commit.folder.path} is damaged: it is made again of what is whole")
    if commit.known.damaged:
        sentences.append(damage_sentence(commit.folder, commit.known.damaged))
    if commit.stage.can_retry and commit.plan.stay:
        sentences.append(stay_sentence(commit.plan.stay))
    if commit.leaving.num_rows:
        sentences.append(_leaving_sentence(commit))
    return "; ".join(sentences)


def _leaving_sentence(commit: Commit) -> str:
    gone = count_rows(commit.leaving)
    what = "1 row leaves" if gone == 1 else f"{gone:,} rows leave"
    kept = "its" if gone == 1 else "their"
    kept += " results are kept until `imgprep clean`"
    if commit.stage.reusable:
        kept = "nothing is kept of what is never reused"
    return f"{what} the dataset, not being in the input any more: {kept}"


def tell_plan(out: str, stage: str, why: str) -> None:
    """Say what a dry run found, to the person and to the pipeline that asks."""
    say(f"{stage}: {why}")
    if where := engine.current().plan_file:
        with open(where, "a") as file:
            line = {"stage": stage, "out": os.path.basename(out), "plan": why}
            file.write(json.dumps(line) + "\n")
