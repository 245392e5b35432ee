"""Results of rows that left a dataset: they stay in their files until `imgprep clean`, and come back with the rows.

Which they are stands in `.imgprep/kept.parquet`, as lines of INDEX.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imgprep.dataset import INDEX, KEY, Dataset, expand
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.dataset.whole import Inspection

KEPT = f"{PRIVATE}/kept.parquet"
Ids = dict[str, pa.ChunkedArray]  # of each split
Keys = dict[str, pa.Array]


def read_kept(folder: Folder) -> pa.Table:
    """The lines of INDEX of what is kept; those whose file is gone are left out."""
    data = folder.get(KEPT)
    if data is None:
        return INDEX.empty_table()
    try:
        kept = pq.read_table(pa.BufferReader(data), schema=INDEX, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError):  # damaged: a recomputation at worst
        return INDEX.empty_table()
    # Quickly: what was listed before it was last touched is read, and nothing else.
    look = Inspection.quick(folder)
    there = [name for name in kept["file"].unique().to_pylist() if not look.damage(name)]
    return kept.filter(pc.is_in(kept["file"], pa.array(there, pa.string())))


def leaving(folder: Folder, committed: list[pa.Table], keys: Keys, ids: Ids) -> pa.Table:
    """The lines of INDEX of the committed rows that a plan has no more: neither their key nor their id.

    committed: the index of each split, of files that are whole. keys, ids: of the rows that there will be.
    """
    now = pa.chunked_array([*keys.values()], KEY)
    if not _any_gone(committed, now):
        return INDEX.empty_table()
    texts = [column.cast(pa.string()) for column in ids.values()]
    known = pa.chunked_array([chunk for text in texts for chunk in text.chunks], pa.string())
    found = [INDEX.empty_table()]
    for index in committed:
        heads = np.flatnonzero(index["lines"].to_numpy())
        row_of = np.cumsum(index["lines"].to_numpy() > 0) - 1  # the input row of each line
        gone_key = pc.invert(pc.is_in(index["key"], now, skip_nulls=True))
        # By id as well: a row whose picture is made anew has a new key, and did not leave.
        names = _ids(folder, index.take(pa.array(heads)))
        gone_id = pc.invert(pc.is_in(names, known)).take(pa.array(row_of))
        found.append(index.filter(pc.and_(gone_key, gone_id)))
    return pa.concat_tables(found)


def _any_gone(committed: list[pa.Table], now: pa.ChunkedArray) -> bool:
    """Could a row have left? To look at their ids means to read the data files."""
    rows = 0
    for index in committed:
        rows += count_rows(index)
        keys = index["key"].drop_null()
        if not pc.all(pc.is_in(keys, now)).as_py():
            return True
    return rows > len(now)


def _ids(folder: Folder, lines: pa.Table) -> pa.Array:
    """The id of the input row of each line: that of its parent, where a picture becomes many rows."""
    ids = np.full(lines.num_rows, None, object)
    files, starts = lines["file"].to_numpy(), lines["start"].to_numpy()
    for file in sorted(set(files)):
        parquet = pq.ParquetFile(folder.open(file))
        name = "parent_id" if "parent_id" in parquet.schema_arrow.names else "image_id"
        mine = files == file
        ids[mine] = parquet.read([name])[name].take(pa.array(starts[mine])).to_pylist()
    return pa.array(ids, pa.string())


def count_rows(lines: pa.Table) -> int:
    """Of how many input rows these lines of INDEX are."""
    return int(np.count_nonzero(lines["lines"].to_numpy()))


def merged(kept: pa.Table, more: pa.Table, keys: Sequence[pa.Array]) -> pa.Table:
    """What is to be kept after a run: without what has no result, and what is in the dataset again."""
    whole = pa.concat_tables([more, kept])
    now = pa.chunked_array([*keys], KEY)
    wanted = pc.and_(whole["key"].is_valid(), pc.invert(pc.is_in(whole["key"], now)))
    whole = whole.filter(wanted)
    # Of equal keys the newest.
    codes = whole["key"].combine_chunks().dictionary_encode().indices.to_numpy()
    is_head = whole["lines"].to_numpy() > 0
    _, first = np.unique(codes[is_head], return_index=True)
    heads = np.flatnonzero(is_head)[np.sort(first)]
    lines = whole["lines"].to_numpy()[heads]
    return whole.take(pa.array(expand(heads, lines)))


def write_kept(folder: Folder, kept: pa.Table) -> None:
    """An unchanged file is left alone; without rows there is none."""
    if not kept.num_rows:
        folder.delete(KEPT)
        return
    sink = pa.BufferOutputStream()
    # With checksums: it is no dataset file, so no list says what its bytes should be.
    pq.write_table(kept.combine_chunks(), sink, write_page_checksum=True)
    folder.put(KEPT, sink.getvalue().to_pybytes(), settled=True)


def named_by_kept(folder: Folder, columns: Sequence[str]) -> set[str]:
    """The files that rows which are kept name in these columns: masks and the like."""
    found: set[str] = set()
    for name in read_kept(folder)["file"].unique().to_pylist():
        parquet = pq.ParquetFile(folder.open(name))
        there = [column for column in columns if column in parquet.schema_arrow.names]
        for column in parquet.read(there).columns:
            found.update(column.drop_null().to_pylist())
    return found


def forget_kept(folder: Folder, *, dry_run: bool = False) -> list[tuple[str, int]]:
    """Delete what is kept, but for the files that the dataset lists; (name, bytes) of each.

    The caller holds the folder's lock.
    """
    listed = {f["file"] for f in Dataset(folder).files}
    names = [name for name in read_kept(folder)["file"].unique().to_pylist() if name not in listed]
    if folder.size(KEPT) is not None:
        names.append(KEPT)
    gone = [(name, folder.size(name) or 0) for name in names]
    if not dry_run:
        for name, _ in gone:
            folder.delete(name)
    return gone
