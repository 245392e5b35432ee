"""The dataset folder: Parquet files that `datasets.load_dataset(folder)` opens, and the books kept beside them.

The card (README.md) lists every data file, so a reader sees one whole version. `.imgprep/manifest.jsonl` holds the
same list with sizes and hashes, `.imgprep/index/` says which input row stands in which file. Nothing in them depends
on time, host, engine or worker count.
"""

import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep.dataset.files import PRIVATE, Folder

MANIFEST = f"{PRIVATE}/manifest.jsonl"
FILE_BYTES = 500 << 20  # what the Hub advises for one Parquet shard
ROW_GROUP_BYTES = 32 << 20  # what one reader holds at once
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
KEY = pa.binary(16)
# What every dataset has behind the user's own columns, in this order.
COLUMNS = {
    "source": pa.string(),
    "image": IMAGE,
    "width": pa.int32(),
    "height": pa.int32(),
    "format": pa.string(),
    "nbytes": pa.int64(),
    "sha256": pa.string(),
    "status": pa.string(),
    "reason": pa.string(),
    "error": pa.string(),
}
# In input order, where the output rows of each input row stand, and what their computation gave: one line per run of
# rows in one file with one outcome. `lines` is the number of an input row's lines on its first, 0 on the others.
INDEX = pa.schema(
    [
        ("key", KEY),
        ("file", pa.string()),
        ("start", pa.int64()),
        ("count", pa.int32()),
        ("done", pa.bool_()),
        ("nbytes", pa.int64()),
        ("etag", pa.string()),
        ("lines", pa.int32()),
    ]
)


class Writer:
    """One Parquet file, in row groups of about ROW_GROUP_BYTES that depend on the rows alone.

    Tables given to `write` have a column `nbytes`; memory held is one row group.
    """

    def __init__(self, sink: Any, schema: pa.Schema, *, group_bytes: int = ROW_GROUP_BYTES):
        packed = [f.name for f in schema if f.name not in ("image", "original")]
        self._schema, self._group_bytes = schema, group_bytes
        self._file = pq.ParquetWriter(
            sink,
            schema,
            use_dictionary=[n for n in packed if pa.types.is_string(schema.field(n).type)],
            # Pictures are compressed already; the leaf names are how pyarrow spells nested columns.
            compression={_leaf(f): "none" if f.name in ("image", "original") else "snappy" for f in schema},
            write_page_index=True,
            write_page_checksum=True,
            use_content_defined_chunking=True,
        )
        self._pending: list[pa.Table] = []
        self._pending_bytes = self.rows = self.bytes = 0

    def write(self, table: pa.Table) -> None:
        table = table.cast(self._schema)  # one schema, with its `huggingface` metadata, on every file
        self.rows += table.num_rows
        held = sizes(table) if "image" in table.column_names else np.zeros(table.num_rows, np.int64)
        ends = np.cumsum(held + 256)
        self.bytes += int(ends[-1]) if len(ends) else 0
        while len(ends) and self._pending_bytes + ends[-1] >= self._group_bytes:
            cut = int(np.searchsorted(ends, self._group_bytes - self._pending_bytes)) + 1
            self._pending.append(table.slice(0, cut))
            self._flush()
            table, ends = table.slice(cut), ends[cut:] - ends[cut - 1]
        if table.num_rows:
            self._pending.append(table)
            self._pending_bytes += int(ends[-1])

    def _flush(self) -> None:
        if self._pending:
            group = pa.concat_tables(self._pending).combine_chunks()
            self._file.write_table(group, row_group_size=max(1, group.num_rows))
        self._pending, self._pending_bytes = [], 0

    def close(self) -> None:
        self._flush()
        self._file.close()


def sizes(table: pa.Table) -> np.ndarray:
    """Bytes of the picture in each row: the one that is shown, or the larger `original` that cannot be."""
    shown = pc.fill_null(table["nbytes"], 0)
    if "image" in table.column_names:  # it may be kept elsewhere
        shown = pc.if_else(pc.is_valid(table["image"]), shown, 0)
    if "original" in table.column_names:
        shown = pc.max_element_wise(shown, pc.fill_null(pc.binary_length(table["original"]), 0))
    return shown.to_numpy(zero_copy_only=False)


def _leaf(field: pa.Field) -> str:
    kind = field.type
    while pa.types.is_nested(kind):
        if pa.types.is_struct(kind):
            return f"{field.name}.bytes" if field.name == "image" else f"{field.name}.{kind.field(0).name}"
        return f"{field.name}.list.element"
    return field.name


class Reader:
    """Rows of many Parquet files by number; keeps the last row group it read of each of a few files."""

    def __init__(self, folder: Folder, *, keep: int = 8):
        self._folder, self._keep = folder, keep
        self._open: OrderedDict[str, list] = OrderedDict()

    def rows(self, file: str, rows: np.ndarray, columns: list[str] | None = None) -> pa.Table:
        """These rows (ascending numbers, each once) of one file, in that order."""
        if file not in self._open:
            parquet = pq.ParquetFile(self._folder.open(file))
            meta = parquet.metadata
            starts = np.cumsum([0] + [meta.row_group(g).num_rows for g in range(meta.num_row_groups)])
            self._open[file] = [parquet, starts, None, None]
            while len(self._open) > self._keep:
                self._open.popitem(last=False)[1][0].close()
        self._open.move_to_end(file)
        entry = self._open[file]
        parquet, starts = entry[:2]
        pieces = []
        groups = np.searchsorted(starts, rows, side="right") - 1
        for group in np.unique(groups):
            if entry[2] != (int(group), tuple(columns or ())):
                entry[2] = entry[3] = None  # drop the old group before the new one is read
                entry[3] = parquet.read_row_group(int(group), columns=columns)
                entry[2] = (int(group), tuple(columns or ()))
            mine = rows[groups == group] - starts[group]
            # Neighbours are not copied; to take one picture out of a group costs a millisecond.
            is_run = mine[-1] - mine[0] == len(mine) - 1
            pieces.append(entry[3].slice(mine[0], len(mine)) if is_run else entry[3].take(mine))
        return pa.concat_tables(pieces)

    def picture(self, file: str, row: int) -> bytes | None:
        """The encoded bytes of one row: `image`, or the `original` of an ok row that Pillow alone cannot open."""
        found = self.rows(file, np.array([row]), ["image", "original", "nbytes"]).to_pylist()[0]
        return found["image"]["bytes"] if found["image"] else found["nbytes"] and found.get("original")


class Dataset:
    """A dataset folder that exists. `images.download` and `images.transform` return one; `open` reads one."""

    def __init__(self, folder: str | Folder):
        self._folder = folder if isinstance(folder, Folder) else Folder(folder)
        lines = (self._folder.get(MANIFEST) or b"").decode().splitlines()
        if not lines:
            raise ValueError(f"{str(folder)!r} is no dataset folder: it has no {MANIFEST}")
        self.info: dict[str, Any] = json.loads(lines[0])
        self.files: list[dict] = [json.loads(line) for line in lines[1:]]
        self._index: dict[str, pa.Table] = {}
        self._places: dict[str, tuple[list[str], np.ndarray, np.ndarray]] = {}
        self._reader, self._reading = Reader(self._folder, keep=2), threading.Lock()

    def __reduce__(self) -> tuple:
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

    def counts(self, split: str | None = None) -> dict[str, Any]:
        """Rows by outcome: {"rows", "ok", "placeholder", "failed", "reasons": {word: rows}}. No file is read."""
        return count(self.files, split)

    def index(self, split: str) -> pa.Table:
        """The INDEX table of a split, in input order."""
        if split not in self.info["splits"]:
            raise ValueError(f"no split {split!r}; {self.folder} has {', '.join(self.splits)}")
        if split not in self._index:
            files = [f["file"] for f in self.files if f["config"] == "index" and f["split"] == split]
            parts = [pq.read_table(self._folder.open(name), schema=INDEX) for name in files]
            whole = pa.concat_tables(parts) if parts else INDEX.empty_table()
            lines = whole["lines"].fill_null(1)  # of a folder from before a picture's rows could stand in several files
            self._index[split] = whole.set_column(INDEX.get_field_index("lines"), "lines", lines)
        return self._index[split]

    def table(self, split: str, columns: list[str] | None = None) -> pa.Table:
        """Every row of a split in input order, without picture bytes, plus `file` and `row` (where it stands)."""
        index, base, schema = self.index(split), {}, self._schema(columns)
        pieces, total = [schema.empty_table()], 0
        for name in [f["file"] for f in self.files if f["split"] == split and f["config"] != "index"]:
            table = pq.ParquetFile(self._folder.open(name)).read(columns=schema.names)
            where = {"file": pa.array([name] * table.num_rows, pa.string()), "row": pa.array(range(table.num_rows))}
            for column, values in where.items():
                table = table.append_column(column, values)
            pieces.append(table.select(schema.names))
            base[name] = total
            total += table.num_rows
        known = index["file"].combine_chunks().dictionary_encode()
        starts = np.array([base[n] for n in known.dictionary.to_pylist()], np.int64)[known.indices.to_numpy()]
        return pa.concat_tables(pieces).take(expand(starts + index["start"].to_numpy(), index["count"].to_numpy()))

    def _schema(self, columns: list[str] | None) -> pa.Schema:
        """What `table` gives: the columns of all files but for the bytes, with the features they were declared as."""
        files = [f["file"] for f in self.files if f["config"] != "index"]
        schema = pq.read_schema(self._folder.open(files[0])) if files else schema_of(pa.schema([]), pa.schema([]))
        fields = [f for f in schema if f.name not in ("image", "original")]
        fields += [pa.field("file", pa.string()), pa.field("row", pa.int64())]
        for column in columns or ():
            if column not in [f.name for f in fields]:
                raise ValueError(f"no column {column!r}; {self.folder} has {', '.join(f.name for f in fields)}")
        wanted = [f for f in fields if columns is None or f.name in (*columns, "file", "row")]
        return pa.schema(wanted, schema.metadata)

    def pictures(self, split: str, rows: Sequence[int]) -> list[bytes | None]:
        """The encoded bytes of these rows (numbers as in `table`); None where a row has no picture."""
        index = self.index(split)
        if split not in self._places:
            counts = index["count"].to_numpy()
            where = index["file"].combine_chunks().dictionary_encode()
            files = np.repeat(where.indices.to_numpy(), counts)
            self._places[split] = where.dictionary.to_pylist(), files, expand(index["start"].to_numpy(), counts)
        names, files, places = self._places[split]
        out = []
        for row in rows:
            if not 0 <= row < len(files):
                raise ValueError(f"no row {row}; split {split!r} has {len(files):,}")
            with self._reading:
                out.append(self._reader.picture(names[files[row]], places[row]))
        return out

    def example(self) -> bytes:
        """The encoded bytes of the first picture that is ok, to try a function on."""
        files = [f["file"] for f in self.files if f["config"] == self.configs[0] and f["rows"]]
        if not files:
            raise ValueError(f"{self.folder} has no picture that is ok")
        return self._reader.picture(files[0], 0)

    def runs(self) -> list[dict[str, Any]]:
        """What each run that computed or changed something took, oldest first."""
        names = self._folder.list(f"{PRIVATE}/runs")
        return [json.loads(self._folder.get(f"{PRIVATE}/runs/{n}") or b"{}") for n in names if n.endswith(".json")]

    def data_files(self, config: str | None = None, split: str | None = None) -> list[str]:
        """Full paths of the committed files of a config (None: the default one), in order."""
        return [
            self._folder.full(f["file"])
            for f in self.files
            if f["config"] == (config or self.configs[0]) and split in (None, f["split"])
        ]

    def __repr__(self) -> str:
        return summary(self.counts())

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(s)}</th>"
            + "".join(f"<td>{c[k]:,}</td>" for k in ("rows", "ok", "placeholder", "failed"))
            + f"<td style='text-align:left'>{escape(words(c['reasons']))}</td></tr>"
            for s in self.splits
            for c in [self.counts(s)]
        )
        head = "".join(f"<th>{h}</th>" for h in ("split", "rows", "ok", "placeholder", "failed"))
        head += "<th style='text-align:left'>reasons</th>"
        return f"<p>{escape(summary(self.counts()))}</p><table><tr>{head}</tr>{rows}</table>"


def open(folder: str) -> Dataset:  # noqa: A001 - reads as dataset.open(folder)
    """A dataset folder, to look at. ValueError when it is none."""
    return Dataset(folder)


def exists(folder: str) -> bool:
    """Is there a committed dataset in this folder?"""
    return Folder(folder).size(MANIFEST) is not None


def count(files: list[dict], split: str | None = None) -> dict[str, Any]:
    """`Dataset.counts` of the files of a manifest."""
    total: Counter = Counter()
    reasons: Counter = Counter()
    for batch in files:
        if batch["config"] == "index" and split in (None, batch["split"]):
            total.update({k: batch["counts"].get(k, 0) for k in ("ok", "placeholder", "failed")})
            reasons.update(batch["counts"].get("reasons", {}))
    ordered = dict(sorted(reasons.items(), key=lambda kv: (-kv[1], kv[0])))
    return {"rows": total.total(), "ok": 0, "placeholder": 0, "failed": 0, **total, "reasons": ordered}


def summary(counts: dict[str, Any]) -> str:
    """One sentence: '1,180 of 1,200 pictures ready; 20 placeholders: http_404 9, timeout 5'."""
    text = f"{counts['ok']:,} of {counts['rows']:,} pictures ready"
    left = [(counts["placeholder"], "placeholder", "placeholders"), (counts["failed"], "failed", "failed")]
    bad = " and ".join(f"{n:,} {one if n == 1 else many}" for n, one, many in left if n)
    return text + (f"; {bad}: {words(counts['reasons'])}" if bad else "")


def words(reasons: dict[str, int]) -> str:
    """'http_404 9, timeout 5': the commonest first."""
    return ", ".join(f"{k} {n:,}" for k, n in sorted(reasons.items(), key=lambda kv: (-kv[1], kv[0])))


def expand(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start+1, ... start+count-1 of every pair, one after another.

    >>> expand(np.array([5, 0]), np.array([2, 1])).tolist()
    [5, 6, 0]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total)


def schema_of(user: pa.Schema, extra: pa.Schema, *, children: bool = False) -> pa.Schema:
    """The one Arrow schema of a dataset: image_id, the user's columns, COLUMNS, a stage's own, all as HF features."""
    from datasets import Features, Image

    fields = [pa.field("image_id", pa.string()), *user, *(pa.field(n, t) for n, t in COLUMNS.items()), *extra]
    if children:
        fields += [pa.field("parent_id", pa.string()), pa.field("index", pa.int32())]
    plain = pa.schema([f.remove_metadata() for f in fields], metadata=None)
    features = {f.name: _feature(f) for f in plain if f.name != "image"}
    for declared in (user, extra):
        known = json.loads((declared.metadata or {}).get(b"huggingface", b"{}"))
        if known:  # ClassLabel, Sequence … as they were declared
            features.update({n: f for n, f in Features.from_arrow_schema(declared).items() if n in plain.names})
    features["image"] = Image()
    return Features({f.name: features[f.name] for f in plain}).arrow_schema


def _feature(field: pa.Field) -> Any:
    from datasets import Features

    try:
        if field.name == "_type":  # what `datasets` itself marks a feature with
            raise ValueError("a word of its own")
        kind = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(field.type, field.type)
        return Features.from_arrow_schema(pa.schema([(field.name, kind)]))[field.name]
    except ValueError as e:
        what = f"column {field.name!r} holds {field.type}"
        raise ValueError(f"{what}: `datasets` has no such column ({e}); rename, convert or leave it out") from None


def with_original(schema: pa.Schema) -> pa.Schema:
    """The schema of `failures` where bytes that Pillow cannot open are kept."""
    from datasets import Features, Value

    features = Features.from_arrow_schema(schema)
    return Features({**features, "original": Value("binary")}).arrow_schema
