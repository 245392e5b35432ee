"""What a stage will compute, and why: keys, units and batches. Nothing is done here, and nothing is written."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from imgprep import engine, hashing
from imgprep.dataset import KEY
from imgprep.dataset.counts import words
from imgprep.resume.known import Known
from imgprep.resume.missing import Missing, missing_rows
from imgprep.resume.shape import carried
from imgprep.words import number_of

if TYPE_CHECKING:
    from imgprep.resume.stage import Stage

UNIT_ROWS = 200
UNIT_BYTES = 64 << 20
KEYS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Batch:
    """Rows start..stop of a split, which become one set of files."""

    split: str
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}"

    @property
    def place(self) -> tuple[str, int]:
        """Split and number, as the manifest has them."""
        return self.split, self.number

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class RunOptions:
    """How a stage is run, whatever it does. The results of ok pictures do not depend on it.

    run_id: a name that no other run has. workers: how many units are done at once.
    """

    run_id: str
    batch_size: int = 10_000
    retry_failed: bool = False
    refresh: bool = False
    workers: int = 1


@dataclass(frozen=True)
class Plan:
    """What is to be done. Prints as the sentence that a person is told.

    operation: the hash of all that changes an ok picture's bytes. schemas: of each config. rows, keys: of each split,
    what is carried through, and under which key the result of each row stands (null: there is none). batches: in the
    order in which they are listed. units: the missing rows, as tasks for the engine; `missing` is their number. again:
    of these, the failures that are tried again, by reason; stay: the failures that are taken as they are.
    """

    operation: str
    schemas: dict[str, pa.Schema] = field(repr=False)
    rows: dict[str, pa.Table] = field(repr=False)
    keys: dict[str, pa.Array] = field(repr=False)
    batches: tuple[Batch, ...]
    units: tuple[engine.Task, ...] = field(repr=False)
    missing: int
    why: str = ""
    again: dict[str, int] = field(default_factory=dict)
    stay: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.why

    @property
    def prefix(self) -> str:
        """What the names of this operation's parts begin with."""
        return f"{self.operation[:8]}-"

    @property
    def total(self) -> int:
        return sum(len(keys) for keys in self.keys.values())


def make_plan(stage: "Stage", known: Known, options: RunOptions) -> Plan:
    """What is missing of the stage's rows, given what is known.

    Raises ValueError for columns and splits that no dataset can have.
    """
    schemas = stage.shape.schemas(stage.inputs)
    # Failures have every column, and those of the ok
    # rows besides: so they say what is carried along.
    rows = carried(stage.inputs, schemas["failures"])
    operation = hashing.digest(stage.operation)
    salt = options.run_id if stage.reusable else ""  # a key that no other run has
    keys = {split: _keys(operation + salt, one.identity) for split, one in stage.inputs.items()}
    missing = missing_rows(keys, rows, known, stage.circumstances, refresh=options.refresh)
    plan = Plan(
        operation=operation,
        schemas=schemas,
        rows=rows,
        keys=keys,
        batches=tuple(_batches(keys, options.batch_size)),
        units=(),
        missing=missing.count,
        again=dict(missing.again),
        stay=dict(missing.stay),
    )
    # Last, because the sentence and the names of units need what is known of the plan until here.
    units = tuple(_units(stage, plan, missing, known, options))
    return replace(plan, units=units, why=_why(stage, known, options, plan))


def _keys(operation: str, identities: Iterable[str | None]) -> pa.Array:
    """The key of each row; null for one without an identity."""
    begun = hashlib.blake2b(operation.encode(), digest_size=16)
    each = iter(identities)
    pieces = []
    while some := list(islice(each, KEYS_AT_ONCE)):
        keys = [None if identity is None else _key(begun, identity) for identity in some]
        pieces.append(pa.array(keys, KEY))
    return pa.concat_arrays(pieces) if pieces else pa.array([], KEY)


def _key(begun: "hashlib.blake2b", identity: str) -> bytes:
    one = begun.copy()
    one.update(identity.encode("utf-8", "surrogatepass"))
    return one.digest()


def _batches(keys: dict[str, pa.Array], size: int) -> Iterator[Batch]:
    for split, column in keys.items():
        # At least one batch: a split without rows has files too, so that it can be opened.
        for start in range(0, max(len(column), 1), size):
            stop = min(len(column), start + size)
            yield Batch(split, start // size, start, stop)


def _units(
    stage: "Stage", plan: Plan, missing: Missing, known: Known, options: RunOptions
) -> Iterator[engine.Task]:
    """The missing rows as tasks."""
    # Enough units for every worker to have a share, so that the last one does not keep the others waiting.
    share = missing.count // (8 * max(1, options.workers))
    most = min(stage.unit_rows, int(np.clip(share, 8, UNIT_ROWS)))
    for split, numbers in missing.rows.items():
        inputs = stage.inputs[split]
        for rows in _cut(numbers, inputs.nbytes, most, options.batch_size):
            keys = plan.keys[split].take(pa.array(rows))
            # The run's id is in the name: a refresh of the same rows must not find the part of an earlier one.
            name = hashlib.blake2b(_key_bytes(keys) + options.run_id.encode(), digest_size=12)
            payload = inputs.wanted(rows, keys, known.etags)
            yield engine.Task(plan.prefix + name.hexdigest(), payload)


def _key_bytes(keys: pa.Array) -> bytes:
    """The bytes of keys, none of them null, one after the other."""
    width, values = KEY.byte_width, keys.buffers()[1]
    return bytes(values[keys.offset * width : (keys.offset + len(keys)) * width])


def _cut(
    rows: np.ndarray, nbytes: np.ndarray | None, most: int, batch_size: int
) -> Iterator[np.ndarray]:
    """Rows of one batch, at most so many, and of at most UNIT_BYTES where their sizes are known."""
    heads = np.flatnonzero(np.diff(rows // batch_size)) + 1
    for mine in np.split(rows, heads) if len(rows) else []:
        if nbytes is None:
            yield from (mine[start : start + most] for start in range(0, len(mine), most))
        else:
            yield from _cut_by_size(mine, nbytes[mine], most)


def _cut_by_size(rows: np.ndarray, nbytes: np.ndarray, most: int) -> Iterator[np.ndarray]:
    start = held = 0
    for at, size in enumerate(nbytes.tolist()):
        if at > start and (at - start >= most or held + size > UNIT_BYTES):
            yield rows[start:at]
            start, held = at, 0
        held += size
    yield rows[start:]


def _why(stage: "Stage", known: Known, options: RunOptions, plan: Plan) -> str:
    if not plan.missing:
        return f"{number_of(plan.total, 'row')}, nothing to compute"
    text = f"{plan.missing:,} of {number_of(plan.total, 'row')} to compute"
    if stage.reusable:
        return f"{text}: {stage.reusable}, so nothing is reused"
    # In this order: what was damaged or half done explains more than which word changed.
    if known.is_list_damaged:
        return f"{text}: what was finished is damaged"
    if known.before is None:
        is_begun = known.parts or known.indexes or known.kept.num_rows or stage.is_begun()
        return f"{text}: {'an earlier run was not finished' if is_begun else 'the first run'}"
    info = known.before.info
    if info["operation"] != plan.operation:
        changed = ", ".join(_changed(info["why"], stage)) or "something"
        return f"{text}: {changed} changed"
    if options.refresh:
        return f"{text}: asking the servers for newer versions"
    causes = []
    if plan.missing > sum(plan.again.values()):
        causes.append(_cause_of_new(known))
    if options.retry_failed:
        causes.append("failures to try again")
    if plan.again:
        causes.append(f"what failed for other reasons than the picture ({words(plan.again)})")
    return f"{text}: {', and '.join(causes)}"


def _cause_of_new(known: Known) -> str:
    if known.damaged:
        return "files that are damaged"
    return "an earlier run was not finished" if known.parts else "new rows"


def _changed(before: dict[str, str], stage: "Stage") -> list[str]:
    """The words of the operation that are not what they were."""
    changed = []
    for word in {**before, **stage.operation}:
        if before.get(word) != hashing.digest(stage.operation.get(word)):
            changed.append(word)
    return changed
