"""What was uploaded, as a table: serving and curating are one loop."""

import pyarrow as pa

from imgprep.io.stores import Store
from imgprep.serve.places import is_film, place_of
from imgprep.serve.records import Records, all_records


def table(store: Store, records: Records, *, films: bool = False) -> dict[str, pa.Table]:
    """What `sources.read` would give for the pictures of a service, or for its films:
    {"train": image_id, columns, source}.

    `images.transform(album.table(store, records), "data/uploads", …)` makes a dataset folder of it,
    and so does `film.extract_frames(album.table(store, records, films=True), …)`.
    """
    rows = [row for row in all_records(records, "object") if is_film(row) == films]
    columns = {
        "image_id": [row["id"] for row in rows],
        "uploaded_at": [row.get("at") for row in rows],
        "source": [address(store, row["id"]) for row in rows],
    }
    return {
        "train": pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    }


def address(store: Store, name: str) -> str:
    """The URI or path of an object in its store."""
    return f"{store.uri.rstrip('/')}/{place_of(name)}"
