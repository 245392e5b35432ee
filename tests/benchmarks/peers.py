"""The service beside ipx, thumbor, plain FastAPI and Ray Serve: CPU of a request, memory, start, broken files.

python tests/benchmarks/peers.py [--requests 60] [--only imgprep,ipx,thumbor,fastapi,ray] [--picture photo.jpg]
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil
from site_of_jpegs import CACHE

from imgprep.picture import codec

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 8
START_S = 120
THUMBOR = """
LOADER = "thumbor.loaders.file_loader"
FILE_LOADER_ROOT_PATH = {root!r}
STORAGE = "thumbor.storages.no_storage"
ALLOW_UNSAFE_URL = True
QUALITY = 82
SECURITY_KEY = "x"
MAX_AGE = 0
"""
PLAIN = """
import cv2, numpy as np, uvicorn
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

app = FastAPI()
cv2.setNumThreads(1)

def fit(data, format):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    height, width = image.shape[:2]
    scale = 800 / max(width, height)
    size = round(width * scale), round(height * scale)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 82] if format == "jpeg" else [cv2.IMWRITE_WEBP_QUALITY, 80]
    return cv2.imencode("." + format, small, quality)[1].tobytes()

@app.post("/v1/fit")
async def run(request: Request, format: str = "jpeg"):
    data = await request.body()
    return Response(await run_in_threadpool(fit, data, format), media_type=f"image/{format}")

@app.get("/readyz")
async def ready():
    return {}

uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
"""


@dataclass
class Peer:
    """A server and how it is asked for a picture of 800 px: url of a format, and a body or none."""

    command: list[str]
    ready: str
    ask: Callable[[str], str]
    sends: bool = True


def picture_bytes(width: int, height: int) -> bytes:
    """A JPEG with texture: about 200 KB at 1.2 Mpx."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return codec.encode(cv2.add(image, rng.integers(0, 20, image.shape, np.uint8)), "JPEG", quality=80)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def ipx_program() -> str:
    home = CACHE / "ipx-3.1.1"
    program = home / "node_modules" / ".bin" / "ipx"
    if not program.exists():
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        packages = ["ipx@3.1.1", "sharp@0.35.5"]
        subprocess.run(["npm", "install", "--prefix", str(home), *quiet, *packages], check=True)
    return str(program)


def thumbor_program() -> str:
    """In a venv of its own: it wants an older Pillow and OpenCV than ours."""
    home = CACHE / "thumbor-7.8.0"
    if not (home / "bin" / "thumbor").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        python = str(home / "bin" / "python")
        packages = ["setuptools<81", "thumbor==7.8.0"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return str(home / "bin" / "thumbor")


def served(port: int, folder: Path, *words: str) -> list[str]:
    command = [sys.executable, "-m", "imgprep", "serve", "--port", str(port), "--workers", "2"]
    return [*command, "--out", str(folder / "media"), *words]


def peer_called(name: str, folder: Path) -> Peer:
    """The picture lies in the folder as big.jpg, for those that read files."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    post = lambda format: f"{url}/v1/fit?max_side=800&format={format}"  # noqa: E731
    if name == "imgprep":
        return Peer(served(port, folder), f"{url}/readyz", post)
    if name == "ray":
        return Peer(served(port, folder, "--ray"), f"{url}/readyz", post)
    if name == "fastapi":
        (folder / "plain.py").write_text(PLAIN.replace("PORT", str(port)))
        return Peer([sys.executable, str(folder / "plain.py")], f"{url}/readyz", post)
    if name == "ipx":
        words = ["serve", "--dir", str(folder), "--port", str(port), "--host", "127.0.0.1"]
        ask = lambda format: f"{url}/w_800,f_{format}/big.jpg"  # noqa: E731
        return Peer([ipx_program(), *words], f"{url}/w_10/big.jpg", ask, sends=False)
    (folder / "thumbor.conf").write_text(THUMBOR.format(root=str(folder)))
    words = ["-p", str(port), "-i", "127.0.0.1", "-c", str(folder / "thumbor.conf"), "--processes", "2"]
    ask = lambda format: f"{url}/unsafe/800x0/filters:format({format})/big.jpg"  # noqa: E731
    return Peer([thumbor_program(), *words], f"{url}/healthcheck", ask, sends=False)


@contextlib.contextmanager
def running(peer: Peer, log: Path) -> Iterator[tuple[psutil.Process, float]]:
    """The process of a server that answers, and the seconds that it took to."""
    began = time.monotonic()
    with log.open("w") as out:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            peer.command, stdout=out, stderr=out, env=environment, start_new_session=True
        )
    try:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(peer.ready, timeout=5).status_code < 500:
                    break
            if time.monotonic() - began > START_S or process.poll() is not None:
                raise RuntimeError(f"it did not start: {log.read_text()[-500:]}")
            time.sleep(0.05)
        yield psutil.Process(process.pid), time.monotonic() - began
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def cpu_s(process: psutil.Process) -> float:
    total = 0.0
    for one in tree(process):
        with contextlib.suppress(psutil.Error):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def memory_mib(process: psutil.Process) -> float:
    total = 0.0
    for one in tree(process):
        with contextlib.suppress(psutil.Error):
            total += one.memory_full_info().pss / 2**20
    return total


async def ask_all(url: str, body: bytes | None, count: int, at_once: int) -> list[float]:
    """Seconds of each of so many requests."""
    seconds: list[float] = []
    turns = asyncio.Semaphore(at_once)
    async with httpx.AsyncClient(timeout=120) as client:

        async def one() -> None:
            async with turns:
                began = time.monotonic()
                answer = await (client.post(url, content=body) if body else client.get(url))
                answer.raise_for_status()
                seconds.append(time.monotonic() - began)

        await asyncio.gather(*[one() for _ in range(count)])
    return sorted(seconds)


def warm_up(url: str, body: bytes | None) -> None:
    """A few requests, once more where they are dropped: HAProxy is loaded anew after Ray's start."""
    for _ in range(10):
        with contextlib.suppress(httpx.TransportError):
            asyncio.run(ask_all(url, body, 8, 4))
            return
        time.sleep(2)


def measured(name: str, big: bytes, small: bytes, count: int) -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        (folder / "big.jpg").write_bytes(big)
        peer = peer_called(name, folder)
        with running(peer, folder / "log.txt") as (process, start_s):
            told = [f"start {start_s:4.1f} s"]
            for format in ("jpeg", "webp"):
                body = big if peer.sends else None
                warm_up(peer.ask(format), body)
                before = cpu_s(process)
                seconds = asyncio.run(ask_all(peer.ask(format), body, count, AT_ONCE))
                used = 1000 * (cpu_s(process) - before) / count
                told.append(f"large -> {format} {used:5.1f} CPU ms")
            if peer.sends:
                before = cpu_s(process)
                seconds = asyncio.run(ask_all(peer.ask("jpeg"), small, 4 * count, 32))
                used = 1000 * (cpu_s(process) - before) / (4 * count)
                ratio = seconds[int(len(seconds) * 0.99)] / seconds[len(seconds) // 2]
                told.append(f"1.2 Mpx -> jpeg {used:5.1f} CPU ms, p99/p50 {ratio:.1f}")
            told.append(f"{memory_mib(process):5.0f} MiB")
        print(f"{name:8} {'; '.join(told)}; load {os.getloadavg()[0]:.0f}", flush=True)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--requests", type=int, default=60)
    given.add_argument("--only", default="imgprep,ipx,thumbor,fastapi,ray,imgprep")
    given.add_argument("--picture", type=Path, help="a photograph instead of 12 Mpx that are made")
    options = given.parse_args()
    big = options.picture.read_bytes() if options.picture else picture_bytes(4000, 3000)
    small = picture_bytes(1280, 960)
    size = codec.probe(big)
    print(f"{size.width} x {size.height}, {len(big):,} bytes; and {len(small):,} bytes", flush=True)
    for name in options.only.split(","):
        try:
            measured(name, big, small, options.requests)
        except (RuntimeError, httpx.HTTPError) as e:
            print(f"{name:8} {type(e).__name__} {e}", flush=True)


if __name__ == "__main__":
    main()
