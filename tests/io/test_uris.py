import os

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imgprep.io import uris
from imgprep.io.uris import SourceError, columns, inside_folder, read_bytes, scheme


def reason(source, max_bytes=1000):
    with pytest.raises(SourceError) as caught:
        read_bytes(str(source), max_bytes=max_bytes)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("http://a/1.jpg", "http"),
        ("HTTPS://a/1 2+3.jpg", "http"),
        ("a/1.jpg", "path"),
        ("/a/1.jpg", "path"),
        ("12:30.jpg", "path"),
        ("az://c/1.jpg", "store"),
        ("gs://b/1.jpg", "store"),
        ("s3://b/1.jpg::file:///etc/passwd", "other"),
        ("file:///etc/passwd", "other"),
        ("ftp://a/1.jpg", "other"),
        ("data:image/png;base64,AA", "other"),
        ("javascript:alert(1)", "other"),
        ("hf+row:///d?split=train&column=image#3", "hf"),
        ("", ""),
    ],
)
def test_scheme(source, kind):
    assert scheme(source) == kind


@pytest.mark.parametrize(
    ("path", "root", "wanted"),
    [
        ("a//./b.jpg", "/d", "/d/a/b.jpg"),
        ("..a/b.jpg", "/d", "/d/..a/b.jpg"),
        ("../dx/b.jpg", "/d", "outside-root:../dx/b.jpg"),
        ("/dx/b.jpg", "/d", "outside-root:/dx/b.jpg"),
        ("/any/b.jpg", "/", "/any/b.jpg"),
        ("x/b.jpg", "s3://bucket/p", "s3://bucket/p/x/b.jpg"),
        ("/other/b.jpg", "s3://bucket/p", "outside-root:/other/b.jpg"),
    ],
)
def test_a_path_stays_in_its_root(path, root, wanted):
    assert inside_folder(path, root) == wanted


def test_locate_gives_the_place_of_paths_and_leaves_the_rest():
    cells = [" a b.jpg", "./c.jpg", "../d.jpg", None, "  ", "http://h/e f.jpg", "s3://b/g.jpg?sig=1&x=2"]
    source, identity = columns.locate(pa.chunked_array([cells[:3], cells[3:]]), "/r")
    assert source.to_pylist() == ["/r/a b.jpg", "/r/c.jpg", "outside-root:../d.jpg", "", "", *cells[5:]]
    assert identity.to_pylist() == ["a b.jpg", "c.jpg", "outside-root:../d.jpg", "", "", cells[5], "s3://b/g.jpg?x=2"]


def test_the_name_of_a_url_has_no_secrets():
    cells = ["https://me:pw@h/1.jpg?Expires=1&Signature=x&v=2", "https://h/2.jpg?expires=1", "a@b?sig=1"]
    assert columns.locate(pa.chunked_array([cells]), "/r")[1].to_pylist() == ["https://h/1.jpg?v=2", *cells[1:]]


def test_the_identity_of_a_file_changes_when_it_is_written_again(tmp_path):
    path = tmp_path / "1.jpg"
    assert uris.identity(str(path)) == str(path)
    path.write_bytes(b"1")
    before = uris.identity(str(path))
    os.utime(path, (1, 1))
    assert before != uris.identity(str(path)) != str(path)
    assert uris.identity("https://h/1.jpg?Expires=1&Signature=x") == "https://h/1.jpg"


def test_identities_of_many_are_those_of_each(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"1")
    sources = [
        "https://h/1.jpg",
        "https://me:pw@h/1.jpg",
        "https://h/1.jpg?v=2&SIG=x",
        "HTTPS://Me@h/é.jpg",
        "https://h/1.jpg?\u017fig=x",  # a long s: to a regular expression that ignores case, an s
        "s3://b/1.jpg?sig=x",
        "//h/1.jpg",
        "file:///etc/passwd",
        str(tmp_path / "1.jpg"),
        "raw-path:/caf%E9.jpg",
        "outside-root:../1.jpg",
        "hf+row:/d#train/1",
        "",
    ]
    assert columns.identities(pa.array(sources)) == [uris.identity(one) for one in sources]
    assert columns.identities(pa.array([None, "https://h/1.jpg"])) == ["", "https://h/1.jpg"]


def test_bytes_of_a_file(tmp_path):
    (tmp_path / "a b.jpg").write_bytes(b"12345")
    assert read_bytes(str(tmp_path / "a b.jpg"), max_bytes=5) == b"12345"
    assert reason(tmp_path / "a b.jpg", max_bytes=4) == "too_large"
    assert reason("/dev/zero", max_bytes=4) == "no_permission"
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(tmp_path / "pipe.jpg") == "no_permission"
    assert reason(tmp_path / "b.jpg") == "missing_file"
    assert reason(tmp_path / "a b.jpg/c.jpg") == "missing_file"
    assert reason(tmp_path) == "missing_file"
    assert reason(f"{tmp_path}/\0.jpg") == "error"
    assert reason("outside-root:../x.jpg") == "no_permission"
    assert reason(f"file://{tmp_path}/a b.jpg") == "unsupported_scheme"


def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"1")
    (tmp_path / "a.jpg").chmod(0)
    user = os.geteuid()
    try:
        os.seteuid(user or 65534)  # root may read everything, so root becomes nobody
        assert reason(tmp_path / "a.jpg") == "no_permission"
    finally:
        os.seteuid(user)


def test_bytes_of_an_object_in_memory():
    with fsspec.open("memory://uris/1.jpg", "wb") as file:
        file.write(b"12345")
    assert read_bytes("memory://uris/1.jpg", max_bytes=5) == b"12345"
    assert reason("memory://uris/1.jpg", max_bytes=4) == "too_large"
    assert reason("memory://uris/2.jpg", max_bytes=4) == "missing_file"


@pytest.fixture(scope="module")
def pictures(s3):
    """A bucket `pictures`; the filesystem it is on."""
    s3.mkdir("pictures")
    return s3


@pytest.mark.store
def test_bytes_of_an_s3_object(pictures):
    pictures.pipe_file("pictures/a b+1.jpg", b"12345")
    assert read_bytes("s3://pictures/a b+1.jpg", max_bytes=1000) == b"12345"
    assert reason("s3://pictures/a b+1.jpg", max_bytes=4) == "too_large"
    assert reason("s3://pictures/none.jpg", max_bytes=4) == "missing_file"
    assert reason("s3://no-such-bucket/1.jpg") == "missing_file"


@pytest.mark.store
def test_a_table_and_a_folder_on_s3(pictures):
    from imgprep.rows import sources

    pictures.pipe_file("pictures/set/cat/1.jpg", b"1")
    pictures.pipe_file("pictures/set/train.csv", b"file_path,n\ncat/1.jpg,007\n../x.jpg,1\n")
    table = sources.read({"train": "s3://pictures/set/train.csv"}, url_column="file_path")["train"]
    assert table["source"].to_pylist() == ["s3://pictures/set/cat/1.jpg", "outside-root:../x.jpg"]
    folder = sources.read({"train": "s3://pictures/set"})["train"].to_pylist()
    assert [(r["file_name"], r["label"], r["source"]) for r in folder] == [
        ("cat/1.jpg", "cat", "s3://pictures/set/cat/1.jpg")
    ]
    assert folder[0]["image_id"] == table["image_id"][0].as_py()


def test_a_table_may_not_name_what_lies_outside_its_root(tmp_path):
    root, private = tmp_path / "root", tmp_path / "private"
    for folder in (root / "sub", private):
        folder.mkdir(parents=True)
        (folder / "x.jpg").write_bytes(b"12345")
    (root / "out.jpg").symlink_to(private / "x.jpg")
    (root / "in.jpg").symlink_to(root / "sub" / "x.jpg")
    (root / "folder").symlink_to(private)
    cells = ["out.jpg", "in.jpg", "folder/x.jpg", "sub/x.jpg", f"raw-path:{private}/x.jpg"]
    cells += [f"hf+row://{private}?split=train&column=image&version=1#0", "hf+row://me/private?split=a#0"]
    sources = columns.locate(pa.chunked_array([cells]), str(root))[0].to_pylist()
    assert [s.startswith(uris.OUTSIDE) for s in sources] == [True, False, True, False, True, True, True]
    assert [reason(s) for s in sources if s.startswith(uris.OUTSIDE)] == ["no_permission"] * 5
    assert read_bytes(sources[1], max_bytes=9) == read_bytes(sources[3], max_bytes=9) == b"12345"


def test_a_dataset_may_not_name_what_lies_outside_it(tmp_path):
    from imgprep.rows import sources

    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "x.png").write_bytes(b"TOP-SECRET")
    home = tmp_path / "ds"
    home.mkdir()
    (home / "own.png").write_bytes(b"own")
    (home / "link.png").symlink_to(tmp_path / "private" / "x.png")
    paths = ["../private/x.png", str(tmp_path / "private" / "x.png"), "link.png", "s3://bucket/x.png", "own.png"]
    pictures = pa.array([{"bytes": None, "path": path} for path in paths])
    pq.write_table(pa.table({"image": pictures}), home / "train.parquet")
    found = sources.read({"train": str(home)}, url_column="image")["train"]["source"].to_pylist()
    assert [reason(source) for source in found[:4]] == ["no_permission"] * 4
    assert read_bytes(found[4], max_bytes=9) == b"own"
    for named in ("../private/*.parquet", str(tmp_path / "private/x.parquet"), "http://127.0.0.1:1/x.parquet"):
        (home / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {named}\n---\n")
        with pytest.raises(ValueError, match="names data files outside of it"):
            sources.read({"train": str(home)}, url_column="image")
