"""The sample's web server on loopback: it serves the pictures,
and misbehaves where the URL says so.
"""

import json
import re
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from imgprep.io.web import routes

HOST = "127.0.0.1"
FILE_NAMES = re.compile(r"[a-z-]+\d+\.(jpg|png|webp)")
DRIP_S = 0.2


def serve(folder: str | Path) -> "Server":
    """Serve the sample in `folder` while this process lives, or a `with` lasts.

    It listens on the port that the sample's URLs name, or where somebody else has that, on a free
    one: what this process downloads from those URLs then comes from there, whatever the port is.
    """
    about = Path(folder, "sample.json").read_bytes()
    port = json.loads(about)["port"]
    try:
        server = Server((HOST, port), Path(folder), about)
    except OSError:
        server = Server((HOST, 0), Path(folder), about)
    routes.STAND_INS.pop(f"{HOST}:{port}", None)  # of one that is gone
    if server.server_port != port:
        routes.STAND_INS[f"{HOST}:{port}"] = f"{HOST}:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Server(ThreadingHTTPServer):
    """Answers the URLs of one sample. about: what the sample was made with, as JSON."""

    request_queue_size = 256  # the default of 5 costs a burst of connections a second each
    daemon_threads = True

    def __init__(self, address: tuple[str, int], folder: Path, about: bytes):
        super().__init__(address, _Handler)
        self.folder = folder
        self.about = about
        self.seen: set[str] = set()

    def __exit__(self, *_: object) -> None:
        mine = f"{HOST}:{self.server_port}"
        for site, at in list(routes.STAND_INS.items()):
            if at == mine:
                del routes.STAND_INS[site]
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's ACK
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
        elif not FILE_NAMES.fullmatch(name) or not file.is_file():
            self._answer(404)
        elif kind in ("endless", "dripping"):
            self._never_end(kind)
        else:
            time.sleep(kind == "slow")
            ending = file.suffix[1:].replace("jpg", "jpeg")
            self._answer(200, file.read_bytes(), content_type=f"image/{ending}")

    def _never_end(self, kind: str) -> None:
        self.close_connection = True
        self._answer(200, None, content_type="image/jpeg")
        piece, pause = (1 << 20, 0.0) if kind == "endless" else (1, DRIP_S)
        with suppress(OSError):  # when the client has had enough
            while True:
                self.wfile.write(bytes(piece))
                time.sleep(pause)

    def _answer(self, status: int, body: bytes | None = b"", **headers: str) -> None:
        """body: None where no length is told."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-").title(), value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: Any) -> None:
        """Nothing: this runs beside somebody's notebook."""
