"""The service's own cost: CPU ms of a request over the pure function, memory, start, p99 over p50, cached GETs.

python tests/benchmarks/serve.py [--requests 400]
"""

import argparse
import asyncio
import tempfile
import time

import cv2
import httpx
import numpy as np
import psutil

from imgprep.picture import codec
from imgprep.serve import operations, server


def noop(image):
    return {}


def picture_bytes(width: int, height: int) -> bytes:
    """A JPEG with texture: about 200 KB at 1.2 Mpx."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return codec.encode(cv2.add(image, rng.integers(0, 20, image.shape, np.uint8)), "JPEG", quality=80)


def cpu_of_all() -> float:
    """CPU seconds of this process and its children."""
    us = psutil.Process()
    times = [p.cpu_times() for p in (us, *us.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def pure(data: bytes, count: int) -> float:
    """CPU ms of the function alone."""
    began = time.process_time()
    for _ in range(count):
        operations.compute(operations.fit_side, data, {"max_side": 800}, "JPEG", None)
    return 1000 * (time.process_time() - began) / count


async def asked(url: str, data: bytes | None, count: int, at_once: int) -> list[float]:
    """Seconds of each of so many requests."""
    found: list[float] = []
    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:

        async def one() -> None:
            began = time.monotonic()
            answer = await (client.post(url, content=data) if data else client.get(url))
            answer.raise_for_status()
            found.append(time.monotonic() - began)

        for start in range(0, count, at_once):
            await asyncio.gather(*(one() for _ in range(min(at_once, count - start))))
    return found


def measured(name: str, url: str, data: bytes | None, count: int, at_once: int, client_ms: float) -> float:
    began = cpu_of_all()
    seconds = sorted(asyncio.run(asked(url, data, count, at_once)))
    # The client is in this process: what it costs to ask a server that does nothing is taken off.
    cpu_ms = 1000 * (cpu_of_all() - began) / count - client_ms
    p50, p99 = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
    print(f"{name:34} {cpu_ms:6.2f} CPU ms a request, p99 / p50 {p99 / p50:.1f}", flush=True)
    return cpu_ms


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--requests", type=int, default=400)
    count = given.parse_args().requests
    data = picture_bytes(1280, 960)
    alone = pure(data, count)
    print(f"{len(data):,} bytes; fit to 800: the pure function {alone:.2f} CPU ms")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as out, server.start(noop, out=out, workers=2) as here:
        httpx.get(f"{here.url}/readyz")
        print(f"start to first answer: {time.monotonic() - began:.1f} s")
        client_ms = measured("GET /healthz (server and client)", f"{here.url}/healthz", None, count, 32, 0)
        fitted = measured("POST fit to 800", f"{here.url}/v1/fit?max_side=800", data, count, 32, client_ms)
        name = httpx.put(f"{here.url}/v1/objects", content=data).json()["id"]
        small = f"{here.url}/v1/objects/{name}/fit?max_side=200"
        httpx.get(small)
        measured("GET cached", small, None, count, 32, client_ms)
        us = psutil.Process()
        children = us.children(recursive=True)
        memory = sum(p.memory_full_info().pss for p in children) / (1 << 20)
        print(f"workers' memory {memory:.0f} MiB")
        print(f"fit through the service over the pure function: {fitted / alone:.2f}x")


if __name__ == "__main__":
    main()
