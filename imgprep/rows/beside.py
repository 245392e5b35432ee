"""Pictures in a folder that is a dataset folder as well: both can be read, and which is said."""

import os
from collections.abc import Iterable

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.rows import picture_folders
from imgprep.words import number_of

# "photos/*" is the pictures in it, whatever else the folder is.
EVERY = "/*"
# Columns of a dataset that name files of its own.
OF_FILES = ("mask", "labels", "objects", "geojson")


def folder_of(where: str) -> str:
    """The folder whose pictures are meant by "photos/*"; "" where it is something else."""
    return where.removesuffix(EVERY) if where.endswith(EVERY) else ""


def pictures_beside(where: str) -> list[str]:
    """The pictures of a folder, from the folder on,
    without those of a dataset that imgprep made.
    """
    names = [name for name in picture_folders.file_names(where) if picture_folders.is_picture(name)]
    if not names or not dataset.exists(where):
        return names
    ds = Dataset(where)
    # By what the manifest lists and what the rows name: masks lie in the same folder, and are ours.
    own = {file["file"] for file in ds.files} | set(_named_in(ds))
    return [name for name in names if name not in own]


def _named_in(ds: Dataset) -> Iterable[str]:
    """The files that the rows of a dataset name, as those of a segmentation do."""
    for split in ds.splits:
        rows = ds.table(split)
        for name in OF_FILES:
            if name in rows.column_names:
                yield from map(str, rows[name].drop_null().to_pylist())


def told_dataset(where: str) -> str:
    """What a person is told whose dataset folder holds pictures of their own; "" where none do."""
    if "://" in where or not _may_hold(where):
        return ""
    beside = len(pictures_beside(where))
    if not beside:
        return ""
    ds = Dataset(where)
    made = f"{number_of(ds.counts()['rows'], 'row')} that {ds.info['stage']!r} made"
    pictures = number_of(beside, "picture")
    them = "it" if beside == 1 else "them"
    return (
        f"{where} is a dataset folder and read as one ({made}); {pictures} of yours beside it "
        f"left out: name '{where.rstrip('/')}{EVERY}' to read {them}"
    )


def _may_hold(where: str) -> bool:
    """Is there anything in a dataset folder that imgprep does not write itself?"""
    # Those of a segmentation lie in masks/, labels/ and objects/.
    ours = {"README.md", "masks", "labels", "objects"}
    ours |= {file["file"].split("/")[0] for file in Dataset(where).files}
    # Hidden names are of the system, or .imgprep.
    found = {entry.name for entry in os.scandir(where) if not entry.name.startswith(".")}
    return bool(found - ours)
