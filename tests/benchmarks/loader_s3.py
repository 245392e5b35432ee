"""The pictures of loader.py as bytes out of an S3 server: our folder, WebDataset by curl, the bare transfer.

python tests/benchmarks/loader_s3.py [--count 8000] [--rounds 2] [--epochs 3]

The server is moto's on loopback, one slow process: it caps the rows/s of all three, not the client's CPU.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loader import BATCH, CACHE, SHUFFLED, WORKERS, kept, made_rivals, make_folder, of_ours, rivals_python
from measure import child, measured

BUCKET = "pictures"
KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
START_S = 60


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """What names it in the environment, here and for what is started with that."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_S
        while time.monotonic() < until and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        url = f"http://127.0.0.1:{port}"
        named = {**KEYS, "AWS_ENDPOINT_URL": url}
        os.environ |= named
        yield named
    finally:
        server.kill()
        server.wait(10)


def send(count: int) -> None:
    import fsspec

    fs = fsspec.filesystem("s3")
    fs.mkdir(BUCKET)
    for name in ("folder", "webdataset"):
        fs.put(str(CACHE / f"{name}-{count}"), f"{BUCKET}/{name}", recursive=True)


def rows_of(name: str) -> Iterator[dict]:
    """One epoch after another is one iteration after another."""
    if name == "imgprep":
        return of_ours(f"s3://{BUCKET}/folder", kept)
    import fsspec
    import webdataset as wds

    fs = fsspec.filesystem("s3")
    links = [fs.url(path, expires=3600) for path in sorted(fs.glob(f"{BUCKET}/webdataset/*.tar"))]
    shards = [f"pipe:curl -sf '{link}'" for link in links]
    read = wds.WebDataset(shards, shardshuffle=len(shards), nodesplitter=None)
    return read.shuffle(SHUFFLED).map(lambda row: {"image": row["jpg"], "label": int(row["cls"])})


def transferred(_: int) -> Callable[[], int]:
    """The bytes of our folder's Parquet files, by s3fs alone, in this process."""
    import fsspec

    fs = fsspec.filesystem("s3")
    paths = fs.glob(f"{BUCKET}/folder/data/*.parquet")
    return lambda: sum(len(fs.cat_file(path)) for path in paths)


def loaded(name: str) -> Callable[[], int]:
    from torch.utils.data import DataLoader

    rows = rows_of(name)
    loader = DataLoader(rows, batch_size=BATCH, num_workers=WORKERS, collate_fn=list, persistent_workers=True)

    def epoch() -> int:
        seen: set[int] = set()
        for batch in loader:
            seen.update(int(row["label"]) for row in batch)
        return len(seen)

    return epoch


def read(name: str, count: int, epochs: int) -> None:
    epoch = transferred(count) if name == "bare transfer" else loaded(name)
    rates, cpus = [], []
    for number in range(epochs):
        seen = []
        found = measured(lambda: seen.append(epoch()))  # noqa: B023 - called at once
        assert seen[0] > 0.98 * count, (name, seen)
        if number:  # the first one starts the workers
            rates.append(count / found["s"])
            cpus.append(1e6 * found["cpu_s"] / count)
    print(json.dumps({"rates": rates, "cpus": cpus}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--read")
    given = parser.parse_args()
    if given.read:
        return read(given.read, given.count, given.epochs)
    python = rivals_python()
    make_folder(given.count)
    made_rivals(python, given.count, ["webdataset"])
    names = ("imgprep", "webdataset", "bare transfer")
    best, least, others = dict.fromkeys(names, 0.0), dict.fromkeys(names, float("inf")), []
    with s3_server() as named:
        send(given.count)
        for _ in range(given.rounds):  # in turns: a busy minute is everybody's
            for name in names:
                words = ["--read", name, "--count", given.count, "--epochs", given.epochs]
                found = child(python, __file__, *words, **named)
                best[name] = max(best[name], *found["rates"])
                least[name] = min(least[name], *found["cpus"])
                others.append(found["others"])
    for name in names:
        print(f"S3       {name:20}{best[name]:8.0f} rows/s{least[name]:7.0f} CPU us each", flush=True)
    beside = f"x{best['imgprep'] / best['webdataset']:.2f} of webdataset"
    cpu = f"CPU x{least['webdataset'] / least['imgprep']:.2f}"
    print(f"S3       imgprep {beside}, {cpu}; others took {sum(others) / len(others):.0%} of the machine")


if __name__ == "__main__":
    main()
