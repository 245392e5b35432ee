"""Films from web servers and stores: frames and ladders as from a disk; a transfer that breaks is the row's reason."""

import http.client
import os
import threading
from collections import Counter
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from made import tree

import imgprep
from imgprep import film
from imgprep.rows import sources
from imgprep.sample.films import write_film

HERE = ("127.0.0.1",)
BUCKET = "film-sources"


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


class Handler(BaseHTTPRequestHandler):
    """/films/NAME: the film. /cut/NAME: half of it, then the connection is closed. /401: what it says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked[self.path] += 1
        _, kind, *rest = self.path.split("/")
        if kind.isdigit():
            self.send_response(int(kind))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = (self.server.films / rest[0]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if kind == "films" else data[: len(data) // 2])
        self.close_connection = kind != "films"

    def log_message(self, *_):
        pass


def listening(handler, **known):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    vars(server).update(known, asked=Counter())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def web(films):
    server = listening(Handler, films=films)
    yield server
    server.shutdown()
    server.server_close()


def address(server, path=""):
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


@pytest.fixture(scope="module")
def bucket(s3, films):
    """The films as objects, and their URI."""
    s3.mkdir(BUCKET)
    for path in films.iterdir():
        s3.put(str(path), f"{BUCKET}/films/{path.name}")
    return f"s3://{BUCKET}/films"


def rows_of(ds):
    return [row for split in ds.splits for row in ds.table(split).to_pylist()]


def bytes_of(ds):
    return [(r["time_s"], r["sha256"]) for r in rows_of(ds)]


def table(*urls):
    return sources.read(pa.table({"film": urls}), url_column="film", root="/")


def test_frames_by_url_are_those_of_the_file(web, films, tmp_path):
    urls = [address(web, f"/films/{name}") for name in ("tour.mp4", "screen.mkv")]
    paths = [str(films / "tour.mp4"), str(films / "screen.mkv")]
    there = film.extract_frames(table(*urls), str(tmp_path / "web"), every_s=1, allow_hosts=HERE)
    here = film.extract_frames(table(*paths), str(tmp_path / "disk"), every_s=1)
    assert bytes_of(there) == bytes_of(here) and len(bytes_of(here)) > 10
    # What is there is not fetched again.
    film.extract_frames(table(*urls), str(tmp_path / "web"), every_s=1, allow_hosts=HERE)
    assert set(web.asked.values()) == {1}


def test_a_ladder_by_url_and_of_an_object_is_that_of_the_file(web, bucket, films, tmp_path):
    given = {
        "web": address(web, "/films/tour.mp4"),
        "s3": f"{bucket}/tour.mp4",
        "disk": str(films / "tour.mp4"),
    }
    ladders = {}
    for name, source in given.items():
        ds = film.transcode(table(source), str(tmp_path / name), sides=[36], allow_hosts=HERE)
        (row,) = rows_of(ds)
        ladders[name] = tree((tmp_path / name / row["playlist"]).parent)
    assert ladders["web"] == ladders["disk"] == ladders["s3"] and len(ladders["disk"]) > 5


def test_a_private_host_is_only_asked_where_it_is_allowed(web, tmp_path):
    given = table(address(web, "/films/tour.mp4"))
    ds = film.extract_frames(given, str(tmp_path / "out"), every_s=1, max_failed=1)
    (row,) = rows_of(ds)
    assert (row["status"], row["reason"]) == ("failed", "blocked_address") and not web.asked


BROKEN = {
    "/cut/tour.mp4": {"reset", "truncated"},
    "/404": {"http_404"},
    "/401": {"http_401"},
}


@pytest.mark.parametrize("path", BROKEN)
@pytest.mark.parametrize("verb", ["frames", "ladder"])
def test_a_transfer_that_breaks_is_the_row_s_reason(path, verb, web, films, tmp_path):
    given = table(address(web, path), str(films / "phone.mov"))
    how = {"allow_hosts": HERE, "max_failed": 1}
    out = str(tmp_path / "out")
    if verb == "frames":
        ds = film.extract_frames(given, out, every_s=1, **how)
    else:
        ds = film.transcode(given, out, sides=[36], thumbnail_s=None, **how)
        assert len(list((tmp_path / "out" / "ladders").iterdir())) == 1
    failed = [r for r in rows_of(ds) if r["status"] == "failed"]
    assert len(failed) == 1 and failed[0]["reason"] in BROKEN[path] and failed[0]["error"]
    assert any(r["status"] == "ok" for r in rows_of(ds))


def test_a_film_larger_than_allowed_is_not_kept(web, tmp_path):
    given = table(address(web, "/films/tour.mp4"))
    how = {"every_s": 1, "allow_hosts": HERE, "max_failed": 1}
    (row,) = rows_of(film.extract_frames(given, str(tmp_path / "out"), max_bytes=10_000, **how))
    assert (row["status"], row["reason"]) == ("failed", "too_large")


def test_frames_of_objects_are_those_of_the_files(bucket, films, tmp_path):
    there = film.extract_frames(bucket, str(tmp_path / "s3"), every_s=1)
    here = film.extract_frames(films, str(tmp_path / "disk"), every_s=1)
    assert bytes_of(there) == bytes_of(here) and len(bytes_of(here)) > 10
    gone = film.extract_frames(table(f"{bucket}/none.mp4"), str(tmp_path / "x"), every_s=1, max_failed=1)
    (row,) = rows_of(gone)
    assert (row["status"], row["reason"]) == ("failed", "missing_file")


@pytest.fixture(scope="module")
def long_film(s3, bucket, tmp_path_factory):
    """18 MB in one object: two frames of it are asked for."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    noise = np.random.default_rng(1)
    frames = [noise.integers(0, 255, (480, 640, 3), np.uint8) for _ in range(60)]
    times = [Fraction(n) for n in range(60)]
    write_film(path, frames, times, g="2", qp="2", preset="ultrafast")
    assert path.stat().st_size > 16 << 20
    s3.put(str(path), f"{BUCKET}/long/long.mp4")
    return f"s3://{BUCKET}/long/long.mp4", path


class Between(BaseHTTPRequestHandler):
    """Between a client and the store: counts what is sent, and cuts what begins behind `most`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.forward()

    def do_HEAD(self):
        self.forward()

    def forward(self):
        start = int(self.headers.get("Range", "bytes=0-").partition("=")[2].partition("-")[0])
        store = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        store.request(self.command, self.path, headers=dict(self.headers))
        answer = store.getresponse()
        data = answer.read()
        store.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.end_headers()
        is_cut = self.command == "GET" and start > self.server.most
        self.wfile.write(data[:1000] if is_cut else data)
        self.server.asked["bytes"] += len(data)
        self.close_connection = is_cut

    def log_message(self, *_):
        pass


@pytest.fixture
def between(s3, monkeypatch):
    """The store behind a line that can break; filesystems that know it go when the test ends."""
    kind = fsspec.get_filesystem_class("s3")
    port = int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])
    server = listening(Between, port=port, most=1 << 40)
    kind.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", address(server))
    yield server
    kind.clear_instance_cache()
    server.shutdown()
    server.server_close()


def test_an_object_is_read_only_where_a_frame_is(between, long_film, tmp_path, monkeypatch):
    monkeypatch.setattr("imgprep.io.film.places.STORE_BLOCK_BYTES", 1 << 18)
    uri, path = long_film
    there = film.extract_frames(table(uri), str(tmp_path / "s3"), every_s=50)
    here = film.extract_frames(table(str(path)), str(tmp_path / "disk"), every_s=50)
    assert bytes_of(there) == bytes_of(here) and len(bytes_of(here)) == 2
    whole = path.stat().st_size
    assert between.asked["bytes"] < 0.25 * whole, f"{between.asked['bytes']:,} of {whole:,}"


@pytest.mark.parametrize("verb", ["frames", "ladder"])
def test_a_store_that_breaks_off_is_the_row_s_reason(verb, between, long_film, tmp_path):
    between.most = 1 << 20
    uri, _ = long_film
    out = str(tmp_path / "out")
    if verb == "frames":
        ds = film.extract_frames(table(uri), out, every_s=0.5, max_failed=1)
    else:
        ds = film.transcode(table(uri), out, sides=[36], thumbnail_s=None, max_failed=1)
        assert not (tmp_path / "out" / "ladders").exists()
    row = rows_of(ds)[-1]
    # As of a picture there: a store's errors are its own.
    assert (row["status"], row["reason"]) == ("failed", "error")
    assert row["error"].startswith(f"'{uri}' cannot be read: ")
