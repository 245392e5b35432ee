"""Is the distributed answer the local answer? And what happens when a worker dies, on each engine."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from made import folder, picture, table, tree
from test_stage import alive, children_of, load, wait_for

import imgprep
from imgprep import dataset, engine
from imgprep.dataset.files import Folder
from imgprep.picture import codec, ocr
from imgprep.stages import images

ENGINES = [pytest.param("local", id="local"), pytest.param("ray", id="ray", marks=pytest.mark.ray)]


@contextlib.contextmanager
def inline():
    """No other process; what runs already stays."""
    before = engine.current()
    imgprep.session("local", 0)
    yield
    imgprep.session(before.engine, before.workers)


@pytest.fixture(scope="module", params=ENGINES)
def session(request):
    """One engine for all tests of this file that take it: Ray needs 10 s to start."""
    imgprep.session(request.param, workers=2)
    yield request.param
    imgprep.close()


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Sixty pictures, made without any engine."""
    where = tmp_path_factory.mktemp("raw")
    with inline():
        images.download({"train": table(folder(where / "in", 60))}, str(where / "raw"))
    return str(where / "raw")


def small(image, *, n=8):
    return np.ascontiguousarray(image[:n, :n])


def test_every_engine_gives_the_same_bytes(raw, tmp_path, session):
    images.transform(raw, str(tmp_path / "out"), small, batch_size=20)
    with inline():
        images.transform(raw, str(tmp_path / "inline"), small, batch_size=20)
    assert tree(tmp_path / "out") == tree(tmp_path / "inline")
    assert dataset.open(str(tmp_path / "out")).runs()[0]["engine"] == session


def test_a_picture_that_kills_its_process_is_one_crashed_row(raw, tmp_path, session):
    poison = picture(17).tolist()

    def crash(image):
        if image.tolist() == poison:
            os._exit(11)  # what a fault in a C library looks like from outside
        return image

    out = images.transform(raw, str(tmp_path / "out"), crash)
    rows = out.table("train")
    assert out.counts() == {"rows": 60, "ok": 59, "placeholder": 0, "failed": 1, "reasons": {"crashed": 1}}
    assert rows["reason"].to_pylist()[17] == "crashed" and len(load(out.folder)["train"]) == 59
    assert not Folder(out.folder).list(".imgprep/started")  # the marks of the dead


class Model:
    """Writes a line when it is built."""

    def __init__(self, where="", by=2):
        Path(where, f"{os.getpid()}-{time.time_ns()}").touch()
        self.by = by

    def __call__(self, batch):
        assert len(batch) <= 4
        return [image // self.by for image in batch]


def test_a_class_is_built_once_per_worker(raw, tmp_path, session):
    (tmp_path / "built").mkdir()
    out = images.transform(raw, str(tmp_path / "out"), Model, batch=4, where=str(tmp_path / "built"), by=3)
    built = [p.name.split("-")[0] for p in (tmp_path / "built").iterdir()]
    assert len(built) == len(set(built)) <= 2 and str(os.getpid()) not in built
    assert np.array_equal(codec.decode(out.pictures("train", [5])[0]), picture(5) // 3)


def test_what_the_user_did_wrong_comes_back_as_one_sentence(raw, tmp_path, session):
    with pytest.raises(ValueError, match="must return a picture, a dict or a list"):
        images.transform(raw, str(tmp_path / "out"), lambda image: None)
    with pytest.raises(RuntimeError, match="the model is not here"):
        images.transform(raw, str(tmp_path / "out"), Broken)


class Broken:
    def __init__(self):
        raise RuntimeError("the model is not here")

    def __call__(self, image):
        return image


def test_a_function_of_this_file_is_recomputed_when_its_helper_changes(raw, tmp_path, session, monkeypatch):
    out = str(tmp_path / "out")
    images.transform(raw, out, uses_helper)
    monkeypatch.setattr(sys.modules[__name__], "helper", lambda image: image // 5)
    images.transform(raw, out, uses_helper)
    assert dataset.open(out).runs()[-1]["computed"] == 60
    assert np.array_equal(codec.decode(dataset.open(out).pictures("train", [3])[0]), picture(3) // 5)


def helper(image):
    return image // 4


def uses_helper(image):
    return helper(image)


@pytest.mark.ray
def test_ray_opens_a_dataset_folder_runs_its_functions_and_writes_one(raw, tmp_path, session):
    if session != "ray":
        pytest.skip("this is about Ray")
    import ray

    engine.start_ray()
    ds = ray.data.read_parquet(dataset.open(raw).data_files(split="train"))
    assert ds.count() == 60
    tiny = images.batch(ocr.prepare, size_wh=[4, 4])
    mapped = ds.select_columns(["image_id", "image"]).map_batches(tiny, batch_size=16)
    first = {row["image_id"]: codec.decode(row["image"]).tolist() for row in mapped.take_all()}
    ids = dataset.open(raw).table("train")["image_id"].to_pylist()
    assert first[ids[9]] == ocr.prepare(picture(9), [4, 4]).tolist()
    out = images.write(mapped, str(tmp_path / "out"), id_column="image_id")
    assert out.counts()["ok"] == 60 and set(out.table("train")["image_id"].to_pylist()) == set(ids)
    assert load(out.folder)["train"][0]["image"].size == (4, 4)


SCRIPT = """
import os, subprocess, sys, time
sys.path[:0] = {paths!r}
import imgprep
from imgprep import images
def slow(image):
    time.sleep(0.1)
    return image // 2
if __name__ == "__main__":
    subprocess.Popen(["sleep", "300"])
    imgprep.session({engine!r}, workers=2)
    images.transform({raw!r}, {out!r}, slow)
"""


def start(tmp_path, engine_name, raw):
    (tmp_path / "job.py").write_text(
        SCRIPT.format(paths=[p for p in sys.path if p], engine=engine_name, raw=raw, out=str(tmp_path / "out"))
    )
    # A group of its own, as JupyterLab and a terminal give it: the stop button reaches every process in it.
    job = subprocess.Popen([sys.executable, str(tmp_path / "job.py")], start_new_session=True, stderr=subprocess.PIPE)
    wait_for(lambda: Folder(str(tmp_path / "out")).list(".imgprep/parts"), 90)
    return job, children_of(job.pid)


@pytest.mark.parametrize("name", ENGINES)
def test_the_stop_button_ends_the_work_within_three_seconds(raw, tmp_path, name):
    job, workers = start(tmp_path, name, raw)
    began = time.monotonic()
    os.killpg(job.pid, signal.SIGINT)
    said = job.communicate()[1].decode()
    wait_for(lambda: not alive(workers), 30)
    done = len(Folder(str(tmp_path / "out")).list(".imgprep/parts"))
    assert said.strip().splitlines()[-1].endswith("rows done and kept: run it again to go on") and done
    assert time.monotonic() - began < (3 if name == "local" else 6)  # Ray's own farewell takes 2 s more


@pytest.mark.parametrize("name", ENGINES)
def test_after_kill_9_of_the_driver_no_orphan_is_left_but_the_users_own(raw, tmp_path, name):
    job, workers = start(tmp_path, name, raw)
    (users,) = (psutil.Process(pid) for pid in workers if psutil.Process(pid).name() == "sleep")
    job.kill()
    job.wait()
    wait_for(lambda: not alive(workers - {users.pid}), 60)
    assert users.is_running()
    users.kill()
