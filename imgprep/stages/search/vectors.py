"""The vectors of an index: three flat files that grow at their end, read without loading them
whole.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from imgprep.models.codes import (
    CANDIDATES,
    EXACT_UP_TO,
    Rotation,
    hamming,
    likeness,
    nearest_bits,
    to_bytes,
)

ROTATION_SAMPLE = 20_000  # vectors that say where the middle is
CODES_FILE = "codes.u64"
BYTES_FILE = "bytes.i8"
SCALES_FILE = "scales.f32"
FILES = (CODES_FILE, BYTES_FILE, SCALES_FILE)


class Vectors:
    """(n, dim) vectors of length 1; a row without one is zeros, and is like nothing."""

    def __init__(self, folder: Path, dim: int, count: int):
        self._folder = folder
        self.dim = dim
        self.count = count
        self.words = -(-dim // 64)
        with np.load(folder / "rotation.npz") as saved:
            self.rotation = Rotation(saved["middle"], saved["turn"])
        self._map()

    @classmethod
    def create(cls, folder: Path, sample: np.ndarray) -> "Vectors":
        """Empty ones; the sample says where the middle of the set is."""
        rotation = Rotation.of(sample)
        np.savez(folder / "rotation.npz", middle=rotation.middle, turn=rotation.turn)
        for name in FILES:
            (folder / name).write_bytes(b"")
        return cls(folder, sample.shape[1], 0)

    def _map(self) -> None:
        codes = self._mapped(CODES_FILE, np.uint64, (self.count, self.words))
        scales = self._mapped(SCALES_FILE, np.float32, (self.count,))
        self._bytes = self._mapped(BYTES_FILE, np.int8, (self.count, self.dim))
        self._scales = np.array(
            scales
        )  # in memory: `forget` writes into it, and never into the file
        self._columns = np.ascontiguousarray(codes.T)  # each word of all rows is one run of memory

    def _mapped(self, name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        if not self.count:  # an empty file cannot be mapped
            return np.zeros(shape, dtype)
        return np.memmap(self._folder / name, dtype, "r", shape=shape)

    def append(self, vectors: np.ndarray) -> None:
        """More rows at the end. They count once the caller has written down how many there are."""
        rows, scales = to_bytes(vectors)
        scales[~vectors.any(1)] = 0
        written = {CODES_FILE: self.rotation.codes(vectors), BYTES_FILE: rows, SCALES_FILE: scales}
        for name, values in written.items():
            with open(self._folder / name, "r+b") as file:
                size = values[:1].nbytes if len(values) else 0
                file.truncate(self.count * size)  # what a killed run left behind the last row
                file.seek(0, os.SEEK_END)
                file.write(values.tobytes())
        self.count += len(vectors)

    def forget(self, rows: np.ndarray) -> None:
        """These rows are like nothing from now on; their bytes stay in the files."""
        self._scales[rows] = 0

    def of(self, row: int) -> np.ndarray:
        return self._bytes[row].astype(np.float32) * self._scales[row]

    def sample(self, most: int) -> np.ndarray:
        """(m, dim) float32 of rows spread over all."""
        rows = np.flatnonzero(self._scales)
        rows = rows[:: max(1, len(rows) // most)][:most]
        return self._bytes[rows].astype(np.float32) * self._scales[rows, None]

    def nearest(
        self, query: np.ndarray, most: int, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers and likeness (cosine) of the nearest, best first.

        rows: these only. Few rows are compared by their bytes without codes, so a rare filter
        loses next to nothing.
        """
        pool = self.count if rows is None else len(rows)
        if pool > EXACT_UP_TO:
            rows = self._close_rows(query, most, rows)
        found = self._likeness_of(query, rows)
        best = np.arange(len(found))
        if len(found) > most:
            best = np.argpartition(-found, most - 1)[:most]
        best = best[np.argsort(-found[best], kind="stable")]
        best = best[found[best] > -1]
        return (best if rows is None else rows[best]), found[best]

    def _close_rows(self, query: np.ndarray, most: int, rows: np.ndarray | None) -> np.ndarray:
        """By their codes alone: candidates, more than are wanted."""
        code = self.rotation.codes(query[None])[0]
        columns = self._columns if rows is None else self._columns[:, rows]
        distance = hamming(columns, code)
        close = nearest_bits(distance, max(CANDIDATES, 4 * most))
        return close if rows is None else rows[close]

    def _likeness_of(self, query: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        """Cosine by bytes; -1 of rows that have no vector."""
        # Whole arrays where all rows are wanted: indexing would copy every byte.
        chosen = self._bytes if rows is None else self._bytes[rows]
        scales = self._scales if rows is None else self._scales[rows]
        found = likeness(chosen, scales, query.astype(np.float32))
        found[scales == 0] = -1
        return found
