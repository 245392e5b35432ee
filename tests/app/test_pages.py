"""The commands of pages in docs/how-to, run as they stand there, in an empty folder.

What installs something is left out, and a port is a free one; nothing else is changed.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import AZURITE, AZURITE_KEY, ROOT, azurite_connection
from made import picture

import imgprep
from imgprep import dataset
from imgprep.io.stores import Store
from imgprep.picture import codec
from imgprep.stages import images

pytestmark = [pytest.mark.slow]
PAGES = ROOT / "docs" / "how-to"
INSTALLS = re.compile(r"(python -m pip|npm install|make setup|source \.venv).*|python$")
# A small part of the work: the sizes of two pictures, without tags and pages.
FEW = " -p limit=2 -p 'taggers=[]' -p engine=local -p workers=0"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page."""
    return re.findall(rf"```{language}\n(.*?)```", (PAGES / page).read_text("utf-8"), re.DOTALL)


def commands(block: str) -> str:
    """Without what installs something, which CI has done."""
    lines = [line for line in block.splitlines() if not INSTALLS.fullmatch(line.split("  #")[0].strip())]
    assert lines, "nothing is left of it"
    return "\n".join(lines).replace("imgprep run gallery", f"imgprep run gallery{FEW}")


@pytest.fixture
def shell(project):
    """shell(text, **environment): what a person types, in the empty folder; the finished process."""
    (project.root / "environment.yml").write_text("name: uses-imgprep\n")
    names = project.root / "bin"
    names.mkdir()
    for name, words in {"imgprep": "-m imgprep", "moto_server": "-m moto.server", "python": ""}.items():
        (names / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (names / name).chmod(0o755)

    def run(text: str, **more: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PATH": f"{names}:{os.environ['PATH']}", **more}
        job = subprocess.Popen(
            ["bash", "-e", "-c", text], env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = job.communicate(timeout=240)
        finally:
            # Servers in the background are in its group, and end with it.
            os.killpg(job.pid, signal.SIGKILL) if is_alive(job.pid) else None
        return subprocess.CompletedProcess(text, job.returncode, said)

    return run


def is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
