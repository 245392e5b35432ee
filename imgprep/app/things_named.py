"""What rows name beside the files of their dataset: masks and the like, kept results, objects."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow.parquet as pq

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.dataset.whole import OTHER_BYTES
from imgprep.failures import RunStopped
from imgprep.io.stores import Store, StoreError
from imgprep.resume.kept import KEPT
from imgprep.stages.segmentation.finish import OUTPUTS
from imgprep.stages.upload.places import uploaded_objects
from imgprep.stages.upload.threads import Threads

# Stage -> the columns that name files.
NAMING = {"segment": tuple(OUTPUTS), "transcode": ("playlist",)}
# Requests at once; and how many are asked for before the first answer is looked at.
ASKED_AT_ONCE = 16
ASKED_AHEAD = 1_000


def files_of_rows(ds: Dataset) -> list[str]:
    """The files in the folder that rows name: masks, labels, objects, playlists of ladders."""
    names: dict[str, None] = {}
    columns = NAMING.get(ds.info["stage"], ())
    for split in ds.splits:
        table = ds.table(split)
        for column in columns:
            if column in table.column_names:
                names |= dict.fromkeys(table[column].drop_null().to_pylist())
    return list(names)


def kept_files(ds: Dataset, folder: Folder) -> list[str]:
    """The files of results that are kept of rows that left. ValueError where their list is damaged."""
    data = folder.get(KEPT)
    if data is None:
        return []
    try:
        lines = pq.read_table(folder.open(KEPT), page_checksum_verification=True)
    except (ValueError, OSError):
        raise ValueError(f"{KEPT} is damaged") from None
    listed = {file["file"] for file in ds.files}
    return [name for name in lines["file"].unique().to_pylist() if name not in listed]


def is_uploaded(ds: Dataset) -> bool:
    return bool(ds.info["stage"] == "upload")


def damaged_objects(ds: Dataset, credentials_env: str | None) -> Iterator[tuple[str, str]]:
    """(URI, what is wrong or "") of each object of an upload: as its store has it, by size and hash.

    The bytes of a store that keeps no hash, a folder, are read. StoreError or RunStopped where a
    store cannot be asked.
    """
    for place, names in uploaded_objects(ds).items():
        store = Store(place, credentials_env)
        with Threads(ASKED_AT_ONCE) as pool:
            for some in _in_groups(names.items()):
                asked = [(name, pool.submit(_object_damage, store, name, row)) for name, row in some]
                for name, answer in asked:
                    yield f"{place}/{name}", answer.result()


def _in_groups(items: Iterable[tuple[str, Any]]) -> Iterator[list[tuple[str, Any]]]:
    found = list(items)
    for start in range(0, len(found), ASKED_AHEAD):
        yield found[start : start + ASKED_AHEAD]


def _object_damage(store: Store, name: str, row: dict[str, Any]) -> str:
    about = store.find(name)
    if about is None:
        return "is missing"
    if about["nbytes"] != row["nbytes"]:
        return f"has {about['nbytes']:,} bytes and had {row['nbytes']:,}"
    sha256 = about["sha256"] or hashlib.sha256(store.get(name)).hexdigest()
    return "" if sha256 == row["sha256"] else OTHER_BYTES


CANNOT_ASK = (StoreError, RunStopped)
