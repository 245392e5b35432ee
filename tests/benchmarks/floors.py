"""What a download cannot do without, each alone and as its library does it, beside ours. See README.md here."""

import argparse
import contextlib
import hashlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from measure import child
from site_of_jpegs import jpegs, nginx

SIDE = 128
AT_ONCE = 16  # what two of our workers have open at one host: per_host, and as many again


def transferred(urls: list[str]) -> list[bytes]:
    """By libcurl alone: no checks, no retries, no redirects."""
    import pycurl

    multi = pycurl.CurlMulti()
    bodies = [io.BytesIO() for _ in urls]
    waiting = list(zip(urls, bodies, strict=True))[::-1]
    free = [pycurl.Curl() for _ in range(AT_ONCE)]
    open_now = 0
    while waiting or open_now:
        while waiting and free:
            url, body = waiting.pop()
            one = free.pop()
            one.setopt(pycurl.URL, url)
            one.setopt(pycurl.WRITEFUNCTION, body.write)
            multi.add_handle(one)
            open_now += 1
        multi.perform()
        multi.select(0.1)
        _, done, failed = multi.info_read()
        assert not failed, failed
        for one in done:
            multi.remove_handle(one)
            free.append(one)
            open_now -= 1
    return [body.getvalue() for body in bodies]


def decoded(data: bytes) -> np.ndarray:
    """At 1/2, 1/4 or 1/8, as long as twice the side is left: libjpeg-turbo's own scaling."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    least = 2 * SIDE / max(width, height)
    return simplejpeg.decode_jpeg(data, min_width=max(1, int(width * least)), min_height=max(1, int(height * least)))


def resized(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = SIDE / max(width, height)
    wh = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, wh, interpolation=cv2.INTER_AREA)
    whole = np.full((SIDE, SIDE, 3), 255, np.uint8)
    top, left = (SIDE - wh[1]) // 2, (SIDE - wh[0]) // 2
    whole[top : top + wh[1], left : left + wh[0]] = small
    return whole


def encoded(image: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(image, quality=95, colorsubsampling="420")


def written(pictures: list[bytes]) -> None:
    pq.write_table(pa.table({"image": pictures}), io.BytesIO(), compression="none")


def cpu_ms(work: Callable[[], object], count: int, rounds: int) -> float:
    """The least of some rounds, per picture."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(1000 * (time.process_time() - began) / count)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    count = given.count
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(nginx(jpegs(count)))
        urls = [f"{url}/{n:05d}.jpg" for n in range(count)]
        bodies = transferred(urls)
        images = [decoded(data) for data in bodies]
        small = [resized(image) for image in images]
        packed = [encoded(image) for image in small]
        steps = {
            "transfer (libcurl)": lambda: transferred(urls),
            "sha256 of the result": lambda: [hashlib.sha256(data).digest() for data in packed],
            "scaled decode (libjpeg-turbo)": lambda: [decoded(data) for data in bodies],
            "resize (OpenCV)": lambda: [resized(image) for image in images],
            "encode (libjpeg-turbo)": lambda: [encoded(image) for image in small],
            "Parquet (pyarrow)": lambda: written(packed),
        }
        floors = {name: cpu_ms(work, count, given.rounds) for name, work in steps.items()}
        for name, ms in floors.items():
            print(f"{name:32}{ms:6.2f} CPU ms each", flush=True)
        ours = []
        for _ in range(given.rounds):
            where = stack.enter_context(tempfile.TemporaryDirectory())
            download = Path(__file__).with_name("download.py")
            ours.append(child(sys.executable, download, "--ours", "local", url, count, where))
    best = min(ours, key=lambda found: found["cpu_s"])
    mine = 1000 * best["cpu_s"] / count
    three = sum(ms for name, ms in floors.items() if name.startswith(("transfer", "scaled", "encode")))
    whole = sum(floors.values())
    print(f"imgprep download {mine:.2f} CPU ms each: x{mine / three:.2f} of transfer + decode + encode "
          f"(floor 1.4, goal 1.2), x{mine / whole:.2f} of all; others {best['others']:.0%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
