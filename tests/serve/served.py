"""`imgprep serve` as a process of its own, as a user or a container starts it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from conftest import ROOT


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Served:
    """`with Served(folder, "--workers", "2", code=…) as one:` one.url, one.process, one.client().

    code: a module `mine` with the functions that are served beside the built-in ones.
    """

    def __init__(self, folder: Path, *words: str, code: str = "", names: tuple[str, ...] = ()):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "mine.py").write_text(code)
        functions = [f"mine:{name}" for name in names]
        command = [sys.executable, "-m", "imgprep", "serve", *functions, "--port", str(self.port)]
        self.log = folder / "serve.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--out", str(folder / "media"), *words],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> "Served":
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return self
            time.sleep(0.1)
        self.__exit__()
        raise AssertionError(f"it did not start: {self.log.read_text()[-2000:]}")

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, **{"timeout": 60, **options})
