"""Files that rows of a dataset name, such as masks: a row whose file is lost is computed again."""

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from imgprep.dataset.files import Folder
from imgprep.dataset.whole import Inspection

# The last piece of such a name is the beginning of the sha256.
OF_CONTENT = re.compile(r".+-([0-9a-f]{12})(\.[a-z]+)+")


def damage_of_named(look: Inspection, name: str) -> str:
    """What is wrong with a file that is called by its content; "" where nothing is."""
    found = OF_CONTENT.fullmatch(name)
    return look.damage(name, sha256=found[1] if found else "")


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
