"""What a query of the index costs, and how many of the exact ten it finds.

python tests/benchmarks/search.py [ROWS]   100,000 by default; 1,000,000 takes 3 GB and some minutes

Vectors of 384 numbers in which 40 things vary; fresh queries; cosine, ten nearest. Prints build time, bytes, CPU ms and
recall of the index, of numpy's float32 beside it in the same run, and of a filter that one row in a thousand passes.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from imgprep.stages.search.vectors import FILES, ROTATION_SAMPLE, Vectors

DIM, THINGS, QUERIES, NEAREST = 384, 40, 50, 10
STEP = 50_000


def drawn(count: int, seed: int) -> np.ndarray:
    """(count, DIM) float32 of length 1: a mixture of 2,000 kinds, through a bent mapping, with noise."""
    shared = np.random.default_rng(0)
    centres = shared.normal(size=(2_000, THINGS)).astype(np.float32)
    mapping = shared.normal(size=(THINGS, DIM)).astype(np.float32) / np.sqrt(THINGS)
    random = np.random.default_rng(seed)
    found = np.empty((count, DIM), np.float32)
    for start in range(0, count, STEP):
        some = min(STEP, count - start)
        kinds = centres[random.integers(0, len(centres), some)]
        things = kinds + 0.6 * random.normal(size=(some, THINGS)).astype(np.float32)
        rows = np.tanh(things @ mapping) + 0.08 * random.normal(size=(some, DIM)).astype(np.float32)
        found[start : start + some] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


class Held:
    """The vectors themselves, as a dataset's files give them for the few rows that bytes leave in doubt."""

    def __init__(self, vectors: np.ndarray):
        self.vectors = vectors

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(len(rows), bool), self.vectors[rows]


def timed(search, queries: np.ndarray) -> tuple[list[np.ndarray], float]:
    search(queries[0])
    start = time.process_time()
    found = [search(query) for query in queries]
    return found, (time.process_time() - start) / len(queries) * 1e3


def recall(found: list[np.ndarray], truth: list[np.ndarray]) -> float:
    return float(np.mean([len({*a.tolist()} & {*b.tolist()}) / NEAREST for a, b in zip(found, truth, strict=True)]))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    vectors, queries = drawn(count, 1), drawn(QUERIES, 2)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        start = time.process_time()
        index = Vectors.create(folder, vectors[:ROTATION_SAMPLE])
        for at in range(0, count, STEP):
            index.append(vectors[at : at + STEP])
        index = Vectors(folder, DIM, count)
        size = sum((folder / name).stat().st_size for name in FILES) / 1e6
        print(f"{count:,} rows: build {time.process_time() - start:.1f} CPU s, {size:.0f} MB")

        def exact(query: np.ndarray) -> np.ndarray:
            scores = vectors @ query
            return np.argpartition(-scores, NEAREST)[:NEAREST]

        truth, plain_ms = timed(exact, queries)
        found, index_ms = timed(lambda query: index.nearest(query, NEAREST)[0], queries)
        ratio = index_ms / plain_ms
        print(f"index {index_ms:.1f} CPU ms a query, recall {recall(found, truth):.3f}")
        print(f"numpy float32 {plain_ms:.1f} CPU ms a query, {vectors.nbytes / 1e6:.0f} MB; ratio {ratio:.2f}")

        rare = np.flatnonzero(np.random.default_rng(3).integers(0, 1000, count) == 7)
        of_rare = [rare[np.argsort(-(vectors[rare] @ query))[:NEAREST]] for query in queries]
        found, rare_ms = timed(lambda query: index.nearest(query, NEAREST, rare)[0], queries)
        print(f"filter of 1/1000, by bytes: {rare_ms:.2f} CPU ms, recall {recall(found, of_rare):.3f}")
        settled = Vectors(folder, DIM, count, Held(vectors))
        found, rare_ms = timed(lambda query: settled.nearest(query, NEAREST, rare)[0], queries)
        print(f"filter of 1/1000, settled: {rare_ms:.2f} CPU ms, recall {recall(found, of_rare):.3f}")
        many = np.flatnonzero(np.random.default_rng(4).integers(0, 6, count) == 2)
        of_many = [many[np.argsort(-(vectors[many] @ query))[:NEAREST]] for query in queries[:10]]
        found, many_ms = timed(lambda query: index.nearest(query, NEAREST, many)[0], queries[:10])
        print(f"filter of 1/6: {many_ms:.1f} CPU ms, recall {recall(found, of_many):.3f}")


if __name__ == "__main__":
    main()
