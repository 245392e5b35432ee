"""Facts about the verbs that a notebook calls: which mistakes they tell before any work, and what counts as new."""

import functools
import http.server
import io
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
from made import folder, picture, table

import imgprep
from imgprep import dataset, engine
from imgprep.failures import Failure
from imgprep.picture import codec, enhance, ocr
from imgprep.resume import located
from imgprep.stages import batch_requests, exports, images, publish, upload, variants


def one_channel(image):
    return image[:, :, :1]


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return {"train": table(folder(tmp_path_factory.mktemp("in"), 3), label=["a", "b", "c"])}


def refused(tmp_path, sentence, verb, *args, **options):
    with pytest.raises(ValueError, match=sentence):
        verb(*args, **options)
    assert [f.name for f in tmp_path.rglob("*") if f.is_file()] in ([], ["lock"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_failed": "0.5"}, "max_failed is a share of the rows, from 0 to 1, not '0.5'"),
        ({"max_failed": 50}, "max_failed is a share"),
        ({"max_failed": None}, "max_failed is a share"),
        ({"batch_size": 0}, "batch_size is a number of rows"),
        ({"retry_failed": "no"}, "retry_failed is true or false, not 'no'"),
        ({"refresh": 1}, "refresh is true or false"),
        ({"keep_truncated": "no"}, "keep_truncated is true or false"),
        ({"max_pixels": "1e6"}, "max_pixels is a number of pixels, or None"),
        ({"max_pixels": 0}, "max_pixels is a number of pixels, or None"),
        ({"size_wh": 128}, r"size_wh is \[width, height\] in pixels, not 128"),
        ({"size_wh": []}, "size_wh is"),
        ({"size_wh": [True, True]}, "size_wh is"),
        ({"size_wh": [128, 0]}, "size_wh is"),
        ({"placeholder_wh": [0, 1]}, "placeholder_wh is"),
        ({"placeholder_color": "red"}, r"placeholder_color is \[red, green, blue\]"),
        ({"placeholder_color": [300, 0, 0]}, "placeholder_color is"),
        ({"atempts": 3}, "download has no option 'atempts'; .*did you mean 'attempts'"),
        ({"share": 0.5}, "download has no option 'share'"),
        ({"attempts": "3"}, "attempts is a whole number"),
    ],
)
def test_download_tells_a_wrong_option_before_any_work(tables, tmp_path, options, sentence):
    refused(tmp_path, sentence, images.download, tables, str(tmp_path / "out"), **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_failed": -1}, "max_failed is a share"),
        ({"children": "yes"}, "children is true or false"),
        ({"batch": 0}, "batch is a number of pictures"),
        ({"num_gpus": "1"}, "num_gpus is how many"),
        ({"num_gpus": -1}, "num_gpus is how many"),
        ({"format": "png"}, "format is 'PNG', 'WEBP' or 'JPEG'"),
        ({"features": ["mean"]}, "features is {name: feature or dtype}, not"),
        ({"features": {"mean": "flaot32"}}, "features: .*flaot32"),
        ({"fn": "flipud"}, "fn is the function .* not 'flipud'"),
        ({"source": 3}, "give what sources.read gives, .* not '3'"),
    ],
)
def test_transform_tells_a_wrong_option_before_any_work(tables, tmp_path, options, sentence):
    options = {"source": tables, "fn": np.flipud, **options}
    refused(tmp_path, sentence, images.transform, out=str(tmp_path / "out"), **options)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (3, "give what sources.read gives"),
        ([], "give what sources.read gives"),
        ({}, "give what sources.read gives"),
        ({"train": "train.csv"}, "give what sources.read gives"),
        ({"train": pa.table({"image_id": ["1"]})}, "the column 'source' of 'train' is missing"),
        ({"train": pa.table({"source": ["1"]})}, "the column 'image_id' of 'train' is missing"),
        ({"train": pa.table({"image_id": [1], "source": ["1"]})}, "the column 'image_id' of 'train' is int64"),
        ({"a": table(["x"], n=[1]), "b": table(["y"], n=["1"])}, "columns do not go together: .* n .*int64"),
    ],
)
def test_tables_of_another_shape_are_told_before_any_work(tmp_path, given, sentence):
    refused(tmp_path, sentence, images.download, given, str(tmp_path / "out"))
    refused(tmp_path, sentence, images.transform, given, str(tmp_path / "out"), np.flipud)


def test_splits_may_have_different_columns(tables, tmp_path):
    other = table(tables["train"]["source"].to_pylist(), n=[1, 2, 3])
    out = images.download({**tables, "test": other}, str(tmp_path / "out"))
    assert out.table("train").schema == out.table("test").schema
    assert out.table("train")["n"].to_pylist() == [None] * 3 == out.table("test")["label"].to_pylist()


def test_what_a_function_is_told_of_a_row_counts_and_the_rest_does_not(tables, tmp_path):
    out = str(tmp_path / "out")

    def stamp(image, label):
        return {"said": label.upper()}

    def run(**columns):
        rows = {"train": table(tables["train"]["source"].to_pylist(), **columns)}
        return images.transform(rows, out, stamp, features={"said": "string"}).table("train")["said"].to_pylist()

    assert run(label=["a", "b", "c"], other=[1, 2, 3]) == ["A", "B", "C"]
    assert run(label=["a", "x", "c"], other=[1, 2, 4]) == ["A", "X", "C"]
    assert run(label=["x", "x", "c"], other=[1, 2, 4]) == ["X", "X", "C"]
    assert [r["computed"] for r in dataset.open(out).runs()] == [3, 1, 1]


def test_an_upgrade_of_the_package_computes_nothing_and_a_new_version_of_an_operator_all(tables, tmp_path, monkeypatch):
    from imgprep.picture import ocr

    out = str(tmp_path / "out")
    images.transform(tables, out, ocr.prepare)
    monkeypatch.setattr(imgprep, "__version__", "99")
    images.transform(tables, out, ocr.prepare)
    assert len(dataset.open(out).runs()) == 1
    monkeypatch.setattr(ocr.prepare, "version", 99)
    images.transform(tables, out, ocr.prepare)
    assert dataset.open(out).runs()[-1]["computed"] == 3 and "function changed" in dataset.open(out).runs()[-1]["why"]


def test_what_changes_no_ok_picture_computes_nothing_again(tables, tmp_path):
    out = str(tmp_path / "out")
    images.download(tables, out)
    images.download(tables, out, attempts=1, timeout_s=5, per_host=1, user_agent="me/1", max_pixels=999)
    images.download(tables, out, keep_truncated=True, placeholder_color=[1, 2, 3], batch_size=2)
    assert [r["computed"] for r in dataset.open(out).runs()] == [3, 0, 0]
    images.download(tables, out, size_wh=[8, 8])
    assert dataset.open(out).runs()[-1]["computed"] == 3


def test_changed_files_are_computed_again_and_the_untouched_are_not(tmp_path):
    paths, out = folder(tmp_path / "in", 4), str(tmp_path / "out")
    images.download({"train": table(paths)}, out)
    (tmp_path / "in" / "0001.png").write_bytes((tmp_path / "in" / "0002.png").read_bytes())
    again = images.download({"train": table(paths)}, out)
    assert again.runs()[-1]["computed"] == 1
    hashes = again.table("train")["sha256"].to_pylist()
    assert hashes[1] == hashes[2] != hashes[0]


def test_a_dry_run_writes_nothing(tables, tmp_path, capsys, monkeypatch):
    assert images.download(tables, str(tmp_path / "out"), dry_run=True) is None
    assert not list(tmp_path.iterdir()) and "3 of 3 rows to compute: the first run" in capsys.readouterr().out
    monkeypatch.setattr(engine.current(), "dry_run", True)
    assert images.download(tables, str(tmp_path / "out")) is None and not list(tmp_path.iterdir())


@pytest.fixture
def site():
    """Pictures by path ("/3": number 3) with ETags; site.answers[path] = (status, number) changes one."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802 - the library's name
            status, n = self.server.answers.get(self.path, (200, int(self.path[1:])))
            body, etag = codec.encode(picture(n)), f'"v{n}"'
            if status == 200 and self.headers.get("If-None-Match") == etag:
                status, body = 304, b""
            self.server.asked.append((self.path, status))
            self.send_response(status)
            self.send_header("ETag", etag)
            if n == 99:
                self.send_header("X-Robots-Tag", "noai")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.answers, server.asked = {}, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_refresh_takes_what_changed_and_keeps_what_did_not_or_cannot_be_had_now(site, tmp_path):
    rows = {"train": table([f"http://127.0.0.1:{site.server_address[1]}/{i}" for i in range(20)])}
    options = {"allow_hosts": ["127.0.0.1"], "attempts": 1, "batch_size": 8}
    first = images.download(rows, str(tmp_path / "out"), **options)
    images.download(rows, str(tmp_path / "out"), refresh=True, **options)
    assert site.asked.count(("/7", 304)) == 1 and len(first.runs()) == 2
    assert dataset.open(first.folder).files == first.files
    site.answers = {"/3": (200, 33), "/9": (404, 9), "/11": (500, 11)}
    again = images.download(rows, str(tmp_path / "out"), refresh=True, **options)
    assert again.counts()["reasons"] == {"http_404": 1} and again.runs()[-1]["attempts"] == 20
    expected = [33 if i == 3 else i for i in range(20)]
    for i, data in enumerate(again.pictures("train", range(20))):
        if i != 9:  # a picture that is gone is gone; one whose server has a bad day is kept
            assert np.array_equal(codec.decode(data), picture(expected[i]))
    site.answers["/11"] = (200, 11)
    fresh = images.download(rows, str(tmp_path / "fresh"), **options)
    assert [f["file"] for f in fresh.files] == [f["file"] for f in again.files]
    site.asked.clear()
    images.download(rows, str(tmp_path / "out"), **options)
    assert site.asked == []


def test_a_refresh_that_was_killed_goes_on(site, tmp_path, monkeypatch):
    rows = {"train": table([f"http://127.0.0.1:{site.server_address[1]}/{i}" for i in range(20)])}
    options = {"allow_hosts": ["127.0.0.1"], "attempts": 1}
    images.download(rows, str(tmp_path / "out"), **options)
    site.answers = {f"/{i}": (200, 20 + i) for i in range(0, 20, 2)}
    add = located.Located.add_part

    def killed(self, folder, name, **more):
        add(self, folder, name, **more)
        monkeypatch.undo()
        raise SystemError("killed")

    monkeypatch.setattr(located.Located, "add_part", killed)
    with pytest.raises(SystemError):
        images.download(rows, str(tmp_path / "out"), refresh=True, **options)
    out = images.download(rows, str(tmp_path / "out"), **options)  # what it had is taken
    assert out.runs()[-1]["computed"] == 0
    out = images.download(rows, str(tmp_path / "out"), refresh=True, **options)
    for i, data in enumerate(out.pictures("train", range(20))):
        assert np.array_equal(codec.decode(data), picture(i if i % 2 else 20 + i))


@pytest.mark.parametrize("options", [{}, {"size_wh": [8, 8]}])
def test_a_header_that_opts_out_is_honoured_or_kept_in_the_row(site, tmp_path, options):
    def download(urls, **more):
        rows = {"train": table([f"http://127.0.0.1:{site.server_address[1]}/{i}" for i in urls])}
        options_of = {"allow_hosts": ["127.0.0.1"], "max_failed": 1, **options, **more}
        return images.download(rows, str(tmp_path / "out"), **options_of).table("train")

    first = download([1, 99])
    assert first["reason"].to_pylist() == ["", "opted_out"] and "opt_out" not in first.column_names
    now = download([1, 99, 3], opt_out=False, retry_failed=True)
    assert now["status"].to_pylist() == ["ok"] * 3
    assert now["opt_out"].to_pylist() == [None, "X-Robots-Tag: noai", ""]  # the first was fetched before
    assert len(site.asked) == 4
    with pytest.raises(ValueError, match="there is a column 'opt_out' already"):
        rows = {"train": table(["http://127.0.0.1/1"], opt_out=["x"])}
        images.download(rows, str(tmp_path / "other"), opt_out=False, allow_hosts=["127.0.0.1"])


def test_fitting_a_download_says_which_columns_of_places_stay_behind(tmp_path, caplog):
    rows = table(folder(tmp_path / "in", 1)).append_column("boxes", [[[[1, 2, 3, 4]]]])
    images.download({"train": rows}, str(tmp_path / "raw"))
    assert "of places in the picture" not in caplog.text
    images.download({"train": rows}, str(tmp_path / "fit"), size_wh=(8, 8))
    said = [r.message for r in caplog.records]
    (told,) = [n for n, text in enumerate(said) if text.startswith("download: boxes is a column of places in the pict")]
    assert said[told + 1].startswith("download: 1 of 1 row to compute"), "before it starts"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"batch_size": 0}, "batch_size is a number of rows, not 0"),
        ({"batch_size": True}, "batch_size is a number of rows, not True"),
        ({"max_failed": 50}, "max_failed is a share of the rows, from 0 to 1, not 50"),
        ({"retry_failed": "yes"}, "retry_failed is true or false, not 'yes'"),
        ({"dry_run": 1}, "dry_run is true or false, not 1"),
    ],
)
def test_the_options_of_a_run_are_checked_alike_before_anything_is_opened(tmp_path, wrong, says):
    with pytest.raises(ValueError, match=says):
        images.download({"train": None}, str(tmp_path / "out"), **wrong)
    with pytest.raises(ValueError, match=says):
        images.transform("no such folder", str(tmp_path / "out"), len, **wrong)
    with pytest.raises(ValueError, match=says):
        variants.build("no such folder", str(tmp_path / "out"), **wrong)


@pytest.mark.parametrize("fn", [ocr.prepare, functools.partial(ocr.prepare, grey=True), enhance.grey, one_channel])
def test_grey_results_are_stored_as_one_channel(tmp_path, fn):
    paths = folder(tmp_path / "in", 2)
    options = {"grey": True} if fn is ocr.prepare else {}
    found = images.transform({"train": table(paths)}, str(tmp_path / "out"), fn, **options)
    for path, data in zip(paths, found.pictures("train", range(2)), strict=True):
        with PIL.Image.open(io.BytesIO(data)) as stored:
            wanted = fn(codec.decode(Path(path).read_bytes()), **options)
            assert stored.mode == "L" and (np.asarray(stored) == wanted[:, :, 0]).all()
    colour = images.transform({"train": table(paths)}, str(tmp_path / "colour"), ocr.prepare)
    assert PIL.Image.open(io.BytesIO(colour.example())).mode == "RGB"


@pytest.mark.parametrize("batch", [None, 2])
def test_a_function_says_in_a_closed_word_what_is_wrong_with_a_picture(tmp_path, batch):
    (tmp_path / "in").mkdir()
    for number, grey in enumerate((0, 200, 255)):
        (tmp_path / "in" / f"{number}.png").write_bytes(codec.encode(np.full((8, 8, 3), grey, np.uint8)))

    def see(image):
        dark = image[0] if isinstance(image, list) else image
        if not dark.any():
            raise Failure("empty", "nothing can be\nseen")
        return image

    made = images.transform(str(tmp_path / "in"), str(tmp_path / "out"), see, batch=batch)
    (row,) = [row for row in made.table("train").to_pylist() if row["status"] != "ok"]
    assert (row["file_name"], row["reason"], row["error"]) == ("0.png", "empty", "nothing can be seen")
    assert made.counts()["ok"] == 2


def test_every_verb_takes_a_path_and_a_dataset_and_says_so_when_it_gets_another_thing(tmp_path):
    source = tmp_path / "in"
    folder(source, 2)
    raw = images.download(source, str(tmp_path / "raw"))
    assert raw.counts()["ok"] == 2 and images.download(str(source), str(tmp_path / "raw")).counts()["ok"] == 2
    with pytest.raises(ValueError, match="raw has its pictures already: `images.transform` works on them"):
        images.download(raw, str(tmp_path / "again"))
    home = Path(raw.folder)
    up = upload.upload(home, str(tmp_path / "store"), str(tmp_path / "up"))
    assert up.counts()["ok"] == 2 and exports.export(home, str(tmp_path / "disk"), "disk")
    assert images.copy(home, {"train": raw.table("train")}, str(tmp_path / "copy")).counts()["ok"] == 2
    assert batch_requests.write(home, str(tmp_path / "asked"), model="m", prompt="?", dry_run=True).requests == 2
    for wrong in (
        lambda: exports.export(7, str(tmp_path / "x"), "disk"),
        lambda: images.copy(7, {}, str(tmp_path / "x")),
        lambda: batch_requests.write(7, str(tmp_path / "x"), model="m", prompt="?"),
        lambda: publish.publish(7),
        lambda: upload.orphans(7),
    ):
        with pytest.raises(ValueError, match="give a dataset folder, or a Dataset, not '7'"):
            wrong()
    for wrong in (
        lambda: images.download(7, str(tmp_path / "x")),
        lambda: images.transform(7, str(tmp_path / "x"), one_channel),
        lambda: variants.build(7, str(tmp_path / "x")),
    ):
        with pytest.raises(ValueError, match="give a path, a Dataset, or"):
            wrong()
