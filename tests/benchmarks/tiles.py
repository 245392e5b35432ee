"""A huge picture in tiles: CPU beside decoding it twice, memory, untiled and remote input, a kill. See README.md."""

import argparse
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from measure import ENVIRONMENT, Peak, child, tree_cpu_s
from site_of_jpegs import CACHE


def make(side: int) -> str:
    """The slide, made once."""
    from imgprep.sample import slide

    return slide.make(str(CACHE / f"slide-{side}"), (side, side))["slide"]


def decode(path: str, box: int = 1024) -> None:
    """What cannot be avoided: every window of the file, in this thread."""
    from rasterio.windows import Window

    from imgprep.io import rasters

    with rasters.gdal() as rasterio, rasterio.open(path) as whole:
        for y in range(0, whole.height, box):
            for x in range(0, whole.width, box):
                whole.read(window=Window(x, y, min(box, whole.width - x), min(box, whole.height - y)))


def twice(path: str) -> dict:
    decode(make(600))
    before = tree_cpu_s()
    decode(path)
    decode(path)
    return {"cpu_s": tree_cpu_s() - before}


def ours(path: str, *, objects: bool, peak: bool) -> dict:
    """The CPU of `segment` in a process that has segmented a small slide before; the COGs' share of it by itself."""
    import psutil

    import imgprep
    from imgprep.io.rasters import mosaic
    from imgprep.stages import segmentation

    cog, stitch = [0.0], mosaic.stitch

    def timed(*given, **named):
        before = time.thread_time()
        stitch(*given, **named)
        cog[0] += time.thread_time() - before

    mosaic.stitch = timed
    imgprep.session("local", workers=2)
    with tempfile.TemporaryDirectory(dir=CACHE) as where:
        segmentation.segment(make(600), f"{where}/warm")
        imported, cog[0] = psutil.Process().memory_full_info().pss / 2**20, 0.0
        before, began = tree_cpu_s(), time.perf_counter()
        if peak:
            with Peak() as most:
                found = segmentation.segment(path, f"{where}/out", objects=objects)
        else:
            found = segmentation.segment(path, f"{where}/out", objects=objects)
        cpu, wall = tree_cpu_s() - before, time.perf_counter() - began
        mask = found.table("train")["mask"][0].as_py()
        sha = hashlib.sha256(Path(where, "out", mask).read_bytes()).hexdigest()
    return {"cpu_s": cpu - cog[0], "cog_s": cog[0], "s": wall, "sha": sha, "imported_mib": imported,
            "peak_mib": most.mib if peak else 0}  # fmt: skip


def contestant(*words: object) -> dict:
    return child(sys.executable, __file__, "--contestant", *words)


def job(path: str, side: int) -> None:
    floor, found = contestant("twice", path), contestant("ours", path)
    ratio = found["cpu_s"] / floor["cpu_s"]
    print(f"{side:6}  mask {found['cpu_s']:6.2f} CPU s, decoding twice {floor['cpu_s']:6.2f}: x{ratio:.2f} "
          f"(floor 1.8, goal 1.3); COG {found['cog_s']:.2f}; {found['s']:.1f} s; others {found['others']:.0%}",
          flush=True)  # fmt: skip


def memory(path: str, side: int, *, objects: bool = False, what: str = "mask") -> None:
    found = contestant("ours", path, *(["--objects"] if objects else []), "--peak")
    more = found["peak_mib"] - found["imported_mib"]
    goals = "500 / 300" if "untiled" in what else "150 / 100"
    above = f"{more:.0f} MiB above the {found['imported_mib']:.0f} of the imports"
    print(f"{side:6}  {what}: {above} (floor / goal {goals})", flush=True)


def untiled(path: str, side: int) -> None:
    """The same pixels in strips (LZW), as PNG, as JPEG; what is made of them must not fill the memory."""
    from imgprep.io import rasters

    for name, options in {
        "strips.tif": {"driver": "GTiff", "COMPRESS": "LZW", "BIGTIFF": "IF_SAFER"},
        "slide.png": {"driver": "PNG", "ZLEVEL": 1},
        "slide.jpg": {"driver": "JPEG", "QUALITY": 90},
    }.items():
        other = Path(path).with_name(name)
        if not other.exists():
            with rasters.gdal() as rasterio:
                rasterio.shutil.copy(path, f"{other}.part", **options)
            os.replace(f"{other}.part", other)
        memory(str(other), side, what=f"untiled, {name}")


class Ranges(http.server.SimpleHTTPRequestHandler):
    sent = 0

    def log_message(self, *_):
        pass

    def do_GET(self):
        with open(self.translate_path(self.path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            start, stop = int(first), min(size, int(last) + 1 if last else size)
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.end_headers()
            file.seek(start)
            while start < stop:
                data = file.read(min(1 << 20, stop - start))
                self.wfile.write(data)
                Ranges.sent += len(data)
                start += len(data)


def remote(path: str, side: int) -> None:
    folder = str(Path(path).parent)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Ranges(*given, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    contestant("ours", f"http://127.0.0.1:{server.server_port}/slide.tif")
    server.shutdown()
    share = Ranges.sent / os.path.getsize(path)
    print(f"{side:6}  remote: x{share:.3f} of the file's bytes (at most 1.15)", flush=True)


def resume(path: str, side: int) -> None:
    """kill -9 when half of the blocks have their masks; then again, with the blocks counted."""
    run = "import sys, imgprep; from imgprep import segmentation; imgprep.session('local', workers=2); "
    run += "found = segmentation.segment(sys.argv[1], sys.argv[2], objects=False, allow_hosts=['127.0.0.1']); "
    run += "print(found.table('train')['mask'][0].as_py())"
    total = 2 * len(range(0, side, 2048)) ** 2
    with tempfile.TemporaryDirectory(dir=CACHE) as where:
        python = [sys.executable, "-c", run, path]
        whole = subprocess.run([*python, f"{where}/whole"], env=ENVIRONMENT, capture_output=True)
        process = subprocess.Popen([*python, f"{where}/out"], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        parts = Path(where, "out", ".imgprep", "tiles")
        while (done := len(list(parts.glob("*/*/*.npz")))) < total / 2 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = len(list(parts.glob("*/*/*.npz")))
        again = subprocess.run([*python, f"{where}/out"], env=ENVIRONMENT, capture_output=True)
        same = whole.stdout.split()[-1] == again.stdout.split()[-1]
    print(f"{side:6}  killed at {done / total:.0%} of both passes' blocks, {1 - done / total:.0%} done again "
          f"(at most 55 %); same mask: {same}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--only", choices=["job", "memory", "untiled", "remote", "resume"])
    parser.add_argument("--contestant", nargs=2)
    parser.add_argument("--objects", action="store_true")
    parser.add_argument("--peak", action="store_true")
    given = parser.parse_args()
    if given.contestant:
        name, path = given.contestant
        found = twice(path) if name == "twice" else ours(path, objects=given.objects, peak=given.peak)
        return print(json.dumps(found))
    CACHE.mkdir(exist_ok=True)
    path = make(given.side)
    for work in (job, memory, untiled, remote, resume):
        if given.only in (None, work.__name__):
            work(path, given.side)
    if given.only in (None, "memory"):
        memory(path, given.side, objects=True, what="mask and objects")
        memory(make(given.side // 2), given.side // 2)
        shutil.rmtree(CACHE / f"slide-{given.side // 2}")


if __name__ == "__main__":
    main()
