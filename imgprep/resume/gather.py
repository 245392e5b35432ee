"""Results and carried columns become the files of a batch: ok rows in data/, the others in failures/, and an index."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep import dataset
from imgprep.dataset import COLUMNS, IMAGE, INDEX, Reader, Writer, sizes
from imgprep.dataset.files import PRIVATE, Folder, Sink
from imgprep.resume.parts import PARTS, PICTURE, part_schema

CHUNK_BYTES = 32 << 20  # what a gather holds at once


@dataclass(frozen=True)
class Shape:
    """What the rows of a stage look like beside COLUMNS.

    extra: the stage's own columns. children: a picture may become many rows. placeholder: the RESULT columns that
    stand in for a failed picture. keep_original: `failures` and `original` have bytes that Pillow cannot open.
    configs: of the ok rows; where there are several, the column `variant` of `extra` says which is a row's.
    """

    extra: pa.Schema
    children: bool = False
    placeholder: dict[str, Any] | None = None
    keep_original: bool = False
    configs: tuple[str, ...] = ("default",)


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

    name: "train-00003". carried, keys: the batch's rows. places: lines of INDEX, where each row's results stand.
    Reads results in input order, about CHUNK_BYTES at a time, whatever files they stand in.
    """
    reader = Reader(folder)
    with _Files(folder, shape, schemas, name) as files:
        firsts = np.flatnonzero(places["lines"].to_numpy())
        ends = [*firsts, places.num_rows]
        for lo, hi in chunks(np.add.reduceat(places["nbytes"].fill_null(0).to_numpy(), firsts)):
            here = places.slice(ends[lo], ends[hi] - ends[lo])
            files.write(carried.slice(lo, hi - lo), _results(reader, shape, here), here, keys.slice(lo, hi - lo))
    return files.entries


def _results(reader: Reader, shape: Shape, places: pa.Table) -> pa.Table:
    """The RESULT rows of these places, in order; a row of nulls where there is none."""
    files, starts, counts, was_done = (places[c].to_numpy() for c in ("file", "start", "count", "done"))
    schema = part_schema(shape.extra, keep_original=shape.keep_original)
    # Of a committed file only what was computed: a column of the user's may be called `done`, too.
    committed = [*PICTURE, "reason", "error", *shape.extra.names]
    committed += ["original"] * shape.keep_original + ["index"] * shape.children
    pieces, positions, offset = [], np.full(int(counts.sum()), -1, np.int64), 0
    ends = np.cumsum(counts)
    for file in sorted({f for f in files if f}):
        mine = np.flatnonzero(files == file)
        unique, inverse = np.unique(dataset.expand(starts[mine], counts[mine]), return_inverse=True)
        rows = reader.rows(file, unique, schema.names if file.startswith(PARTS) else committed)
        pieces.append(_as_results(rows, schema, children=shape.children))
        positions[dataset.expand((ends - counts)[mine], counts[mine])] = offset + inverse
        offset += len(unique)
    table = pa.concat_tables(pieces) if pieces else schema.empty_table()
    table = table.take(pa.array(positions, mask=positions < 0))
    # A committed row shows the outcome of all stages; what this one's computation gave is in the index.
    known = pa.array(np.repeat(was_done, counts), mask=np.repeat(files == "", counts))
    done = pc.coalesce(table["done"], known)
    table = table.set_column(schema.get_field_index("done"), "done", done)
    for column in ("reason", "error"):
        text = pc.if_else(pc.fill_null(done, False), "", table[column])
        table = table.set_column(schema.get_field_index(column), column, text)
    return table


def _as_results(table: pa.Table, schema: pa.Schema, *, children: bool) -> pa.Table:
    if pa.types.is_struct(table.schema.field("image").type):  # a committed file: back to what the computation gave
        image = _flat(table["image"])
        table = table.set_column(table.column_names.index("image"), "image", pc.struct_field(image, "bytes"))
        if children:
            table = table.append_column("child", pc.fill_null(table["index"].cast(pa.int32()), -1))
    for f in schema:
        if f.name not in table.column_names:
            table = table.append_column(f, pa.nulls(table.num_rows, f.type))
    return table.select(schema.names).cast(schema)


class _Files:
    """The files of one batch being written: ok rows to data/, the others to failures/, then the index."""

    def __init__(self, folder: Folder, shape: Shape, schemas: dict[str, pa.Schema], name: str):
        self.folder, self.shape, self.schemas, self.name = folder, shape, schemas, name
        self.entries: list[dict] = []
        self._open: dict[str, tuple[str, contextlib.ExitStack, Sink, Writer]] = {}
        self._index: list[pa.Table] = []
        self._pieces: Counter = Counter()
        self._counts: Counter = Counter()
        self._reasons: Counter = Counter()

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is not None:
            for _, stack, _, _ in self._open.values():
                with contextlib.suppress(BaseException):
                    stack.__exit__(kind, value, trace)
            return
        for config in sorted(self._open):
            self._close(config)
        names = {e.pop("mark"): e["file"] for e in self.entries}
        index = pa.concat_tables(self._index) if self._index else INDEX.empty_table()
        files = pa.array([names[m] for m in index["file"].to_pylist()], pa.string())
        index = index.set_column(1, INDEX.field("file"), files)
        with self.folder.create(lambda sha: f"{PRIVATE}/index/{self.name}-{sha[:12]}.parquet") as sink:
            pq.write_table(index, sink)
        counts = {k: self._counts[k] for k in ("ok", "placeholder", "failed")}
        counts["reasons"] = dict(sorted(self._reasons.items()))
        self.entries.append({**_entry("index", index.num_rows, sink), "counts": counts})

    def write(self, carried: pa.Table, results: pa.Table, places: pa.Table, keys: pa.Array) -> None:
        heads = np.flatnonzero(places["lines"].to_numpy())
        counts = np.add.reduceat(places["count"].to_numpy(), heads)
        parents = np.repeat(np.arange(carried.num_rows), counts)
        table = finish_rows(carried.take(pa.array(parents)), results, self.shape)
        ok = pc.equal(table["status"], "ok")
        self._counts.update(table["status"].to_pylist())
        self._reasons.update(r for r in table["reason"].to_pylist() if r)
        several = len(self.shape.configs) > 1
        configs = pc.if_else(ok, table["variant"] if several else self.shape.configs[0], "failures")
        starts, names = np.zeros(table.num_rows, np.int64), np.full(table.num_rows, "", object)
        for config in self.schemas:
            mask = pc.equal(configs, config).to_numpy(zero_copy_only=False)
            if mask.any():
                # A file has its name when it is closed; until then its mark stands in the index.
                mark, at = self._append(config, table.filter(pa.array(mask)))
                starts[mask], names[mask] = at + np.arange(mask.sum()), mark
        done = pc.fill_null(results["done"], False).to_numpy()
        alike = [values[1:] == values[:-1] for values in (parents, names, done)]
        first = np.flatnonzero(np.append(True, ~np.logical_and.reduce(alike)))
        owners, runs = parents[first], np.diff(np.append(first, len(parents)))
        columns = [keys.take(pa.array(owners)), pa.array(names[first].astype(str)), starts[first]]
        columns += [runs.astype(np.int32), done[first], np.add.reduceat(sizes(table), first)]
        columns += [places["etag"].fill_null("").take(pa.array(heads[owners]))]
        columns += [np.where(np.diff(owners, prepend=-1), np.bincount(owners)[owners], 0).astype(np.int32)]
        self._index.append(pa.table(columns, schema=INDEX))

    def _append(self, config: str, table: pa.Table) -> tuple[str, int]:
        if config not in self._open:
            piece = self._pieces[config]
            self._pieces[config] += 1
            place = {"default": "data/", "failures": "failures/"}.get(config, f"data/{config}-")
            stem = f"{place}{self.name}{f'.{piece}' if piece else ''}"
            stack = contextlib.ExitStack()
            sink = stack.enter_context(self.folder.create(lambda sha: f"{stem}-{sha[:12]}.parquet"))
            self._open[config] = (f"{config}/{piece}", stack, sink, Writer(sink, self.schemas[config]))
        mark, _, _, writer = self._open[config]
        at = writer.rows
        writer.write(table.select(self.schemas[config].names))
        if writer.bytes >= dataset.FILE_BYTES:
            self._close(config)
        return mark, at

    def _close(self, config: str) -> None:
        mark, stack, sink, writer = self._open.pop(config)
        with stack:
            writer.close()
        self.entries.append({**_entry(config, writer.rows, sink), "mark": mark})


def _entry(config: str, rows: int, sink: Sink) -> dict[str, Any]:
    return {"config": config, "file": sink.name, "rows": rows, "bytes": sink.bytes, "sha256": sink.sha256}


def finish_rows(rows: pa.Table, results: pa.Table, shape: Shape) -> pa.Table:
    """The dataset's rows: what was carried through, what was computed, and the outcome of both.

    The outcome of an earlier stage stays: a placeholder that was computed well is still a placeholder.
    """
    n = rows.num_rows
    blank = pa.array([""] * n)
    done = pc.fill_null(results["done"], False)
    before = {c: rows[c] if c in rows.column_names else blank for c in ("status", "reason", "error")}
    had = pc.and_(pc.not_equal(before["status"], "ok"), pc.not_equal(before["status"], ""))
    failed = pc.if_else(pc.is_valid(results["done"]), "failed", pc.if_else(had, before["status"], "failed"))
    out = {
        "status": pc.if_else(done, pc.if_else(had, before["status"], "ok"), failed),
        "reason": pc.if_else(had, before["reason"], pc.fill_null(results["reason"], "")),
        "error": pc.if_else(had, before["error"], pc.fill_null(results["error"], "")),
    }
    picture = {c: results[c] for c in PICTURE}
    keep = done
    if shape.placeholder:
        out["status"] = pc.if_else(pc.equal(out["status"], "failed"), "placeholder", out["status"])
        instead = {c: pa.scalar(shape.placeholder[c], v.type) for c, v in picture.items()}
        picture = {c: pc.if_else(done, v, instead[c]) for c, v in picture.items()}
        keep = pa.array([True] * n)
    picture = {c: pc.if_else(keep, v, pa.scalar(None, v.type)) for c, v in picture.items()}
    ids = rows["image_id"]
    columns: dict[str, Any] = {"image_id": ids}
    if shape.children:
        child = results["child"]
        many = pc.fill_null(pc.greater_equal(child, 0), False)
        named = pc.binary_join_element_wise(ids, pc.fill_null(pc.cast(child, pa.string()), ""), "-")
        columns = {"image_id": pc.if_else(many, named, ids)}
        columns |= {"parent_id": ids, "index": pc.if_else(many, child, pa.scalar(None, pa.int32()))}
    suffix = pc.replace_substring(pc.utf8_lower(pc.fill_null(picture["format"], "")), "jpeg", "jpg")
    path = pc.binary_join_element_wise(columns["image_id"], suffix, ".")
    data = _flat(picture.pop("image"))  # null: of an uploaded picture, or HEIC's original, all else is known
    image = pa.StructArray.from_arrays([data, _flat(path)], fields=list(IMAGE), mask=pc.is_null(data))
    carried = [c for c in rows.column_names if c not in ("image_id", *COLUMNS, *shape.extra.names)]
    columns |= {c: rows[c] for c in carried if c not in columns} | {"source": rows["source"], "image": image}
    columns |= picture | out | {f.name: results[f.name] for f in shape.extra}
    if shape.keep_original:
        columns["original"] = results["original"]
    return pa.table(columns)


def _flat(values: Any) -> pa.Array:
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return values.chunk(0) if isinstance(values, pa.ChunkedArray) else values


def chunks(nbytes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Row ranges of about CHUNK_BYTES; at least one, so that an empty batch is written too."""
    ends = np.cumsum(nbytes + 256)
    lo = 0
    while lo < len(nbytes):
        begin = ends[lo - 1] if lo else 0
        hi = max(lo + 1, int(np.searchsorted(ends, begin + CHUNK_BYTES)))
        yield lo, hi
        lo = hi
