"""Facts about folders: a file is there whole or not at all, on a disk and on an object store, and so is a dataset."""

import asyncio
import contextlib
import hashlib
import os
import pickle
import socket
import threading
import time

import fsspec
import numpy as np
import pytest
import yaml
from made import folder, picture, table, tree

import imgprep
from imgprep import dataset
from imgprep.dataset.files import Folder
from imgprep.dataset.lock import Lease
from imgprep.picture import codec
from imgprep.stages import images


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


@pytest.fixture(params=["local", "memory"])
def place(request, tmp_path):
    """A folder that does not exist yet."""
    return Folder(str(tmp_path / "f") if request.param == "local" else f"memory://{tmp_path.name}")


def test_a_file_is_there_when_its_block_ends_and_not_before(place):
    with place.create(lambda sha: f"data/x-{sha[:6]}.bin") as sink:
        sink.write(b"one")
        sink.write(memoryview(b"two"))
        assert place.list("data") == []
    assert sink.name == f"data/x-{hashlib.sha256(b'onetwo').hexdigest()[:6]}.bin"
    assert place.get(sink.name) == b"onetwo" and place.size(sink.name) == sink.bytes == 6
    assert place.list("data") == [sink.name.split("/")[1]]


def test_a_block_that_fails_leaves_nothing(place, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), place.create(lambda sha: "data/x") as sink:
        sink.write(b"one")
        raise KeyboardInterrupt
    assert place.size("data/x") is None and [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_what_is_not_there(place):
    assert place.get("x") is None and place.size("x") is None and place.list("a/b") == []
    place.delete("x")


def test_an_unchanged_file_is_left_alone(place, monkeypatch):
    place.put("a/b", b"1")
    place.put("a/b", b"2")
    monkeypatch.setattr(Folder, "create", None)
    place.put("a/b", b"2")
    assert place.get("a/b") == b"2"


def test_a_folder_is_its_path(place, tmp_path, monkeypatch):
    place.put("a", b"1")
    assert pickle.loads(pickle.dumps(place)).get("a") == b"1"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("x/", tmp_path / "x", f"file://{tmp_path}/x"):
        assert Folder(name).path == str(tmp_path / "x")
    assert Folder("~/x").path == str(tmp_path / "home" / "x") and Folder("s3://b/x/").full("a/b") == "s3://b/x/a/b"


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "out").write_text("mine")
    tables = {"train": table(folder(tmp_path / "in", 1))}
    with pytest.raises(ValueError, match="out is a file: out names a folder"):
        images.download(tables, str(tmp_path / "out"))
    with pytest.raises(RuntimeError, match="NotADirectoryError.*out/deeper"):
        images.download(tables, str(tmp_path / "out" / "deeper"))
    assert (tmp_path / "out").read_text() == "mine"


class Killed(BaseException):
    """Ends a run wherever it is."""


def on_store(uri: str) -> dict[str, str]:
    """What stands in a dataset folder on a store, as `made.tree` says it of a local one."""
    fs, root = fsspec.core.url_to_fs(uri)
    files = {f.removeprefix(root).strip("/"): fs.cat_file(f) for f in fs.find(root)}
    return {n: hashlib.sha256(data).hexdigest() for n, data in sorted(files.items()) if "/runs/" not in n}


def test_a_store_shows_a_whole_dataset_at_every_moment_and_ends_with_the_bytes_of_a_local_one(tmp_path, monkeypatch):
    """Killed once at each of its steps, and looked at before each."""
    uri = f"memory://{tmp_path.name}/out"
    paths = folder(tmp_path / "in", 9)
    tables = {"train": table([*paths, "gone"], n=range(10))}
    here = images.download(tables, str(tmp_path / "here"), batch_size=4)
    store, create, delete = Folder(uri), Folder.create, Folder.delete
    left: list[int] = []

    def step():
        card = store.get("README.md")
        if card and store.path == uri:
            listed = yaml.safe_load(card.decode().split("---\n")[1])["configs"]
            assert all(store.size(f) for c in listed for split in c["data_files"] for f in split["path"])
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    @contextlib.contextmanager
    def watched_create(self, name, **options):
        step()
        with create(self, name, **options) as sink:
            yield sink
        step()

    def watched_delete(self, name):
        step()
        delete(self, name)

    monkeypatch.setattr(Folder, "create", watched_create)
    monkeypatch.setattr(Folder, "delete", watched_delete)
    for steps in range(200):
        left[:] = [steps]
        with contextlib.suppress(Killed):
            images.download(tables, uri, batch_size=4)
            break
    assert 3 < steps < 60
    left[:] = [999]
    images.download(tables, uri, batch_size=4)
    assert on_store(uri) == {n: sha for n, sha in tree(here.folder).items() if not n.endswith("lock")}
    monkeypatch.undo()
    assert images.download(tables, uri, batch_size=4).counts() == here.counts()


@pytest.fixture(scope="module")
def bucket(s3):
    """s3://bucket of a server on loopback."""
    s3.mkdir("bucket")
    return "s3://bucket"


@pytest.mark.store
def test_a_pipeline_on_s3(bucket, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)  # it counts a store on loopback as the Hub
    paths = folder(tmp_path / "in", 7)
    tables = {"train": table([*paths, "gone"], n=range(8)), "test": table(paths[:3])}

    def pipeline(root):
        raw = images.download(tables, f"{root}/raw", batch_size=3)
        return images.transform(f"{root}/raw", f"{root}/out", np.flipud, batch_size=3), raw

    out, raw = pipeline(bucket)
    assert out.counts() == {"rows": 11, "ok": 10, "placeholder": 1, "failed": 0, "reasons": {"missing_file": 1}}
    pipeline(str(tmp_path / "here"))
    for stage in ("raw", "out"):
        here = tree(tmp_path / "here" / stage)
        assert on_store(f"{bucket}/{stage}") == {n: sha for n, sha in here.items() if not n.endswith("lock")}
    before = on_store(bucket)
    asyncio.run(asyncio.wait_for(_in_a_loop(pipeline, bucket), 60))  # a notebook's kernel runs one
    assert on_store(bucket) == before and len(raw.runs()) == len(out.runs()) == 1
    again = dataset.open(f"{bucket}/out")
    assert again.table("train")["n"].to_pylist() == [*range(8)]
    assert np.array_equal(codec.decode(again.pictures("train", [4])[0]), picture(4)[::-1])
    files = {s: again.data_files(split=s) for s in again.splits}
    assert all(f.startswith("s3://bucket/out/data/") for f in files["train"])
    options = {"client_kwargs": {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}}
    loaded = datasets.load_dataset("parquet", data_files=files, storage_options=options, cache_dir=str(tmp_path / "c"))
    assert {s: len(rows) for s, rows in loaded.items()} == {"train": 7, "test": 3}
    assert np.array_equal(np.asarray(loaded["test"][1]["image"]), picture(1)[::-1])


async def _in_a_loop(fn, *args):
    return fn(*args)


def turning(by):
    """A function of one name, edited: another one would be refused, as its results would replace the first one's."""

    def turn(image):
        return by(image)

    return turn


@pytest.mark.store
def test_workers_write_to_s3_and_an_edited_function_changes_all_of_it(bucket, tmp_path):
    tables, uri = {"train": table(folder(tmp_path / "in", 20))}, f"{bucket}/workers"
    with imgprep.session("local", workers=2):
        images.transform(tables, uri, turning(np.flipud))
        images.transform(tables, uri, turning(np.fliplr))
    images.transform(tables, str(tmp_path / "here"), turning(np.fliplr))
    files = {f["file"] for f in dataset.open(uri).files}
    assert files == {f["file"] for f in dataset.open(str(tmp_path / "here")).files}
    assert not Folder(uri).list(".imgprep/parts") and not Folder(uri).list(".imgprep/started")


def two_runs(uri, tmp_path, is_told):
    """Two processes would do; two threads show it as well. Returns the files that are listed while the first works.

    is_told: has the second said that it waits?
    """
    tables, inside, go = {"train": table(folder(tmp_path / "in", 9))}, threading.Event(), threading.Event()

    def turn(image):
        inside.set()
        go.wait(60)
        return image

    first = threading.Thread(target=images.transform, args=(tables, uri, turn))
    second = threading.Thread(target=images.transform, args=(tables, uri, turning(np.flipud)))
    first.start()
    assert inside.wait(20)
    second.start()
    deadline = time.monotonic() + 30
    while not is_told() and time.monotonic() < deadline:
        time.sleep(0.1)
    files = dataset.open(uri).files if dataset.exists(uri) else []
    go.set()
    first.join()
    second.join()
    return files


@pytest.mark.store
@pytest.mark.parametrize("store", ["memory", "s3"])
def test_two_runs_on_one_store_take_turns(bucket, tmp_path, capsys, store):
    uri = f"{bucket}/turns" if store == "s3" else f"memory://{tmp_path.name}"
    said = []

    def is_told():
        said.append(capsys.readouterr().out)
        return "another run is working on" in "".join(said)

    assert two_runs(uri, tmp_path, is_told) == []
    assert is_told()
    out = dataset.open(uri)
    assert len(out.runs()) == 2 and np.array_equal(codec.decode(out.pictures("train", [3])[0]), picture(3)[::-1])
    assert Folder(uri).get(".imgprep/lock") is None


@pytest.mark.parametrize("owner", [f"{socket.gethostname()} 4194305 x 0", "elsewhere 1 x 0", "what is this"])
def test_the_lease_of_a_run_that_died_is_taken_over(tmp_path, monkeypatch, owner):
    monkeypatch.setattr("imgprep.dataset.lock.LEASE_S", 1.5)
    place = Folder(f"memory://{tmp_path.name}")
    place.put(".imgprep/lock", owner.encode())
    lease, began = Lease(place), time.monotonic()
    assert lease.acquire()
    assert (time.monotonic() - began < 1) == owner.startswith(socket.gethostname())
    lease.release()
    assert place.get(".imgprep/lock") is None


def test_a_lease_is_renewed_while_its_run_lives(tmp_path, monkeypatch):
    monkeypatch.setattr("imgprep.dataset.lock.LEASE_S", 0.4)
    place = Folder(f"memory://{tmp_path.name}")
    lease = Lease(place)
    assert lease.acquire() and not Lease(place).acquire(wait=False)
    first = place.get(".imgprep/lock")
    time.sleep(1)
    assert place.get(".imgprep/lock") not in (first, None) and not Lease(place).acquire(wait=False)
    lease.release()
    time.sleep(0.3)
    assert place.get(".imgprep/lock") is None


@pytest.mark.store
def test_a_bucket_that_is_not_there_is_told_before_any_work(bucket, tmp_path):
    with pytest.raises((ValueError, RuntimeError), match="no-such-bucket|[Bb]ucket"):
        images.download({"train": table(folder(tmp_path / "in", 1))}, "s3://no-such-bucket/x")


def test_a_store_that_fsspec_does_not_know_is_told(tmp_path):
    with pytest.raises(ValueError, match="nosuch"):
        images.download({"train": table(folder(tmp_path / "in", 1))}, "nosuch://bucket/x")
