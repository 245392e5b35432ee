"""Files that rows of a dataset name, such as masks: a row whose file is lost is computed again."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from imgprep.dataset.files import Folder
from imgprep.dataset.whole import Inspection

# The last piece of such a name is the beginning of the sha256.
OF_CONTENT = re.compile(r".+-([0-9a-f]{12})(\.[a-z]+)+")

PLAYLIST_ENDING = "/master.m3u8"
FILES_LIST = "files.json"  # beside it: what belongs to it, and a checksum of this list


def damage_of_named(look: Inspection, name: str) -> str:
    """What is wrong with a file that is called by its content; "" where nothing is.

    A file that stands for others, a ladder's playlist, has a list of them beside it.
    """
    home = name.rpartition("/")[0]
    listed = look.folder.get(f"{home}/{FILES_LIST}") if name.endswith(PLAYLIST_ENDING) else None
    if listed is not None:
        return _damage_of_many(look, home, listed)
    found = OF_CONTENT.fullmatch(name)
    return look.damage(name, sha256=found[1] if found else "")


def _damage_of_many(look: Inspection, home: str, listed: bytes) -> str:
    text, _, sha256 = listed.decode("utf-8", "replace").strip().rpartition("\n")
    if hashlib.sha256(text.encode()).hexdigest() != sha256:
        return "is one of several files whose list is damaged"
    for path, (nbytes, of_file) in json.loads(text).items():
        if told := look.damage(f"{home}/{path}", nbytes=nbytes, sha256=of_file):
            return f"is one of several files, and {path} {told}"
    return ""


def write_list(home: str) -> None:
    """List what lies below a folder, with sizes and checksums, and bring all of it to the disk."""
    root = Path(home)
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            found[path.relative_to(root).as_posix()] = [path.stat().st_size, sha256]
    text = json.dumps(found)
    with (root / FILES_LIST).open("w") as out:
        out.write(f"{text}\n{hashlib.sha256(text.encode()).hexdigest()}\n")
        out.flush()
        os.fsync(out.fileno())


def lost_files(folder: Folder, lines: pa.Table, columns: Sequence[str]) -> dict[str, str]:
    """Name -> what is wrong, of the files that the rows of these lines of INDEX name in columns."""
    if not columns:
        return {}
    look = Inspection.quick(folder)
    found = {}
    for file in _data_files_of(lines):
        for names in _names(folder, file, columns):
            for name in filter(None, names):
                if told := damage_of_named(look, name):
                    found[name] = told
    return found


def without_lost(
    folder: Folder, lines: pa.Table, columns: Sequence[str], lost: dict[str, str]
) -> pa.Table:
    """The lines but those of rows that name a file which is lost."""
    if not lost:
        return lines
    bad: set[tuple[str, int]] = set()
    for file in _data_files_of(lines):
        for names in _names(folder, file, columns):
            bad.update((file, row) for row, name in enumerate(names) if name in lost)
    places = zip(lines["file"].to_pylist(), lines["start"].to_pylist(), strict=True)
    return lines.filter(pa.array([place not in bad for place in places], pa.bool_()))


def _data_files_of(lines: pa.Table) -> list[str]:
    names: list[str] = lines["file"].drop_null().unique().to_pylist()
    return names


def _names(folder: Folder, file: str, columns: Sequence[str]) -> list[list[str | None]]:
    """What the rows of a data file say in these columns."""
    parquet = pq.ParquetFile(folder.open(file))
    there = [column for column in columns if column in parquet.schema_arrow.names]
    table = parquet.read(there) if there else pa.table({})
    return [column.to_pylist() for column in table.columns]
