"""1,000 thumbnails to Azurite: a worker of `upload.upload` beside azure-storage-blob, both with 16 threads.

Both from a process of their own, in turns, objects of the same bytes with type, cache-control and sha256. Reported per
contestant: objects/s (best of 3) and client CPU ms per object (median). Azurite must be on PATH (`azurite-blob`).
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from measure import ROOT, child

sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
N, THREADS, ROUNDS, WARM = 1000, 16, 3, 32


def pictures(n: int) -> list[bytes]:
    """Thumbnails of about 12 KB, all different."""
    from imgprep.picture import codec

    rng = np.random.default_rng(0)
    coarse = (rng.integers(0, 255, (24, 32, 3), np.uint8) for _ in range(n))
    return [codec.encode(np.kron(c, np.ones((8, 8, 1), np.uint8)), "JPEG", quality=85) for c in coarse]


def timed(work, items: list) -> dict:
    cpu, wall = time.process_time(), time.perf_counter()
    work(items)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"objects_s": len(items) / wall, "cpu_ms": 1000 * cpu / len(items)}


def ours(n: int) -> dict:
    """The stage's worker, without the Parquet files around it: `work.Loaded` in, rows with URI and ETag out."""
    from imgprep.io.stores import Store
    from imgprep.resume import work
    from imgprep.stages.upload.unit import UploadUnit

    store = Store(f"az://b{uuid.uuid4().hex}")
    store.ready()
    worker = UploadUnit(None, None, {"": store})

    def put(items: list[bytes]) -> None:
        loaded = (work.Loaded(b"", data, {"variant": ""}) for data in items)
        totals, faults = {"attempts": 0, "unchanged": 0}, []
        rows = list(worker._rows(loaded, totals, faults))
        assert not faults and totals["unchanged"] == 0 and len(rows) == len(items)

    items = pictures(n + WARM)
    put(items[:WARM])
    return timed(put, items[WARM:])


def theirs(n: int) -> dict:
    """azure-storage-blob as its documentation uploads many: one client, `upload_blob` in a pool of threads."""
    import hashlib

    from azure.storage.blob import BlobServiceClient, ContentSettings

    service = BlobServiceClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"])
    container = service.create_container(f"b{uuid.uuid4().hex}")
    kind = ContentSettings(content_type="image/jpeg", cache_control="private, max-age=31536000, immutable")

    def one(data: bytes) -> None:
        sha256 = hashlib.sha256(data).hexdigest()
        name = f"{sha256[:2]}/{sha256}.jpg"
        container.upload_blob(name, data, overwrite=False, content_settings=kind, metadata={"sha256": sha256})

    def put(items: list[bytes]) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, items))

    items = pictures(n + WARM)
    put(items[:WARM])
    return timed(put, items[WARM:])


def main(n: int) -> None:
    from conftest import azurite_connection

    server = shutil.which("azurite-blob") or sys.exit("needs azurite-blob: npm install azurite")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    process = subprocess.Popen([server, *options, "--blobHost", "127.0.0.1", "--blobPort", str(port)],
                               stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        time.sleep(5)
        found: dict[str, list[dict]] = {"ours": [], "theirs": []}
        for _ in range(ROUNDS):
            for who, runs in found.items():
                environment = {"AZURE_STORAGE_CONNECTION_STRING": azurite_connection(port)}
                runs.append(child(sys.executable, Path(__file__), who, n, **environment))
    finally:
        process.terminate()
        process.wait(10)
    rates = {who: max(run["objects_s"] for run in runs) for who, runs in found.items()}
    cpu = {who: statistics.median(run["cpu_ms"] for run in runs) for who, runs in found.items()}
    for who, name in {"ours": "imgprep", "theirs": "azure-storage-blob, 16 threads"}.items():
        print(f"{name:<32} {rates[who]:7.0f} objects/s, {cpu[who]:5.2f} ms client CPU per object")
    print(f"{rates['ours'] / rates['theirs']:.2f}x the objects/s (floor 1.25, goal 1.5); CPU floor 0.7 ms, goal 0.5 ms")


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] in (["ours"], ["theirs"]):
        print(json.dumps({"ours": ours, "theirs": theirs}[words[0]](int(words[1]))))
    else:
        main(int(words[0]) if words else N)
