"""Pictures by signed URLs of an upload, for services that fetch them by themselves."""

from typing import Any

from imgprep.dataset import Dataset
from imgprep.io.vision import Linked
from imgprep.stages.upload import locate_store

SIGNED_TOGETHER = 1_000


def signed_links(
    uploaded: Dataset | str, variant: str, expires_s: int, credentials_env: str | None = None
) -> dict[tuple[str, str], Linked]:
    """(split, image_id) of the picture that a size was made of -> its signed URL.

    Raises ValueError where the dataset has no uploaded picture of this size.
    """
    ds = uploaded if isinstance(uploaded, Dataset) else Dataset(uploaded)
    found: dict[tuple[str, str], Linked] = {}
    for split in ds.splits:
        rows = _uploaded_rows(ds, split, variant)
        for start in range(0, len(rows), SIGNED_TOGETHER):
            some = rows[start : start + SIGNED_TOGETHER]
            places = [locate_store(row["uri"], credentials_env) for row in some]
            store, _ = places[0]  # they are of one size, so of one store
            urls = store.sign([name for _, name in places], expires_s=expires_s)
            for row, url in zip(some, urls, strict=True):
                whole = row.get("parent_id") or row["image_id"]
                found[split, whole] = Linked(url, row["sha256"])
    if not found:
        fix = "name a dataset of upload.upload, and one of its sizes"
        raise ValueError(f"{ds.folder} has no uploaded picture of the size {variant!r}: {fix}")
    return found


def _uploaded_rows(ds: Dataset, split: str, variant: str) -> list[dict[str, Any]]:
    wanted = ("image_id", "parent_id", "variant", "uri", "sha256", "status")
    columns = [name for name in wanted if name in ds.columns]
    if "uri" not in columns:
        return []
    rows = []
    for row in ds.table(split, columns).to_pylist():
        is_of = row.get("variant", variant) == variant
        if is_of and row["uri"] and row["status"] == "ok":
            rows.append(row)
    return rows
