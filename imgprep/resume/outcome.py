"""What a row says after a stage: the outcome of earlier stages
and of this one's computation, together.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset import COLUMNS, IMAGE
from imgprep.resume.parts import OF_PICTURE
from imgprep.resume.shape import Shape

OUTCOME = ("status", "reason", "error")
Columns = dict[str, Any]  # name -> array; all of one length


def outcome(before: Columns, computed: Columns) -> Columns:
    """`status`, `reason` and `error` of each row.

    before: those of an earlier stage, "" where there was none. computed: `done`, null where nothing
    was computed, with `reason` and `error`. The outcome of an earlier stage stays: a placeholder
    that was computed well is still one.
    """
    status, done = before["status"], computed["done"]
    had_failed = pc.and_(pc.not_equal(status, "ok"), pc.not_equal(status, ""))
    unless_computed = pc.if_else(had_failed, status, "failed")
    # null means "not computed here", so that what an earlier stage said is left alone.
    not_done = pc.if_else(pc.is_valid(done), "failed", unless_computed)
    if_done = pc.if_else(had_failed, status, "ok")
    found = {"status": pc.if_else(pc.fill_null(done, False), if_done, not_done)}
    for name in ("reason", "error"):
        found[name] = pc.if_else(had_failed, before[name], pc.fill_null(computed[name], ""))
    return found


def finish_rows(rows: pa.Table, results: pa.Table, shape: Shape) -> pa.Table:
    """The dataset's rows: what was carried through, what was computed, and the outcome of both."""
    blank = pa.array([""] * rows.num_rows)
    before = {c: rows[c] if c in rows.column_names else blank for c in OUTCOME}
    said = outcome(before, {c: results[c] for c in ("done", "reason", "error")})
    picture = _picture(results, shape)
    if shape.placeholder:
        is_failed = pc.equal(said["status"], "failed")
        said["status"] = pc.if_else(is_failed, "placeholder", said["status"])
    columns = _names(rows["image_id"], results, shape)
    ours = {"image_id", *COLUMNS, *shape.extra.names, *columns}
    columns.update({c: rows[c] for c in rows.column_names if c not in ours})
    columns["source"] = rows["source"]
    columns["image"] = _image(columns["image_id"], picture)
    columns.update({c: values for c, values in picture.items() if c != "image"})
    columns.update(said)
    columns.update({name: results[name] for name in shape.extra.names})
    if shape.keep_original:
        columns["original"] = results["original"]
    return pa.table(columns)


def _names(ids: Any, results: pa.Table, shape: Shape) -> Columns:
    """image_id; and where a picture may become many rows, parent_id and index."""
    if not shape.children:
        return {"image_id": ids}
    child = results["child"]
    is_one_of_many = pc.fill_null(pc.greater_equal(child, 0), False)
    number = pc.fill_null(pc.cast(child, pa.string()), "")
    named = pc.binary_join_element_wise(ids, number, "-")
    return {
        "image_id": pc.if_else(is_one_of_many, named, ids),
        "parent_id": ids,
        "index": pc.if_else(is_one_of_many, child, pa.scalar(None, pa.int32())),
    }


def _picture(results: pa.Table, shape: Shape) -> Columns:
    """What is known of each row's picture; the placeholder, or nothing, where it failed."""
    done = pc.fill_null(results["done"], False)
    found = {}
    all_done = pc.all(done).as_py()
    for column in OF_PICTURE:
        values = results[column]
        if all_done:
            found[column] = values  # choosing among pictures copies every one
            continue
        instead = shape.placeholder[column] if shape.placeholder else None
        found[column] = pc.if_else(done, values, pa.scalar(instead, values.type))
    return found


def _image(ids: Any, picture: Columns) -> pa.ChunkedArray:
    """The column `image` of `datasets`.

    Null where an uploaded picture, or HEIC's original, is kept elsewhere.
    """
    endings = pc.utf8_lower(pc.fill_null(picture["format"], ""))
    endings = pc.replace_substring(endings, "jpeg", "jpg")
    path = pc.binary_join_element_wise(ids, endings, ".")
    path = flat(path)
    found = []
    start = 0
    # Piece by piece as they were read: as one array all pictures would be copied once more.
    for data in pieces_of(picture["image"]):
        named = path.slice(start, len(data))
        start += len(data)
        mask = pc.is_null(data)
        found.append(pa.StructArray.from_arrays([data, named], fields=list(IMAGE), mask=mask))
    return pa.chunked_array(found, IMAGE)


def pieces_of(values: Any) -> list[pa.Array]:
    """The arrays of a column that may be in chunks."""
    return values.chunks if isinstance(values, pa.ChunkedArray) else [values]


def flat(values: Any) -> pa.Array:
    """One array of a column that may be in chunks."""
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
