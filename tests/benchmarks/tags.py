"""Tags by the offline models on a warm Ray, beside a bare Pool of as many processes that keeps nothing.

python tests/benchmarks/tags.py [PICTURES] [--rounds 2]   300 by default; needs the extra `offline` and the photographs

Both decode, name objects, measure tone and composition and make a vector, one thread a process. Ours also writes the
dataset: pictures, columns, card. Each round has pictures of its own; Ray was started before, but each
run's actors load their networks anew (some seconds): with few pictures that is most of what is measured.
"""

import argparse
import itertools
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import cv2
import numpy as np
from gallery import PHOTOS

import imgprep
from imgprep import tags
from imgprep.picture import codec
from imgprep.stages.tags.tagging import Tagging

WORKERS, SIDE = 2, 640
GIVEN = {"taggers": ["offline", "composition", "tone"], "embedder": "offline"}

tagging: Tagging


def begin() -> None:
    global tagging
    cv2.setNumThreads(1)
    tagging = Tagging(GIVEN["taggers"], GIVEN["embedder"])


def look(path: str) -> int:
    image = codec.decode(Path(path).read_bytes())
    return len(tagging(image)["tags"])


def crops(folder: Path, count: int, seed: int) -> list[str]:
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    photos = []
    for path in sorted(PHOTOS.glob("*.jpg")):
        photos.append(codec.decode(path.read_bytes()))
    for number, photo in zip(range(count), itertools.cycle(photos)):
        height, width = photo.shape[:2]
        y = int(random.integers(0, max(1, height - SIDE)))
        x = int(random.integers(0, max(1, width - SIDE)))
        data = codec.encode(np.ascontiguousarray(photo[y : y + SIDE, x : x + SIDE]), "JPEG", quality=90)
        (folder / f"{number:05d}.jpg").write_bytes(data)
    return [str(path) for path in sorted(folder.iterdir())]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures", nargs="?", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, multiprocessing.get_context("spawn").Pool(WORKERS, begin) as pool:
        home = Path(place)
        imgprep.session("ray", WORKERS)
        tags.find(str(Path(crops(home / "first", 2 * WORKERS, 99)[0]).parent), str(home / "first-tags"), **GIVEN)
        pool.map(look, crops(home / "warm", 2 * WORKERS, 98))
        ratios = []
        for number in range(given.rounds):
            folder = home / f"round-{number}"
            paths = crops(folder, given.pictures, number)
            began_s = time.perf_counter()
            pool.map(look, paths, chunksize=4)
            bare_s = time.perf_counter() - began_s
            began_s = time.perf_counter()
            tags.find(str(folder), str(home / f"tags-{number}"), **GIVEN)
            ours_s = time.perf_counter() - began_s
            ratios.append(bare_s / ours_s)
            rates = f"Pool {given.pictures / bare_s:.1f}, Ray {given.pictures / ours_s:.1f} pictures a second"
            print(f"round {number}: {rates}: {ratios[-1]:.2f}x", flush=True)
        imgprep.close()
    print(f"tags on Ray beside a bare Pool: {np.median(ratios):.2f}x (median of {len(ratios)})")


if __name__ == "__main__":
    main()
