"""Is an index what was written? Its SQLite file, and the files of its vectors.

SQLite has no checksums of its own. So that of the whole file is noted when it is made; once pictures
were added or deleted only its structure can be looked at, and that is said. Vectors grow at their end,
and so does their checksum.
"""

import contextlib
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from imgprep.dataset.files import Folder
from imgprep.dataset.whole import OTHER_BYTES
from imgprep.stages.search.building import INDEX_FILE, INDEX_FORMAT, SUM_OF
from imgprep.stages.search.questions import read_fact
from imgprep.stages.search.vectors import CODES_FILE, ROTATION_FILE, sum_of_file, widths_of
from imgprep.stages.sums import read_own_sum, with_own_sum
from imgprep.words import line

SUM_FILE = "index.sums"
INDEX_NAMES = (INDEX_FILE, CODES_FILE, SUM_FILE)  # whoever has one of these is an index
# The database file format, section 1.3: how often it was changed, and the same again behind it.
CHANGES_AT = 24
CHANGES_AGAIN_AT = 92
CONTRADICTION = -1
CHANGED = (
    f"{INDEX_FILE}: it was changed since it was made, so that only its structure was looked at"
)


@dataclass
class IndexCheck:
    """What was found of an index: problems, and what could not be looked at."""

    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0


def note_sums(folder: Path) -> None:
    """Write down what an index is that nobody changes now."""
    place = Folder(folder)
    sums = [f"{_change_count(folder)} {place.sha256(INDEX_FILE)}"]
    if (folder / ROTATION_FILE).exists():
        sums.append(place.sha256(ROTATION_FILE))
    place.put(SUM_FILE, with_own_sum("\n".join(sums)))


def check_index(folder: Path) -> IndexCheck:
    """Every byte of an index, wherever it is known how they were."""
    found = IndexCheck()
    for path in folder.iterdir():
        found.files += 1
        found.bytes += path.stat().st_size
    try:
        uri = f"{(folder / INDEX_FILE).resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
            made_by = read_fact(db, "format")
            if made_by != INDEX_FORMAT:
                found.unknown.append("an earlier version of the package made it")
                return found
            _check_database(db, folder, found)
            _check_vectors(db, folder, found)
    except sqlite3.Error as e:
        is_there = (folder / INDEX_FILE).is_file()
        told = f"cannot be read ({line(e)})" if is_there else "is missing"
        found.problems.append(f"{INDEX_FILE} {told}")
    except ValueError:
        found.problems.append(f"{SUM_FILE} is damaged")
    return found


def _check_database(db: sqlite3.Connection, folder: Path, found: IndexCheck) -> None:
    place = Folder(folder)
    noted = place.get(SUM_FILE)
    if noted is None:
        found.problems.append(f"{SUM_FILE} is missing")
        return
    first, *rotation = read_own_sum(noted).split("\n")
    changes, sha256 = first.split(" ")
    if rotation and place.size(ROTATION_FILE) is None:
        found.problems.append(f"{ROTATION_FILE} is missing")
    elif rotation and place.sha256(ROTATION_FILE) != rotation[0]:
        found.problems.append(f"{ROTATION_FILE} {OTHER_BYTES}")
    now = _change_count(folder)
    if now in (int(changes), CONTRADICTION):
        if place.sha256(INDEX_FILE) != sha256:
            found.problems.append(f"{INDEX_FILE} {OTHER_BYTES}")
        return
    told = db.execute("pragma integrity_check(1)").fetchone()[0]
    if told == "ok":
        found.unknown.append(CHANGED)
    else:
        found.problems.append(f"{INDEX_FILE} is damaged ({line(told)})")


def _change_count(folder: Path) -> int:
    """How often the SQLite file was changed, or CONTRADICTION."""
    with open(folder / INDEX_FILE, "rb") as file:
        head = file.read(100)
    changes, again = (head[at : at + 4] for at in (CHANGES_AT, CHANGES_AGAIN_AT))
    return int.from_bytes(changes, "big") if changes == again else CONTRADICTION


def _check_vectors(db: sqlite3.Connection, folder: Path, found: IndexCheck) -> None:
    dim = int(read_fact(db, "dim"))
    count = int(read_fact(db, "rows"))
    widths = widths_of(dim) if dim else {}
    for name, width in widths.items():
        noted = read_fact(db, SUM_OF + name)
        size = Folder(folder).size(name)
        wanted = count * width
        if size is None:
            found.problems.append(f"{name} is missing")
        elif size < wanted:
            found.problems.append(f"{name} has {size:,} bytes and had {wanted:,}")
        elif not noted:
            found.unknown.append(f"{name}: a run that erased what was deleted did not end")
        elif int(noted) != sum_of_file(folder / name, wanted):
            found.problems.append(f"{name} {OTHER_BYTES}")
