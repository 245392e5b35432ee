"""CPU of this checkout beside another one's, turn by turn: `python tests/benchmarks/beside.py FOLDER`.

FOLDER is a checkout of another commit (`git worktree add FOLDER COMMIT`) that has these benchmarks. Each runs its own
code and its own benchmarks; pictures and tables are the same ones. CPU seconds are those of a child process and all
that it started, imports included, and of its work alone. Local engine; small counts.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from measure import ROOT, child
from plan import make_csv
from site_of_jpegs import CACHE, jpegs, nginx

JOBS = ("download", "ocr", "variants", "plan", "finish", "tiles")


def in_checkout(checkout: Path, code: str) -> None:
    """Run these lines as that checkout's benchmarks would."""
    where = os.pathsep.join([str(checkout), str(checkout / "tests" / "benchmarks")])
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": where}, cwd=checkout, check=True)


def words_of(job: str, other: Path, where: str, url: str) -> Callable[[str], list[object]]:
    """What is asked of the benchmark, for a run into the folder `out`. Makes what it reads with the other's code."""
    if job == "download":
        return lambda out: ["download.py", "--ours", "local", url, 1500, out]
    if job == "ocr":
        in_checkout(other, "import ocr; ocr.make_raw(600)")
        return lambda out: ["ocr.py", "--contestant", "local", CACHE / "raw" / "600", f"{out}/made"]
    if job == "variants":
        return lambda out: ["variants.py", "--job", 250]
    if job == "tiles":
        in_checkout(other, "import tiles; tiles.make(8000)")
        return lambda out: ["tiles.py", "--contestant", "ours", CACHE / "slide-8000" / "slide.tif"]
    csv = Path(where, f"{job}.csv")
    make_csv(csv, 500_000 if job == "plan" else 60_000)
    return lambda out: ["plan.py", "--step", job, csv, out]


def cpu_of(checkout: Path, words: Callable[[str], list[object]]) -> tuple[float, float]:
    """CPU seconds of one run there: of the whole child, and of what it says its work took."""
    with tempfile.TemporaryDirectory(dir=CACHE) as out:
        script, *rest = words(out)
        command = [sys.executable, checkout / "tests" / "benchmarks" / script, *rest]
        found = child(*command, PYTHONPATH=str(checkout))
    work = [found[name] for name in ("cpu_s", "read_cpu_s", "plan_cpu_s") if name in found]
    return found["whole_cpu_s"], sum(work)


def beside(job: str, other: Path, words: Callable[[str], list[object]], rounds: int) -> None:
    whole: dict[Path, list[float]] = {ROOT: [], other: []}
    work: dict[Path, list[float]] = {ROOT: [], other: []}
    for n in range(rounds):
        # They take turns to be first: the second finds the files of both in memory.
        for checkout in [ROOT, other] if n % 2 else [other, ROOT]:
            child_s, work_s = cpu_of(checkout, words)
            whole[checkout].append(child_s)
            work[checkout].append(work_s)
    for name, seconds in (("whole", whole), ("work", work)):
        # The least is the round that was disturbed least: others on the machine only ever add.
        least = min(seconds[ROOT]) / min(seconds[other])
        middle = statistics.median(seconds[ROOT]) / statistics.median(seconds[other])
        spread = f"{min(seconds[ROOT]):.2f} to {max(seconds[ROOT]):.2f} CPU s"
        spread += f", other {min(seconds[other]):.2f} to {max(seconds[other]):.2f}"
        told = f"x{least:.3f} by the least, x{middle:.3f} by the middle"
        print(f"{job:9}{name:6} {told} of {rounds} ({spread})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=lambda text: Path(text).resolve())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=JOBS, nargs="*", default=JOBS)
    given = parser.parse_args()
    with nginx(jpegs(1500)) as url, tempfile.TemporaryDirectory() as where:
        for job in given.only:
            beside(job, given.other, words_of(job, given.other, where, url), given.rounds)


if __name__ == "__main__":
    main()
