"""Pictures transformed by a Ray cluster of three hosts beside one host with the same two cores.

python tests/benchmarks/three_hosts.py [--pictures 400] [--rounds 2]   needs the right to make namespaces

The hosts are those of the tests: namespaces on this machine, a raylet each. Of the three, the head computes
nothing and the others have one core each. Both clusters stand while the other one works; rounds are in turns.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from measure import ROOT, busy_s, tree_cpu_s
from site_of_jpegs import jpegs

sys.path.insert(0, str(ROOT / "tests" / "engine"))
from hosts import SHARED, Cluster, Host, lacking

CORES = {"one host": [2], "three hosts": [0, 1, 1]}
UNIT = 20  # pictures
RUN_S = 300  # longer than this no run may take


class Run(NamedTuple):
    """One run on one cluster, its start and its first workers' left out."""

    seconds: float
    cpu_s: float
    others: float
    files: dict[str, str]


def smoothed(image: np.ndarray) -> np.ndarray:
    return cv2.medianBlur(image, 5)


def work(source: str, out: str) -> None:
    """On a host: a small run, which starts the workers, and the one that counts, between two lines."""
    import imgprep
    from imgprep.stages import images

    with imgprep.session():
        images.transform(f"{source}/few", f"{out}/few", smoothed, format="JPEG", batch_size=2)
        print("begin", flush=True)
        images.transform(f"{source}/all", f"{out}/all", smoothed, format="JPEG", batch_size=UNIT)
        print("end", flush=True)


def make_sources(disk: Path, count: int) -> None:
    import imgprep
    from imgprep.stages import images

    paths = sorted(map(str, jpegs().glob("*.jpg")))[:count]
    imgprep.session("local", 2)
    for name, some in (("few", paths[:16]), ("all", paths)):
        home = disk / f"jpegs-{name}"
        home.mkdir()
        for path in some:
            shutil.copy(path, home)
        images.download(str(home), str(disk / "source" / name))
    imgprep.close()


def run(host: Host, address: str, out: str, disk: Path) -> Run:
    words = [sys.executable, __file__, "--work", f"{SHARED}/source", f"{SHARED}/{out}"]
    started = host.run(*words, RAY_ADDRESS=address)
    stopper = threading.Timer(RUN_S, started.kill)
    stopper.start()
    said, marks = [], []
    for line in started.stdout:
        said.append(line)
        if line.strip() in ("begin", "end"):
            marks.append((time.perf_counter(), tree_cpu_s(), busy_s()))
    stopper.cancel()
    if started.wait() or len(marks) != 2:
        sys.exit("".join(said))
    seconds, cpu_s, busy = (after - before for before, after in zip(*marks, strict=True))
    others = max(0.0, busy - cpu_s) / seconds / (os.cpu_count() or 1)
    files = {}
    for path in sorted((disk / out / "all" / "data").rglob("*.parquet")):
        files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return Run(seconds, cpu_s, others, files)


def compare(disk: Path, count: int, rounds: int) -> None:
    clusters = {name: Cluster(disk, len(cores)) for name, cores in CORES.items()}
    found: dict[str, list[Run]] = {name: [] for name in CORES}
    try:
        addresses = {name: made.start_ray(CORES[name]) for name, made in clusters.items()}
        for number in range(rounds):
            for name, made in clusters.items():
                one = run(made.hosts[0], addresses[name], f"{name[:3]}-{number}", disk)
                found[name].append(one)
                rate = f"{count / one.seconds:.1f} pictures/s, {1e3 * one.cpu_s / count:.1f} CPU ms each"
                print(f"{name:12} {rate}, others took {one.others:.0%} of the machine", flush=True)
    finally:
        for made in clusters.values():
            made.close()
    files = [one.files for runs in found.values() for one in runs]
    assert files[0] and all(some == files[0] for some in files), "the bytes differ"
    least_s = {name: min(one.seconds for one in runs) for name, runs in found.items()}
    least_cpu = {name: min(one.cpu_s for one in runs) for name, runs in found.items()}
    one, three = CORES
    rates = f"x{least_s[one] / least_s[three]:.2f} pictures/s (floor 0.85, goal 0.95)"
    print(f"three hosts over one: {rates}, x{least_cpu[one] / least_cpu[three]:.2f} CPU; the same bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", nargs=2)
    given = parser.parse_args()
    if given.work:
        return work(*given.work)
    if lack := lacking():
        sys.exit(f"needs {lack}")
    with tempfile.TemporaryDirectory() as place:
        disk = Path(place)
        make_sources(disk, given.pictures)
        compare(disk, given.pictures, given.rounds)


if __name__ == "__main__":
    main()
