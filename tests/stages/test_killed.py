"""kill -9 at any point of an export or an upload: nothing half is to be seen, the next run ends it."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid

import deaths
import psutil
import pytest
from made import in_sizes, tree

import imgprep
from imgprep.io.stores import Store
from imgprep.stages import exports, upload

N = 30
SEED = 9


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """30 pictures in three sizes."""
    with imgprep.session("local", 0):
        yield in_sizes(tmp_path_factory.mktemp("sizes"), N)


def gone(place, name: str) -> bool:
    """Has all that stood beside an export been tidied up? The sweeper is given twenty seconds."""
    for _ in range(200):
        if {*os.listdir(place)} <= {name}:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "lance"])
def test_an_export_that_is_killed_anywhere_leaves_nothing_or_all_of_it(sizes, tmp_path, form):
    if form == "lance":
        pytest.importorskip("lance")
    points = random.Random(SEED)
    shares = [0.02, *(points.uniform(0.05, 0.98) for _ in range(2))]
    homes = [tmp_path / str(number) for number in range(len(shares) + 1)]
    for home in homes:
        home.mkdir()
    calls = [[sizes.folder, str(home / "out"), form] for home in homes]
    codes = deaths.ends("export", shares, calls)
    assert codes.count(-9) >= len(codes) - 1, "all but the last ones fall into the work"
    for home in homes[1:]:
        assert gone(home, "out"), os.listdir(home)
        is_there = (home / "out").exists()
        assert not is_there or len(tree(home / "out")) == len(tree(homes[0] / "out"))
        with imgprep.session("local", 0):
            exports.export(sizes.folder, str(home / "out"), form)
        assert len(tree(home / "out")) == len(tree(homes[0] / "out"))
        if form in ("imagefolder", "webdataset"):
            assert tree(home / "out") == tree(homes[0] / "out")


@pytest.mark.slow
@pytest.mark.store
@pytest.mark.parametrize("scheme", ["az", "s3"])
def test_an_upload_that_is_killed_anywhere_ends_with_the_bytes_of_an_unbroken_one(
    sizes, azurite, s3, tmp_path, scheme
):
    points = random.Random(SEED)
    shares = [points.uniform(0.1, 0.5) for _ in range(2)]
    whole, place = (f"{scheme}://t{uuid.uuid4().hex[:20]}" for _ in range(2))
    out = str(tmp_path / "out")
    killed = [[sizes.folder, f"{place}/x", out]] * len(shares)
    codes = deaths.ends("upload", shares, [[sizes.folder, f"{whole}/x", str(tmp_path / "w")], *killed])
    assert codes[0] == -9, codes
    with imgprep.session("local", 0):
        found = upload.upload(sizes.folder, f"{place}/x", out)
        books = upload.upload(sizes.folder, f"{place}/x", str(tmp_path / "books"))
        wanted = upload.upload(sizes.folder, f"{whole}/x", str(tmp_path / "w"))
    assert found.counts() == sizes.counts() and tree(out) == tree(books.folder)
    assert Store(place).list() == Store(whole).list()
    assert _but_the_place(found) == _but_the_place(wanted), "but for the place and its ETags all is equal"
    card, unbroken = ((tmp_path / name / "README.md").read_text() for name in ("out", "w"))
    assert _without_hashes(card.replace(place, whole)) == _without_hashes(unbroken)


def _but_the_place(found) -> list[dict]:
    rows = found.table("train").to_pylist()
    for row in rows:
        del row["file"]  # called by what is in it, and that is another place
        row["etag"] = bool(row["etag"])
        row["uri"] = row["uri"] and row["uri"].split("/", 3)[3]
    return rows


def _without_hashes(card: str) -> str:
    """The files are named by their content, and that is other URIs."""
    return re.sub(r"-[0-9a-f]{12}\.parquet|num_bytes: \d+|download_size: \d+", "", card)


COMMAND = """
import sys
import imgprep
from imgprep.stages import upload
imgprep.session("local", workers=2)
upload.upload(*sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.store
def test_an_upload_by_processes_that_is_killed_again_and_again_leaves_none_and_ends(
    sizes, azurite, tmp_path
):
    place, out = f"az://t{uuid.uuid4().hex[:20]}", str(tmp_path / "out")
    store = Store(place)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for number in (5, 40):  # objects that are there when it is killed
        command = [sys.executable, "-c", COMMAND, sizes.folder, f"{place}/x", out]
        run = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + 120
        while len(_names(store)) < number and run.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            run.send_signal(signal.SIGKILL)
        run.wait(timeout=60)
        assert _left_behind(run.pid) == []
    with imgprep.session("local", 0):
        found = upload.upload(sizes.folder, f"{place}/x", out)
        books = upload.upload(sizes.folder, f"{place}/x", str(tmp_path / "books"))
    assert found.counts() == sizes.counts() and tree(out) == tree(books.folder)


def _names(store: Store) -> list[str]:
    try:
        return store.list()
    except Exception:  # the container is not there yet
        return []


def _left_behind(session: int) -> list[psutil.Process]:
    """Processes of a session that are there half a minute later."""
    for _ in range(300):
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if os.getsid(process.pid) == session and process.status() != "zombie":
                    left.append(process)
        if not left:
            break
        time.sleep(0.1)
    return left
