"""A query of our index beside numpy, Lance without an index and pgvector's HNSW, at equal recall, in one run.

python tests/benchmarks/near.py [ROWS]   60,000 by default; needs the extra `test` (pylance, pgserver, psycopg)

The vectors and queries of search.py. HNSW as `search.to_postgres` makes it (m 16, ef_construction 64); `ef_search` is
raised until it finds as many of the exact ten as our index. Prints CPU ms (with PostgreSQL: of its backend and of the
client together) and wall ms of a call.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads that wait for each other would count as work, ours and numpy's

import numpy as np
import psutil
import pyarrow as pa
from search import DIM, NEAREST, QUERIES, STEP, drawn, recall

from imgprep.stages.search.vectors import ROTATION_SAMPLE, Vectors

BREADTHS = (10, 20, 40, 80, 160, 320, 640, 1_000)  # hnsw.ef_search


class Clock:
    """CPU and wall ms a query: of this process, and of those that it asks."""

    def __init__(self, *servers: int):
        self.processes = [psutil.Process(pid) for pid in (os.getpid(), *servers)]

    def cpu_s(self) -> float:
        return sum(sum(one.cpu_times()[:2]) for one in self.processes)

    def of(self, search: Callable, queries: np.ndarray) -> tuple[list[np.ndarray], float, float]:
        for query in queries[:3]:
            search(query)
        began_s = time.perf_counter()
        before_s = self.cpu_s()
        found = [search(query) for query in queries]
        cpu_s = self.cpu_s() - before_s
        wall_s = time.perf_counter() - began_s
        return found, cpu_s / len(queries) * 1e3, wall_s / len(queries) * 1e3


def told(name: str, timed: tuple[list[np.ndarray], float, float], truth: list[np.ndarray]) -> float:
    found, cpu_ms, wall_ms = timed
    share = recall(found, truth)
    print(f"{name:28s} {cpu_ms:8.2f} CPU ms  {wall_ms:8.2f} ms  recall {share:.3f}", flush=True)
    return share


def in_lance(folder: Path, vectors: np.ndarray) -> Callable:
    import lance

    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
    table = pa.table({"row": np.arange(len(vectors)), "vector": flat})
    ds = lance.write_dataset(table, str(folder / "flat.lance"))

    def search(query: np.ndarray) -> np.ndarray:
        asked = {"column": "vector", "q": query, "k": NEAREST, "metric": "cosine"}
        return ds.to_table(columns=["row", "_distance"], nearest=asked)["row"].to_numpy()

    return search


def fill_postgres(db, vectors: np.ndarray) -> None:
    from pgvector.psycopg import register_vector

    db.execute("create extension vector")
    register_vector(db)
    db.execute(f"create table image (row integer, embedding vector({DIM}))")
    with db.cursor().copy("copy image from stdin with (format binary)") as copy:
        copy.set_types(["int4", "vector"])
        for row, vector in enumerate(vectors):
            copy.write_row([row, vector])
    db.execute("set maintenance_work_mem = '1GB'")
    db.execute("create index on image using hnsw (embedding vector_cosine_ops)")
    db.execute("set enable_seqscan = off")
    db.commit()


def beside_postgres(folder: Path, vectors: np.ndarray, queries: np.ndarray, truth: list, ours: float) -> None:
    import pgserver
    import psycopg

    server = pgserver.get_server(folder / "postgres")
    try:
        with psycopg.connect(server.get_uri()) as db:
            began_s = time.perf_counter()
            fill_postgres(db, vectors)
            print(f"pgvector: filled and indexed in {time.perf_counter() - began_s:.0f} s")
            clock = Clock(db.info.backend_pid)
            text = f"select row from image order by embedding <=> %s limit {NEAREST}"

            def search(query: np.ndarray) -> np.ndarray:
                return np.array([row for (row,) in db.execute(text, (query,), binary=True)])

            for breadth in BREADTHS:
                db.execute(f"set hnsw.ef_search = {breadth}")
                if told(f"pgvector HNSW, ef {breadth}", clock.of(search, queries), truth) >= ours:
                    break
    finally:
        server.cleanup()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    vectors, queries = drawn(count, 1), drawn(4 * QUERIES, 2)
    truth = [np.argsort(-(vectors @ query))[:NEAREST] for query in queries]
    here = Clock()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        index = Vectors.create(folder, vectors[:ROTATION_SAMPLE])
        for at in range(0, count, STEP):
            index.append(vectors[at : at + STEP])
        index = Vectors(folder, DIM, count)
        print(f"{count:,} rows of {DIM}; {len(queries)} queries, the ten nearest")

        def exact(query: np.ndarray) -> np.ndarray:
            scores = vectors @ query
            return np.argpartition(-scores, NEAREST)[:NEAREST]

        told("numpy float32", here.of(exact, queries), truth)
        ours = told("imgprep", here.of(lambda query: index.nearest(query, NEAREST)[0], queries), truth)
        told("Lance, flat", here.of(in_lance(folder, vectors), queries), truth)
        beside_postgres(folder, vectors, queries, truth, ours)


if __name__ == "__main__":
    main()
