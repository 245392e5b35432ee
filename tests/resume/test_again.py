"""An outage is no result: what the network, the machine or an option caused is tried by the next run."""

import http.server
import threading

import pyarrow as pa
import pytest
from made import folder, picture, table
from test_variants_table import HEIC

import imgprep
from imgprep import dataset
from imgprep.failures import REASONS
from imgprep.picture import codec, header
from imgprep.resume import again
from imgprep.stages import film, images

LOCAL = {"allow_hosts": ["127.0.0.1"], "attempts": 1, "max_failed": 1.0}


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


class Site(http.server.ThreadingHTTPServer):
    """Answers each path with a status; 200 is a picture. Counts what it is asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked = {}, []

    def url(self, name):
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802 - the library's name
        self.server.asked.append(self.path)
        status = self.server.answers.get(self.path, 200)
        body = codec.encode(picture(int(self.path[1:]))) if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def site():
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("status", [500, 502, 503, 429, 401, 408])
def test_a_server_in_trouble_is_asked_again_by_the_next_run(site, tmp_path, status):
    rows = {"train": table([site.url(i) for i in range(9)])}
    site.answers = {"/3": status}
    out = images.download(rows, str(tmp_path / "out"), **LOCAL)
    assert out.counts()["reasons"] == {f"http_{status}": 1}
    site.answers, site.asked[:] = {}, []
    out = images.download(rows, out.folder, **LOCAL)
    assert out.counts()["ok"] == 9 and site.asked == ["/3"]
    assert f"for other reasons than the picture (http_{status} 1)" in out.runs()[-1]["why"]


@pytest.mark.parametrize("status", [404, 410, 403, 451])
def test_what_the_server_said_about_that_picture_stays(site, tmp_path, capsys, status):
    rows = {"train": table([site.url(i) for i in range(9)])}
    site.answers = {"/3": status}
    out = images.download(rows, str(tmp_path / "out"), **LOCAL)
    capsys.readouterr()
    site.asked[:] = []
    for dry_run in (True, False):
        images.download(rows, out.folder, dry_run=dry_run, **LOCAL)
        told = f"9 rows, nothing to compute; 1 failure of an earlier run stays (http_{status} 1): "
        told += "retry_failed=True tries it again, in a pipeline -p retry_failed=true"
        assert told in capsys.readouterr().out and not site.asked
    images.download(rows, out.folder, retry_failed=True, **LOCAL)
    assert site.asked == ["/3"]


def test_a_host_that_was_away_is_asked_again_and_the_others_are_not(site, tmp_path):
    dead = "http://127.0.0.1:1/9.png"
    rows = {"train": table([site.url(0), dead, site.url(1)])}
    out = images.download(rows, str(tmp_path / "out"), **LOCAL)
    assert out.counts()["reasons"] == {"refused": 1}
    site.asked[:] = []
    before = out.files
    out = images.download(rows, out.folder, **LOCAL)
    assert out.runs()[-1]["computed"] == 1 and not site.asked and out.files == before


def test_an_option_that_refused_a_picture_is_asked_again_when_it_changes(site, tmp_path):
    rows = {"train": table([site.url(0), site.url(1)])}
    for options, computed in (
        ({}, 2),
        ({}, None),  # the same options: they would refuse it again
        ({"allow_hosts": ["127.0.0.1"]}, 2),
    ):
        runs = len(dataset.open(str(tmp_path / "out")).runs()) if dataset.exists(str(tmp_path / "out")) else 0
        out = images.download(rows, str(tmp_path / "out"), attempts=1, max_failed=1.0, **options)
        assert len(out.runs()) - runs == (computed is not None)
        assert computed is None or out.runs()[-1]["computed"] == computed
    assert out.counts()["ok"] == 2


def test_more_bytes_and_pixels_are_tried_where_they_were_too_many(tmp_path):
    rows, out = {"train": table(folder(tmp_path / "in", 3))}, str(tmp_path / "out")
    images.download(rows, out, max_bytes=10, max_failed=1.0)
    assert dataset.open(out).counts()["reasons"] == {"too_large": 3}
    images.download(rows, out, max_pixels=10, max_failed=1.0)
    assert dataset.open(out).counts()["reasons"] == {"too_many_pixels": 3}
    assert images.download(rows, out).counts()["ok"] == 3


def test_a_placeholder_of_an_outage_is_no_outage_of_the_next_stage(site, tmp_path):
    rows = {"train": table([site.url(0), "http://127.0.0.1:1/9.png"])}
    raw = images.download(rows, str(tmp_path / "raw"), **LOCAL)

    def picky(image):
        if image.shape != picture(0).shape:
            raise ValueError("no placeholder, please")
        return image

    for _ in range(2):
        out = images.transform(raw, str(tmp_path / "out"), picky, max_failed=1.0)
    assert out.counts()["reasons"] == {"refused": 1} and len(out.runs()) == 1


def test_failures_of_the_function_stay(tmp_path, capsys):
    rows, out = {"train": table(folder(tmp_path / "in", 3))}, str(tmp_path / "out")

    def bad(image):
        raise ValueError("no")

    for _ in range(2):
        images.transform(rows, out, bad, max_failed=1.0)
    assert "3 failures of earlier runs stay (error 3): retry_failed=True" in capsys.readouterr().out
    assert len(dataset.open(out).runs()) == 1


def test_every_word_here_is_a_reason():
    words = {word for word in again.PASSING if not word.startswith("http_")}
    assert words | (again.OPTION_OF.keys() - {again.SLOW_BODY}) <= REASONS.keys()


def test_a_slow_body_is_the_pictures_and_a_silent_host_is_not():
    errors = ["the answer was not complete within timeout_s=10", "a.org did not answer within first_byte_timeout_s=20"]
    told = again.told_reasons(pa.array(["timeout", "timeout"]), pa.array(errors)).to_pylist()
    assert [again.is_passing(reason) for reason in told] == [False, True]
    assert again.to_try(told, set()) == {"timeout"}
    assert again.to_try(told, again.changed_reasons({"timeout_s": 20}, {"timeout_s": 10})) == set(told)


def test_a_picture_whose_reader_was_missing_is_read_when_it_is_there(tmp_path, monkeypatch):
    paths = folder(tmp_path / "in", 3)
    (tmp_path / "in" / "a.heic").write_bytes(HEIC)
    rows = {"train": table([*paths, str(tmp_path / "in" / "a.heic")])}
    with monkeypatch.context() as without:
        without.delitem(header.Image.OPEN, "HEIF")
        out = images.download(rows, str(tmp_path / "out"), size_wh=[8, 8])
    assert out.counts()["reasons"] == {"missing_extra": 1}
    out = images.download(rows, out.folder, size_wh=[8, 8])
    assert out.counts()["ok"] == 4 and out.runs()[-1]["computed"] == 1


FILM_VERBS = {
    "frames": lambda rows, out: film.extract_frames(rows, out, every_s=1, **FILM_OPTIONS),
    "ladders": lambda rows, out: film.transcode(rows, out, **FILM_OPTIONS),
}
FILM_OPTIONS = {"allow_hosts": ["127.0.0.1"], "max_failed": 1.0}


@pytest.mark.parametrize("verb", FILM_VERBS)
def test_a_film_whose_host_was_away_is_asked_for_again_and_one_that_is_gone_is_not(site, tmp_path, verb):
    pytest.importorskip("av")
    site.answers = {"/1": 503, "/2": 404}
    rows = {"train": table([site.url(1), site.url(2), "http://127.0.0.1:1/3.mp4"])}
    for count in (1, 2):
        out = FILM_VERBS[verb](rows, str(tmp_path / "out"))
        assert out.counts()["reasons"] == {"http_404": 1, "http_503": 1, "refused": 1}
        assert len(out.runs()) == count
    why = out.runs()[-1]["why"]
    assert why == "2 of 3 rows to compute: what failed for other reasons than the picture (http_503 1, refused 1)"
    assert site.asked.count("/2") == 1
