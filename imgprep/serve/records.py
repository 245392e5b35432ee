"""What is known of each object and job: `open_records("media.db")`,
or `open_records("mongodb://host/db")`.
"""

import contextlib
import functools
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from imgprep.redaction import redact

TABLE = """
CREATE TABLE IF NOT EXISTS records (
    id TEXT PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL
)
"""
CLAIM = """
INSERT INTO records (id, at, kind, status, tries, body) VALUES (?, ?, 'job', 'begun', 1, '{}')
ON CONFLICT (id) DO UPDATE SET tries = tries + 1 RETURNING tries, status
"""
PUT = """
INSERT INTO records (id, at, kind, status, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    at = excluded.at, kind = excluded.kind, status = excluded.status, body = excluded.body
"""
FINISHED = -1
SQLITE_WAIT_S = 10  # for another process that writes
# By itself pymongo waits for ever for an answer on a connection that it has.
MONGO_LIMITS: dict[str, Any] = {
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 20_000,
    "waitQueueTimeoutMS": 20_000,
    "retryWrites": True,
}


class Records(Protocol):
    """Five functions over a database.

    A record is a dict of plain values with `kind` and `status`.
    """

    def claim(self, name: str) -> int:
        """How often this job has been begun, this time included; FINISHED when it is done."""

    def put(self, name: str, record: dict[str, Any]) -> None: ...

    def get(self, name: str) -> dict[str, Any] | None: ...

    def list(
        self, *, kind: str, status: str = "", after: str = "", limit: int = 100
    ) -> list[dict[str, Any]]:
        """Records in the order of their ids, each with its `id`, behind `after`."""

    def delete(self, name: str) -> bool: ...

    def close(self) -> None: ...


def open_records(where: str) -> Records:
    """The records at a file or a `mongodb://` address."""
    return Mongo(where) if where.startswith("mongodb") else Sqlite(where)


def all_records(records: Records, kind: str, page: int = 1000) -> Iterator[dict[str, Any]]:
    """Every record of a kind, page by page."""
    after = ""
    # By the last id and not by an offset: what comes meanwhile shifts nobody.
    while found := records.list(kind=kind, after=after, limit=page):
        yield from found
        after = found[-1]["id"]


class RecordsDown(RuntimeError):
    """The database does not answer, or refuses: nothing is wrong with what was asked of it."""


class Sqlite:
    """One file, several processes: WAL, and a lock for the threads of this one.

    RecordsDown where it is locked for too long, full, damaged, or may not be written.
    """

    def __init__(self, path: str):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        with sqlite_faults():
            self._db = sqlite3.connect(
                path, timeout=SQLITE_WAIT_S, isolation_level=None, check_same_thread=False
            )
            # WAL: readers go on while somebody writes.
            self._db.execute("PRAGMA journal_mode=WAL")
            # NORMAL: after a loss of power the last records
            # may be missing, and the database is whole.
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(TABLE)
            self._db.execute("CREATE INDEX IF NOT EXISTS by_kind ON records (kind, id)")

    def _ask(self, sql: str, *values: Any) -> list[tuple]:
        # Who waits behind one that waits shall not wait for both.
        if not self._lock.acquire(timeout=SQLITE_WAIT_S):
            raise RecordsDown("the records in SQLite cannot be had: they are locked")
        try:
            with sqlite_faults():
                return self._db.execute(sql, values).fetchall()
        finally:
            self._lock.release()

    def claim(self, name: str) -> int:
        ((tries, status),) = self._ask(CLAIM, name, time.time())
        return tries if status == "begun" else FINISHED

    def put(self, name: str, record: dict[str, Any]) -> None:
        body = json.dumps(record)
        self._ask(PUT, name, time.time(), record["kind"], record["status"], body)

    def get(self, name: str) -> dict[str, Any] | None:
        # '{}': claimed, and not put yet.
        found = self._ask("SELECT body FROM records WHERE id = ? AND body != '{}'", name)
        return json.loads(found[0][0]) if found else None

    def list(
        self, *, kind: str, status: str = "", after: str = "", limit: int = 100
    ) -> list[dict[str, Any]]:
        sql = "SELECT id, body FROM records WHERE kind = ? AND id > ? AND body != '{}'"
        values: list[Any] = [kind, after]
        if status:
            sql += " AND status = ?"
            values.append(status)
        found = self._ask(f"{sql} ORDER BY id LIMIT ?", *values, limit)
        return [{"id": name, **json.loads(body)} for name, body in found]

    def delete(self, name: str) -> bool:
        return bool(self._ask("DELETE FROM records WHERE id = ? RETURNING id", name))

    def close(self) -> None:
        with self._lock:
            self._db.close()


@contextlib.contextmanager
def sqlite_faults() -> Iterator[None]:
    """What goes wrong in SQLite as RecordsDown."""
    try:
        yield
    except sqlite3.Error as e:
        raise RecordsDown(f"the records in SQLite cannot be had: {e}") from None


def in_a_sentence(method: Callable) -> Callable:
    """What goes wrong in a method of Mongo as RecordsDown,
    with a sentence and without the address's password.
    """

    @functools.wraps(method)
    def call(self: Any, *given: Any, **options: Any) -> Any:
        from pymongo.errors import PyMongoError

        try:
            return method(self, *given, **options)
        except PyMongoError as e:
            why = str(e).partition(" (configured timeouts")[0][:200]
            raise RecordsDown(f"the records in MongoDB cannot be had: {redact(why)}") from None

    return call


class Mongo:
    """The same in the collection `records` of a MongoDB.

    RecordsDown where it does not answer in time.
    """

    @in_a_sentence
    def __init__(self, uri: str):
        import pymongo

        client: Any = pymongo.MongoClient(uri, **MONGO_LIMITS)
        self._client = client
        self._table = client.get_default_database("imgprep")["records"]
        self._table.create_index("kind")

    @in_a_sentence
    def claim(self, name: str) -> int:
        first = {"kind": "job", "status": "begun", "at": time.time()}
        self._table.update_one(
            {"_id": name}, {"$inc": {"tries": 1}, "$setOnInsert": first}, upsert=True
        )
        found = self._table.find_one({"_id": name}, {"status": 1, "tries": 1})
        return found["tries"] if found["status"] == "begun" else FINISHED

    @in_a_sentence
    def put(self, name: str, record: dict[str, Any]) -> None:
        known = {
            "kind": record["kind"],
            "status": record["status"],
            "at": time.time(),
            "body": record,
        }
        self._table.update_one({"_id": name}, {"$set": known}, upsert=True)

    @in_a_sentence
    def get(self, name: str) -> dict[str, Any] | None:
        found = self._table.find_one({"_id": name}, {"body": 1})
        return found.get("body") if found else None

    @in_a_sentence
    def list(
        self, *, kind: str, status: str = "", after: str = "", limit: int = 100
    ) -> list[dict[str, Any]]:
        wanted: dict[str, Any] = {"kind": kind, "_id": {"$gt": after}, "body": {"$exists": True}}
        if status:
            wanted["status"] = status
        found = self._table.find(wanted, {"body": 1}).sort("_id", 1).limit(limit)
        return [{"id": one["_id"], **one["body"]} for one in found]

    @in_a_sentence
    def delete(self, name: str) -> bool:
        return self._table.delete_one({"_id": name}).deleted_count == 1

    def close(self) -> None:
        self._client.close()
