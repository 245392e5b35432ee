"""What a stage will compute, and why: keys, units and batches. Nothing is done here, and nothing is written."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imgprep import engine, hashing
from imgprep.dataset import KEY
from imgprep.resume.inputs import Inputs
from imgprep.resume.located import Known
from imgprep.resume.shape import carried

if TYPE_CHECKING:
    from imgprep.resume.stage import Stage

UNIT_ROWS = 200
UNIT_BYTES = 64 << 20


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
    order in which they are listed. units: the missing rows, as tasks for the engine; `missing` is their number.
    """

    operation: str
    schemas: dict[str, pa.Schema] = field(repr=False)
    rows: dict[str, pa.Table] = field(repr=False)
    keys: dict[str, pa.Array] = field(repr=False)
    batches: tuple[Batch, ...]
    units: tuple[engine.Task, ...] = field(repr=False)
    missing: int
    why: str

    def __str__(self) -> str:
        return self.why

    @property
    def total(self) -> int:
        return sum(len(keys) for keys in self.keys.values())


def make_plan(stage: "Stage", known: Known, options: RunOptions) -> Plan:
    """What is missing of the stage's rows, given what is known. Raises ValueError for columns and
    splits that no dataset can have."""
    schemas = stage.shape.schemas(stage.inputs)
    rows = carried(stage.inputs, schemas["failures"])
    operation = hashing.digest(stage.operation)
    salt = options.run_id if stage.reusable else ""  # a key that no other run has
    keys = {split: _keys(operation + salt, one.identity) for split, one in stage.inputs.items()}
    missing = _missing(keys, known, refresh=options.refresh)
    count = sum(map(len, missing.values()))
    units = []
    for split, numbers in missing.items():
        units += _units(stage.inputs[split], numbers, keys[split], known, options, count)
    return Plan(
        operation=operation,
        schemas=schemas,
        rows=rows,
        keys=keys,
        batches=tuple(_batches(keys, options.batch_size)),
        units=tuple(units),
        missing=count,
        why=_why(stage, known, options, operation, count, sum(map(len, keys.values()))),
    )


def _keys(operation: str, identities: Iterable[str | None]) -> pa.Array:
    base = hashlib.blake2b(operation.encode(), digest_size=16)
    keys: list[bytes | None] = []
    for identity in identities:
        if identity is None:
            keys.append(None)
            continue
        one = base.copy()
        one.update(identity.encode("utf-8", "surrogatepass"))
        keys.append(one.digest())
    return pa.array(keys, KEY)


def _batches(keys: dict[str, pa.Array], size: int) -> Iterator[Batch]:
    for split, column in keys.items():
        for start in range(0, max(len(column), 1), size):
            stop = min(len(column), start + size)
            yield Batch(split, start // size, start, stop)


def _missing(keys: dict[str, pa.Array], known: Known, *, refresh: bool) -> dict[str, np.ndarray]:
    """The numbers of the rows to compute. Equal keys are computed once, where they stand first."""
    missing: dict[str, np.ndarray] = {}
    seen = pa.array([], KEY)
    for split, column in keys.items():
        found = known.parts.find(column) >= 0
        if not refresh:
            found |= known.committed.find(column) >= 0
        has_none = pc.or_(column.is_null(), pc.is_in(column, seen))
        found |= has_none.to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(~found)
        wanted = column.take(pa.array(rows))
        codes = wanted.dictionary_encode().indices.to_numpy()
        _, first = np.unique(codes, return_index=True)
        missing[split] = rows[np.sort(first)]
        seen = pa.concat_arrays([seen, wanted])
    return missing


def _units(
    inputs: Inputs,
    numbers: np.ndarray,
    keys: pa.Array,
    known: Known,
    options: RunOptions,
    missing: int,
) -> list[engine.Task]:
    """The missing rows of a split as tasks."""
    # Enough units for every worker to have a share, so that the last one does not keep the others waiting.
    share = missing // (8 * max(1, options.workers))
    most = int(np.clip(share, 8, UNIT_ROWS))
    tasks = []
    for rows in _cut(numbers.tolist(), inputs.nbytes, most, options.batch_size):
        mine = keys.take(pa.array(rows)).to_pylist()
        # The run's id is in the name: a refresh of the same rows must not find the part of an earlier one.
        name = hashlib.blake2b(b"".join(mine) + options.run_id.encode(), digest_size=12)
        payload = inputs.wanted(rows, mine, known.etags)
        tasks.append(engine.Task(name.hexdigest(), payload))
    return tasks


def _cut(
    rows: list[int], nbytes: np.ndarray | None, most: int, batch_size: int
) -> Iterator[list[int]]:
    """Rows of one batch, at most so many, and of at most UNIT_BYTES where their sizes are known."""
    unit: list[int] = []
    held = 0
    for row in rows:
        size = 0 if nbytes is None else int(nbytes[row])
        if unit:
            is_next_batch = row // batch_size != unit[-1] // batch_size
            if is_next_batch or len(unit) >= most or held + size > UNIT_BYTES:
                yield unit
                unit, held = [], 0
        unit.append(row)
        held += size
    if unit:
        yield unit


def _why(
    stage: "Stage", known: Known, options: RunOptions, operation: str, missing: int, total: int
) -> str:
    if not missing:
        return f"{total:,} rows, nothing to compute"
    text = f"{missing:,} of {total:,} rows to compute"
    if stage.reusable:
        return f"{text}: {stage.reusable}, so nothing is reused"
    if known.before is None:
        return f"{text}: {'an earlier run was not finished' if known.parts else 'the first run'}"
    info = known.before.info
    if info["operation"] != operation:
        return f"{text}: {', '.join(_changed(info['why'], stage)) or 'something'} changed"
    if options.refresh:
        return f"{text}: asking the servers for newer versions"
    return f"{text}: {'new rows, and failures to try again' if options.retry_failed else 'new rows'}"


def _changed(before: dict[str, str], stage: "Stage") -> list[str]:
    """The words of the operation that are not what they were."""
    changed = []
    for word in {**before, **stage.operation}:
        if before.get(word) != hashing.digest(stage.operation.get(word)):
            changed.append(word)
    return changed
