"""A real JupyterLab for tests that look at a notebook as a person does: start it, wait, choose from menus."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from browser import Page

CELLS_RUN = ".jp-CodeCell .jp-InputArea .jp-InputPrompt"
GONE_WRONG = ".jp-OutputArea-output[data-mime-type*=error], [data-mime-type*=stderr]"


def wait_for(what: str, true: Callable[[], bool], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.25)


@contextlib.contextmanager
def jupyterlab(own: Path) -> Iterator[str]:
    """JupyterLab as `imgprep lab` opens it in the working directory; gives its address. own: an empty folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # nobody's own settings and running servers
    settings = {f"JUPYTER_{name}_DIR": str(own / name) for name in ("CONFIG", "RUNTIME")}
    settings |= {f"JUPYTERLAB_{name}_DIR": str(own / name) for name in ("SETTINGS", "WORKSPACES")}
    server = subprocess.Popen(
        [sys.executable, "-m", "imgprep", "lab", "--no-browser", f"--port={port}"],
        env={**os.environ, **settings, "JUPYTER_TOKEN": "secret"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/api"))["version"] != ""
        return False

    try:
        wait_for("JupyterLab", answers)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()  # takes its kernels along
        server.wait(60)


def texts(page: Page, selector: str) -> list[str]:
    return page.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")


def choose(page: Page, selector: str, text: str) -> None:
    """Click on the element with this text, when it is there."""
    wait_for(text, lambda: text in texts(page, selector))
    mark = f"[...document.querySelectorAll({json.dumps(selector)})].find(e => e.textContent == {json.dumps(text)})"
    page.run(f"{mark}.setAttribute('data-chosen', {json.dumps(text)})")
    page.click(f"[data-chosen={json.dumps(text)}]")


def run_all(page: Page, address: str, cells: int, picture: Path) -> None:
    """Open a notebook and do what a person does: Run, Run All Cells. Waits for so many; a picture of it is kept."""
    page.open(address)
    wait_for("the kernel", lambda: "Python 3 (ipykernel) | Idle" in texts(page, ".jp-StatusBar-TextItem"))
    choose(page, ".lm-MenuBar-itemLabel", "Run")
    choose(page, ".lm-Menu-itemLabel", "Run All Cells")
    ran = [f"[{n}]:" for n in range(1, cells + 1)]
    try:
        wait_for("all cells", lambda: texts(page, CELLS_RUN) == ran)
    finally:
        page.screenshot(picture)
