"""The vectors of an index: three flat files that grow at their end, read without loading them
whole.
"""

import contextlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imgprep.models.codes import (
    CANDIDATES,
    CODES_FROM,
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
ROTATION_FILE = "rotation.npz"
SUMMED_AT_ONCE = 1 << 24


class Exact(Protocol):
    """Where vectors are to be had as they were."""

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


def widths_of(dim: int) -> dict[str, int]:
    """The bytes of a row in each file."""
    return {CODES_FILE: 8 * -(-dim // 64), BYTES_FILE: dim, SCALES_FILE: 4}


def sum_of_file(path: Path, nbytes: int) -> int:
    """The CRC-32 of the first bytes of a file: behind them may be what a killed run left."""
    found = 0
    with open(path, "rb") as file:
        while nbytes > 0 and (piece := file.read(min(nbytes, SUMMED_AT_ONCE))):
            found = zlib.crc32(piece, found)
            nbytes -= len(piece)
    return found


class Vectors:
    """(n, dim) vectors of length 1; a row without one is zeros, and is like nothing.

    exact: gives the vectors themselves, of which bytes are kept here. sums: the CRC-32 of the rows
    in each file, which the caller writes down beside their count.
    """

    def __init__(self, folder: Path, dim: int, count: int, exact: Exact | None = None):
        self._folder = folder
        self._exact = exact
        self.dim = dim
        self.count = count
        self.words = -(-dim // 64)
        self.sums = dict.fromkeys(FILES, 0)
        with np.load(folder / ROTATION_FILE) as saved:
            self.rotation = Rotation(saved["middle"], saved["turn"])
        self._map()

    @classmethod
    def create(cls, folder: Path, sample: np.ndarray) -> "Vectors":
        """Empty ones; the sample says where the middle of the set is."""
        rotation = Rotation.of(sample)
        np.savez(folder / ROTATION_FILE, middle=rotation.middle, turn=rotation.turn)
        for name in FILES:
            (folder / name).write_bytes(b"")
        return cls(folder, sample.shape[1], 0)

    def _map(self) -> None:
        codes = self._mapped(CODES_FILE, np.uint64, (self.count, self.words))
        scales = self._mapped(SCALES_FILE, np.float32, (self.count,))
        self._bytes = self._mapped(BYTES_FILE, np.int8, (self.count, self.dim))
        # In memory: `forget` writes into it, and never into the file.
        self._scales = np.array(scales)
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
        widths = widths_of(self.dim)
        for name, values in written.items():
            with open(self._folder / name, "r+b") as file:
                file.truncate(self.count * widths[name])  # what a killed run left behind the last row
                file.seek(0, os.SEEK_END)
                file.write(values.tobytes())
            self.sums[name] = zlib.crc32(values.tobytes(), self.sums[name])
        self.count += len(vectors)

    def forget(self, rows: np.ndarray) -> None:
        """These rows are like nothing from now on; their bytes stay in the files."""
        self._scales[rows] = 0

    def erase(self, rows: Sequence[int]) -> None:
        """Overwrite these rows in the files with zeros, for good."""
        for name, width in widths_of(self.dim).items():
            path = self._folder / name
            with open(path, "r+b") as file:
                for row in rows:
                    file.seek(row * width)
                    file.write(bytes(width))
            self.sums[name] = sum_of_file(path, self.count * width)
        self._map()

    def of(self, row: int) -> np.ndarray:
        known, vectors = self._originals(np.array([row]))
        if known[0]:
            return vectors[0]
        return self._bytes[row].astype(np.float32) * self._scales[row]

    def sample(self, most: int) -> np.ndarray:
        """(m, dim) float32 of rows spread over all."""
        rows = np.flatnonzero(self._scales)
        # Spread and not the first: a dataset is often sorted by class.
        rows = rows[:: max(1, len(rows) // most)][:most]
        return self._bytes[rows].astype(np.float32) * self._scales[rows, None]

    def nearest(
        self, query: np.ndarray, most: int, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers and likeness (cosine) of the nearest, best first.

        rows: these only. Where they are few, all are compared, and what bytes leave in doubt is
        settled by the vectors themselves: a rare filter loses nothing.
        """
        is_settled = rows is not None and len(rows) <= EXACT_UP_TO
        are_many = self.count > CODES_FROM if rows is None else not is_settled
        if are_many:
            rows = self._close_rows(query, most, rows)
        found = self._likeness_of(query, rows)
        if is_settled and rows is not None:
            found = self._settled(query, most, rows, found)
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
        # Four times as many: codes put near rows in
        # nearly the right order, and bytes sort them out.
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

    def _settled(
        self, query: np.ndarray, most: int, rows: np.ndarray, found: np.ndarray
    ) -> np.ndarray:
        """The likeness itself in place of that by bytes, wherever it may change the nearest."""
        # Rounding to bytes moves each number by half a step at most.
        error = self._scales[rows] / 2 * np.abs(query).sum()
        least = -np.inf
        if len(found) > most:
            least = np.partition(found - error, -most)[-most]
        doubtful = np.flatnonzero((found + error >= least) & (self._scales[rows] > 0))
        known, vectors = self._originals(rows[doubtful])
        exact = found.astype(np.float64)  # float32 has ties where there are none
        if known.any():
            exact[doubtful[known]] = vectors.astype(np.float64) @ query.astype(np.float64)
        return exact

    def _originals(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """None of them where the dataset's files are gone: then bytes have to do."""
        if self._exact is not None and len(rows):
            with contextlib.suppress(OSError):
                return self._exact.of(rows)
        return np.zeros(len(rows), bool), np.zeros((0, self.dim), np.float32)
