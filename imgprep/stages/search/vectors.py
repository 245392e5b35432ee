"""The vectors of an index: three flat files that grow at their end, read without loading them whole."""

import os
from pathlib import Path

import numpy as np

from imgprep.models.codes import CANDIDATES, EXACT_UP_TO, Rotation, hamming, likeness, nearest_bits, to_bytes

ROTATION_SAMPLE = 20_000  # vectors that say where the middle is
FILES = ("codes.u64", "bytes.i8", "scales.f32")


class Vectors:
    """(n, dim) vectors of length 1; a row without one is zeros, and is like nothing."""

    def __init__(self, folder: Path, dim: int, count: int):
        self._folder, self.dim, self.count = folder, dim, count
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
        shapes = [(self.count, self.words), (self.count, self.dim), (self.count,)]
        dtypes = [np.uint64, np.int8, np.float32]
        found = []
        for name, shape, dtype in zip(FILES, shapes, dtypes, strict=True):
            path = self._folder / name
            found.append(np.memmap(path, dtype, "r", shape=shape) if self.count else np.zeros(shape, dtype))
        codes, self._bytes, scales = found
        self._scales = np.array(scales)
        self._columns = np.ascontiguousarray(codes.T)  # each word of all rows is one run of memory

    def append(self, vectors: np.ndarray) -> None:
        """More rows at the end. They count once the caller has written down how many there are."""
        rows, scales = to_bytes(vectors)
        scales[~vectors.any(1)] = 0
        for name, values in zip(FILES, (self.rotation.codes(vectors), rows, scales), strict=True):
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

    def nearest(self, query: np.ndarray, most: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers and likeness (cosine) of the nearest, best first; of these rows only, where they are given.

        Few rows are compared exactly, so a rare filter loses nothing.
        """
        pool = self.count if rows is None else len(rows)
        if pool > EXACT_UP_TO:
            code = self.rotation.codes(query[None])[0]
            columns = self._columns if rows is None else self._columns[:, rows]
            close = nearest_bits(hamming(columns, code), max(CANDIDATES, 4 * most))
            rows = close if rows is None else rows[close]
        chosen = self._bytes if rows is None else self._bytes[rows]
        scales = self._scales if rows is None else self._scales[rows]
        found = likeness(chosen, scales, query.astype(np.float32))
        found[scales == 0] = -1
        best = np.argpartition(-found, most - 1)[:most] if len(found) > most else np.arange(len(found))
        best = best[np.argsort(-found[best], kind="stable")]
        best = best[found[best] > -1]
        return (best if rows is None else rows[best]), found[best]
