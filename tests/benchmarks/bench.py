"""`make bench`: the benchmarks with small rounds, one line for each measure, and the page of the docs that holds them.

For each: what we reach, beside whom, the floor and the goal, and how much of the machine all else took meanwhile.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil
from measure import ENVIRONMENT, ROOT, busy_s, tree_cpu_s

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- made by make bench -->", "<!-- end of what make bench made -->"
HEAD = "| what | peer | us | floor / goal | others |\n| --- | --- | --- | --- | --- |"


class Line(NamedTuple):
    """What stands in one line of the page. found: finds our figure in what the benchmark prints."""

    what: str
    peer: str
    found: str
    limits: str
    unit: str = ""


class Bench(NamedTuple):
    """One command, in tests/benchmarks, and the lines that are read out of what it prints."""

    words: list[str]
    lines: list[Line]


BENCHES = [
    Bench(
        ["floors.py", "--count", "1000", "--rounds", "2"],
        [
            Line("a download, CPU", "transfer + decode + encode alone", r"x([\d.]+) of transfer", "1.4 / 1.2", "x"),
            Line("the same", "with resize, sha256, Parquet", r"x([\d.]+) of all", "", "x"),
            Line("a download, CPU per picture", "", r"download ([\d.]+) CPU ms", "", " ms"),
            Line("bare transfer, CPU per picture", "libcurl", r"libcurl\) +([\d.]+)", "", " ms"),
            Line("scaled decode, CPU per picture", "libjpeg-turbo", r"decode \(libjpeg-turbo\) +([\d.]+)", "", " ms"),
        ],
    ),
    Bench(
        ["download.py", "--count", "1000", "--rounds", "1"],
        [
            Line("pictures/s, http, Ray", "img2dataset", r"(?s)^http\n.*?ray .*?x([\d.]+) pic", "2.8 / 3.3", "x"),
            Line("pictures/s, http, processes", "img2dataset", r"(?s)^http\n.*?local .*?x([\d.]+) pic", "3.3 / 4", "x"),
            Line("CPU, https, Ray", "img2dataset", r"(?s)https\n.*?ray .*?x([\d.]+) CPU", "8 / 10", "x"),
            Line("CPU, https, processes", "img2dataset", r"(?s)https\n.*?local .*?x([\d.]+) CPU", "8 / 10", "x"),
        ],
    ),
    Bench(
        ["ocr.py", "--count", "1000", "--rounds", "1"],
        [
            Line("OCR preparation, warm Ray", "Pool(2)", r"imgprep ray .*?x([\d.]+) pic", "0.95 / 1.0", "x"),
            Line("OCR preparation, processes", "Pool(2)", r"imgprep local .*?x([\d.]+) pic", "", "x"),
            Line("memory of a Ray run", "", r"ray +1000 pictures: peak (\d+)", "", " MiB"),
            Line("memory of a run in processes", "", r"local +1000 pictures: peak (\d+)", "", " MiB"),
        ],
    ),
    Bench(
        ["loader.py", "--rounds", "2", "--epochs", "3"],
        [
            Line("rows/s into a DataLoader, bytes", "best of three", r"bytes +imgprep .*?x([\d.]+)", "0.9 / 1", "x"),
            Line("the same, CPU", "best of three", r"bytes +imgprep .*?CPU x([\d.]+)", "", "x"),
            Line("the same, decoded", "best of three", r"decoded +imgprep .*?x([\d.]+)", "0.9 / 1", "x"),
        ],
    ),
    Bench(
        ["plan.py", "--rows", "1000000", "--rounds", "1", "--only-plan"],
        [
            Line("planning 1,000,000 rows", "", r"together +([\d.]+) CPU", "10 / 5", " CPU s"),
            Line("its memory", "", r"peak (\d+) MiB", "900 / 600", " MiB"),
        ],
    ),
    Bench(
        ["loader_s3.py", "--count", "2000", "--rounds", "1"],
        [
            Line("rows/s out of S3 into a DataLoader", "WebDataset, curl", r"imgprep x([\d.]+)", "0.9 / 1", "x"),
            Line("the same, CPU", "WebDataset, curl", r"of webdataset, CPU x([\d.]+)", "", "x"),
        ],
    ),
    Bench(
        ["plan.py", "--rows", "100000", "--rounds", "1"],
        [
            Line("committing 100,000 stand-ins", "", r"stand-ins gathered: .*?(\d+) CPU s", "", " CPU s"),
            Line("the same with a row more on top", "", r"at the top, gathered: .*?(\d+) CPU s", "", " CPU s"),
            Line("planning to publish them", "", r"publish's plan: .*?(\d+) CPU s", "", " CPU s"),
        ],
    ),
    Bench(
        ["variants.py", "--rounds", "2", "--only-thumbnails"],
        [
            Line("12 Mpx to 256 px, one core", "Pillow's plain way", r"x([\d.]+) of Pillow", "5 / 6.5", "x"),
            Line("the same", "pyvips", r"x([\d.]+) of pyvips", "0.9 / 1", "x"),
        ],
    ),
    Bench(
        ["tiles.py", "--side", "10000", "--only", "job"],
        [Line("10,000 px threshold, CPU", "decoding the file twice", r"twice .*?x([\d.]+)", "1.3 / 1.2", "x")],
    ),
    Bench(
        ["again.py", "--rounds", "1"],
        [Line("a finished pipeline again", "", r"again .*report ([\d.]+) s", "5 / 3", " s")],
    ),
]


def run(words: list[str]) -> tuple[str, float]:
    """What a benchmark printed, and which part of the machine all else took meanwhile."""
    began, busy, cpu = time.perf_counter(), busy_s(), tree_cpu_s()
    command = [sys.executable, str(Path(__file__).with_name(words[0])), *words[1:]]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    took = time.perf_counter() - began
    others = max(0.0, busy_s() - busy - (tree_cpu_s() - cpu)) / took / (os.cpu_count() or 1)
    if done.returncode:
        return f"{done.stdout}\n{done.stderr.strip().splitlines()[-1:]}", others
    return done.stdout, others


def rows_of(bench: Bench, said: str, others: float) -> list[str]:
    rows = []
    for line in bench.lines:
        match = re.search(line.found, said, re.MULTILINE)
        us = "did not run" if match is None else f"{match[1]}{line.unit}"
        rows.append(f"| {line.what} | {line.peer} | {us} | {line.limits} | {others:.0%} |")
    return rows


def put_page(rows: list[str]) -> None:
    """The table between its marks; all else of the page is a person's."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    when = f"{datetime.now(UTC):%d %B %Y}"
    machine = f"{os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, Python {platform.python_version()}"
    table = "\n".join([HEAD, *rows])
    PAGE.write_text(f"{before}{BEGIN}\nMade on {when} on {machine}.\n\n{table}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="names of benchmarks, such as floors; else all")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md, too")
    given = parser.parse_args()
    rows = []
    print(HEAD, flush=True)
    for bench in BENCHES:
        if given.only and bench.words[0].removesuffix(".py") not in given.only:
            continue
        said, others = run(bench.words)
        made = rows_of(bench, said, others)
        rows += made
        print("\n".join(made), flush=True)
        if any("did not run" in row for row in made):
            print(said[-1500:], file=sys.stderr)
        if given.page:  # each time: it takes long, and somebody may stop it
            put_page(rows)


if __name__ == "__main__":
    main()
