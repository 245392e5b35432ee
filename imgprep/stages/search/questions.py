"""What is asked of an index's SQLite file.

Rows are numbered from 0 here, as vectors are; ids in the file from 1.
"""

import re
import sqlite3
from collections.abc import Sequence

import numpy as np

STOP_WORDS = frozenset("a an the of on in with and at to for is are".split())
MOST_BEST_WORDS = 1_000
WITH_TAG = """
select it.image_id from image_tag it join tag t on t.id = it.tag_id
where t.name = ? and (it.accepted is null or it.accepted = 1)
"""
BEST_WORDS = f"""
select rowid from words where words match ? order by bm25(words), rowid limit {MOST_BEST_WORDS}
"""
TAG_SCORES = """
select it.image_id, max(it.score) from image_tag it join tag t on t.id = it.tag_id
where t.name = ? and it.image_id in (select value from json_each(?))
group by 1 order by 2 desc, 1 limit ?
"""
NAMES_OF_ROWS = """
select id, image_id, split from image where id in (select value from json_each(?))
"""
FACETS = """
select t.kind, t.name, count(distinct it.image_id) from image_tag it join tag t on t.id = it.tag_id
{where} group by t.id order by 3 desc, 1, 2
"""


def read_fact(db: sqlite3.Connection, name: str) -> str:
    """What the index says of itself under this name; "" where it says nothing."""
    found = db.execute("select value from fact where name = ?", (name,)).fetchone()
    return found[0] if found else ""


def set_fact(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute("insert or replace into fact values (?, ?)", (name, value))


def json_numbers(numbers: np.ndarray) -> str:
    return "[" + ",".join(map(str, numbers.tolist())) + "]"


def name_list(names: str | Sequence[str]) -> Sequence[str]:
    """One name is as good as a list of one."""
    return [names] if isinstance(names, str) else names


def filtered_rows(
    db: sqlite3.Connection,
    tags: Sequence[str],
    without: Sequence[str],
    split: str | None,
) -> np.ndarray | None:
    """Row numbers that may be found; None for all."""
    if not (tags or without or split):
        return None
    clauses = ["1"]
    given: list[str] = []
    for name in name_list(tags):
        clauses.append(f"id in ({WITH_TAG})")
        given.append(name)
    for name in name_list(without):
        clauses.append(f"id not in ({WITH_TAG})")
        given.append(name)
    if split:
        clauses.append("split = ?")
        given.append(split)
    asked = f"select id from image where {' and '.join(clauses)} order by id"
    found = db.execute(asked, given).fetchall()
    return np.array([row[0] for row in found], np.int64) - 1


def rows_by_words(db: sqlite3.Connection, text: str) -> list[int]:
    """Rows whose words hold all of the text's, and then those that hold some, each by BM25."""
    terms = [word for word in re.findall(r"\w+", text.lower()) if word not in STOP_WORDS]
    if not terms:
        return []
    # Quoted: AND, NOT and NEAR in a text are words here, not FTS5's operators.
    quoted = [f'"{term}"' for term in terms]
    # First all words, then any: what has all of them
    # stands first, whatever BM25 says of the others.
    joints = [" AND ", " OR "] if len(terms) > 1 else [" AND "]
    rows: dict[int, None] = {}
    for joint in joints:
        found = db.execute(BEST_WORDS, (joint.join(quoted),))
        rows |= {row[0] - 1: None for row in found}
    return list(rows)


def row_of(db: sqlite3.Connection, image_id: str) -> int:
    row = db.execute("select id from image where image_id = ?", (image_id,)).fetchone()
    if row is None:
        raise ValueError(f"no picture {image_id!r} in the index")
    return row[0] - 1


def first_rows(db: sqlite3.Connection, most: int) -> np.ndarray:
    """The first rows in the order of the dataset."""
    found = db.execute("select id from image order by id limit ?", (most,)).fetchall()
    return np.array([row[0] for row in found], np.int64) - 1


def tag_scores(db: sqlite3.Connection, tag: str, rows: np.ndarray, most: int) -> dict[int, float]:
    """Those of the rows that have the tag -> its best score, the best first."""
    found = db.execute(TAG_SCORES, (tag, json_numbers(rows + 1), most)).fetchall()
    return {row - 1: score for row, score in found}


def names_of_rows(db: sqlite3.Connection, rows: np.ndarray) -> list[tuple[str, str]]:
    """(image_id, split) of row numbers, in their order."""
    found = db.execute(NAMES_OF_ROWS, (json_numbers(rows + 1),))
    known = {number - 1: (image_id, split) for number, image_id, split in found}
    return [known[int(row)] for row in rows]


def tag_counts(db: sqlite3.Connection, rows: np.ndarray | None) -> list[tuple[str, str, int]]:
    """(kind, name, pictures) of what these rows have, the commonest first; None for all rows."""
    if rows is None:
        return db.execute(FACETS.format(where="")).fetchall()
    where = "where it.image_id in (select value from json_each(?))"
    return db.execute(FACETS.format(where=where), (json_numbers(rows + 1),)).fetchall()


def tag_names(db: sqlite3.Connection) -> list[str]:
    found = db.execute("select distinct name from tag order by name")
    return [row[0] for row in found]


def added_vectors(db: sqlite3.Connection, rows: np.ndarray) -> dict[int, np.ndarray]:
    """Row -> vector, of pictures that were added to the index and are not in its dataset."""
    if not len(rows):
        return {}
    asked = "select id, vector from added where id in (select value from json_each(?))"
    found = db.execute(asked, (json_numbers(rows + 1),)).fetchall()
    return {number - 1: np.frombuffer(vector, np.float32) for number, vector in found}
