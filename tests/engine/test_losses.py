"""Was it the picture, or the machine? Told by how the process ended that had the picture alone."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from made import folder, picture, table

import imgprep
from imgprep.dataset.files import Folder
from imgprep.engine.losses import loss_by_exit
from imgprep.stages import images

BAD = 3
POISON = picture(BAD).tolist()
GROUPS = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def raw(tmp_path):
    return {"train": table(folder(tmp_path / "in", 6))}


@pytest.fixture
def pool():
    imgprep.session("local", workers=1)
    yield
    imgprep.close()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_from_outside_is_a_circumstance_that_the_next_run_tries_again(raw, tmp_path, pool, sent):
    healed = tmp_path / "healed"

    def fn(image):
        if image.tolist() == POISON and not healed.exists():
            os.kill(os.getpid(), sent)
            signal.pause()
        return image

    out = images.transform(raw, str(tmp_path / "out"), fn)
    row = out.table("train").to_pylist()[BAD]
    assert out.counts()["ok"] == 5 and row["reason"] == "killed"
    assert row["error"] == f"the process that worked on this was ended from outside ({sent.name})"
    assert not Folder(out.folder).list(".imgprep/started")
    healed.touch()
    again = images.transform(raw, str(tmp_path / "out"), fn)
    assert again.counts()["ok"] == 6 and again.runs()[-1]["computed"] == 1


@pytest.mark.parametrize("sent", [signal.SIGSEGV, signal.SIGABRT])
def test_a_fault_of_the_process_is_the_pictures_and_stays(raw, tmp_path, pool, sent):
    def fn(image):
        if image.tolist() == POISON:
            os.kill(os.getpid(), sent)
        return image

    out = images.transform(raw, str(tmp_path / "out"), fn)
    assert out.counts()["reasons"] == {"crashed": 1}
    again = images.transform(raw, str(tmp_path / "out"), fn)
    assert len(again.runs()) == 1, "nothing is tried again"


@pytest.mark.parametrize("code", [None, 0, 1, 11, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGFPE])
def test_other_endings_are_crashes(code):
    assert loss_by_exit(code, out_of_memory=True).reason == "crashed"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_ends_the_run_and_is_no_pictures_failure(raw, tmp_path, number, workers):
    full = tmp_path / "full"
    full.touch()

    def fn(image):
        if image.tolist() == POISON and full.exists():
            raise OSError(number, os.strerror(number), "/scratch/x")
        return image

    with imgprep.session("local", workers=workers):
        with pytest.raises(RuntimeError, match="(?i)no space left|quota exceeded"):
            images.transform(raw, str(tmp_path / "out"), fn)
        full.unlink()
        assert images.transform(raw, str(tmp_path / "out"), fn).counts()["ok"] == 6


RUN = """
import sys
import numpy as np
from made import picture, table
import imgprep
from imgprep.stages import images

POISON = picture(3).tolist()

def hungry(image):
    if image.tolist() == POISON:
        return np.ones(3 << 29, np.uint8)[:8, None]
    return image

home, *sources = sys.argv[1:]
with imgprep.session("local", workers=1):
    out = images.transform({"train": table(sources)}, home, hungry)
print(out.table("train")["reason"][3], "|", out.table("train")["error"][3], "|", out.counts()["ok"])
"""


@pytest.fixture
def group():
    """A control group of one GiB."""
    home = GROUPS / f"imgprep-{uuid.uuid4().hex[:8]}"
    try:
        home.mkdir()
        (home / "memory.limit_in_bytes").write_text(str(1 << 30))
        with contextlib.suppress(OSError):
            (home / "memory.memsw.limit_in_bytes").write_text(str(1 << 30))
    except OSError as e:
        pytest.skip(f"no control group can be made here ({e.strerror})")
    yield home
    home.rmdir()


def test_what_the_system_ends_for_want_of_memory_is_told_as_that(group, raw, tmp_path):
    enter = f"echo $$ > {group}/cgroup.procs && exec \"$@\""
    words = [sys.executable, "-c", RUN, str(tmp_path / "out"), *raw["train"]["source"].to_pylist()]
    here = str(Path(__file__).parent.parent)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([here, *sys.path])}
    shell = ["sh", "-c", enter, "sh", *words]
    done = subprocess.run(shell, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = "the process that worked on this was ended from outside (SIGKILL): the machine was out of memory"
    assert done.stdout.splitlines()[-1] == f"killed | {told} | 5"
