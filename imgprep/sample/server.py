"""The sample's web server on loopback: it serves the pictures, and misbehaves where the URL says so."""

import http.client
import json
import re
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def serve(folder: str | Path) -> AbstractContextManager:
    """Serve the sample in `folder` on the port that its tables name, while this process lives or a `with` lasts.

    Where another process serves the same sample already, that is used. ValueError when the port is somebody else's.
    """
    about = Path(folder, "sample.json").read_bytes()
    port = json.loads(about)["port"]
    try:
        server = Server(("127.0.0.1", port), Path(folder), about)
    except OSError as e:
        with suppress(OSError, http.client.HTTPException):
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            line.request("GET", "/")
            if line.getresponse().read(1000) == about:
                return nullcontext()
        raise ValueError(f"port {port} is in use; stop that program, or make the sample with another port=…") from e
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Server(ThreadingHTTPServer):
    request_queue_size = 256  # the default of 5 costs a burst of connections a second each
    daemon_threads = True

    def __init__(self, address: tuple[str, int], folder: Path, about: bytes):
        super().__init__(address, _Handler)
        self.folder, self.about, self.seen = folder, about, set()

    def __exit__(self, *error) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's ACK of its header
    server: Server

    def do_GET(self) -> None:
        kind, _, name = self.path[1:].partition("/")
        file = self.server.folder / "pictures" / name
        is_first = self.path not in self.server.seen
        self.server.seen.add(self.path)
        if self.path == "/":
            self._answer(200, self.server.about)
        elif kind == "flaky" and is_first:
            self._answer(500)
        elif kind == "busy" and is_first:
            self._answer(429, retry_after="1")
        elif not re.fullmatch(r"[a-z-]+\d+\.(jpg|png|webp)", name) or not file.is_file():
            self._answer(404)
        elif kind in ("endless", "dripping"):
            self.close_connection = True
            self._answer(200, None, content_type="image/jpeg")
            with suppress(OSError):  # when the client has had enough
                while True:
                    self.wfile.write(bytes(1 << 20 if kind == "endless" else 1))
                    time.sleep(0 if kind == "endless" else 0.2)
        else:
            time.sleep(kind == "slow")
            self._answer(200, file.read_bytes(), content_type="image/" + file.suffix[1:].replace("jpg", "jpeg"))

    def _answer(self, status: int, body: bytes | None = b"", **headers: str) -> None:
        """body: None where no length is told."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-").title(), value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args) -> None:
        """Nothing: this runs beside somebody's notebook."""
