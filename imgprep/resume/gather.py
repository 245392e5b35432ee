"""Results and carried columns become the files of a batch: ok rows in data/,
the others in failures/, and an index.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep.dataset import INDEX, Reader, Writer, expand, parquet, sizes
from imgprep.dataset.counts import STATUSES
from imgprep.dataset.files import PRIVATE, Folder, Sink
from imgprep.resume.outcome import finish_rows, flat
from imgprep.resume.parts import OF_PICTURE, PARTS, part_schema
from imgprep.resume.shape import Shape

CHUNK_BYTES = 32 << 20  # what a gather holds at once


def gather(
    folder: Folder,
    shape: Shape,
    schemas: dict[str, pa.Schema],
    *,
    name: str,
    carried: pa.Table,
    keys: pa.Array,
    places: pa.Table,
) -> list[dict[str, Any]]:
    """Write the files of one batch; returns their manifest entries, the index last.

    name: "train-00003". carried, keys: the batch's rows. places: lines of INDEX, where each row's
    results stand. Reads results in input order, about CHUNK_BYTES at a time, whatever files they
    stand in.
    """
    reader = Reader(folder)
    with BatchFiles(folder, shape, schemas, name) as files:
        # The first line of each input row; children that fell into several files have more lines.
        firsts = np.flatnonzero(places["lines"].to_numpy())
        ends = [*firsts, places.num_rows]
        nbytes = np.add.reduceat(places["nbytes"].fill_null(0).to_numpy(), firsts)
        for lo, hi in chunks(nbytes):
            here = places.slice(ends[lo], ends[hi] - ends[lo])
            results = _results(reader, shape, here)
            files.write(carried.slice(lo, hi - lo), results, here, keys.slice(lo, hi - lo))
    return files.entries


def chunks(nbytes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Row ranges of about CHUNK_BYTES; at least one, so that an empty batch is written too."""
    ends = np.cumsum(nbytes + parquet.ROW_BYTES)
    lo = 0
    while lo < len(nbytes):
        begin = ends[lo - 1] if lo else 0
        hi = max(lo + 1, int(np.searchsorted(ends, begin + CHUNK_BYTES)))
        yield lo, hi
        lo = hi


# Reading
# -------------------------------------------------------------------------------------------


def _results(reader: Reader, shape: Shape, places: pa.Table) -> pa.Table:
    """The RESULT rows of these places, in order; a row of nulls where there is none."""
    files, starts = places["file"].to_numpy(), places["start"].to_numpy()
    counts = places["count"].to_numpy()
    schema = part_schema(shape.extra, keep_original=shape.keep_original)
    ends = np.cumsum(counts)
    at = np.full(int(counts.sum()), -1, np.int64)  # of each result in the pieces
    pieces = []
    read = 0
    # Each file is opened once. In the order in which the rows name them: then what was read stands
    # in order already, and no picture is copied to its place below.
    for file in dict.fromkeys(f for f in files if f):
        mine = np.flatnonzero(files == file)
        wanted = expand(starts[mine], counts[mine])
        # Equal keys stand at several places and are read once.
        rows, inverse = np.unique(wanted, return_inverse=True)
        pieces.append(_read(reader, file, rows, shape, schema))
        at[expand((ends - counts)[mine], counts[mine])] = read + inverse
        read += len(rows)
    table = pa.concat_tables(pieces) if pieces else schema.empty_table()
    # -1 becomes a row of nulls, which is what "no result" looks like from here on.
    if not np.array_equal(at, np.arange(read)):
        table = table.take(pa.array(at, mask=at < 0))
    was_done = np.repeat(places["done"].to_numpy(), counts)
    return _with_outcome(table, pa.array(was_done, mask=np.repeat(files == "", counts)))


def _read(reader: Reader, file: str, rows: np.ndarray, shape: Shape, schema: pa.Schema) -> pa.Table:
    """Rows of a part, or those of a committed file as they were computed."""
    if file.startswith(PARTS):
        return _typed(reader.rows(file, rows, schema.names), schema)
    # Only what was computed: a column of the user's may be called `done`, too.
    columns = [*OF_PICTURE, "reason", "error", *shape.extra.names]
    if shape.keep_original:
        columns.append("original")
    if shape.children:
        columns.append("index")
    table = reader.rows(file, rows, columns)
    data = pc.struct_field(flat(table["image"]), "bytes")
    table = table.set_column(table.column_names.index("image"), "image", data)
    if shape.children:
        child = pc.fill_null(table["index"].cast(pa.int32()), -1)
        table = table.append_column("child", child)
    return _typed(table, schema)


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    for f in schema:
        if f.name not in table.column_names:
            table = table.append_column(f, pa.nulls(table.num_rows, f.type))
    return table.select(schema.names).cast(schema)


def _with_outcome(results: pa.Table, was_done: pa.Array) -> pa.Table:
    """A committed row shows the outcome of all stages;
    what this one's computation gave is in the index.
    """
    # A part says `done` itself; a committed row only in the index, as its columns are the user's.
    done = pc.coalesce(results["done"], was_done)
    results = _replaced(results, "done", done)
    for column in ("reason", "error"):
        text = pc.if_else(pc.fill_null(done, False), "", results[column])
        results = _replaced(results, column, text)
    return results


def _replaced(table: pa.Table, column: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(column), column, values)


# Writing
# -------------------------------------------------------------------------------------------


@dataclass
class _Open:
    """A file that is being written.

    It has its name when it is closed; until then its mark stands for it.
    """

    mark: str
    stack: contextlib.ExitStack
    sink: Sink
    writer: Writer


class BatchFiles:
    """The files of one batch being written: ok rows to data/,
    the others to failures/, then the index.
    """

    def __init__(self, folder: Folder, shape: Shape, schemas: dict[str, pa.Schema], name: str):
        self.folder, self.shape, self.schemas, self.name = folder, shape, schemas, name
        self.entries: list[dict[str, Any]] = []
        self._open: dict[str, _Open] = {}
        self._names: dict[str, str] = {}  # of each mark
        self._index: list[pa.Table] = []
        self._pieces: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def __enter__(self) -> "BatchFiles":
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        # After a fault nothing gets its name: half a batch is none.
        if kind is not None:
            for file in self._open.values():
                with contextlib.suppress(BaseException):
                    file.stack.__exit__(kind, value, trace)
            return
        for config in sorted(self._open):
            self._close(config)
        self._write_index()

    def _write_index(self) -> None:
        index = pa.concat_tables(self._index) if self._index else INDEX.empty_table()
        files = pa.array([self._names[mark] for mark in index["file"].to_pylist()], pa.string())
        # The files are named by their content, which is
        # known when they are closed: marks stood for them.
        index = index.set_column(INDEX.get_field_index("file"), INDEX.field("file"), files)
        place = f"{PRIVATE}/index/{self.name}"
        with self.folder.create(lambda sha: f"{place}-{sha[:12]}.parquet") as sink:
            pq.write_table(index, sink)
        counts: dict[str, Any] = {status: self._counts[status] for status in STATUSES}
        counts["reasons"] = dict(sorted(self._reasons.items()))
        self.entries.append({**_entry("index", index.num_rows, sink), "counts": counts})

    def write(self, carried: pa.Table, results: pa.Table, places: pa.Table, keys: pa.Array) -> None:
        """Some rows of the batch: places says how many results each has."""
        heads = np.flatnonzero(places["lines"].to_numpy())
        counts = np.add.reduceat(places["count"].to_numpy(), heads)
        parents = np.repeat(np.arange(carried.num_rows), counts)
        table = finish_rows(carried.take(pa.array(parents)), results, self.shape)
        self._counts.update(table["status"].to_pylist())
        self._reasons.update(r for r in table["reason"].to_pylist() if r)
        configs = self._configs(table)
        starts = np.zeros(table.num_rows, np.int64)
        marks = np.full(table.num_rows, "", object)
        for config in self.schemas:
            mask = pc.equal(configs, config).to_numpy(zero_copy_only=False)
            if mask.any():
                mine = table if mask.all() else table.filter(pa.array(mask))
                mark, at = self._append(config, mine)
                starts[mask], marks[mask] = at + np.arange(mask.sum()), mark
        done = pc.fill_null(results["done"], False).to_numpy()
        etags = places["etag"].fill_null("").take(pa.array(heads))
        lines = _index_lines(parents, marks, starts, done, sizes(table))
        owners = lines.pop("owner")
        lines |= {"key": keys.take(pa.array(owners)), "etag": etags.take(pa.array(owners))}
        self._index.append(pa.table({name: lines[name] for name in INDEX.names}, schema=INDEX))

    def _configs(self, table: pa.Table) -> Any:
        """Into which config each row goes."""
        first = self.shape.configs[0]
        of_ok = table["variant"] if len(self.shape.configs) > 1 else first
        return pc.if_else(pc.equal(table["status"], "ok"), of_ok, "failures")

    def _append(self, config: str, table: pa.Table) -> tuple[str, int]:
        """Write rows; returns the mark of their file, and the first one's number in it."""
        if config not in self._open:
            self._open[config] = self._created(config)
        file = self._open[config]
        at = file.writer.rows
        file.writer.write(table.select(self.schemas[config].names))
        if file.writer.bytes >= parquet.FILE_BYTES:
            self._close(config)
        return file.mark, at

    def _created(self, config: str) -> _Open:
        piece = self._pieces[config]
        self._pieces[config] += 1
        places = {"default": "data/", "failures": "failures/"}
        number = f".{piece}" if piece else ""
        stem = f"{places.get(config, f'data/{config}-')}{self.name}{number}"
        stack = contextlib.ExitStack()
        sink = stack.enter_context(self.folder.create(lambda sha: f"{stem}-{sha[:12]}.parquet"))
        return _Open(f"{config}/{piece}", stack, sink, Writer(sink, self.schemas[config]))

    def _close(self, config: str) -> None:
        file = self._open.pop(config)
        with file.stack:
            file.writer.close()
        self._names[file.mark] = file.sink.name
        self.entries.append(_entry(config, file.writer.rows, file.sink))


def _entry(config: str, rows: int, sink: Sink) -> dict[str, Any]:
    return {
        "config": config,
        "file": sink.name,
        "rows": rows,
        "bytes": sink.bytes,
        "sha256": sink.sha256,
    }


def _index_lines(
    parents: np.ndarray, files: np.ndarray, starts: np.ndarray, done: np.ndarray, nbytes: np.ndarray
) -> dict[str, Any]:
    """Columns of INDEX, and `owner`: one line for each run of rows of one parent,
    in one file, with one outcome.
    """
    goes_on = np.ones(len(parents), bool)
    goes_on[:1] = False
    for values in (parents, files, done):
        goes_on[1:] &= values[1:] == values[:-1]
    first = np.flatnonzero(~goes_on)
    owners = parents[first]
    is_head = np.diff(owners, prepend=-1) != 0
    lines_of = np.bincount(owners)[owners]
    return {
        "owner": owners,
        "file": pa.array(files[first].astype(str)),
        "start": starts[first],
        "count": np.diff(np.append(first, len(parents))).astype(np.int32),
        "done": done[first],
        "nbytes": np.add.reduceat(nbytes, first),
        "lines": np.where(is_head, lines_of, 0).astype(np.int32),
    }
