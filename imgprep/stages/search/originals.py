"""The vectors as they were given: for the few rows that bytes cannot put in order."""

import sqlite3

import numpy as np

from imgprep.dataset import Dataset
from imgprep.dataset.files import Folder
from imgprep.dataset.parquet import Reader
from imgprep.stages.search.building import column_vectors
from imgprep.stages.search.questions import added_vectors

FILES_OPEN = 8


class Originals:
    """Reads vectors out of a dataset's Parquet files, and of an index those that it was given alone.

    Rows are numbered as in the index. Needs the files that the index was made of.
    """

    def __init__(self, ds: Dataset, db: sqlite3.Connection):
        self._ds = ds
        self._db = db
        self._reader = Reader(Folder(ds.folder), keep=FILES_OPEN)
        self._names: list[str] = []
        self._file_of = np.zeros(0, np.int32)
        self._place_of = np.zeros(0, np.int64)

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of these rows (each once) are known, (n,) bool; and the vectors of those."""
        if not self._names:
            self._locate()
        found = added_vectors(self._db, rows[rows >= len(self._file_of)])
        found |= self._stored(rows[rows < len(self._file_of)])
        is_known = np.array([row in found for row in rows.tolist()], bool)
        vectors = [found[row] for row in rows[is_known].tolist()]
        return is_known, np.array(vectors, np.float32)

    def _stored(self, rows: np.ndarray) -> dict[int, np.ndarray]:
        """Row -> vector, of those that the dataset holds."""
        found: dict[int, np.ndarray] = {}
        files = self._file_of[rows]
        for file in np.unique(files):
            mine = rows[files == file]
            # In the order of the file: row groups are read once each, and forwards.
            mine = mine[np.argsort(self._place_of[mine])]
            table = self._reader.rows(self._names[file], self._place_of[mine], ["embedding"])
            vectors = column_vectors(table)
            if vectors is not None:
                found |= dict(zip(mine.tolist(), vectors, strict=True))
        return found

    def _locate(self) -> None:
        """In which file, and where in it, each row stands; as `fill_index` counts them."""
        files, places = [], []
        for split in self._ds.splits:
            table = self._ds.table(split, ["status"])
            is_ok = np.array(table["status"].to_pylist(), object) == "ok"
            names = table["file"].combine_chunks().dictionary_encode()
            numbers = names.indices.to_numpy() + len(self._names)
            self._names += names.dictionary.to_pylist()
            files.append(numbers[is_ok].astype(np.int32))
            places.append(table["row"].to_numpy()[is_ok])
        self._file_of = np.concatenate(files)
        self._place_of = np.concatenate(places)
