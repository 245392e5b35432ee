"""Search: words, vectors and tags together over one dataset folder, in milliseconds, without a
server.

The index stands in `<dataset>/.imgprep/search/`, is made from the Parquet files in seconds whenever
they changed, and is never published. `build` makes it, `open` uses what is there.
"""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from imgprep.dataset import Dataset
from imgprep.stages import images
from imgprep.stages.search.hits import Found, Hit
from imgprep.stages.search.index import Index, build_index, current_index
from imgprep.stages.search.neighbours import odd_ones, place_on_map
from imgprep.stages.search.tables import to_postgres, to_sqlite

__all__ = [
    "Found",
    "Hit",
    "Index",
    "build",
    "odd_ones",
    "open",
    "place_on_map",
    "to_postgres",
    "to_sqlite",
    "without",
]


def build(ds: Dataset | str, *, folder: str | None = None) -> Index:
    """Make the index anew.

    folder: where, if not inside the dataset (a dataset on a store has to have one). Two that build
    at once both make a whole index, and one of them stays. What a killed build leaves is never
    opened.
    """
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    return build_index(ds, folder)


def open(ds: Dataset | str, *, folder: str | None = None) -> Index:
    """The index of a dataset folder.

    Made first where there is none, or where the dataset has changed since.
    """
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    return current_index(ds, folder) or build_index(ds, folder)


def without(ds: Dataset | str, image_ids: Iterable[str], out: str) -> Dataset:
    """The dataset without these pictures, as the dataset folder `out`; its index never had them.

    A folder that had them before keeps their bytes until `imgprep clean`. Raises ValueError for an
    id that is not there.
    """
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    wanted = pa.array(sorted({*image_ids}), pa.string())
    tables = {}
    met: set[str] = set()
    for split in ds.splits:
        table = ds.table(split)
        is_gone = pc.is_in(table["image_id"], wanted)
        met.update(table["image_id"].filter(is_gone).to_pylist())
        tables[split] = table.filter(pc.invert(is_gone))
    unknown = [one for one in wanted.to_pylist() if one not in met]
    if unknown:
        raise ValueError(f"no picture {unknown[0]!r} in {ds.folder}")
    return images.copy(ds, tables, out)
