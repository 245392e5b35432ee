"""What a stage is given of each split: its rows,
what names each row's content, and where its picture is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow as pa


class Wanted(NamedTuple):
    """One row that is to be computed, as it travels to a worker.

    key: of its result. where: what says where its picture is: a source, (file, row), or what the
    stage's own work knows to read. columns: the values that the function asked for. etag: of the
    version that is known, in a refresh.
    """

    key: bytes
    where: Any
    columns: dict[str, Any]
    etag: str = ""


class Identities:
    """One string per row, made when it is asked for and from the beginning each time:
    a million are not held.
    """

    def __init__(self, make: Callable[[], Iterator[str | None]]):
        self._make = make

    def __iter__(self) -> Iterator[str | None]:
        return self._make()


@dataclass(frozen=True)
class Inputs:
    """The rows of one split, and what they are computed from.

    rows: the columns that are carried through, in input order, beginning with image_id; may hold
    `status`, `reason` and `error` of earlier stages. identity: per row what its result depends on
    beside the operation, or None for a row that has no picture to compute from. where: per row what
    `Wanted.where` is: a column, a table (then it is a tuple of its columns) or a list. nbytes: the
    known sizes of the pictures. columns: what the function asked for.
    """

    rows: pa.Table
    identity: Iterable[str | None]
    where: pa.ChunkedArray | pa.Table | Sequence[Any]
    nbytes: np.ndarray | None = None
    columns: dict[str, pa.ChunkedArray] = field(default_factory=dict)

    def with_columns(self, names: Sequence[str]) -> "Inputs":
        """Let the work see these columns of each row; a result holds for their values, too."""
        if not names:
            return self
        columns = {name: self.rows[name] for name in names}

        def identities() -> Iterator[str | None]:
            cells = zip(*(column.to_pylist() for column in columns.values()), strict=True)
            for identity, values in zip(self.identity, cells, strict=True):
                # `and`: a row without a picture has no identity, whatever stands beside it.
                yield identity and f"{identity}\n{values!r}"

        return replace(self, columns=columns, identity=Identities(identities))

    def without(self, names: Sequence[str]) -> "Inputs":
        """The same rows, but these columns are not carried through: the work gives them back."""
        there = [name for name in names if name in self.rows.column_names]
        return replace(self, rows=self.rows.drop_columns(there)) if there else self

    def keyed_by(self, identity: Iterable[str | None]) -> "Inputs":
        """The same rows, with other names for what their results depend on."""
        return replace(self, identity=identity)

    def wanted(self, rows: np.ndarray, keys: pa.Array, etags: dict[bytes, str]) -> "UnitRows":
        """These rows (ascending numbers, near each other) as a worker gets them."""
        return UnitRows(self, rows, keys, etags)


@dataclass(frozen=True, eq=False)
class UnitRows(Sequence[Wanted]):
    """The rows of one unit, made when they are looked at: those of all units are not held.

    A worker gets a plain list.
    """

    inputs: Inputs
    rows: np.ndarray
    keys: pa.Array
    etags: dict[bytes, str]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Wanted]:
        return iter(self._made())

    @overload
    def __getitem__(self, at: int) -> Wanted: ...
    @overload
    def __getitem__(self, at: slice) -> list[Wanted]: ...
    def __getitem__(self, at: int | slice) -> Wanted | list[Wanted]:
        return self._made()[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._made() == list(other)

    def __reduce__(self) -> tuple[type[list[Wanted]], tuple[list[Wanted]]]:
        return list, (self._made(),)

    def _made(self) -> list[Wanted]:
        rows = self.rows.tolist()
        where = _cells(self.inputs.where, rows)
        columns = {name: _cells(column, rows) for name, column in self.inputs.columns.items()}
        found = []
        for at, key in enumerate(self.keys.to_pylist()):
            named = {name: cells[at] for name, cells in columns.items()}
            found.append(Wanted(key, where[at], named, self.etags.get(key, "")))
        return found


def _cells(values: Any, rows: list[int]) -> list[Any]:
    """The values of these rows. Of a column what lies between them is looked at, too."""
    if isinstance(values, pa.Table):
        return list(zip(*(_cells(column, rows) for column in values.columns), strict=True))
    if isinstance(values, pa.ChunkedArray):
        # One slice for the whole unit: to ask a chunked
        # column for each row costs a search each time.
        near = values.slice(rows[0], rows[-1] - rows[0] + 1).to_pylist()
        return [near[row - rows[0]] for row in rows]
    return [values[row] for row in rows]
