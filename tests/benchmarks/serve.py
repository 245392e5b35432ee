"""The service's own cost: CPU ms of a request over the pure function, memory, start, p99 over p50, cached GETs.

The server is a process of its own; what the client costs is not counted.

python tests/benchmarks/serve.py [--requests 400]
"""

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import httpx
import peers
import psutil
import uvicorn
from fastapi import Request, Response

from imgprep.serve import http, operations, server
from imgprep.serve.service import Service, Settings

AT_ONCE = 32
BATCHES = 4  # of which the best counts: what else the machine does only adds


def pure(data: bytes, count: int) -> float:
    """CPU ms of the function alone, in a process that a worker is like."""
    cv2.setNumThreads(1)
    best = float("inf")
    process = psutil.Process()
    for _ in range(BATCHES):
        began = sum(process.cpu_times()[:2])
        for _ in range(count // BATCHES):
            operations.compute(operations.fit_side, data, {"max_side": 800}, "JPEG", None)
        best = min(best, 1000 * (sum(process.cpu_times()[:2]) - began) / (count // BATCHES))
    return best


def serve_with_a_door_that_only_reads(out: str, port: int) -> None:
    """The service, and `POST /read`: the body is admitted, read and dropped."""
    service = Service(Settings(out=out, port=port, workers=2))
    service.start()
    build = http.build_app

    def with_read(service: Service):
        app = build(service)

        @app.post("/read")
        async def read(request: Request) -> Response:
            await http.body_of(request)
            return Response(b"{}")

        return app

    server.build_app = with_read
    uvicorn.run(server.asgi(service), port=port, log_level="warning", access_log=False)


def measured(process: psutil.Process, name: str, url: str, data: bytes | None, count: int) -> float:
    """CPU ms of the server's processes for a request."""
    peers.warm_up(url, data)
    best, ratio = float("inf"), float("inf")
    for _ in range(BATCHES):
        before = peers.cpu_s(process)
        seconds = peers.asyncio.run(peers.ask_all(url, data, count // BATCHES, AT_ONCE))
        best = min(best, 1000 * (peers.cpu_s(process) - before) / len(seconds))
        ratio = min(ratio, seconds[int(len(seconds) * 0.99)] / seconds[len(seconds) // 2])
    print(f"{name:34} {best:6.2f} CPU ms a request, p99 / p50 {ratio:.1f}", flush=True)
    return best


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--requests", type=int, default=400)
    given.add_argument("--served", nargs=2, help=argparse.SUPPRESS)
    options = given.parse_args()
    if options.served:
        out, port = options.served
        return serve_with_a_door_that_only_reads(out, int(port))
    count = options.requests
    data = peers.picture_bytes(1280, 960)
    alone = pure(data, count)
    print(f"{len(data):,} bytes; fit to 800: the pure function {alone:.2f} CPU ms")
    with tempfile.TemporaryDirectory() as folder:
        port = peers.free_port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, __file__, "--served", f"{folder}/media", str(port)]
        peer = peers.Peer(command, f"{url}/readyz", lambda format: url)
        with peers.running(peer, Path(folder, "log.txt")) as (process, start_s):
            print(f"start to first answer: {start_s:.1f} s")
            measured(process, "POST that only reads", f"{url}/read", data, 4 * count)
            fit = f"{url}/v1/fit?max_side=800"
            fitted = measured(process, "POST fit to 800", fit, data, count)
            name = httpx.put(f"{url}/v1/objects", content=data).json()["id"]
            small = f"{url}/v1/objects/{name}/fit?max_side=200"
            measured(process, "GET cached", small, None, 4 * count)
            print(f"memory of all its processes {peers.memory_mib(process):.0f} MiB")
    print(f"fit through the service over the pure function: {fitted / alone:.2f}x")


if __name__ == "__main__":
    main()
