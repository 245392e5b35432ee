"""Backup and restore of a service: objects by name, records as Parquet,
every hash looked at, a manifest last.

It reads a service that runs: the records first, then what they name, which is never changed, only
deleted.
"""

import hashlib
import json
import re
from dataclasses import dataclass
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
RECORDS = "records.parquet"  # of backups that an earlier version made
RECORDS_NAME = re.compile(r"records(-[0-9a-f]{12})?\.parquet")
NAME_ANOTHER = "name another folder"


@dataclass(frozen=True)
class BackupManifest:
    """What a finished backup is: the file of its records, and the sha256 of each object's place."""

    records: str
    sha256: dict[str, str]

    @staticmethod
    def of(home: Path) -> "BackupManifest | None":
        """None where there is none. ValueError for a file that no backup wrote."""
        path = home / BACKUP_MANIFEST
        if not path.is_file():
            return None
        try:
            given = json.loads(path.read_text("utf-8"))
            return BackupManifest(given.get("records", RECORDS), dict(given["sha256"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _foreign(home, BACKUP_MANIFEST) from None

    def rows(self, home: Path) -> list[dict[str, Any]]:
        """The records."""
        table = pq.read_table(home / self.records)
        return [json.loads(text) for text in table["record"].to_pylist()]


def stored_places(record: dict[str, Any]) -> list[str]:
    """Where the bytes of a record lie in the store."""
    if record["kind"] == "object":
        return [place_of(record["id"])]
    if record["kind"] == "result":
        return result_places(record["id"], record)
    return [record["place"]] if "place" in record else []


def back_up(store: Store, records: Records, folder: str) -> dict[str, int]:
    """Copy what is new into a folder: {"records", "objects", "copied", "gone"}.

    A second backup into the same folder copies what has come since; one that is cut off leaves the
    one before as it was. gone: deleted while it ran.
    Raises ValueError for a folder with files of somebody else, and for one with the backup of
    another service, which would lose its records.
    """
    home = Path(folder)
    before = BackupManifest.of(home)
    known = before.sha256 if before else {}
    # Records first: an object that comes meanwhile is left for the next backup, none is half there.
    rows = [r for kind in KINDS_KEPT for r in all_records(records, kind)]
    _check_folder(home, before, rows)
    home.mkdir(parents=True, exist_ok=True)
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
    name = _write_records(home, rows)
    # The manifest last: a backup that was cut off has none, and cannot be restored by mistake.
    manifest = {"records": name, "sha256": hashes}
    _write_whole(home / BACKUP_MANIFEST, json.dumps(manifest).encode())
    # Until now they were those of the backup before, which could still be restored.
    for old in home.glob("records*.parquet"):
        if old.name != name and RECORDS_NAME.fullmatch(old.name):
            old.unlink()
    return counts


def _check_folder(home: Path, before: BackupManifest | None, rows: list[dict[str, Any]]) -> None:
    """ValueError where a backup of these records would take something from somebody."""
    if before is None:
        # A first backup that was cut off left objects, and its records under a name of ours.
        ours = {place.split("/")[0] for row in rows for place in stored_places(row)}
        for path in home.glob("*"):
            name = path.name.removesuffix(".part")
            is_records = name != RECORDS and RECORDS_NAME.fullmatch(name)
            if name not in ours and name != BACKUP_MANIFEST and not is_records:
                raise _foreign(home, path.name)
        return
    now = {row["id"] for row in rows}
    if not now.intersection(row["id"] for row in before.rows(home)) and before.sha256:
        raise ValueError(f"{home} holds the backup of other pictures: {NAME_ANOTHER}")


def _foreign(home: Path, name: str) -> ValueError:
    told = f"{home} has files that no backup wrote ({name} …)"
    return ValueError(f"{told}: {NAME_ANOTHER}")


def _write_records(home: Path, rows: list[dict[str, Any]]) -> str:
    """The records in a file of their own, whose name says what they are."""
    texts = [json.dumps(row) for row in rows]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    name = f"records-{digest}.parquet"
    part = home / f"{name}.part"
    pq.write_table(pa.table({"id": [row["id"] for row in rows], "record": texts}), part)
    part.replace(home / name)
    return name


def restore(folder: str, store: Store, records: Records) -> dict[str, int]:
    """Put a backup into a store and records, every hash looked at: {"records", "objects", "kept"}.

    kept: records that are there and say something else, such as a correction that was made since;
    they stay. Raises ValueError for a folder without a manifest (its backup was not finished), and for a
    damaged file.
    """
    home = Path(folder)
    manifest = BackupManifest.of(home)
    if manifest is None:
        raise ValueError(f"{folder} has no {BACKUP_MANIFEST}: it is no finished backup")
    known = manifest.sha256
    rows = manifest.rows(home)
    types = {place: stored_type(row, place) for row in rows for place in stored_places(row)}
    for place, sha256 in known.items():
        path = home / place
        if sha256_of(path) != sha256:
            raise ValueError(f"{path} is damaged: its hash is not that of the backup")
        kind = types.get(place, UNKNOWN_TYPE)
        put_file(store, place, path, content_type=kind, sha256=sha256)
    # Records last: what is known is there.
    kept = sum(_put_back(records, row.pop("id"), row) for row in rows)
    return {"records": len(rows) - kept, "objects": len(known), "kept": kept}


def _put_back(records: Records, name: str, row: dict[str, Any]) -> bool:
    """Write a record of a backup, or keep the one that is there: whether it was kept."""
    there = records.get(name)
    if there is None:
        records.put(name, row)
        return False
    known = there.get("results", [])
    # Its results came back as well, and are deleted with it only where it names them.
    more = [one for one in row.get("results", []) if one not in known]
    if more:
        records.put(name, there | {"results": [*known, *more]})
    return {**there, "results": []} != {**row, "results": []}


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


def _write_whole(path: Path, data: bytes) -> None:
    """A file that exists is whole."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
