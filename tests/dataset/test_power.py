"""After a loss of power no file that a dataset folder lists is empty or other than listed.

On ext4 of its own, in a file: a copy of that file is what a machine would find that lost its power
then. The run is stopped for each copy, and the journal committed just before: that is the worst
moment, when names are on the disk and the bytes need not be.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made import folder

from imgprep.dataset import Dataset, card
from imgprep.dataset.files import Folder
from imgprep.dataset.whole import Inspection

LOOKS = 12
LAST_S = 60
RUN = """
import sys
from pathlib import Path
import numpy as np
from made import table
import imgprep
from imgprep.dataset import files
from imgprep.stages import images

home, out, how, turns = sys.argv[1:]
if how == "without":
    files.sync_path = lambda path: None
rows = {"train": table(sorted(map(str, Path(home).iterdir())))}
with imgprep.session("local", workers=0):
    for turn in range(int(turns)):
        images.transform(rows, out, np.flipud, batch_size=20, format=["PNG", "WEBP"][turn % 2])
print("done")
"""


def command(*words: object) -> None:
    subprocess.run([*map(str, words)], check=True, capture_output=True, timeout=60)


class Disk:
    """A file system in a file, mounted; `after_power_loss` is the folder as it would be found."""

    def __init__(self, home: Path):
        self.image = home / "disk"
        self.mounted = home / "mounted"
        self.found = home / "found"
        self.out = self.mounted / "out"
        self.mounted.mkdir()
        self.found.mkdir()
        command("truncate", "-s", "96M", self.image)
        command("mkfs.ext4", "-q", "-F", self.image)
        command("mount", "-o", "loop,data=writeback,commit=300", self.image, self.mounted)

    def commit_journal(self) -> None:
        """As somebody's fsync of another file does: names go to the disk, bytes need not."""
        other = os.open(self.mounted / "other", os.O_CREAT | os.O_WRONLY)
        os.write(other, b"x")
        os.fsync(other)
        os.close(other)

    @contextlib.contextmanager
    def after_power_loss(self):
        copy = self.image.with_name("copy")
        command("cp", "--sparse=always", self.image, copy)
        command("mount", "-o", "loop", copy, self.found)
        try:
            yield self.found / "out"
        finally:
            command("umount", self.found)

    def close(self) -> None:
        for place in (self.found, self.mounted):
            subprocess.run(["umount", str(place)], capture_output=True, timeout=60)


@pytest.fixture
def disk(tmp_path):
    for needed in ("mkfs.ext4", "mount"):
        if not shutil.which(needed):
            pytest.skip(f"there is no {needed} here")
    made = None
    try:
        made = Disk(tmp_path)
    except subprocess.CalledProcessError as e:
        pytest.skip(f"no file system can be mounted here: {(e.stderr or b'').decode().strip()}")
    yield made
    made.close()


@contextlib.contextmanager
def running(home: Path, disk: Disk, how: str, turns: int):
    here = str(Path(__file__).parent.parent)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([here, *sys.path])}
    words = [sys.executable, "-c", RUN, home, disk.out, how, turns]
    process = subprocess.Popen([*map(str, words)], env=env, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=60)


def damages(out: Path) -> dict[str, str] | None:
    """What is listed and is not what was written; None where nothing is listed yet."""
    home = Folder(str(out))
    has_list = home.size(".imgprep/manifest.jsonl") is not None
    text = (home.get("README.md") or b"").decode("utf-8", "replace")
    if not has_list and home.size("README.md") is None:
        return None
    look = Inspection(home)
    bad = {"README.md": "is empty"} if not text else {}
    try:
        bad |= dict(look.damages(Dataset(home).files)) if has_list else {}
    except ValueError as e:
        bad["manifest"] = str(e)
    for name in card._files_listed(text):
        if told := look.damage(name):
            bad[name] = told
    return bad


@pytest.mark.slow
def test_what_is_listed_is_on_the_disk(disk, tmp_path):
    folder(tmp_path / "in", 200)
    found = []
    with running(tmp_path / "in", disk, "with", 1_000) as run:
        until = time.monotonic() + 120
        while not disk.out.joinpath(".imgprep/manifest.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.02)
        last = time.monotonic() + LAST_S
        while len(found) < LOOKS and time.monotonic() < last:
            time.sleep(0.03 * (len(found) % 7))
            run.send_signal(signal.SIGSTOP)
            if len(found) % 2:
                disk.commit_journal()
            with disk.after_power_loss() as out:
                found.append(damages(out))
            run.send_signal(signal.SIGCONT)
            assert run.poll() is None, "it ended by itself"
    listed = [one for one in found if one is not None]
    assert len(listed) >= LOOKS // 2 and not any(listed), found


@pytest.mark.slow
def test_this_would_see_a_file_that_was_only_renamed(disk, tmp_path):
    folder(tmp_path / "in", 60)
    with running(tmp_path / "in", disk, "without", 1) as run:
        assert run.wait(timeout=150) == 0
    disk.commit_journal()
    with disk.after_power_loss() as out:
        assert damages(out), "without fsync something is lost"
