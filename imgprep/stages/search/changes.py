"""Pictures that come to an index and leave it while it is in use."""

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from imgprep.io import sql
from imgprep.stages.search.building import (
    SUM_OF,
    image_fields,
    searched_text,
    set_sums,
    stacked_vectors,
)
from imgprep.stages.search.checking import note_sums
from imgprep.stages.search.questions import read_fact, set_fact
from imgprep.stages.search.vectors import Vectors

NEW_TAG = "insert into tag (id, kind, name) values (?, ?, ?)"
NEW_WORDS = "insert into words (rowid, body) values (?, ?)"


def add_pictures(
    db: sqlite3.Connection, vectors: Vectors | None, pictures: Sequence[dict[str, Any]]
) -> int:
    """All of them or none; gives how many rows there are then.

    ValueError for one that is there already.
    """
    first = int(read_fact(db, "rows"))
    known = {
        (kind, name): number for number, kind, name in db.execute("select id, kind, name from tag")
    }
    rows = sql.Rows(known)
    bodies = []
    given = []
    for number, one in enumerate(pictures, first + 1):
        shown = {"split": "train", "uri": "", **image_fields(one)}
        rows.add(number, shown, one.get("tags") or [])
        bodies.append((number, searched_text(one)))
        given.append(one.get("embedding"))
    new_tags = [tag for tag in rows.tags if tag[1:] not in known]
    count = first + len(pictures)
    try:
        with db:
            db.executemany(NEW_TAG, new_tags)
            _insert_rows(db, rows)
            db.executemany(NEW_WORDS, bodies)
            # Before the count: rows of the files beyond it do not count, so a kill here loses
            # nothing.
            if vectors is not None:
                stacked = stacked_vectors(given, vectors.dim)
                vectors.append(stacked)
                blobs = [(row, vector.tobytes()) for row, vector in enumerate(stacked, first + 1)]
                db.executemany("insert into added (id, vector) values (?, ?)", blobs)
                set_sums(db, vectors)
            set_fact(db, "rows", str(count))
    except sqlite3.IntegrityError as e:
        raise ValueError(f"a picture is in the index already, or named twice: {e}") from None
    return count


def _insert_rows(db: sqlite3.Connection, rows: sql.Rows) -> None:
    for table, columns, values in sql.table_contents(rows):
        if table == "tag":  # only the new ones, which are in by now
            continue
        marks = ", ".join("?" * len(columns))
        db.executemany(f"insert into {table} ({', '.join(columns)}) values ({marks})", values)


def delete_pictures(db: sqlite3.Connection, image_ids: Iterable[str]) -> int:
    """Take these out of the tables, and say how many there were. Does not touch their vectors."""
    gone: list[tuple[int]] = []
    with db:
        for one in image_ids:
            gone += db.execute("select id from image where image_id = ?", (one,)).fetchall()
        db.executemany("insert or ignore into deleted values (?)", gone)
        db.executemany("delete from words where rowid = ?", gone)
        db.executemany("delete from added where id = ?", gone)
        db.executemany("delete from image_tag where image_id = ?", gone)
        db.executemany("delete from image where id = ?", gone)
    return len(gone)


def erase_deleted(db: sqlite3.Connection, folder: Path, vectors: Vectors | None) -> int:
    """Let nothing of deleted pictures be left in the index's files; gives how many they are.

    Rows keep their numbers: the vectors' files become no smaller, but hold zeros there.
    """
    gone = [row[0] for row in db.execute("select id from deleted order by id")]
    # In a transaction of its own: VACUUM refuses to run within one.
    with db:
        # Until the vectors are written again nobody knows what their files should hold.
        db.execute("update fact set value = '' where name like ?", (f"{SUM_OF}%",))
        db.execute("delete from tag where id not in (select tag_id from image_tag)")
        # Full-text search only marks what is deleted, until its parts are merged.
        db.execute("insert into words (words) values ('optimize')")
    with contextlib.closing(db.cursor()) as cursor:
        cursor.execute("vacuum")
    if vectors is not None:
        vectors.erase([number - 1 for number in gone])
        with db:
            set_sums(db, vectors)
    note_sums(folder)
    return len(gone)
