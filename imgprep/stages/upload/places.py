"""Where uploaded pictures are: their places, what lies there besides, who can read there."""

import json
import re
from collections.abc import Iterator
from typing import Any

from imgprep import dataset
from imgprep.dataset import Dataset
from imgprep.io.stores import Store

OBJECT_INDEX = "index.jsonl"
BY_CONTENT = re.compile(r"(.*)/([0-9a-f]{2}/[0-9a-f]{64}\.\w+)")
OF_ROW = ("image_id", "parent_id", "variant", "width", "height", "format", "nbytes", "sha256")


def locate_store(uri: str, credentials_env: str | None = None) -> tuple[Store, str]:
    """The store and the name of an uploaded object."""
    place, name = place_and_name(uri)
    return Store(place, credentials_env), name


def place_and_name(uri: str) -> tuple[str, str]:
    """(the folder of all objects of a size, the name there).

    >>> place_and_name("az://photos/vision/train/cat.jpg")
    ('az://photos/vision/train', 'cat.jpg')
    """
    # By its shape: two digits and a hash belong to the name, and are no folder of a person's.
    by_content = BY_CONTENT.fullmatch(uri)
    if by_content:
        return by_content[1], by_content[2]
    place, _, name = uri.rpartition("/")
    return place, name


def public(uploaded: str | Dataset, *, credentials_env: str | None = None) -> dict[str, bool]:
    """For the place of each size: can anyone read there, without credentials?

    Asked for the first object of each.
    """
    found: dict[str, bool] = {}
    for place, names in uploaded_objects(uploaded).items():
        store = Store(place, credentials_env)
        found[store.uri] = store.is_public(next(iter(names)))
    return found


def orphans(uploaded: str | Dataset, *, credentials_env: str | None = None) -> list[str]:
    """URIs of the objects in the places of a dataset that no row of it names: of earlier versions,
    or of others.

    Nothing is deleted.
    """
    found = []
    for place, names in uploaded_objects(uploaded).items():
        there = {*Store(place, credentials_env).list()} - names.keys() - {OBJECT_INDEX}
        found += [f"{place}/{name}" for name in sorted(there)]
    return found


def put_indexes(uploaded: Dataset, *, credentials_env: str | None) -> None:
    """index.jsonl in each place: a line for each object, with its name, the picture it is of, its
    size and sha256."""
    for place, names in uploaded_objects(uploaded).items():
        lines = [json.dumps(line, ensure_ascii=False) for line in names.values()]
        data = "".join(f"{line}\n" for line in lines).encode()
        store = Store(place, credentials_env)
        # is_lasting=False: the next run puts another list under this name.
        store.put(OBJECT_INDEX, data, content_type="application/jsonl", is_lasting=False)


def uploaded_objects(uploaded: str | Dataset) -> dict[str, dict[str, dict[str, Any]]]:
    """place -> {name: what the index says of it}, in the order of the rows."""
    ds = dataset.open(uploaded)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for split, row in _rows(ds):
        place, name = place_and_name(row["uri"])
        known = {key: row[key] for key in OF_ROW if key in row}
        found.setdefault(place, {}).setdefault(name, {"name": name, "split": split, **known})
    return found


def _rows(ds: Dataset) -> Iterator[tuple[str, dict[str, Any]]]:
    """(split, row) of all that is up. ValueError where it is no dataset of `upload`."""
    for split in ds.splits:
        table = ds.table(split)
        if table.num_rows and "uri" not in table.column_names:
            raise ValueError(
                f"{ds.folder} says of no picture where it is: give what `upload.upload` made"
            )
        for row in table.drop_columns(["file", "row"]).to_pylist():
            if row["uri"]:
                yield split, row
