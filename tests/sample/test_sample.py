"""The sample is true, the same every time, and its server misbehaves exactly as the plan says."""

import contextlib
import csv
import http.client
import io
import re
import socket
import threading
import time
from collections import Counter
from contextlib import closing
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from made import of_sample
from PIL import Image, ImageOps

import imgprep
from imgprep import sample
from imgprep.failures import REASONS
from imgprep.io.web import routes
from imgprep.io.web.fetch import Fetcher
from imgprep.picture import codec
from imgprep.rows import sources
from imgprep.sample import packshot
from imgprep.stages import images

README = Path(__file__).parents[2] / "data" / "README.md"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_listening(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def tree(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def cells(path: Path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, port) -> Path:
    folder = tmp_path_factory.mktemp("made") / "sample"
    sample.make(folder, rows=60, port=port)
    return folder


@pytest.fixture(scope="module")
def rows(port) -> dict[str, list[sample.SampleRow]]:
    """The plan's rows by kind."""
    out: dict[str, list[sample.SampleRow]] = {}
    for row in sample.plan(60, port):
        out.setdefault(row.kind, []).append(row)
    return out


@pytest.fixture(scope="module")
def served(folder):
    with sample.serve(folder):
        yield


def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    """One request that follows nothing."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as line:
        line.request("GET", path)
        with line.getresponse() as answer:
            return answer.status, dict(answer.getheaders()), answer.read()


def path_of(row: sample.SampleRow) -> str:
    return "/" + row.url.split("/", 3)[3]


# ---- the plan ----


def test_the_plan_of_1200_rows_fails_24_times_and_each_reason_is_in_the_closed_list():
    rows = sample.plan()
    assert Counter(r.split for r in rows) == {"train": 1000, "test": 200}
    reasons = [sample.URL_KINDS[r.kind][1] for r in rows if r.kind in sample.URL_KINDS]
    assert sum(map(bool, reasons)) == 24
    assert {r.replace("http_404", "http_*") for r in reasons if r} <= set(REASONS)


def test_the_readme_tells_the_truth_about_the_sample():
    table = re.findall(r"^\| [`(]/?(\w+)[^|]*\| ([\d,]+) \|[^|]*\| ([^|]*) \|", README.read_text("utf-8"), re.M)
    told = {kind: (int(n.replace(",", "")), outcome) for kind, n, outcome in table}
    told["null"] = told.pop("empty")
    plan = [r.url.split("/")[3] if r.url else r.kind for r in sample.plan()]
    assert {kind: n for kind, (n, _) in told.items()} == Counter(plan)
    for kind, (_, outcome) in told.items():
        reason = sample.URL_KINDS.get(kind, (0, ""))[1]
        assert outcome == f"`{reason}`" if reason else outcome.startswith("ok")


def test_sixty_rows_hold_one_of_every_kind_and_fewer_are_refused():
    assert {r.kind for r in sample.plan(60)} == {"photo", *sample.URL_KINDS}
    with pytest.raises(ValueError, match="at least 60|needs 60"):
        sample.plan(59)


def test_urls_repeat_only_where_the_plan_says_again():
    urls = Counter(r.url for r in sample.plan() if r.url)
    assert sum(n - 1 for n in urls.values()) == sample.URL_KINDS["again"][0]


@pytest.mark.parametrize("rows", [60, 1200])
def test_one_picture_leaks_from_train_into_test(rows):
    plan = sample.plan(rows)
    train, test = ({r.drawing for r in plan if r.split == split} for split in ("train", "test"))
    assert [r.kind for r in plan if r.split == "test" and r.drawing in train & test] == ["leak"]


def test_expected_adds_up(folder):
    both = of_sample(folder)
    assert both["rows"] == 60 == both["ok"] + sum(both["reasons"].values())
    assert both["reasons"] == Counter(r for _, r in sample.URL_KINDS.values() if r)


# ---- the folder ----


def test_two_makes_give_equal_bytes(folder, port, tmp_path):
    tables = sample.make(tmp_path / "again", rows=60, port=port)
    assert tree(tmp_path / "again") == tree(folder)
    assert [t.name for t in tables.values()] == ["train.csv", "test.csv"]
    assert [p.name for p in tmp_path.iterdir()] == ["again"]  # nothing temporary is left


def test_a_finished_sample_is_left_alone_and_another_is_replaced(tmp_path):
    table = sample.make(tmp_path / "s", rows=60)["train"]
    made = table.stat()
    sample.make(tmp_path / "s", rows=60)
    assert (table.stat().st_ino, table.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    sample.make(tmp_path / "s", rows=72)
    assert len(cells(table)) == 60
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_the_slide_of_notebook_04_may_be_there_first_and_stays(tmp_path):
    (tmp_path / "s" / "slide").mkdir(parents=True)
    (tmp_path / "s" / "slide" / "slide.tif").write_bytes(b"cells")
    for rows in (60, 72):
        assert len(cells(sample.make(tmp_path / "s", rows=rows)["train"])) == rows * 5 // 6
        assert (tmp_path / "s" / "slide" / "slide.tif").read_bytes() == b"cells"


def test_a_folder_with_something_else_is_refused_and_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds something else"):
        sample.make(tmp_path, rows=60)
    assert tree(tmp_path) == {"mine.txt": b"dear"}


def test_tables_have_the_shape_of_the_real_ones(folder):
    train, test = cells(folder / "train.csv"), cells(folder / "test.csv")
    assert (len(train), len(test)) == (50, 10)
    assert list(train[0]) == ["image_link", "group_id", "entity_name", "entity_value"]
    assert list(test[0]) == ["index", "image_link", "group_id", "entity_name"]
    assert [row["index"] for row in test] == [str(n) for n in range(10)]
    links = [row["image_link"] for row in train + test]
    assert links.count("") == 1


def test_of_all_the_labels_a_product_can_have_only_the_rows_own_gives_its_picture(folder):
    jpegs = [(at, row) for at, row in enumerate(cells(folder / "train.csv")[:20]) if row["image_link"].endswith("jpg")]
    for at, row in jpegs[:8]:
        name = row["image_link"].rpartition("/")[2]
        product = next(p for p in packshot.PRODUCTS if name.startswith(p.name.lower().replace(" ", "-")))
        stored = (folder / "pictures" / name).read_bytes()
        fits = []
        for entity, value in packshot.labels(product):
            encoded = io.BytesIO()
            Image.fromarray(packshot.draw(product, entity, value, seed=str(at))).save(encoded, "JPEG", quality=85)
            if encoded.getvalue() == stored:
                fits.append((entity, value))
        assert fits == [(row["entity_name"], row["entity_value"])]


def test_copies_have_the_bytes_of_an_earlier_row_under_another_url_and_one_leaks_into_test(folder, rows):
    originals = {r.drawing: r for r in rows["photo"]}
    for copy in rows["copy"] + rows["leak"]:
        original = originals[copy.drawing]
        one, other = (folder / "pictures" / r.url.rpartition("/")[2] for r in (copy, original))
        assert one != other and one.read_bytes() == other.read_bytes()
        assert (copy.entity, copy.value) == (original.entity, original.value)
    assert [(r.split, originals[r.drawing].split) for r in rows["leak"]] == [("test", "train")]


# ---- the server ----


@pytest.mark.usefixtures("served")
class TestServer:
    def test_a_picture_comes_whole(self, folder, port, rows):
        row = rows["photo"][0]
        status, _, body = get(port, path_of(row))
        assert (status, body) == (200, (folder / "pictures" / row.url.rpartition("/")[2]).read_bytes())

    def test_two_hundred_pictures_a_second_on_one_connection(self, port, rows):
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        began = time.monotonic()
        for _ in range(10):
            for row in rows["photo"][:20]:
                line.request("GET", path_of(row))
                assert line.getresponse().read()
        line.close()
        assert time.monotonic() - began < 4  # 0.1 s on a quiet machine; 8 s where each answer waits for an ACK

    def test_missing_is_404_and_nothing_outside_the_pictures_is_served(self, port, rows):
        assert get(port, path_of(rows["missing"][0]))[0] == 404
        assert get(port, "/photo/../sample.json")[0] == get(port, "/photo/%2e%2e/train.csv")[0] == 404

    def test_flaky_and_busy_fail_the_first_time_only(self, port, rows):
        path = path_of(rows["flaky"][0])
        assert [get(port, path)[0] for _ in range(3)] == [500, 200, 200]
        path = path_of(rows["busy"][0])
        assert get(port, path)[1]["Retry-After"] == "1"
        assert get(port, path)[0] == 200

    def test_slow_takes_a_second(self, port, rows):
        began = time.monotonic()
        status, _, body = get(port, path_of(rows["slow"][0]))
        assert status == 200 and time.monotonic() - began >= 1
        Image.open(io.BytesIO(body)).load()

    def test_rotated_pictures_are_upright_by_their_exif(self, port, rows):
        row = rows["rotated"][0]
        lying = Image.open(io.BytesIO(get(port, path_of(row))[2]))
        assert lying.getexif()[0x0112] == 6
        upright = packshot.draw(row.product, row.entity, row.value, seed=str(row.drawing))
        shown = np.asarray(ImageOps.exif_transpose(lying))
        assert np.corrcoef(shown.ravel(), upright.ravel())[0, 1] > 0.98
        assert np.corrcoef(shown[::-1, ::-1].ravel(), upright.ravel())[0, 1] < 0.9

    def test_truncated_is_a_whole_answer_with_half_a_picture(self, port, rows):
        status, headers, body = get(port, path_of(rows["truncated"][0]))
        assert status == 200 and int(headers["Content-Length"]) == len(body)
        with pytest.raises(OSError, match="truncated"):
            Image.open(io.BytesIO(body)).load()

    def test_html_says_it_is_a_jpeg(self, port, rows):
        _, headers, body = get(port, path_of(rows["html"][0]))
        assert headers["Content-Type"] == "image/jpeg" and body.startswith(b"<!doctype html>")

    def test_endless_and_dripping_do_not_end(self, port, rows):
        for kind, least, most in (("endless", 50_000_000, 50_000_000), ("dripping", 1, 10)):
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=0.5)
            line.request("GET", path_of(rows[kind][0]))
            answer, got, began = line.getresponse(), 0, time.monotonic()
            while got < least or (kind == "dripping" and time.monotonic() - began < 0.7):
                got += len(answer.read1(min(1 << 20, least - got) or 1))
            assert least <= got <= most and not answer.isclosed()
            line.close()
        assert get(port, path_of(rows["photo"][0]))[0] == 200  # and the server is none the worse


@pytest.mark.usefixtures("served")
def test_what_is_fetched_and_decoded_is_what_was_expected(folder):
    urls = [row["image_link"] for split in ("train", "test") for row in cells(folder / f"{split}.csv")]
    reasons: Counter[str] = Counter()
    with Fetcher(allow_hosts=["127.0.0.1"], timeout_s=1.5, attempts=2) as fetcher:
        for _, response in fetcher.fetch(urls):
            try:
                if not response.reason:
                    codec.check(response.body)
                reasons[response.reason] += 1
            except codec.DecodeError as e:
                reasons[e.reason] += 1
    truth = of_sample(folder)
    assert reasons == Counter({"": truth["ok"], **truth["reasons"]})


# ---- who serves, and for how long ----


@pytest.fixture
def own(tmp_path) -> tuple[Path, int]:
    """A sample of its own on a free port; the server needs no more than this file."""
    port = free_port()
    (tmp_path / "sample.json").write_text(f'{{"format": {sample.FORMAT}, "rows": 60, "port": {port}}}')
    return tmp_path, port


def test_the_server_ends_with_its_block(own):
    folder, port = own
    with sample.serve(folder):
        assert get(port, "/")[2] == (folder / "sample.json").read_bytes()
    assert not is_listening(port)


@contextlib.contextmanager
def taken_by(who, port, folder):
    """Its port has somebody else, or nobody."""
    with contextlib.ExitStack() as stack:
        if who == "a stranger":
            other = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", port), SimpleHTTPRequestHandler))
            threading.Thread(target=other.serve_forever).start()
            stack.callback(other.shutdown)
        elif who == "another sample":
            stack.enter_context(sample.serve(folder))
        yield


def test_where_its_port_is_taken_the_sample_is_served_on_a_free_one_and_asked_there(tmp_path):
    """And nothing of what is written knows about it: the rows are those of any other port."""
    port = free_port()
    tables = sample.make(tmp_path / "s", rows=60, port=port)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sample.json").write_text((tmp_path / "s" / "sample.json").read_text())
    imgprep.session("local", workers=0)
    made = []
    for who in ("nobody", "a stranger", "another sample"):
        with taken_by(who, port, tmp_path / "other"), sample.serve(tmp_path / "s") as server:
            assert (server.server_port != port) is (who != "nobody")
            read = sources.read({k: str(v) for k, v in tables.items()}, url_column="image_link")
            options = {"allow_hosts": ["127.0.0.1"], "timeout_s": 1.5, "attempts": 2}
            out = images.download(read, str(tmp_path / who), **options)
        counts = out.counts()
        assert {key: counts[key] for key in ("rows", "ok", "reasons")} == of_sample(tmp_path / "s")
        made.append({k: v for k, v in tree(tmp_path / who).items() if "/runs/" not in k})
    imgprep.close()
    assert made[0] == made[1] == made[2] and routes.STAND_INS == {}


def test_the_second_run_has_nothing_to_compute_although_the_port_differs(tmp_path, capsys):
    port = free_port()
    tables = sample.make(tmp_path / "s", rows=60, port=port)
    imgprep.session("local", workers=2)
    read = sources.read({k: str(v) for k, v in tables.items()}, url_column="image_link", limit=20)
    with ThreadingHTTPServer(("127.0.0.1", port), SimpleHTTPRequestHandler), sample.serve(tmp_path / "s"):
        images.download(read, str(tmp_path / "out"), allow_hosts=["127.0.0.1"])  # workers know the place
    images.download(read, str(tmp_path / "out"), allow_hosts=["127.0.0.1"])
    imgprep.close()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("download: 30 rows, nothing to compute; 1 failure of an earlier run stays (not_an_image 1)")


def test_ready_serves_the_projects_own_sample_and_nothing_else(tmp_path, monkeypatch):
    port, home = free_port(), tmp_path / "data" / "sample"
    (tmp_path / "environment.yml").write_text("name: imgprep\n")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    sample.ready("data/mine.csv", "s3://bucket/data/sample/train.csv", "", None)
    assert not home.exists() and not is_listening(port)
    sample.make(home, rows=60, port=port)
    sample.ready("data/sample/train.csv", "data/sample/test.csv")
    sample.ready(home / "train.csv")
    assert is_listening(port) and routes.STAND_INS == {}


def test_the_snapshots_are_good_first_and_then_worn_and_the_same_every_time(tmp_path):
    for name in ("one", "two"):
        sample.snapshots(tmp_path / name)
    first = tree(tmp_path / "one")
    assert first == tree(tmp_path / "two")
    assert [name.partition("-")[0] for name in sorted(first)] == ["good"] * 4 + ["worn"] * 4
