"""Headless Chromium for the tests that look at a page: screenshots, keys, console errors, network requests.

It speaks the DevTools protocol over the browser's own pipe (two file descriptors), so it needs nothing but the
standard library. `python tests/browser.py page.html shot.png --dark --width 390` takes one picture by hand.
"""

import argparse
import base64
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLAGS = [
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
]  # fmt: skip
# The browser reads commands on descriptor 3 and answers on 4, so the pipes get these numbers before it starts.
RENAME = """import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3])
os.dup2(commands, 3), os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])"""


def find() -> str | None:
    """Path of a Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


class Page:
    """One tab. `with Page() as page: page.open(file)`; ends the browser and removes its profile on leaving.

    After `open`, `page.problems` holds console errors and uncaught exceptions, `page.requests` every URL asked for
    that is not the page itself, a data: or a blob: URL (also those that the page's policy then refused).
    """

    def __init__(self, *, width: int = 1280, height: int = 900, dark: bool = False):
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._ids = itertools.count(1)
        self._size, self._dark = (width, height), dark

    def __enter__(self) -> "Page":
        self._profile = tempfile.mkdtemp(prefix="imgprep-browser-")
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        command = [find(), *FLAGS, *root, f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", RENAME, str(to_browser), str(from_browser), *command],
            pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(to_browser), os.close(from_browser)
        self._buffer, self._session = b"", None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(*self._size)
        self.emulate(dark=self._dark)
        return self

    def __exit__(self, *_) -> None:
        os.close(self._out), os.close(self._in)
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session: takes the renderer processes along
        except ProcessLookupError:
            pass
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, timeout_s: float = 60, **params) -> dict:
        """One protocol command and its result; RuntimeError when the browser refuses or does not answer."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        for answer in self._messages(timeout_s):
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
        raise RuntimeError(f"{method}: no answer in {timeout_s} s")

    def _messages(self, timeout_s: float):
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            if b"\0" not in self._buffer:
                if not select.select([self._in], [], [], left)[0]:
                    return
                chunk = os.read(self._in, 1 << 20)
                if not chunk:
                    raise RuntimeError("the browser ended")
                self._buffer += chunk
                continue
            first, self._buffer = self._buffer.split(b"\0", 1)
            message = json.loads(first)
            self._note(message)
            yield message

    def _note(self, message: dict) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.problems.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.problems.append(params["entry"]["text"])
            case "Network.requestWillBeSent" if params.get("type") != "Document":
                if not params["request"]["url"].startswith(("data:", "blob:")):
                    self.requests.append(params["request"]["url"])

    def open(self, path: str | Path, *, wait_s: float = 60) -> None:
        """Load a file (or a URL) and wait for its load event."""
        self.problems.clear(), self.requests.clear()
        self.call("Page.navigate", url=str(path) if "://" in str(path) else Path(path).resolve().as_uri())
        for message in self._messages(wait_s):
            if message.get("method") == "Page.loadEventFired":
                return
        raise RuntimeError(f"{path} did not load in {wait_s} s")

    def run(self, expression: str):
        """The value of a JavaScript expression in the page (promises awaited)."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"].get("description", "exception"))
        return result["result"].get("value")

    def key(self, name: str, *, code: int = 0, text: str = "") -> None:
        """Press and release one key, as a person does: 'Escape', 'ArrowRight', 'Tab', 'Enter' …"""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}
        text = text or {"Enter": "\r", " ": " "}.get(name, "")
        common = {"key": name, "code": name, "windowsVirtualKeyCode": code or codes.get(name, 0)}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector: str) -> None:
        """A real mouse click in the middle of the first element that matches; it is scrolled into view first."""
        middle = ("e.scrollIntoView({block: 'center', behavior: 'instant'}); const b = e.getBoundingClientRect();"
                  "return [b.x + b.width / 2, b.y + b.height / 2]")  # fmt: skip
        x, y = self.run(f"(e => {{ {middle} }})(document.querySelector({json.dumps(selector)}))")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def resize(self, width: int, height: int) -> None:
        self._size = (width, height)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def emulate(self, *, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: str | Path, *, whole: bool = False) -> Path:
        """A PNG of the window, or of the whole page."""
        clip = {}
        if whole:
            height = self.call("Page.getLayoutMetrics")["cssContentSize"]["height"]
            box = {"x": 0, "y": 0, "width": self._size[0], "height": height, "scale": 1}
            clip = {"clip": box, "captureBeyondViewport": True}
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", **clip)["data"]))
        return Path(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take a picture of a page.")
    parser.add_argument("page"), parser.add_argument("png")
    parser.add_argument("--width", type=int, default=1280), parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true"), parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    with Page(width=options.width, height=options.height, dark=options.dark) as tab:
        tab.open(options.page)
        tab.screenshot(options.png, whole=options.whole)
        print(*tab.problems, *tab.requests, sep="\n")
