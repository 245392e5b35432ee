"""Facts about dataset folders: whatever a table holds, `datasets` opens what was made of it, and every row is there."""

import datetime
import decimal
import http.server
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import folder, picture, table

import imgprep
from imgprep import dataset
from imgprep.picture import codec
from imgprep.rows import labels, sources
from imgprep.stages import images


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("in"), 6)


def load(out: str, config: str = "default", **options):
    import datasets

    return datasets.load_dataset(out, config, cache_dir=f"{out}-cache", **options)


def same_in_both_modes(out: str, split: str = "train", config: str = "default"):
    """The split as load_dataset gives it; streaming must give the same rows and features."""
    rows, stream = load(out, config, split=split), load(out, config, split=split, streaming=True)
    assert stream.features == rows.features
    drop = [c for c in ("image", "original") if c in rows.features]
    assert list(stream.remove_columns(drop)) == list(rows.remove_columns(drop))
    return rows


def upside_down(one: pa.Table) -> pa.Table:
    return pa.concat_tables([one.slice(i, 1) for i in range(one.num_rows)[::-1]])


VALUES = {
    "null": pa.nulls(6),
    "bool": pa.array([True, None, False] * 2),
    "uint8": pa.array(range(6), pa.uint8()),
    "float16": pa.array(np.arange(6, dtype=np.float16)),
    "large string": pa.array(["a", None, "c"] * 2, pa.large_string()),
    "binary": pa.array([b"\0", b"", None] * 2),
    "fixed binary": pa.array([b"xy"] * 6, pa.binary(2)),
    "list": pa.array([[1, None], [], None] * 2),
    "large list": pa.array([[1], [2]] * 3, pa.large_list(pa.int64())),
    "fixed list": pa.array([[1, 2], None] * 3, pa.list_(pa.int64(), 2)),
    "list of struct": pa.array([[{"a": 1, "b": "x"}], []] * 3),
    "struct": pa.array([{"a": {"c": [1, 2]}, "b": "x"}] * 6),
    "date": pa.array([datetime.date(2024, 2, 29), None] * 3),
    "time": pa.array([datetime.time(1, 2, 3), None] * 3),
    "timestamp": pa.array([0, 1] * 3, pa.timestamp("us", "UTC")),
    "nanoseconds": pa.array([0, 1000] * 3, pa.timestamp("ns")),
    "duration": pa.array([0, 1] * 3, pa.duration("s")),
    "decimal": pa.array([decimal.Decimal("1.50")] * 6),
}


def test_values_of_every_type_come_back_as_they_were(paths, tmp_path):
    rows, out = table(paths, **VALUES), str(tmp_path / "out")
    found = images.download({"train": rows}, out, batch_size=2).table("train")
    assert {n: found[n].type for n in VALUES} == {n: v.type for n, v in VALUES.items()}
    assert found.select([*VALUES]).to_pylist() == rows.select([*VALUES]).to_pylist()
    loaded = same_in_both_modes(out)
    assert loaded["struct"][3] == {"a": {"c": [1, 2]}, "b": "x"} and loaded["date"][0] == datetime.date(2024, 2, 29)
    later = images.transform(out, str(tmp_path / "later"), np.flipud).table("train")
    assert later.select([*VALUES]).equals(found.select([*VALUES]))
    again = images.download({"train": upside_down(rows)}, out, batch_size=2)  # from committed files
    assert again.table("train").select([*VALUES]).to_pylist() == rows.select([*VALUES]).to_pylist()[::-1]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (pa.array(list("abcabc")).dictionary_encode(), pa.string()),
        (pa.array(list("abcabc"), pa.string_view()), pa.string()),
        (pa.array([0, 1] * 3, pa.timestamp("s")), pa.timestamp("ms")),  # Parquet has no seconds
    ],
)
def test_a_type_that_parquet_lacks_becomes_its_neighbour(paths, tmp_path, values, kept):
    rows, out = table(paths, n=values), str(tmp_path / "out")
    found = images.download({"train": rows}, out, batch_size=4).table("train")["n"]
    assert found.type == kept and found.to_pylist() == values.to_pylist()
    again = images.download({"train": upside_down(rows)}, out)  # from committed files
    assert again.table("train")["n"].to_pylist() == values.to_pylist()[::-1]


NAMES = ["index", "key", "done", "child", "etag", "parent_id", "#", "__key__", "a", "a.b", "a: b", "é😀", "'", '"']
NAMES += ["- x", "null", "yes", "123", "a\nb", " ", "|", "a,b", "a[0]", "a/b", "image.bytes", "bytes"]
NAMES += ["path", "split", "name", "config_name", "features", "dtype", "list", "struct", "label"]


def test_columns_may_have_any_name(paths, tmp_path):
    rows, out = table(paths, **{n: [f"{n}{i}" for i in range(6)] for n in NAMES}), str(tmp_path / "out")
    images.download({"train": rows}, out, batch_size=2)
    loaded = same_in_both_modes(out)
    assert all(loaded[n] == [f"{n}{i}" for i in range(6)] for n in NAMES)
    again = images.download({"train": upside_down(rows)}, out, batch_size=2).table("train")  # from committed files
    assert again.select(NAMES).equals(upside_down(rows).select(NAMES))
    assert images.transform(out, str(tmp_path / "later"), np.flipud).table("train").select(NAMES) == again.select(NAMES)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"_type": ["x"] * 6}, "column '_type' .*rename"),
        ({"row": ["x"] * 6}, "column 'row', a name that imgprep needs"),
        ({"file": ["x"] * 6}, "column 'file', a name that imgprep needs"),
        ({"original": ["x"] * 6}, "column 'original', a name that imgprep needs"),
        ({"width": [1] * 6}, "column 'width', a name that imgprep needs"),
        ({"m": pa.array([[("a", 1)]] * 6, pa.map_(pa.string(), pa.int64()))}, "column 'm' holds map<string, int64>"),
    ],
)
def test_what_cannot_be_a_column_is_refused_before_any_work(paths, tmp_path, columns, sentence):
    with pytest.raises(ValueError, match=sentence):
        images.download({"train": table(paths, **columns)}, str(tmp_path / "out"))
    assert not (tmp_path / "out" / ".imgprep" / "parts").exists()


@pytest.mark.parametrize("split", ["2020", "a.b", "été", "a_b", "_x", "validation.1", "Train"])
def test_splits_may_have_any_name_that_datasets_knows(paths, tmp_path, split):
    images.download({split: table(paths)}, str(tmp_path / "out"), batch_size=4)
    assert len(same_in_both_modes(str(tmp_path / "out"), split)) == 6


@pytest.mark.parametrize("split", ["train-a", "val/1", "test split", "../x", "", "train[0]", "all", "All", "a'b", ".x"])
def test_other_names_of_splits_are_refused_before_any_work(paths, tmp_path, split):
    with pytest.raises(ValueError, match="split .* is no name"):
        images.download({split: table(paths)}, str(tmp_path / "out"))
    assert not list(tmp_path.rglob("*.parquet"))


def features(**named):
    import datasets

    return datasets.Features(named).arrow_schema.metadata


def test_declared_features_stay_through_all_stages(paths, tmp_path):
    import datasets

    animals = datasets.ClassLabel(names=["cat", "dog"])
    boxes = datasets.List({"box": datasets.List(datasets.Value("float32"), length=4), "kind": animals})
    kind = datasets.Features(boxes=boxes).arrow_schema.field("boxes").type
    some = pa.array([[{"box": [0, 0, 1, 1], "kind": 1}]] * 6, kind)
    rows = table(paths, label=[0, 1] * 3, boxes=some)
    rows = rows.replace_schema_metadata(features(label=animals, boxes=boxes))
    raw = images.download({"train": rows}, str(tmp_path / "raw"))
    out = images.transform(raw, str(tmp_path / "out"), np.flipud)
    again = images.transform(out, str(tmp_path / "again"), np.fliplr)
    for ds in (raw, out, again):
        found = same_in_both_modes(ds.folder).features
        assert found["label"] == animals and found["boxes"] == boxes
    renamed = rows.replace_schema_metadata(features(label=datasets.ClassLabel(names=["dog", "cat"]), boxes=boxes))
    raw = images.download({"train": renamed}, str(tmp_path / "raw"))
    assert load(raw.folder)["train"].features["label"].names == ["dog", "cat"] and len(raw.runs()) == 2
    assert raw.runs()[-1]["computed"] == 0


def test_a_stage_may_declare_features_of_any_kind(paths, tmp_path):
    import datasets

    declared = {
        "kind": datasets.ClassLabel(names=["dark", "light"]),
        "boxes": datasets.List({"box": datasets.List(datasets.Value("int32"), length=4)}),
        "vector": datasets.List(datasets.Value("float32"), length=3),
        "index": "string",
    }

    def look(image):
        mean = image.mean(axis=(0, 1))
        box = {"box": np.array([0, 0, *image.shape[:2]])}
        return {"kind": int(mean.mean() > 127), "boxes": [box], "vector": mean, "index": f"i{image[0, 0, 0]}"}

    source, out = {"train": table(paths)}, str(tmp_path / "out")
    images.transform(source, out, look, features=declared, batch_size=4)
    loaded = same_in_both_modes(out)
    assert all(loaded.features[n] == declared[n] for n in ("kind", "boxes", "vector"))
    assert np.allclose(loaded["vector"], [picture(i).mean(axis=(0, 1)) for i in range(6)], atol=1e-3)
    again = images.transform({"train": upside_down(source["train"])}, out, look, features=declared).table("train")
    assert again["index"].to_pylist() == loaded["index"][::-1]


@pytest.mark.parametrize("name", ["key", "done", "child", "etag", "original", "file", "row", "parent_id", "index"])
def test_a_feature_may_not_have_a_name_that_is_needed(paths, tmp_path, name):
    options = {"features": {name: "int64"}, "children": name in ("parent_id", "index")}
    with pytest.raises(ValueError, match=f"{name!r}.* another name"):
        images.transform({"train": table(paths)}, str(tmp_path / "out"), np.flipud, **options)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_dataset_of_failures_only_is_opened_and_can_be_transformed(tmp_path):
    tables = {"train": table([str(tmp_path / "a"), str(tmp_path / "b")], n=[1, 2])}
    raw = images.download(tables, str(tmp_path / "raw"), max_failed=1.0)
    out = images.transform(raw, str(tmp_path / "out"), np.flipud, max_failed=1.0)
    for ds in (raw, out):
        assert same_in_both_modes(ds.folder, config="failures")["n"] == [1, 2]
        assert ds.counts() == {"rows": 2, "ok": 0, "placeholder": 2, "failed": 0, "reasons": {"missing_file": 2}}
    import datasets

    with pytest.raises(ValueError):
        datasets.load_dataset(out.folder, "default", cache_dir=str(tmp_path / "cache"))


def test_empty_splits_go_through_all_stages(paths, tmp_path):
    tables = {"train": table(paths), "test": table([])}
    out = images.transform(images.download(tables, str(tmp_path / "raw")), str(tmp_path / "out"), np.flipud)
    assert out.table("test").num_rows == 0 and out.table("test").schema == out.table("train").schema
    assert list(load(out.folder)) == ["train"] and out.splits == ["train", "test"]
    assert out.pictures("test", []) == []
    nothing = images.download({"test": table([])}, str(tmp_path / "none"))
    later = images.transform(nothing, str(tmp_path / "later"), np.flipud)
    assert later.counts()["rows"] == 0 and "sha256" in later.table("test").column_names


def broken(image):
    """Raises for every third picture, gives no rows for another, else as many children as the picture's number."""
    n = next(i for i in range(40) if np.array_equal(picture(i), image))
    if n % 3 == 2:
        raise ValueError(f"picture {n}")
    return [{"image": image[: i + 1], "n": 10 * n + i} for i in range(n % 5)]


def test_the_books_add_up_with_children_failures_and_duplicates_in_many_batches(tmp_path):
    pool = folder(tmp_path / "in", 12)
    order = np.random.default_rng(0).integers(0, 14, (2, 40))
    sources = [[pool[i] if i < 12 else str(tmp_path / f"gone{i}") for i in part] for part in order]
    tables = {s: table(p, mine=[*range(40)]) for s, p in zip(("train", "test"), sources, strict=True)}
    raw = images.download(tables, str(tmp_path / "raw"), batch_size=7, max_failed=1.0)
    out = images.transform(raw, str(tmp_path / "out"), broken, children=True, features={"n": "int64"}, batch_size=9,
                           max_failed=1.0)  # fmt: skip
    for split, part in zip(("train", "test"), order, strict=True):
        assert raw.index(split).num_rows == out.index(split).num_rows == 40
        assert raw.table(split)["mine"].to_pylist() == [*range(40)]
        assert raw.table(split)["status"].to_pylist() == ["ok" if i < 12 else "placeholder" for i in part]
        expected = []  # (the row's number, n, status)
        for row, i in enumerate(part):
            many = i < 12 and i % 3 != 2 and i % 5
            expected += [(row, 10 * i + k, "ok") for k in range(i % 5)] if many else [(row, None, "bad")]
        rows = out.table(split).to_pylist()
        assert [(r["mine"], r["n"], r["status"] if r["status"] == "ok" else "bad") for r in rows] == expected
        assert out.index(split)["count"].to_pylist() == [
            max(1, sum(e[0] == row for e in expected)) for row in range(40)
        ]
        for ds in (raw, out):
            counts, statuses = ds.counts(split), ds.table(split)["status"].to_pylist()
            assert counts["rows"] == len(statuses)
            assert all(counts[s] == statuses.count(s) for s in ("ok", "placeholder", "failed"))
            assert sum(counts["reasons"].values()) == counts["rows"] - counts["ok"]
            configs = [load(ds.folder, c) for c in ("default", "failures")]
            assert sum(len(c[split]) for c in configs if split in c) == counts["rows"]
        ids = [r["image_id"] for r in rows]
        assert len(set(ids)) == len(ids)
        asked = [3, 0, len(rows) - 1, 3]
        for row, data in zip(asked, out.pictures(split, asked), strict=True):
            if rows[row]["n"] is None:
                assert data is None
            else:
                n, k = divmod(rows[row]["n"], 10)
                assert np.array_equal(codec.decode(data), picture(n)[: k + 1])
    whole = out.counts()
    assert whole["rows"] == sum(out.counts(s)["rows"] for s in out.splits)


def test_every_listed_file_is_as_large_as_the_books_say(paths, tmp_path):
    import hashlib

    out = images.download({"train": table([*paths, "gone"])}, str(tmp_path / "out"), batch_size=3)
    for entry in out.files:
        data = (tmp_path / "out" / entry["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert entry["sha256"][:12] in entry["file"]
        assert pq.ParquetFile(tmp_path / "out" / entry["file"]).metadata.num_rows == entry["rows"]


def test_columns_can_be_chosen(paths, tmp_path):
    out = images.download({"train": table([*paths, "gone"], n=range(7))}, str(tmp_path / "out"), batch_size=3)
    assert out.table("train", ["n", "status"]).column_names == ["n", "status", "file", "row"]
    assert out.table("train", ["n"])["n"].to_pylist() == [*range(7)]


def test_the_example_is_the_first_picture_that_is_ok(paths, tmp_path):
    tables = {"empty": table([]), "train": table(["gone", *paths])}
    ds = images.download(tables, str(tmp_path / "out"))
    assert (codec.decode(ds.example()) == picture(0)).all()
    none = images.download({"train": table(["gone"])}, str(tmp_path / "none"), max_failed=1)
    with pytest.raises(ValueError, match="none has no picture that is ok"):
        none.example()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda ds: ds.table("tset"), "no split 'tset'; .* has train"),
        (lambda ds: ds.pictures("tset", [0]), "no split 'tset'"),
        (lambda ds: ds.table("train", ["widht"]), "no column 'widht'; .* has image_id, .*width"),
        (lambda ds: ds.pictures("train", [6]), "no row 6; .* has 6"),
        (lambda ds: ds.pictures("train", [-1]), "no row -1; .* has 6"),
        (lambda ds: dataset.open(ds.folder + "/data"), "is no dataset folder"),
    ],
)
def test_a_wrong_question_gets_a_sentence(paths, tmp_path, call, sentence):
    ds = images.download({"train": table(paths)}, str(tmp_path / "out"))
    with pytest.raises(ValueError, match=sentence):
        call(ds)


@pytest.fixture(scope="module")
def address():
    """http://user:password@host of a server on loopback that has every picture but those called "gone"."""

    class Pictures(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802 - the library's name
            body = b"" if "gone" in self.path else codec.encode(picture(len(self.path.split("?")[0])))
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:hunter2@127.0.0.1:{server.server_port}"
        server.shutdown()


def test_no_password_and_no_signature_gets_into_a_dataset_or_onto_the_screen(address, tmp_path, capsys):
    def run(secret):
        signed = f"X-Amz-Credential={secret}&X-Amz-Signature={secret}"
        urls = [f"{address}/a.png?v=1&{signed}", f"{address}/bb.png?token=TOKEN1".replace("me:hunter2@", "")]
        urls += [f"{address}/gone.png?{signed}", f"memory://me:hunter2@b/x.png?{signed}"]
        urls += [f"ftp://me:hunter2@b/x?{signed}", f"http://me:hunter2@[bad/?{signed}", "", f"{address}/ccc.png"]
        (tmp_path / "t.csv").write_text("url,also\n" + "".join(f'"{u}","{u}"\n' for u in urls if "token" not in u))
        tables = sources.read({"train": str(tmp_path / "t.csv")}, url_column="url")
        tables["more"] = table(urls[1:2], note=[f"asked with {urls[1]}, Authorization: Bearer TOKEN1"])
        raw = images.download(tables, str(tmp_path / "raw"), allow_hosts=["127.0.0.1"], attempts=1, max_failed=1.0)
        return raw, images.transform(raw, str(tmp_path / "out"), np.flipud, max_failed=1.0)

    raw, out = run("SECRET1")
    assert raw.counts()["ok"] == 3 and raw.counts()["rows"] == 8 and raw.counts()["reasons"]["http_404"] == 1
    before = [(f, f.stat().st_mtime_ns) for f in sorted(tmp_path.rglob("*.parquet"))]
    raw, out = run("SECRET2")  # a signature is new every day
    assert [(f, f.stat().st_mtime_ns) for f in sorted(tmp_path.rglob("*.parquet"))] == before
    assert len(raw.runs()) == len(out.runs()) == 1
    said = capsys.readouterr()
    shown = [said.out, said.err, repr(raw), repr(raw.table("train").to_pylist())]
    files = [f for name in ("raw", "out") for f in (tmp_path / name).rglob("*") if f.is_file()]
    shown += [f.read_bytes().decode("latin1") for f in files]
    assert len(files) > 10 and not [t for t in shown if "hunter2" in t or "SECRET" in t or "TOKEN1" in t]
    assert out.table("train")["source"][0].as_py().endswith("/a.png?v=1&X-Amz-Credential=***&X-Amz-Signature=***")
    assert out.table("more")["source"][0].as_py().endswith("/bb.png?token=***")
    # The labelled table is the user's own, with the secrets hidden in it.
    labels.write_csv(raw, "train", str(tmp_path / "t.csv"), str(tmp_path / "labeled.csv"))
    hidden = (tmp_path / "t.csv").read_text().replace("me:hunter2@", "").replace("SECRET2", "***")
    own = [line.split('",')[0] for line in hidden.splitlines()]
    assert [line.split('",')[0] for line in (tmp_path / "labeled.csv").read_text().splitlines()][1:] == own[1:]


def test_what_only_looks_like_a_secret_stays(tmp_path, paths):
    cells = ["me@b.c", "key=1&token=2", "https://shop.example/x?key=1", "https://a.example/?to=me@b.c", None, ""]
    rows = {"train": table(paths, cell=cells)}
    assert images.download(rows, str(tmp_path / "out")).table("train")["cell"].to_pylist() == cells


def test_pictures_asked_for_one_by_one_open_each_file_once(paths, tmp_path, monkeypatch):
    ds = images.download({"train": table(paths)}, str(tmp_path / "out"), batch_size=3)
    wanted = ds.pictures("train", range(6))
    opened, opener = [], pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda *a, **k: opened.append(a) or opener(*a, **k))
    again = dataset.open(ds.folder)
    assert [again.pictures("train", [i])[0] for i in range(6)] == wanted and again.example() == wanted[0]
    assert len(opened) == 2


def test_a_dataset_travels_to_processes_and_serves_threads(paths, tmp_path):
    ds = images.download({"train": table(paths)}, str(tmp_path / "out"), batch_size=1)
    wanted = ds.pictures("train", range(6))
    assert pickle.loads(pickle.dumps(ds)).pictures("train", range(6)) == wanted
    with ThreadPoolExecutor(8) as pool:
        rows = [i % 6 for i in range(300)]
        assert list(pool.map(lambda i: ds.pictures("train", [i])[0], rows)) == [wanted[i] for i in rows]
