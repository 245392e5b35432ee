"""Backup and restore of a service: objects by name, records as Parquet,
every hash looked at, a manifest last.

It reads a service that runs: the records first, then what they name, which is never changed, only
deleted.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imgprep.hashing import sha256_of
from imgprep.io.stores import Store, StoreError
from imgprep.io.stores.in_pieces import get_file, put_file
from imgprep.serve.places import UNKNOWN_TYPE, place_of, result_places, stored_type
from imgprep.serve.records import Records, all_records

BACKUP_MANIFEST = "manifest.json"
KINDS_KEPT = ("object", "result", "job", "event")
RECORDS = "records.parquet"


def stored_places(record: dict[str, Any]) -> list[str]:
    """Where the bytes of a record lie in the store."""
    if record["kind"] == "object":
        return [place_of(record["id"])]
    if record["kind"] == "result":
        return result_places(record["id"], record)
    return [record["place"]] if "place" in record else []


def back_up(store: Store, records: Records, folder: str) -> dict[str, int]:
    """Copy what is new into a folder: {"records", "objects", "copied", "gone"}.

    A second backup into the same folder copies what has come since. gone: deleted while it ran.
    Raises ValueError where a copy's hash is not that of a backup before: the store is damaged.
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    known = _read_manifest(home)
    # Records first: an object that comes meanwhile is left for the next backup, none is half there.
    rows = [r for kind in KINDS_KEPT for r in all_records(records, kind)]
    hashes: dict[str, str] = {}
    counts = {"records": len(rows), "objects": 0, "copied": 0, "gone": 0}
    for place in [p for row in rows for p in stored_places(row)]:
        target = home / place
        # What was copied before is not read again, for a name of content never has other bytes.
        if place in known and target.is_file():
            hashes[place] = known[place]
        else:
            try:
                hashes[place] = _copy_object(store, place, target)
            except StoreError:
                # Asked again: a wrong key or a server's fault is no deletion, and would make a
                # backup without anything in it look finished.
                if store.exists(place):
                    raise
                counts["gone"] += 1
                continue
            counts["copied"] += 1
        counts["objects"] += 1
    table = pa.table({"id": [r["id"] for r in rows], "record": [json.dumps(r) for r in rows]})
    pq.write_table(table, home / RECORDS)
    # The manifest last: a backup that was cut off has none, and cannot be restored by mistake.
    _write_whole(home / BACKUP_MANIFEST, json.dumps({"sha256": hashes}).encode())
    return counts


def restore(folder: str, store: Store, records: Records) -> dict[str, int]:
    """Put a backup into a store and records, every hash looked at: {"records", "objects"}.

    Raises ValueError for a folder without a manifest (its backup was not finished), and for a
    damaged file.
    """
    home = Path(folder)
    known = _read_manifest(home)
    if not (home / BACKUP_MANIFEST).is_file():
        raise ValueError(f"{folder} has no {BACKUP_MANIFEST}: it is no finished backup")
    rows = [json.loads(text) for text in pq.read_table(home / RECORDS)["record"].to_pylist()]
    types = {place: stored_type(row, place) for row in rows for place in stored_places(row)}
    for place, sha256 in known.items():
        path = home / place
        if sha256_of(path) != sha256:
            raise ValueError(f"{path} is damaged: its hash is not that of the backup")
        kind = types.get(place, UNKNOWN_TYPE)
        put_file(store, place, path, content_type=kind, sha256=sha256)
    # Records last: what is known is there.
    for row in rows:
        name = row.pop("id")
        records.put(name, row)
    return {"records": len(rows), "objects": len(known)}


def _copy_object(store: Store, place: str, target: Path) -> str:
    """An object as a file, which is whole when it is there: its sha256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        sha256 = get_file(store, place, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return sha256


def _read_manifest(home: Path) -> dict[str, str]:
    path = home / BACKUP_MANIFEST
    return json.loads(path.read_text("utf-8"))["sha256"] if path.is_file() else {}


def _write_whole(path: Path, data: bytes) -> None:
    """A file that exists is whole."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
