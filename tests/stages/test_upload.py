"""Facts about uploads: the stores hold exactly what the dataset says, nothing goes up twice, and a cut is no loss."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import uuid

import datasets
import fsspec
import pytest
from conftest import AZURITE_KEY, azurite_connection
from made import folder, in_sizes, picture, table, tree

import imgprep
from imgprep import dataset
from imgprep.failures import RunStopped
from imgprep.io import stores
from imgprep.io.stores import Store, StoreError, kinds
from imgprep.picture import codec
from imgprep.stages import images, upload, variants
from imgprep.stages.upload import unit

pytestmark = pytest.mark.store
N = 40


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """40 pictures in three sizes; two of the pictures are equal, one is broken."""
    more = {"9998.png": codec.encode(picture(0)), "9999.png": b"no picture"}
    with imgprep.session("local", 0):
        found = in_sizes(tmp_path_factory.mktemp("sizes"), N, more)
    assert found.counts()["rows"] == 3 * (N + 1) + 1
    return found


@pytest.fixture(autouse=True)
def here():
    with imgprep.session("local", 0):
        yield


@pytest.fixture
def place(azurite, s3):
    return f"t{uuid.uuid4().hex[:20]}"


def rows(ds: dataset.Dataset) -> list[dict]:
    return [row for row in ds.table("train").to_pylist() if row["status"] == "ok"]


def objects(uris: set[str]) -> dict[str, dict]:
    """All that lies in the containers of these URIs: URI -> what the store says of it."""
    found = {}
    for root in {"/".join(uri.split("/")[:3]) for uri in uris}:
        one = Store(root)
        found |= {f"{root}/{name}": one.find(name) for name in one.list()}
    return found


@pytest.mark.parametrize("target", ["az://{place}-{{variant}}", "az://{place}/a/b", "s3://{place}-{{variant}}/a"])
def test_the_store_holds_exactly_the_objects_of_the_dataset(sizes, place, target, tmp_path):
    out, target = str(tmp_path / "out"), target.format(place=place)
    up = upload.upload(sizes, target, out)
    assert up.counts() == sizes.counts() and up.configs == sizes.configs
    there = objects({row["uri"] for row in rows(up)})
    assert there.keys() == {row["uri"] for row in rows(up)} and len(there) == 3 * N
    pictures = {row["image_id"]: data for row, data in zip(
        sizes.table("train").to_pylist(), sizes.pictures("train", range(3 * (N + 1) + 1)), strict=True)}  # fmt: skip
    for row in rows(up):
        about, data = there[row["uri"]], pictures[row["image_id"]]
        assert about["sha256"] == row["sha256"] == hashlib.sha256(data).hexdigest()
        assert (about["nbytes"], about["etag"]) == (row["nbytes"], row["etag"])
        assert about["Content-Type"] == f"image/{row['format'].lower()}" and "private" in about["Cache-Control"]
        assert row["variant"] in row["uri"]
    texts = [f.read_bytes() for f in (tmp_path / "out").rglob("*") if f.is_file()] + [str(rows(up)).encode()]
    assert not [s for s in (AZURITE_KEY, os.environ["AWS_SECRET_ACCESS_KEY"]) if s.encode() in b"".join(texts)]
    sample = rows(up)[0]
    with fsspec.open(sample["uri"], "rb", **_options(target)) as file:
        assert file.read() == pictures[sample["image_id"]]
    assert set(upload.public(up).values()) == {False} and len(upload.public(up)) == 3

    loaded = datasets.load_dataset(out, "thumbnail", split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == N + 1 and not any(loaded["image"]) and max(loaded["width"]) == 8
    assert {"uri", "etag", "variant", "quality", "nbytes", "sha256"} <= set(loaded.column_names)


def _options(target: str) -> dict:
    text = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    return {"connection_string": text} if target.startswith("az") else {}


def test_a_second_run_asks_for_nothing_and_a_lost_folder_sends_no_bytes(sizes, place, tmp_path, capsys, monkeypatch):
    target = f"az://{place}/{{variant}}"
    with Wire(monkeypatch) as wire:
        upload.upload(sizes, target, str(tmp_path / "out"))
        assert wire.puts == 3 * N
        assert len(wire.open) // 2 <= 3 * upload.IN_FLIGHT + 9, "one client per size, and its connections are kept"
        first, before = objects({f"az://{place}/"}), wire.puts
        wire.requests.clear()
        capsys.readouterr()
        upload.upload(sizes, target, str(tmp_path / "out"))
        assert not wire.requests and "rows, nothing to compute" in capsys.readouterr().out

        again = upload.upload(sizes, target, str(tmp_path / "lost"))
        assert again.runs()[-1]["unchanged"] == 3 * N, "all were there"
        assert tree(tmp_path / "lost") == tree(tmp_path / "out"), "and the books say the same"
        assert wire.puts - before <= 3 * upload.IN_FLIGHT, "once one was there, a look goes before each PUT"
        assert objects({f"az://{place}/"}) == first, "nothing was written: the same ETags"

        gone = next(iter(first))
        of_that_name = [row["uri"] for row in rows(again)].count(gone)
        Store(f"az://{place}").delete(gone.split("/", 3)[3])
        mended = upload.upload(sizes, target, str(tmp_path / "out"), refresh=True)
        assert mended.runs()[-1]["computed"] - mended.runs()[-1]["unchanged"] == of_that_name
        assert objects({f"az://{place}/"}).keys() == first.keys()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cut_network_stops_the_run_and_the_next_sends_what_is_missing(sizes, place, tmp_path, monkeypatch, workers):
    monkeypatch.setitem(stores.RETRIES, "max_retries", 2)
    out = str(tmp_path / "out")
    with Wire(monkeypatch, cut_after=50) as wire:
        imgprep.session("local", workers)
        with pytest.raises(RunStopped, match="does not answer: run it again"):
            upload.upload(sizes, f"az://{place}/{{variant}}", out)
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite_connection(wire.server))
        halfway = objects({f"az://{place}/"})
        assert 0 < len(halfway) < 3 * N
        if dataset.exists(out):
            shown = dataset.open(out)
            assert {row["uri"] for row in rows(shown)} <= halfway.keys(), "no row without its object"
            assert shown.counts()["rows"] < sizes.counts()["rows"]
            assert shown.counts()["reasons"].keys() <= {"not_an_image"}, "a cut is no result"
    imgprep.session("local", 0)
    with Wire(monkeypatch) as wire:
        up = upload.upload(sizes, f"az://{place}/{{variant}}", out)
        assert up.counts() == sizes.counts() and wire.puts <= 3 * N - len(halfway) + upload.IN_FLIGHT * max(1, workers)
    there = objects({f"az://{place}/"})
    assert len(there) == 3 * N and {uri: there[uri] for uri in halfway} == halfway, "none was written twice"


def test_a_key_that_is_mended_reaches_the_workers_that_run(sizes, place, tmp_path, monkeypatch, azurite):
    imgprep.session("local", 1)
    images.transform(str(sizes.folder), str(tmp_path / "warm"), _same)  # a pool that knows today's environment
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite_connection(azurite, "AAAA" + AZURITE_KEY[4:]))
    with pytest.raises(StoreError, match="refuses these credentials"):
        upload.upload(sizes, f"az://{place}", str(tmp_path / "out"))
    assert not (tmp_path / "out").joinpath("README.md").exists()
    imgprep.session("local", 1)
    monkeypatch.setenv("MY_STORE", azurite_connection(azurite))
    up = upload.upload(sizes, f"az://{place}", str(tmp_path / "out"), credentials_env="MY_STORE")
    assert up.counts()["ok"] == 3 * (N + 1)
    imgprep.close()


def _same(image):
    return image


def test_a_container_that_turns_out_to_be_public_ends_the_run_at_its_first_objects(sizes, place, tmp_path):
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=place)
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{place}/*"}
    client.put_bucket_policy(Bucket=place, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    with pytest.raises(StoreError, match=f"anyone can read s3://{place}"):  # an empty bucket does not tell
        upload.upload(sizes, f"s3://{place}", str(tmp_path / "out"))
    assert len(Store(f"s3://{place}").list()) <= 2 * upload.IN_FLIGHT


def test_mistakes_are_told_before_any_work(sizes, tmp_path):
    for target, says in {"az://{variant}_x": "'original_x' is no name", "s3://UP": "'UP' is no name", "": "target is az://",
                         "https://x/y": "a store is az://"}.items():  # fmt: skip
        with pytest.raises(ValueError, match=says):
            upload.upload(sizes, target, str(tmp_path / "out"))
        with pytest.raises(ValueError, match=says):
            upload.check(target, ["original"])
    imgprep.session("local", 1)
    with pytest.raises(ValueError, match="memory:// is this process's own"):
        upload.upload(sizes, "memory://x", str(tmp_path / "out"))
    imgprep.session("local", 0)
    with pytest.raises(ValueError, match="no pictures in it"):
        (tmp_path / "empty").mkdir()
        upload.upload(str(tmp_path / "empty"), "az://pictures", str(tmp_path / "out"))
    with pytest.raises(ValueError, match="there is a column 'uri' already"):
        up = upload.upload(sizes, str(tmp_path / "store"), str(tmp_path / "up"))
        upload.upload(up, "az://pictures", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_is_a_store_too_and_gives_the_same_bytes_each_time(sizes, tmp_path):
    up = upload.upload(sizes, str(tmp_path / "store"), str(tmp_path / "a"))
    again = upload.upload(sizes, str(tmp_path / "store"), str(tmp_path / "b"), refresh=True)
    assert [r["uri"] for r in rows(up)] == [r["uri"] for r in rows(again)]
    for row in rows(up):
        with open(row["uri"], "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == row["sha256"]


KILLED = """
import os, sys
import imgprep
from imgprep.io.stores import Store
from imgprep.stages import upload
seen, put = [], Store.put
def puts(self, *given, **named):
    seen.append(put(self, *given, **named))
    if len(seen) == 50:
        os.kill(os.getpid(), 9)
    return seen[-1]
Store.put = puts
imgprep.session("local", 0)
upload.upload(*sys.argv[1:])
"""


def test_an_upload_that_was_killed_ends_with_the_bytes_of_an_unbroken_one(sizes, tmp_path):
    target, out = str(tmp_path / "store"), str(tmp_path / "out")
    upload.upload(sizes, target, out)
    wanted, there = tree(out), tree(target)
    shutil.rmtree(target)
    shutil.rmtree(out)
    done = subprocess.run([sys.executable, "-c", KILLED, sizes.folder, target, out], timeout=120)
    assert done.returncode == -9 and 0 < len(tree(target)) < 3 * N
    upload.upload(sizes, target, out)
    assert tree(out) == wanted and tree(target) == there


def made(root, pictures: dict[str, str], *, splits: bool = False) -> dataset.Dataset:
    """Sizes of pictures {file name: the picture that it shows}."""
    (root / "in").mkdir(parents=True)
    for name, other in pictures.items():
        (root / "in" / name).write_bytes(codec.encode(picture(int(other))))
    rows = table([str(root / "in" / name) for name in pictures])
    rows = rows.set_column(0, "image_id", [[name.partition(".")[0] for name in pictures]])
    tables = {"train": rows, "test": rows.slice(0, 1)} if splits else {"train": rows}
    return variants.build(tables, str(root / "sizes"), thumbnail_side=8)


@pytest.mark.parametrize("target", ["az://{place}-{{variant}}", "{tmp_path}/store"])
def test_objects_may_be_called_by_their_pictures_with_an_index_and_a_list_of_orphans(place, tmp_path, target, caplog):
    target, out = target.format(place=place, tmp_path=tmp_path), str(tmp_path / "out")
    ds = made(tmp_path / "a", {"cat.png": "1", "Cat.png": "2", "a b.png": "3"})
    up = upload.upload(ds, target, out, names="picture")
    uris = [row["uri"] for row in rows(up)]
    named = sorted(uri.rpartition("/")[2] for uri in uris if "original" in uri)
    assert len(named) == 3 and all(name.endswith(".png") for name in named)
    assert [name.partition("-")[0] for name in named] == ["Cat", "a_b", "cat"], "differ in more than their case"
    store, _ = upload.locate_store(uris[0])
    lines = [json.loads(line) for line in store.get("index.jsonl").splitlines()]
    assert [line["parent_id"] for line in lines] == ["cat", "Cat", "a b"]
    for line in lines:
        assert hashlib.sha256(store.get(line["name"])).hexdigest() == line["sha256"]
        assert f"{store.uri}/{line['name']}" in uris and line["split"] == "train"
    assert upload.orphans(up) == []
    told = [r.message for r in caplog.records if r.message.startswith("upload: 3 pictures in ")]
    assert told and told[0].count("3 pictures in ") == 3 and "thumbnail" in told[0], "where they are"
    if "://" in target:
        assert {store.find(line["name"])["Cache-Control"] for line in lines} == {"private, no-cache"}

    newer = made(tmp_path / "b", {"cat.png": "1", "Cat.png": "7"})
    up = upload.upload(newer, target, out, names="picture")
    assert {row["uri"] for row in rows(up)} < {*uris}, "what changed took the place of what was there"
    for row in rows(up):
        store, name = upload.locate_store(row["uri"])
        assert hashlib.sha256(store.get(name)).hexdigest() == row["sha256"]
    gone = {*uris} - {row["uri"] for row in rows(up)}
    assert {*upload.orphans(up)} == gone and len(gone) == 3
    assert len(store.get("index.jsonl").splitlines()) == 2


def test_pictures_of_several_splits_do_not_take_each_others_names(tmp_path):
    ds = made(tmp_path, {"cat.png": "1", "dog.png": "2"}, splits=True)
    up = upload.upload(ds, str(tmp_path / "store"), str(tmp_path / "out"), names="picture")
    names = sorted(str(f.relative_to(tmp_path / "store")) for f in (tmp_path / "store").rglob("*.*"))
    assert len(names) == 3 * (2 + 1 + 2) and "original/test/cat.png" in names and "original/train/index.jsonl" in names
    assert upload.orphans(up) == []
    with pytest.raises(ValueError, match="names is 'content' or 'picture', not 'id'"):
        upload.upload(ds, str(tmp_path / "store"), str(tmp_path / "out"), names="id")


def test_orphans_of_objects_called_by_their_content(sizes, tmp_path):
    up = upload.upload(sizes, str(tmp_path / "store"), str(tmp_path / "out"))
    assert upload.orphans(up) == []
    (tmp_path / "store" / "thumbnail" / "mine.txt").write_text("x")
    assert upload.orphans(up.folder) == [str(tmp_path / "store" / "thumbnail" / "mine.txt")]
    with pytest.raises(ValueError, match="says of no picture where it is: give what `upload.upload` made"):
        upload.orphans(sizes)


def test_a_folder_of_pictures_and_tables_are_uploaded_too(tmp_path):
    (paths,) = [folder(tmp_path / "in", 3)]
    (tmp_path / "in" / "x.png").write_bytes(b"no picture")
    up = upload.upload(str(tmp_path / "in"), str(tmp_path / "store"), str(tmp_path / "a"))
    assert up.counts() == {"rows": 4, "ok": 3, "placeholder": 0, "failed": 1, "reasons": {"not_an_image": 1}}
    again = upload.upload({"train": table(paths)}, str(tmp_path / "store"), str(tmp_path / "b"))
    assert {row["uri"] for row in rows(again)} == {row["uri"] for row in rows(up)}
    with pytest.raises(ValueError, match="give what sources.read gives"):
        upload.upload(7, str(tmp_path / "store"), str(tmp_path / "c"))


@pytest.mark.slow
@pytest.mark.parametrize("hang_after", [0, 50])
def test_a_store_that_hangs_is_told_within_half_a_minute(sizes, place, tmp_path, monkeypatch, hang_after):
    upload.check(f"az://{place}", ["original"])  # the container is there
    assert unit.SILENT_STORE_S + float(kinds.ASKING["timeout"].rstrip("s")) < 30
    # The same in a quarter of the time: what counts is that both are waited for, and no more.
    monkeypatch.setattr(unit, "SILENT_STORE_S", 4.0)
    monkeypatch.setattr(kinds, "ASKING", {"connect_timeout": "3s", "timeout": "3s"})
    with Wire(monkeypatch, hang_after=hang_after):
        with pytest.raises(RunStopped, match=f"az://{place}/.* does not answer: run it again when it does"):
            upload.upload(sizes, f"az://{place}/{{variant}}", str(tmp_path / "out"))


class Wire:
    """A way to Azurite that counts requests and can be cut: the environment names it while it is open."""

    def __init__(self, patch: pytest.MonkeyPatch, cut_after: int | None = None, hang_after: int | None = None):
        self.server = int(re.search(r"127\.0\.0\.1:(\d+)", os.environ["AZURE_STORAGE_CONNECTION_STRING"])[1])
        self.patch, self.cut_after, self.requests, self.open = patch, cut_after, [], []
        self.hang_after = hang_after
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.lock = threading.Lock()

    @property
    def puts(self) -> int:
        return sum(line.startswith(b"PUT") and b"restype" not in line for line in self.requests)

    def __enter__(self) -> "Wire":
        self.saved = azurite_connection(self.server)
        self.patch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite_connection(self.listener.getsockname()[1]))
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self.patch.setenv("AZURE_STORAGE_CONNECTION_STRING", self.saved)

    def cut(self) -> None:
        for one in [self.listener, *self.open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server))
            self.open += [client, server]
            threading.Thread(target=self.pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, False), daemon=True).start()

    def pump(self, one: socket.socket, other: socket.socket, asks: bool) -> None:
        try:
            while data := one.recv(1 << 20):
                if asks and data[:4] in (b"PUT ", b"GET ", b"HEAD"):
                    with self.lock:
                        self.requests.append(data.split(b"\r\n", 1)[0])
                    if self.cut_after and self.puts > self.cut_after:
                        self.cut()
                    if self.hang_after is not None and self.puts >= self.hang_after:
                        continue  # asked, and never answered
                other.sendall(data)
        except OSError:
            pass
        finally:
            one.close()
            other.close()
