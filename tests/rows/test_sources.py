import hashlib
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imgprep.io import uris
from imgprep.rows import sources


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.fixture
def refused():
    def check(where, **options):
        with pytest.raises(ValueError) as caught:
            sources.read(where if isinstance(where, dict) else {"train": where}, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return check


def short_hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_columns_of_train_and_test_are_united(file):
    train = file("train.csv", "url,code,price\nhttp://h/1,007,1.5\nhttp://h/2,12,\n")
    test = file("test.csv", "index,url,code\n5,http://h/3,1\n")
    tables = sources.read({"train": train, "test": test}, url_column="url", id_column="index")
    assert tables["train"].schema == tables["test"].schema
    assert tables["train"].to_pylist() == [
        {"image_id": short_hash("http://h/1"), "url": "http://h/1", "code": "007", "price": 1.5, "index": None,
         "source": "http://h/1"},
        {"image_id": short_hash("http://h/2"), "url": "http://h/2", "code": "12", "price": None, "index": None,
         "source": "http://h/2"},
    ]  # fmt: skip
    assert tables["test"].to_pylist() == [
        {
            "image_id": "5",
            "url": "http://h/3",
            "code": "1",
            "price": None,
            "index": 5,
            "source": "http://h/3",
        }
    ]


def test_a_csv_and_a_parquet_agree_on_the_type(file, tmp_path):
    pq.write_table(pa.table({"url": ["http://h/3"], "n": [3], "k": [4]}), tmp_path / "test.parquet")
    train = file("train.csv", "url,n,k\nhttp://h/1,1,04\n")
    tables = sources.read({"train": train, "test": tmp_path / "test.parquet"}, url_column="url")
    assert [t.select(["n", "k"]).to_pylist() for t in tables.values()] == [
        [{"n": 1, "k": "04"}],
        [{"n": 3, "k": "4"}],
    ]


def test_the_same_source_again_gets_a_number_of_its_own(file):
    where = file("t.csv", "u\nhttp://h/1\nhttp://h/2\nhttp://h/1\nhttp://h/1\n")
    table = sources.read({"x": where}, url_column="u")["x"]
    one, two = short_hash("http://h/1"), short_hash("http://h/2")
    assert table["image_id"].to_pylist() == [one, two, f"{one}-2", f"{one}-3"]


def test_ids_of_repeated_urls_do_not_follow_the_order_of_rows(file):
    lines = [
        f"http://h/{n % 3},{label}"
        for n, label in enumerate(["dog", "cat", "eel", "ant", "bee", "cat", "dog"])
    ]
    found = []
    for n, some in enumerate((lines, lines[::-1], sorted(lines))):
        where = file(f"{n}.csv", "u,label\n" + "\n".join(some))
        rows = sources.read({"x": where}, url_column="u")["x"].to_pylist()
        found.append(sorted((row["image_id"], row["u"], row["label"]) for row in rows))
    assert found[0] == found[1] == found[2]
    one = short_hash("http://h/0")
    assert [i for i, url, _ in found[0] if url == "http://h/0"] == [one, f"{one}-2", f"{one}-3"]
    assert [label for _, url, label in found[0] if url == "http://h/0"] == ["ant", "dog", "dog"]


def test_traces_around_a_url_are_no_part_of_it(file):
    cells = [
        "\u200bhttp://h/1",
        "\ufeffhttp://h/1\u00a0",
        "\u2060 http://h/1\t",
        "http://h/1\u200e",
    ]
    table = sources.read(
        {"x": file("t.csv", "u\n" + "\n".join(f'"{cell}"' for cell in cells))}, url_column="u"
    )["x"]
    assert table["source"].to_pylist() == ["http://h/1"] * 4 and table["u"].to_pylist() == cells
    (row,) = sources.read({"x": file("u.csv", "u\n//example.org/a.jpg\n")}, url_column="u")[
        "x"
    ].to_pylist()
    assert row["source"] == "//example.org/a.jpg" and uris.scheme(row["source"]) == "other"
    with pytest.raises(uris.SourceError, match="is neither a path nor one of") as caught:
        uris.read_bytes(row["source"], max_bytes=9)
    assert caught.value.reason == "unsupported_scheme"


def test_ids_above_64_bits_are_as_they_were_written(file):
    lines = '{"u": "a", "id": 12345678901234567890}\n{"u": "b", "id": 12345678901234567891}\n'
    table = sources.read({"x": file("t.jsonl", lines)}, url_column="u", id_column="id")["x"]
    assert table["image_id"].to_pylist() == ["12345678901234567890", "12345678901234567891"]


def test_sep_and_encoding_are_passed_on(file, capsys):
    where = file("t.csv", "u;name\nhttp://h/1;Кот\n".encode("cp1251"))
    table = sources.read({"x": where}, url_column="u", sep=";", encoding="cp1251")["x"]
    assert table["name"].to_pylist() == ["Кот"] and capsys.readouterr().out == ""


def test_an_id_does_not_change_with_the_folder_or_the_signature(file):
    ids = [
        sources.read(
            {"x": file(f"{n}/t.csv", f"u\na/1.jpg\ns3://b/1.jpg?sig={n}\n")}, url_column="u"
        )["x"]["image_id"]
        for n in (1, 2)
    ]
    assert (
        ids[0].to_pylist()
        == ids[1].to_pylist()
        == [short_hash("a/1.jpg"), short_hash("s3://b/1.jpg")]
    )


def test_paths_count_from_the_table_or_from_root(file, tmp_path):
    table = file("t.csv", 'u\na b.jpg\n../b.jpg\n""\n')
    assert sources.read({"x": table}, url_column="u")["x"]["source"].to_pylist() == [
        f"{tmp_path}/a b.jpg", "outside-root:../b.jpg", ""
    ]  # fmt: skip
    up = sources.read({"x": table}, url_column="u", root=tmp_path.parent)["x"]["source"].to_pylist()
    assert up == [f"{tmp_path.parent}/a b.jpg", "outside-root:../b.jpg", ""]


def test_a_path_is_read_at_its_place(file):
    file("pictures/a b.jpg", b"123")
    (row,) = sources.read({"x": file("t.jsonl", '{"u": "pictures/a b.jpg"}\n')}, url_column="u")[
        "x"
    ].to_pylist()
    assert uris.read_bytes(row["source"], max_bytes=1000) == b"123"


def test_an_empty_or_null_url_keeps_its_row(file):
    table = sources.read(
        {"x": file("t.jsonl", '{"u": null, "n": 1}\n{"u": " ", "n": 2}\n')}, url_column="u"
    )["x"]
    assert table.select(["n", "source"]).to_pylist() == [
        {"n": 1, "source": ""},
        {"n": 2, "source": ""},
    ]
    assert table["image_id"].to_pylist() == [short_hash(""), short_hash("") + "-2"]


def test_rename_frees_a_name_that_imgprep_needs(file, refused):
    table = file("t.csv", "u,status,\nhttp://h/1,new,9\n")
    assert refused(table, url_column="u", rename={"": "n"}) == (
        f"{table} has a column 'status', a name that imgprep needs; give rename={{'status': 'my_status'}}"
    )
    assert refused(table, url_column="u").startswith(
        f"column 3 of {table} has no name; give rename="
    )
    read = sources.read({"x": table}, url_column="u", rename={"status": "my_status", "": "n"})["x"]
    assert read.column_names == ["image_id", "u", "my_status", "n", "source"]


def test_image_id_may_be_the_name_of_the_id_column(file, refused):
    table = file("t.csv", "u,image_id\nhttp://h/1,07\n")
    assert sources.read({"x": table}, url_column="u", id_column="image_id")["x"].to_pylist() == [
        {"image_id": "07", "u": "http://h/1", "source": "http://h/1"}
    ]
    assert "rename={'image_id': 'my_image_id'}" in refused(table, url_column="u")


def test_mistakes_are_one_sentence(file, refused, tmp_path):
    table = file("train.csv", "image_link,n\nhttp://h/1,1\nhttp://h/2,1\nhttp://h/3,\n")
    names = f"{table} has: image_link, n"
    assert (
        refused(table, url_column="image_lnk")
        == f"no column 'image_lnk'; {names}; did you mean 'image_link'?"
    )
    assert refused(table) == f"url_column says which column holds the URLs; {names}"
    assert refused(table, url_column="n") == f"column 'n' of {table} holds int64, not URLs or paths"
    assert refused(table, url_column="image_link", id_column="id") == f"no column 'id'; {names}"
    assert (
        refused(table, url_column="image_link", stratify="label") == f"no column 'label'; {names}"
    )
    assert refused(table, url_column="image_link", rename={"image": "x"}).endswith(
        "did you mean 'image_link'?"
    )
    assert refused(table, url_column="image_link", id_column="n").startswith(
        f"row 3 of {table} has no 'n'"
    )
    assert (
        refused(table, url_column="image_link", root=tmp_path / "no")
        == f"root '{tmp_path}/no' is not a folder"
    )
    assert (
        refused(table, url_column="image_link", limit=0)
        == "limit is a number of rows, at least 1, not 0"
    )
    assert refused({}) == "no sources; name at least one, for example {'train': 'train.csv'}"
    assert refused(file("h.csv", "url\n"), url_column="url") == f"{tmp_path}/h.csv has no rows"
    assert "d.csv has two columns named 'a'" in refused(
        file("d.csv", "u,a,a\nx,1,2\n"), url_column="u"
    )
    assert refused(f"{tmp_path}/trian.csv").endswith("; did you mean 'train.csv'?")
    assert refused(f"{tmp_path}/no/train.csv") == f"there is no {tmp_path}/no/train.csv"


def test_ids_that_appear_twice_are_named(file, refused):
    table = file("t.csv", "u,id\n" + "".join(f"http://h/{n},{n % 4}\n" for n in range(7)))
    assert refused(table, url_column="u", id_column="id") == (
        f"3 ids of {table} appear more than once in 'id': '0', '1', '2' …"
    )


def test_numbers_are_no_urls(refused, tmp_path):
    pq.write_table(pa.table({"n": [1]}), tmp_path / "t.parquet")
    assert refused(tmp_path / "t.parquet", url_column="n").endswith(
        "holds int64, not URLs or paths"
    )


@pytest.fixture
def classes(file):
    """1,000 rows: 900 of a, 98 of b, 2 of c, mixed."""
    rows = [
        f"http://h/{n},{'c' if n in (5, 700) else 'b' if n % 10 == 3 and n < 980 else 'a'}\n"
        for n in range(1000)
    ]
    return {"x": file("t.csv", "u,label\n" + "".join(rows))}


def test_a_sample_is_spread_over_the_classes(classes):
    whole = sources.read(classes, url_column="u")["x"]
    some = sources.read(classes, url_column="u", sample=10, stratify="label")["x"]
    assert sorted(some["label"].to_pylist()) == ["a"] * 8 + ["b", "c"]
    places = [whole["u"].to_pylist().index(u) for u in some["u"].to_pylist()]
    assert (
        places == sorted(places) and max(places) - min(places) > 300
    )  # input order, not the first ones
    assert some == sources.read(classes, url_column="u", sample=10, stratify="label")["x"]


def test_a_sample_stays_when_rows_are_added(file):
    urls = [f"http://h/{n}" for n in range(200)]
    small = sources.read({"x": file("a.csv", "u\n" + "\n".join(urls))}, url_column="u", sample=20)[
        "x"
    ]
    large = sources.read(
        {"x": file("b.csv", "u\nhttp://h/new\n" + "\n".join(urls))}, url_column="u", sample=20
    )["x"]
    assert len(set(small["u"].to_pylist()) & set(large["u"].to_pylist())) >= 19


def test_a_limit_takes_the_first_rows_and_keeps_their_ids(classes):
    whole = sources.read(classes, url_column="u")["x"]
    assert sources.read(classes, url_column="u", limit=7)["x"] == whole.slice(0, 7)
    both = sources.read(classes, url_column="u", limit=50, sample=5)["x"]
    assert both.num_rows == 5 and set(both["u"].to_pylist()) <= set(whole["u"].to_pylist()[:50])
    assert sources.read(classes, url_column="u", limit=5000, sample=5000)["x"] == whole


def test_fewer_rows_than_classes_gives_the_largest(classes):
    some = sources.read(classes, url_column="u", sample=2, stratify="label")["x"]
    assert sorted(some["label"].to_pylist()) == ["a", "b"]


def test_a_folder_of_pictures(file, tmp_path, refused):
    for name in ("b/2.JPG", "a/x/1.png", "top.webp", ".cache/3.jpg", "a/._1.png", "a/notes.txt"):
        file(f"set/{name}", b"1")
    rows = sources.read({"x": tmp_path / "set"})["x"].to_pylist()
    assert [(r["file_name"], r["label"]) for r in rows] == [
        ("a/x/1.png", "a"),
        ("b/2.JPG", "b"),
        ("top.webp", ""),
    ]
    assert [r["source"] for r in rows] == [f"{tmp_path}/set/{r['file_name']}" for r in rows]
    assert rows[0]["image_id"] == short_hash("a/x/1.png")
    flat = sources.read({"x": f"{tmp_path}/set/a/../b/"})["x"]
    assert flat.drop("image_id").to_pylist() == [
        {"file_name": "2.JPG", "source": f"{tmp_path}/set/b/2.JPG"}
    ]
    (tmp_path / "none").mkdir()
    assert refused(tmp_path / "none") == f"{tmp_path}/none has no pictures in it"


@pytest.fixture
def hf_folder(tmp_path):
    """A folder as `Dataset.to_parquet` and a card make it: two splits, a ClassLabel, a picture that is missing."""
    import datasets
    from PIL import Image

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "box": datasets.List(datasets.Value("int64")),
        }
    )
    picture = Image.new("RGB", (3, 2), (255, 0, 0))
    data = {"image": [picture, None, picture], "label": [1, 0, 1], "box": [[1, 2], [], [3]]}
    for split in ("train", "test"):
        datasets.Dataset.from_dict(data, features=features).to_parquet(
            str(tmp_path / f"hf/data/{split}-0.parquet")
        )
    return tmp_path / "hf"


def test_a_hugging_face_folder(hf_folder):
    import datasets

    table = sources.read({"test": hf_folder})["test"]
    assert table.column_names == ["image_id", "label", "box", "source"]
    assert table["box"].to_pylist() == [[1, 2], [], [3]]
    assert datasets.Features.from_arrow_schema(table.schema)["label"].names == ["cat", "dog"]
    assert table["image_id"][0].as_py() == short_hash("test#0")
    (picture, missing, again) = table["source"].to_pylist()
    assert picture.startswith(
        f"hf+row://{hf_folder}?split=test&column=image&version="
    ) and picture.endswith("#0")
    assert uris.read_bytes(picture, max_bytes=1000)[:4] == b"\x89PNG" and uris.read_bytes(
        again, max_bytes=1000
    ) == uris.read_bytes(picture, max_bytes=1000)
    with pytest.raises(uris.SourceError, match="has no picture") as caught:
        uris.read_bytes(missing, max_bytes=1000)
    assert caught.value.reason == "empty"
    with pytest.raises(uris.SourceError):
        uris.read_bytes(picture.replace("#0", "#3"), max_bytes=1000)


def test_a_row_of_a_hugging_face_folder_is_read_by_another_process(hf_folder):
    uri = sources.read({"train": hf_folder})["train"]["source"][2].as_py()
    code = "import sys; from imgprep.io import uris; print(uris.read_bytes(sys.argv[1], max_bytes=1000)[:4])"
    done = subprocess.run(
        [sys.executable, "-c", code, uri], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == r"b'\x89PNG'"


def test_a_hugging_face_folder_that_was_written_again_is_not_mistaken_for_the_old_one(hf_folder):
    before = sources.read({"train": hf_folder})["train"]["source"].to_pylist()
    shutil.copy(hf_folder / "data/test-0.parquet", hf_folder / "data/train-0.parquet")
    after = sources.read({"train": hf_folder})["train"]["source"].to_pylist()
    assert before[0] != after[0] and uris.read_bytes(after[0], max_bytes=1000)[:4] == b"\x89PNG"
    with pytest.raises(uris.SourceError, match="was written again"):
        uris.read_bytes(before[0], max_bytes=1000)


def test_a_hugging_face_folder_without_that_split(hf_folder, refused):
    assert refused({"dev": hf_folder}) == f"{hf_folder} has no split 'dev'; it has: train, test"


def test_a_hugging_face_folder_of_urls(tmp_path):
    (tmp_path / "hf").mkdir()
    pq.write_table(
        pa.table({"url": ["http://h/1"], "caption": ["x"]}), tmp_path / "hf/train.parquet"
    )
    (row,) = sources.read({"train": tmp_path / "hf"}, url_column="url")["train"].to_pylist()
    assert (row["source"], row["caption"]) == ("http://h/1", "x")


def test_a_name_on_the_hub_that_cannot_be_reached_is_one_sentence(refused):
    assert refused("someone/pictures").startswith(
        "someone/pictures does not open as a Hugging Face dataset: "
    )


@pytest.mark.corpus
def test_the_product_tables(corpus):
    where = {"train": corpus / "product/train.csv", "test": corpus / "product/test.csv"}
    tables = sources.read(where, url_column="image_link", id_column="index")
    assert {split: t.num_rows for split, t in tables.items()} == {"train": 1106, "test": 5000}
    assert tables["test"]["image_id"].to_pylist() == [
        str(n) for n in tables["test"]["index"].to_pylist()
    ]
    assert tables["train"].schema.field("group_id").type == pa.int64()
    assert len(set(tables["train"]["image_id"].to_pylist())) == 1106
    assert all(u.startswith("https://") for t in tables.values() for u in t["source"].to_pylist())


@pytest.mark.corpus
def test_every_csv_of_the_corpus_keeps_its_cells(corpus):
    import csv

    for name in ("train_with_ocr_text", "grocery_classes", "sample_test", "url_map"):
        where = corpus / f"product/{name}.csv"
        with open(where, newline="", encoding="utf-8") as lines:
            header, *rows = csv.reader(lines)
        column = next(n for n in header if n in ("image_link", "Iconic Image Path (str)", "file"))
        rename = {"file": "my_file"} if column == "file" else {}
        table = sources.read({"x": where}, url_column=rename.get(column, column), rename=rename)[
            "x"
        ]
        cells = zip(*(table[rename.get(n, n)].to_pylist() for n in header), strict=True)
        assert [[str(c) for c in row] for row in cells] == rows, name
