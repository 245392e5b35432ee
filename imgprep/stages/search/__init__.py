"""Search: words, vectors and tags together over one dataset folder, in milliseconds, without a
server.

The index stands in `<dataset>/.imgprep/search/`, is made from the Parquet files in seconds whenever
they changed, and is never published. `build` makes it, `open` uses what is there.
"""

from imgprep.dataset import Dataset
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
