"""A dataset folder that exists: its rows, pictures, counts and runs."""

import contextlib
import json
import os
import threading
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imgprep.dataset.counts import (
    STATUSES,
    commonest_error,
    count,
    error_words,
    summary,
    words,
)
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.dataset.index import INDEX, expand
from imgprep.dataset.manifest import MANIFEST, read_manifest
from imgprep.dataset.parquet import Reader
from imgprep.dataset.schema import schema_of


class Dataset:
    """A dataset folder that exists. `images.download` and `images.transform` return one; `open` reads one."""

    def __init__(self, folder: str | Folder):
        self._folder = folder if isinstance(folder, Folder) else Folder(folder)
        self.info, self.files = read_manifest(self._folder)
        self._index: dict[str, pa.Table] = {}
        self._places: dict[str, tuple[list[str], np.ndarray, np.ndarray]] = {}
        # With a lock: a notebook's widget asks from a thread of its own.
        self._reader, self._reading = Reader(self._folder, keep=2), threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # By its folder alone: in another process it is read as it is there, at that time.
        return Dataset, (self._folder,)

    @property
    def folder(self) -> str:
        return self._folder.path

    @property
    def splits(self) -> list[str]:
        return list(self.info["splits"])

    @property
    def configs(self) -> list[str]:
        """What `load_dataset(folder, config)` knows, the default first; `failures` is the last."""
        return list(self.info.get("configs", ["default", "failures"]))

    @property
    def columns(self) -> list[str]:
        """The names of what `table` gives."""
        return list(self._schema(None).names)

    def counts(self, split: str | None = None) -> dict[str, Any]:
        """Rows by outcome: {"rows", "ok", "placeholder", "failed", "reasons": {word: rows}}. No file is read."""
        return count(self.files, split)

    def index(self, split: str) -> pa.Table:
        """The INDEX table of a split, in input order."""
        if split not in self.info["splits"]:
            raise ValueError(f"no split {split!r}; {self.folder} has {', '.join(self.splits)}")
        if split not in self._index:
            names = [f["file"] for f in self.files if f["config"] == "index" and f["split"] == split]
            self._index[split] = read_index(self._folder, names)
        return self._index[split]

    def table(self, split: str, columns: list[str] | None = None) -> pa.Table:
        """Every row of a split in input order, without picture bytes, plus `file` and `row` (where it stands)."""
        index, schema = self.index(split), self._schema(columns)
        pieces = [schema.empty_table()]
        base: dict[str, int] = {}
        total = 0
        for file in self.files:
            if file["split"] != split or file["config"] == "index":
                continue
            table = self._read(file["file"], schema)
            pieces.append(table)
            base[file["file"]] = total
            total += table.num_rows
        # By codes of the file names: a million rows, and a name is looked up once for each file.
        known = index["file"].combine_chunks().dictionary_encode()
        bases = np.array([base[name] for name in known.dictionary.to_pylist()], np.int64)
        starts = bases[known.indices.to_numpy()] + index["start"].to_numpy()
        return pa.concat_tables(pieces).take(expand(starts, index["count"].to_numpy()))

    def _read(self, name: str, schema: pa.Schema) -> pa.Table:
        table = pq.ParquetFile(self._folder.open(name)).read(columns=schema.names)
        table = table.append_column("file", pa.array([name] * table.num_rows, pa.string()))
        table = table.append_column("row", pa.array(range(table.num_rows)))
        return table.select(schema.names)

    def _schema(self, columns: list[str] | None) -> pa.Schema:
        """What `table` gives: the columns of all files but for the bytes, with their declared features."""
        files = [f["file"] for f in self.files if f["config"] != "index"]
        if files:
            schema = pq.read_schema(self._folder.open(files[0]))
        else:
            schema = schema_of(pa.schema([]), pa.schema([]))
        fields = [f for f in schema if f.name not in ("image", "original")]
        fields += [pa.field("file", pa.string()), pa.field("row", pa.int64())]
        names = [f.name for f in fields]
        for column in columns or ():
            if not files and column not in names:
                # Of no rows nobody knows the columns: what is asked for is there, and empty.
                fields.append(pa.field(column, pa.null()))
            elif column not in names:
                raise ValueError(f"no column {column!r}; {self.folder} has {', '.join(names)}")
        wanted = names if columns is None else (*columns, "file", "row")
        return pa.schema([f for f in fields if f.name in wanted], schema.metadata)

    def pictures(self, split: str, rows: Sequence[int]) -> list[bytes | None]:
        """The encoded bytes of these rows (numbers as in `table`); None where a row has no picture."""
        index = self.index(split)
        if split not in self._places:
            counts = index["count"].to_numpy()
            where = index["file"].combine_chunks().dictionary_encode()
            file_of = np.repeat(where.indices.to_numpy(), counts)
            places = expand(index["start"].to_numpy(), counts)
            self._places[split] = where.dictionary.to_pylist(), file_of, places
        names, file_of, places = self._places[split]
        found = []
        for row in rows:
            if not 0 <= row < len(file_of):
                raise ValueError(f"no row {row}; split {split!r} has {len(file_of):,}")
            with self._reading:
                found.append(self._reader.picture(names[file_of[row]], places[row]))
        return found

    def torch_rows(self, split: str = "train", **options: Any) -> Any:
        """The ok rows of a split as a torch IterableDataset, for a DataLoader: see `torch_rows.TorchRows`."""
        from imgprep.dataset.torch_rows import TorchRows  # torch is only somebody's who trains

        return TorchRows(self, split, **options)

    def example(self) -> bytes:
        """The encoded bytes of the first picture that is ok, to try a function on."""
        files = [f["file"] for f in self.files if f["config"] == self.configs[0] and f["rows"]]
        found = self._reader.picture(files[0], 0) if files else None
        if not found:
            raise ValueError(f"{self.folder} has no picture that is ok")
        return found

    def runs(self) -> list[dict[str, Any]]:
        """What each run that computed or changed something took, oldest first."""
        return read_runs(self._folder)

    def data_files(self, config: str | None = None, split: str | None = None) -> list[str]:
        """Full paths of the committed files of a config (None: the default one), in order."""
        wanted = config or self.configs[0]
        files = [f for f in self.files if f["config"] == wanted and split in (None, f["split"])]
        return [self._folder.full(f["file"]) for f in files]

    @property
    def noun(self) -> str:
        """What a row is of: "film" where it names a ladder's playlist, else "picture"."""
        return "film" if "playlist" in self.columns else "picture"

    def summary(self) -> str:
        """One sentence: how many pictures are ready, why others are not, and the commonest error's own words."""
        text = summary(self.counts(), self.noun)
        said = self.error_words()
        return f"{text}; {said}" if said else text

    def error_words(self) -> str:
        """The commonest error's own words and how often it is; "" where none is. Reads the files of failures."""
        files = [f["file"] for f in self.files if f["config"] == "failures"]
        errors: list[str] = []
        for name in files:
            with contextlib.suppress(OSError, pa.ArrowInvalid):  # a file that is damaged
                column = pq.read_table(self._folder.open(name), columns=["error"], partitioning=None)
                errors += column["error"].to_pylist()
        error, times = commonest_error(errors)
        return error_words(error, times, len(errors)) if error else ""

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{name}</th>" for name in ("split", "rows", *STATUSES))
        heads += f"<th {LEFT}>reasons</th>"
        rows = "".join(_html_row(split, self.counts(split)) for split in self.splits)
        return f"<p>{escape(self.summary())}</p><table><tr>{heads}</tr>{rows}</table>"


LEFT = "style='text-align:left'"


def _html_row(split: str, counts: dict[str, Any]) -> str:
    cells = "".join(f"<td>{counts[name]:,}</td>" for name in ("rows", *STATUSES))
    reasons = escape(words(counts["reasons"]))
    return f"<tr><th {LEFT}>{escape(split)}</th>{cells}<td {LEFT}>{reasons}</td></tr>"


def read_index(folder: Folder, names: list[str]) -> pa.Table:
    """These files of `.imgprep/index` as one INDEX table."""
    parts = [pq.read_table(folder.open(name), schema=INDEX) for name in names]
    whole = pa.concat_tables(parts) if parts else INDEX.empty_table()
    # Of a folder from before a picture's rows could stand in several files.
    lines = whole["lines"].fill_null(1)
    return whole.set_column(INDEX.get_field_index("lines"), "lines", lines)


def read_runs(folder: Folder) -> list[dict[str, Any]]:
    """The logs of the runs in a folder, oldest first; none of those that are damaged."""
    found = []
    for name in folder.list(f"{PRIVATE}/runs"):
        with contextlib.suppress(ValueError):
            log = json.loads(folder.get(f"{PRIVATE}/runs/{name}") or b"") if name.endswith(".json") else None
            if isinstance(log, dict):
                found.append(log)
    return found


def open_dataset(folder: str | os.PathLike[str] | Dataset) -> Dataset:
    """A dataset folder, to look at; a `Dataset` is given back. ValueError when it is none."""
    if isinstance(folder, Dataset):
        return folder
    if not isinstance(folder, str | os.PathLike):
        raise ValueError(f"give a dataset folder, or a Dataset, not {str(folder)[:100]!r}")
    return Dataset(os.fspath(folder))


def exists(folder: str) -> bool:
    """Is there a committed dataset in this folder?"""
    return Folder(folder).size(MANIFEST) is not None
