"""Facts about the work on one unit: what a function may do to a picture, to its process, and to its row."""

import http.server
import os
import sys
import threading

import numpy as np
import pytest
from made import folder, picture, table

import imgprep
from imgprep.picture import codec
from imgprep.resume import work
from imgprep.stages import images

THIRD = picture(3).tolist()
PNG = codec.encode(picture(1))


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return {"train": table(folder(tmp_path_factory.mktemp("in"), 6))}


def deep(image):
    return deep(image)


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def raises(error):
    def act(image):
        raise error

    return act


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (raises(KeyError("k")), "fn: KeyError: 'k'"),
        (raises(SystemExit("bye")), "fn: SystemExit: bye"),
        (raises(MemoryError()), "fn: MemoryError:"),
        (raises(StopIteration()), "fn: StopIteration:"),
        (raises(ExceptionGroup("many", [ValueError()])), "fn: ExceptionGroup: many (1 sub-exception)"),
        (raises(ValueError("half \ud800\n a character")), "fn: ValueError: half ? a character"),
        (raises(ValueError(f"{object()} is odd")), "fn: ValueError: <object object> is odd"),
        (raises(ValueError("x" * 9999)), "fn: ValueError: " + "x" * 284),
        (raises(Silent()), "fn: Silent: (its message cannot be read)"),
        (deep, "fn: RecursionError: maximum recursion depth exceeded"),
        (lambda image: image[:0], "fn: a picture of 24 x 0 has no pixels"),
        (lambda image: image[:, :0, 0], "fn: a picture of 0 x 16 has no pixels"),
        (lambda image: np.zeros((1, 20_000, 3), np.uint8), "fn: a picture of 20000 x 1 is too large for WEBP"),
    ],
)
def test_what_goes_wrong_with_one_picture_is_that_rows_error(tables, tmp_path, act, error):
    def fn(image):
        return act(image) if image.tolist() == THIRD else image

    out = images.transform(tables, str(tmp_path / "out"), fn, format="WEBP")
    assert out.counts()["reasons"] == {"error": 1} and out.counts()["ok"] == 5
    assert out.table("train")["error"].to_pylist() == [""] * 3 + [error] + [""] * 2


def test_a_picture_fails_as_one_row_also_where_only_one_child_is_bad(tables, tmp_path):
    def tiles(image):
        return [{"image": image[:8]}, {"image": image[: 0 if image.tolist() == THIRD else 8]}]

    rows = images.transform(tables, str(tmp_path / "out"), tiles, children=True).table("train")
    assert rows["status"].to_pylist() == ["ok"] * 6 + ["failed"] + ["ok"] * 4
    assert rows["error"][6].as_py() == "tiles: a picture of 24 x 0 has no pixels"


@pytest.mark.parametrize("n", [1, 2, 4, 6, 99])
def test_a_bad_picture_takes_no_other_of_its_batch_with_it(tables, tmp_path, n):
    def fn(batch):
        if any(image.tolist() == THIRD for image in batch):
            raise ValueError("in here somewhere")
        return np.stack(batch) // 2

    out = images.transform(tables, str(tmp_path / "out"), fn, batch=n)
    assert out.table("train")["status"].to_pylist() == ["ok"] * 3 + ["failed"] + ["ok"] * 2
    assert np.array_equal(codec.decode(out.pictures("train", [4])[0]), picture(4) // 2)


@pytest.mark.parametrize(
    "act",
    [
        lambda image: image[::-1, ::-2],
        lambda image: image[:, :, 0],
        lambda image: np.asfortranarray(image),
        lambda image: image[:1, :1],
        lambda image: np.broadcast_to(np.uint8(7), (5, 6, 3)),
        lambda image: image[..., ::-1],
    ],
)
def test_pictures_of_any_layout_are_stored_as_they_are(tables, tmp_path, act):
    out = images.transform(tables, str(tmp_path / "out"), act)
    for i, data in enumerate(out.pictures("train", range(6))):
        expected = np.asarray(act(picture(i)))
        found = codec.decode(data)
        assert np.array_equal(found if expected.ndim == 3 else found[:, :, 0], expected)


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (np.zeros(5, np.uint8), r"uint8 \(5,\): a picture is uint8 of shape"),
        (np.zeros((1, 2, 3, 3), np.uint8), r"uint8 \(1, 2, 3, 3\)"),
        (np.zeros((2, 3, 4), np.uint8), r"uint8 \(2, 3, 4\)"),
        (np.zeros((2, 3), bool), r"bool \(2, 3\)"),
        ("a picture", "returned str"),
        ({"image": 3}, "returned int"),
    ],
)
def test_what_is_no_picture_at_all_ends_the_run_with_a_sentence(tables, tmp_path, returned, sentence):
    with pytest.raises(ValueError, match=sentence):
        images.transform(tables, str(tmp_path / "out"), lambda image: returned)


def test_a_function_may_change_its_picture_and_its_process(tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def untidy(image):
        image[:] = 255 - image
        os.chdir("/")
        print("x" * 100_000)
        sys.setrecursionlimit(sys.getrecursionlimit())
        return {"image": image, "n": 1}

    out = images.transform(tables, "out", untidy, features={"n": "int64"})
    assert np.array_equal(codec.decode(out.pictures("train", [2])[0]), 255 - picture(2))
    assert (tmp_path / "out" / "README.md").exists()


@pytest.mark.parametrize("held", [threading.Lock(), (n for n in "ab")])
def test_what_cannot_be_sent_to_a_worker_is_told_before_any_work(tables, tmp_path, held):
    def fn(image):
        return image if held else image

    told = "cannot be sent to the workers.*__init__"
    with imgprep.session("local", workers=2), pytest.raises(ValueError, match=told):
        images.transform(tables, str(tmp_path / "out"), fn)
    assert not list(tmp_path.rglob("*.parquet"))


class Deadly:
    """What ends the process that unpickles it, as a module does that the processor is too old for."""

    def __reduce__(self):
        return os._exit, (3,)


def test_a_function_that_no_worker_survives_ends_the_run(tables, tmp_path):
    deadly = Deadly()

    def fn(image):
        return image if deadly else image

    with imgprep.session("local", workers=1), pytest.raises(imgprep.RunStopped, match="2 failed alike .crashed"):
        images.transform({"train": tables["train"].slice(0, 2)}, str(tmp_path / "out"), fn)


def test_a_function_that_returns_only_columns_keeps_the_original_bytes(tables, tmp_path):
    def spoil(image):
        image[:] = 0
        return {"mean": 1.0}

    out = images.transform(tables, str(tmp_path / "out"), spoil, features={"mean": "float32"}, format="JPEG")
    with open(tables["train"]["source"][1].as_py(), "rb") as file:
        assert out.pictures("train", [1]) == [file.read()]


def test_a_host_that_was_given_up_is_asked_again_by_the_next_run(tmp_path):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802 - the library's name
            self.send_response(200)
            self.send_header("Content-Length", str(len(PNG)))
            self.end_headers()
            self.wfile.write(PNG)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer, bind_and_activate=False)
    server.server_bind()  # but does not listen yet: connections are refused
    urls = [f"http://127.0.0.1:{server.server_address[1]}/{i}" for i in range(60)]
    options = {"allow_hosts": ["127.0.0.1"], "attempts": 1}
    with pytest.raises(imgprep.RunStopped, match="host_unavailable"):
        images.download({"train": table(urls)}, str(tmp_path / "out"), **options)
    server.server_activate()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert images.download({"train": table(urls)}, str(tmp_path / "out"), **options).counts()["ok"] == 60
    finally:
        server.shutdown()
        server.server_close()


def test_two_threads_may_download_at_once(tmp_path):
    urls, ends = [f"http://127.0.0.1:1/{i}" for i in range(20)], []

    def download(n):
        out = str(tmp_path / str(n))
        images.download({"train": table(urls)}, out, allow_hosts=["127.0.0.1"], attempts=1, max_failed=1.0)
        ends.append(n)

    both = [threading.Thread(target=download, args=(n,)) for n in range(2)]
    [t.start() for t in both]
    [t.join() for t in both]
    assert sorted(ends) == [0, 1]


def test_what_is_read_ahead_is_bounded(monkeypatch):
    monkeypatch.setattr(work, "AHEAD_BYTES", 10_000)
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    seen = []
    for item in work.ahead(items(), lambda _: 4_000):
        seen.append(item)
        assert len(made) <= item + 5
    assert seen == [*range(50)]


def test_a_reader_that_goes_away_ends_the_thread_and_closes_the_source():
    closed = []

    def items():
        try:
            yield from range(1_000_000)
        finally:
            closed.append(True)

    before = threading.active_count()
    ahead = work.ahead(items(), lambda _: 0)
    assert next(ahead) == 0
    ahead.close()
    assert closed == [True] and threading.active_count() == before


def test_an_error_of_the_source_reaches_the_reader():
    def items():
        yield 1
        raise OSError("gone")

    ahead = work.ahead(items(), lambda _: 0)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)
