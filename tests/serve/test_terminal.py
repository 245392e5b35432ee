"""What a person sees who started the service in a terminal."""

import os
import pty
import re
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.slow


def read_until(terminal: int, wanted: str) -> str:
    """What the terminal shows, up to the line that matches."""
    said = ""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        said += os.read(terminal, 1 << 16).decode()
        if re.search(wanted, said):
            return said
    raise AssertionError(said)


def test_a_terminal_shows_a_short_line_a_request_and_obeys_none(tmp_path):
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "imgprep", "serve", "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=theirs, stderr=subprocess.STDOUT) as served:
        os.close(theirs)
        try:
            url = read_until(mine, "Ctrl-C").split()[0]
            assert urlopen(f"{url}/healthz", timeout=30).status == 200
            line = read_until(mine, r"healthz .*ms")
            assert re.fullmatch(r"\d\d:\d\d:\d\d GET /healthz 200 \d+ ms", line.strip())
            with pytest.raises(OSError, match="404"):
                urlopen(f"{url}/%1b%5d0;mine%07", timeout=30)
            assert "/?]0;mine? 404" in read_until(mine, "404")
        finally:
            served.terminate()
    os.close(mine)
