"""What a stage may be made of: a dataset folder, the tables of `sources.read`, or a path that it reads."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.dataset.whole import Inspection, damage_sentence
from imgprep.io.uris.columns import identities
from imgprep.resume.inputs import Identities, Inputs
from imgprep.resume.load import Stored, Urls
from imgprep.resume.shape import TAKEN
from imgprep.resume.work import Loader
from imgprep.rows import sources
from imgprep.rows.beside import folder_of

SOURCES_AT_ONCE = 100_000  # are looked at: a million are not held
TEXT = ("string", "large_string", "string_view", "null")


@dataclass(frozen=True)
class Source:
    """The rows of a stage's source, what loads their pictures, and the stages that made them."""

    load: Loader
    inputs: dict[str, Inputs]
    earlier: list[dict[str, Any]] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """The names of all splits."""
        names = [n for one in self.inputs.values() for n in one.rows.column_names]
        return list(dict.fromkeys(names))

    def with_columns(self, names: Sequence[str]) -> "Source":
        """See `Inputs.with_columns`."""
        inputs = {split: one.with_columns(names) for split, one in self.inputs.items()}
        return replace(self, inputs=inputs)


    def without(self, names: Sequence[str]) -> "Source":
        """See `Inputs.without`."""
        inputs = {split: one.without(names) for split, one in self.inputs.items()}
        return replace(self, inputs=inputs)

    def feature_of(self, name: str) -> Any:
        """The Hugging Face feature of a column, as it is declared or as its type is; None: there is none."""
        from datasets import Features

        for one in self.inputs.values():
            if name in one.rows.column_names:
                return Features.from_arrow_schema(one.rows.select([name]).schema)[name]
        return None


def open_source(
    source: Any, out: str, *, new: Sequence[str], max_bytes: int | None = None
) -> Source:
    """What a stage is given as its source.

    new: the columns that the stage adds. max_bytes: of a picture; None: what `io.web.options.Options` allows, and any
    of a dataset folder. Raises ValueError where the source has one already, or `out` lies in it.
    """
    check_apart(source, out)
    given = sources.given(source)
    if isinstance(given, Dataset):
        found = _of_dataset(given, max_bytes)
    else:
        options = {} if max_bytes is None else {"max_bytes": max_bytes}
        found = Source(Urls.of(options), of_tables(given))
    for column in found.columns:
        if column in new:
            raise ValueError(f"there is a column {column!r} already: return yours under another name")
    return found


def check_apart(source: Any, out: str) -> None:
    """ValueError where `out` is the source's folder, or a folder in it: it would be read as a source."""
    if isinstance(source, Dataset):
        source = source.folder
    if not isinstance(source, str | os.PathLike):
        return
    source = os.fspath(source)
    home, target = Folder(folder_of(source) or source), Folder(out)
    if home.remote != target.remote:
        return
    place, within = home.path, target.path
    # A link to the folder is the folder.
    if not home.remote:
        place, within = os.path.realpath(place), os.path.realpath(within)
    if place == within:
        raise ValueError(f"{out!r} is the source itself: name another folder")
    if within.startswith(f"{place.rstrip('/')}/"):
        raise ValueError(f"{out!r} lies in the source {str(source)!r}: name a folder beside it")


def _of_dataset(ds: Dataset, max_bytes: int | None) -> Source:
    folder = Folder(ds.folder)
    if damaged := dict(Inspection.quick(folder).damages(ds.files)):
        fix = f"run {ds.info['stage']} again, which made it: it mends them"
        raise ValueError(f"{damage_sentence(folder, damaged)}; {fix}")
    inputs = of_rows({split: ds.table(split) for split in ds.splits})
    made = {k: ds.info[k] for k in ("stage", "options")}
    earlier = [*ds.info.get("earlier", []), made]
    return Source(Stored(folder, max_bytes), inputs, earlier)


def of_tables(tables: dict[str, pa.Table]) -> dict[str, Inputs]:
    """The inputs of a stage over what `sources.read` gave. ValueError where it is something else."""
    check_tables(tables)
    return {split: _of_table(table) for split, table in tables.items()}


def _of_table(table: pa.Table) -> Inputs:
    def in_order() -> Iterator[str]:
        for chunk in table["source"].chunks:
            for start in range(0, len(chunk), SOURCES_AT_ONCE):
                yield from identities(chunk.slice(start, SOURCES_AT_ONCE))

    return Inputs(table, Identities(in_order), where=table["source"])


def of_rows(tables: dict[str, pa.Table]) -> dict[str, Inputs]:
    """The inputs of a stage over rows that `Dataset.table` gave: a result depends on the picture's sha256."""
    return {split: _of_rows(table) for split, table in tables.items()}


def _of_rows(table: pa.Table) -> Inputs:
    return Inputs(
        rows=table.drop_columns([c for c in TAKEN if c in table.column_names]),
        identity=table["sha256"].to_pylist(),  # null where there is no picture
        where=table.select(["file", "row"]),
        nbytes=table["nbytes"].fill_null(0).to_numpy(),
    )


def check_tables(tables: Any) -> None:
    """ValueError for anything but {split: table} with the columns image_id and source, of text."""
    is_dict = isinstance(tables, dict) and bool(tables)
    if not is_dict or not all(isinstance(t, pa.Table) for t in tables.values()):
        given = repr(str(tables)[:100])
        raise ValueError(f"give what sources.read gives, {{split: table}}, not {given}")
    for split, table in tables.items():
        for name in ("image_id", "source"):
            kind = "missing"
            if name in table.column_names:
                kind = str(table.schema.field(name).type)
            if kind not in TEXT:
                told = "sources.read makes it, as text"
                raise ValueError(f"the column {name!r} of {split!r} is {kind}; {told}")
