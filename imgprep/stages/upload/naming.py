"""What objects are called: by their content, or by the picture that they are of."""

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from imgprep.dataset.names import stems
from imgprep.resume.inputs import Inputs

CONTENT, PICTURE = "content", "picture"


def check_picture_names(names: str) -> None:
    if names not in (CONTENT, PICTURE):
        raise ValueError(f"names is 'content' or 'picture', not {names!r}")


def sizes_column(rows: pa.Table) -> pa.ChunkedArray:
    """The size of each row's picture; "" where there are no sizes."""
    if "variant" in rows.column_names:
        return rows["variant"]
    return pa.chunked_array([[""] * rows.num_rows], pa.string())


def picture_names(inputs: dict[str, Inputs]) -> dict[str, pa.ChunkedArray]:
    """For each split the name of each row's object, without its ending.

    It is the id of the picture; of several pictures that have one of the same size, that of the
    row. Where there are several splits, each has its folder.
    """
    found = {}
    for split, one in inputs.items():
        ids = list(_picture_ids(one.rows))
        different = list(dict.fromkeys(ids))
        name_of = dict(zip(different, stems(different), strict=True))
        home = f"{split}/" if len(inputs) > 1 else ""
        names = [home + name_of[one_id] for one_id in ids]
        found[split] = pa.chunked_array([names], pa.string())
    return found


def _picture_ids(rows: pa.Table) -> Iterator[str]:
    """An id for each row that no other row of its size has."""
    ids = rows["image_id"].to_pylist()
    parents = ids
    if "parent_id" in rows.column_names:
        parents = rows["parent_id"].to_pylist()
    sizes = sizes_column(rows).to_pylist()
    # Frames and copies of a picture may have one size: then the row's own id is its name.
    times = Counter(zip(parents, sizes, strict=True))
    for own, parent, size in zip(ids, parents, sizes, strict=True):
        yield parent if parent and times[parent, size] == 1 else own


def content_name(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"
