"""Facts about uploads: the stores hold exactly what the dataset says, nothing goes up twice, and a cut is no loss."""

import contextlib
import hashlib
import json
import os
import re
import socket
import threading
import uuid
from collections import Counter

import datasets
import fsspec
import pytest
from conftest import AZURITE_KEY, azurite_connection
from made import folder

import imgprep
from imgprep import dataset
from imgprep.failures import RunStopped
from imgprep.io import stores
from imgprep.io.stores import Store, StoreError
from imgprep.stages import images, upload, variants

pytestmark = pytest.mark.store
N = 40


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """40 pictures in three sizes; two of the pictures are equal, one is broken."""
    root = tmp_path_factory.mktemp("sizes")
    paths = folder(root / "in", N)
    (root / "in" / "9998.png").write_bytes((root / "in" / "0000.png").read_bytes())
    (root / "in" / "9999.png").write_bytes(b"no picture")
    with imgprep.session("local", 0):
        found = variants.build(str(root / "in"), str(root / "sizes"), thumbnail_side=8)
    assert len(paths) == N and found.counts()["rows"] == 3 * (N + 1) + 1
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
        assert row["stored"] == "uploaded" and row["variant"] in row["uri"]
    texts = [f.read_bytes() for f in (tmp_path / "out").rglob("*") if f.is_file()] + [str(rows(up)).encode()]
    assert not [s for s in (AZURITE_KEY, os.environ["AWS_SECRET_ACCESS_KEY"]) if s.encode() in b"".join(texts)]
    sample = rows(up)[0]
    with fsspec.open(sample["uri"], "rb", **_options(target)) as file:
        assert file.read() == pictures[sample["image_id"]]
    assert set(upload.public(up).values()) == {False} and len(upload.public(up)) == 3

    loaded = datasets.load_dataset(out, "thumbnail", split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == N + 1 and not any(loaded["image"]) and max(loaded["width"]) == 8
    assert {"uri", "etag", "stored", "variant", "quality", "nbytes", "sha256"} <= set(loaded.column_names)


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
        assert Counter(row["stored"] for row in rows(again)) == {"present": 3 * (N + 1)}
        assert wire.puts - before <= 3 * upload.IN_FLIGHT, "once one was there, a look goes before each PUT"
        assert objects({f"az://{place}/"}) == first, "nothing was written: the same ETags"

        Store(f"az://{place}").delete(next(iter(first)).split("/", 3)[3])
        mended = upload.upload(sizes, target, str(tmp_path / "out"), refresh=True)
        assert Counter(row["stored"] for row in rows(mended))["uploaded"] in (1, 2)  # a name may stand in two rows
        assert objects({f"az://{place}/"}).keys() == first.keys()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cut_network_stops_the_run_and_the_next_sends_what_is_missing(sizes, place, tmp_path, monkeypatch, workers):
    monkeypatch.setitem(stores.RETRIES, "max_retries", 2)
    out = str(tmp_path / "out")
    with Wire(monkeypatch, cut_after=50) as wire:
        imgprep.session("local", workers)
        with pytest.raises(RunStopped, match="does not answer: run it again"):
            upload.upload(sizes, f"az://{place}/{{variant}}", out)
        assert not dataset.exists(out)
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite_connection(wire.server))
        halfway = objects({f"az://{place}/"})
        assert 0 < len(halfway) < 3 * N
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
    with pytest.raises(ValueError, match="is no dataset folder"):
        upload.upload(str(tmp_path), "az://pictures", str(tmp_path / "out"))
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


class Wire:
    """A way to Azurite that counts requests and can be cut: the environment names it while it is open."""

    def __init__(self, patch: pytest.MonkeyPatch, cut_after: int | None = None):
        self.server = int(re.search(r"127\.0\.0\.1:(\d+)", os.environ["AZURE_STORAGE_CONNECTION_STRING"])[1])
        self.patch, self.cut_after, self.requests, self.open = patch, cut_after, [], []
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
                other.sendall(data)
        except OSError:
            pass
        finally:
            one.close()
            other.close()
