"""Corrections: what a person accepted or rejected, kept in a file, and taken into the column
`tags`.

The file is the record; the column follows from it. So a new run of a tagger, or another tagger,
loses no decision and brings nothing back that was rejected: apply the same file again.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imgprep.dataset import Dataset
from imgprep.rows.tag_columns import tags_of_table, with_tags
from imgprep.rows.tag_entries import TagEntry, entry
from imgprep.stages import images

HUMAN = "human:"
CORRECTION_FIELDS = ("image_id", "kind", "name", "accepted")


def read_corrections(path: str | Path) -> list[dict[str, Any]]:
    """The decisions of a file that the gallery saved, the latest for each picture and tag.

    ValueError for another file.

    {"corrections": [{"image_id", "kind", "name", "accepted", "by"} …]}, or only that list.
    """
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise ValueError(f"{path} cannot be read as corrections: {e}") from None
    found = found.get("corrections") if isinstance(found, dict) else found
    if not isinstance(found, list):
        raise ValueError(
            f"{path} holds no list of corrections: the gallery's button 'Save' makes one"
        )
    latest = {}
    for one in found:
        if not _is_correction(one):
            fields = ", ".join(CORRECTION_FIELDS)
            given = str(one)[:80]
            raise ValueError(f"{path}: a correction has {fields} (true or false), not {given!r}")
        latest[one["image_id"], one["kind"], one["name"]] = one
    return list(latest.values())


def _is_correction(given: Any) -> bool:
    if not isinstance(given, dict) or any(name not in given for name in CORRECTION_FIELDS):
        return False
    return isinstance(given["accepted"], bool)


def apply(
    ds: Dataset | str,
    corrections: str | Path | Sequence[dict[str, Any]],
    out: str,
    *,
    by: str = "you",
) -> Dataset:
    """The dataset with decisions taken in, as the dataset folder `out`.

    Each decision becomes an entry of source "human:NAME", and `accepted` of every entry of that
    kind and name on that picture. by: the name where a correction has none.
    Raises ValueError where none of the pictures is in the dataset: the file is of another one.
    """
    ds = ds if isinstance(ds, Dataset) else Dataset(ds)
    if isinstance(corrections, str | Path):
        corrections = read_corrections(corrections)
    by_picture: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in corrections:
        by_picture[one["image_id"]].append(one)
    tables = {}
    met = 0
    for split in ds.splits:
        table = ds.table(split)
        ids = table["image_id"].to_pylist()
        after = []
        for image_id, entries in zip(ids, tags_of_table(table), strict=True):
            decisions = by_picture.get(image_id, [])
            met += bool(decisions)
            after.append(decided(entries, decisions, by) if decisions else entries)
        tables[split] = with_tags(table, after)
    if by_picture and not met:
        told = f"none of the {len(by_picture):,} pictures corrected is in {ds.folder}"
        raise ValueError(f"{told}: these corrections are of another dataset")
    return images.copy(ds, tables, out)


def decided(
    entries: list[TagEntry] | None, decisions: list[dict[str, Any]], by: str
) -> list[TagEntry]:
    """The entries of a picture after these decisions."""
    verdict = {(one["kind"], one["name"]): one for one in decisions}
    kept = []
    for one in entries or []:
        decision = verdict.get((one["kind"], one["name"]))
        if decision and one["source"].startswith(HUMAN):
            continue  # decided anew
        kept.append(one if decision is None else one | {"accepted": decision["accepted"]})
    for (kind, name), decision in verdict.items():
        said = {"kind": kind, "name": name, "accepted": decision["accepted"]}
        said["score"] = float(decision["accepted"])
        kept.append(entry(said, source=f"{HUMAN}{decision.get('by') or by}", version="1"))
    return kept
