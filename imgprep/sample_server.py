"""The sample's web server on loopback: it serves the pictures, and misbehaves where the URL says so.

Run by `imgprep.sample.serve`, or by hand: `python -m imgprep.sample_server data/sample`. Standard library only, because
it is a process of its own that should start at once.
"""

import hashlib
import json
import os
import re
import sys
import threading
import time
import zlib
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

IDENTITY = "/imgprep-sample"


def identity(folder: str | Path) -> str:
    """Names the sample in `folder` by what it was made with: equal for equal samples."""
    return hashlib.sha256(Path(folder, "sample.json").read_bytes()).hexdigest()[:16]


class Server(ThreadingHTTPServer):
    request_queue_size = 256  # the default of 5 costs a burst of connections a second each
    daemon_threads = True

    def __init__(self, folder: str | Path, *, while_held: bool):
        super().__init__(("127.0.0.1", json.loads(Path(folder, "sample.json").read_text())["port"]), _Handler)
        self.folder, self.while_held, self.holders, self.seen = Path(folder), while_held, 0, set()
        self.lock = threading.Lock()
        if while_held:
            threading.Timer(10, self.count, [0]).start()  # whoever started it may have died before holding it

    def count(self, more: int) -> None:
        with self.lock:  # inside it, so that no one is told "held" by a server that is ending
            self.holders += more
            if self.while_held and not self.holders:
                os._exit(0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's ACK of its header
    server: Server

    def do_GET(self) -> None:
        if self.path.startswith(IDENTITY):
            return self._identify()
        kind, _, name = self.path[1:].partition("/")
        with self.server.lock:
            is_first = self.path not in self.server.seen
            self.server.seen.add(self.path)
        file = self.server.folder / "pictures" / name
        if kind == "flaky" and is_first:
            self._answer(500)
        elif kind == "busy" and is_first:
            self._answer(429, {"Retry-After": "1"})
        elif kind == "moved":
            self._answer(302, {"Location": f"/photo/{name}"})
        elif kind == "loop":
            self._answer(302, {"Location": self.path})
        elif kind == "metadata":
            self._answer(302, {"Location": "http://169.254.169.254/latest/meta-data/"})
        elif re.fullmatch(r"[a-z-]+\d+\.(jpg|png|webp)", name) and file.is_file():
            self._serve(kind, file.read_bytes(), file.suffix[1:].replace("jpg", "jpeg"))
        else:
            self._answer(404)

    def _serve(self, kind: str, body: bytes, subtype: str) -> None:
        headers = {"Content-Type": f"image/{subtype}", "ETag": f'"{zlib.crc32(body):08x}"'}
        if kind == "noai":
            headers["X-Robots-Tag"] = "noai"
        if kind == "slow":
            time.sleep(1)
        if kind not in ("short", "endless", "dripping"):
            is_same = self.headers.get("If-None-Match") == headers["ETag"]
            return self._answer(304, headers, length=None) if is_same else self._answer(200, headers, body)
        self.close_connection = True
        with suppress(OSError):  # when the client has had enough
            if kind == "short":
                self._answer(200, headers, body[: len(body) // 2], length=len(body))
            elif kind == "endless":
                self._answer(200, headers, body, length=None)
                while True:
                    self.wfile.write(bytes(1 << 20))
            else:
                self._answer(200, headers, length=len(body))
                for at in range(len(body)):
                    self.wfile.write(body[at : at + 1])
                    time.sleep(0.2)

    def _identify(self) -> None:
        """Say which sample this is; to one who asks for this one to hold it, stay connected until they are gone."""
        mine = identity(self.server.folder)
        held = self.path == f"{IDENTITY}?hold={mine}"
        self.close_connection = True
        if held:
            self.server.count(1)
        try:
            self._answer(200, {"Content-Type": "text/plain"}, mine.encode())
            if held:
                self.connection.recv(1)
        finally:
            if held:
                self.server.count(-1)

    def _answer(self, status: int, headers: dict | None = None, body: bytes = b"", length: int | None = -1) -> None:
        """`length` is what Content-Length says: None leaves it out, -1 is the truth."""
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        """Nothing: this runs beside somebody's notebook."""


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        Server(sys.argv[1], while_held="--while-held" in sys.argv).serve_forever()
