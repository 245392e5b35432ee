"""Tables in memory: pandas, Polars, Arrow, `datasets.Dataset` are read as files of theirs are."""

import datetime

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made import picture
from PIL import Image

import imgprep
from imgprep import dataset
from imgprep.io import uris
from imgprep.picture import codec
from imgprep.rows import sources
from imgprep.stages import images

ROWS = {"url": ["http://h/1", "http://h/2"], "n": [7, 8]}


def test_pandas_arrow_and_datasets_give_the_same_rows():
    given = [pd.DataFrame(ROWS), pa.table(ROWS), datasets.Dataset.from_dict(ROWS)]
    tables = [sources.read(one, url_column="url")["train"] for one in given]
    assert all(table.to_pylist() == tables[0].to_pylist() for table in tables)
    assert tables[0].drop("image_id").to_pydict() == {**ROWS, "source": ROWS["url"]}
    named = sources.read({"a": given[0], "b": given[1]}, url_column="url")
    assert list(named) == ["a", "b"] and named["a"] == named["b"] == tables[0]


def test_a_dataset_dict_gives_its_splits():
    both = datasets.DatasetDict(
        {"train": datasets.Dataset.from_dict(ROWS), "test": datasets.Dataset.from_dict(ROWS)}
    )
    assert list(sources.read(both, url_column="url")) == ["train", "test"]


def test_types_of_polars_become_those_that_every_reader_knows(tmp_path):
    pl = pytest.importorskip("polars")
    columns = {
        "url": ROWS["url"],
        "word": pl.Series(["a", None], dtype=pl.Categorical),
        "of": [[{"k": "x"}], None],
        "day": [datetime.date(2026, 1, 31), None],
        "raw": [b"a", b"b"],
    }
    frame = pl.DataFrame(columns)
    frame.write_parquet(tmp_path / "t.parquet")
    for given in (frame, frame.lazy(), tmp_path / "t.parquet"):
        table = sources.read(given, url_column="url")["train"]
        kinds = {field.name: str(field.type) for field in table.schema}
        assert (
            "view" not in repr(kinds)
            and kinds["word"] in ("string", "large_string")
            and kinds["day"] == "date32[day]"
        )
        assert table["word"].to_pylist() == ["a", None] and table["of"].to_pylist() == [
            [{"k": "x"}],
            None,
        ]
        made = images.download({"train": table}, str(tmp_path / "out"), max_failed=1, attempts=1)
        assert datasets.load_dataset(made.folder, "failures", split="train")["word"] == ["a", None]


def test_an_index_with_a_name_is_a_column_and_names_are_text():
    frame = pd.DataFrame({**ROWS, 5: ["x", "y"]}).set_index("n")
    assert sources.read(frame, url_column="url")["train"].column_names == [
        "image_id",
        "n",
        "url",
        "5",
        "source",
    ]


def test_paths_count_from_the_working_directory_or_from_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"path": ["a/1.png", "../2.png"]})
    read = sources.read(frame, url_column="path")["train"]["source"].to_pylist()
    assert read == [f"{tmp_path}/a/1.png", "outside-root:../2.png"]
    read = sources.read(frame, url_column="path", root=tmp_path.parent)["train"][
        "source"
    ].to_pylist()
    assert read[0] == f"{tmp_path.parent}/a/1.png"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"train": 3}, "'train' is a path, a name on the Hub or a table in memory .*, not int '3'"),
        (3, "sources is {split: table or folder}, .*, not 3"),
        ({"train": [1, 2]}, "not list"),
        (pd.DataFrame({"url": ["a", 1]}), "the DataFrame of 'train' has a column of mixed types: "),
        (pd.DataFrame({"url": []}), "the DataFrame of 'train' has no rows"),
    ],
)
def test_mistakes_are_one_sentence(given, says):
    with pytest.raises(ValueError, match=says.replace("{", r"\{")):
        sources.read(given, url_column="url")


@pytest.fixture
def pictures(tmp_path):
    """Three rows with pictures, as `datasets` loads them from a Parquet file: embedded, in a cache file."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    made = [Image.fromarray(picture(n)) for n in range(3)]
    rows = datasets.Dataset.from_dict({"image": made, "label": [1, 0, 1]}, features=features)
    rows.to_parquet(tmp_path / "p/train.parquet")
    return datasets.load_dataset(str(tmp_path / "p"), split="train")


def decoded(table):
    return [
        codec.decode(uris.read_bytes(source, max_bytes=99_999))
        for source in table["source"].to_pylist()
    ]


def test_pictures_of_a_dataset_are_read_from_the_file_it_was_loaded_from(pictures):
    table = sources.read(pictures)["train"]
    assert table.column_names == ["image_id", "label", "source"]
    assert all(np.array_equal(one, picture(n)) for n, one in enumerate(decoded(table)))
    shuffled = sources.read(pictures.select([2, 0]))["train"]
    assert [
        np.array_equal(one, picture(n)) for n, one in zip((2, 0), decoded(shuffled), strict=True)
    ] == [True] * 2


def test_pictures_that_are_only_in_memory_are_told_with_what_to_do(pictures):
    for one in (
        datasets.Dataset.from_dict(pictures[:], features=pictures.features),
        pictures.select(range(1, 3)),
    ):
        with pytest.raises(
            ValueError,
            match=r"only in memory: write it with ds.to_parquet\('pictures/train.parquet'\)",
        ):
            sources.read(one)


def test_a_dataset_of_files_is_read_from_the_files(tmp_path):
    (tmp_path / "1.png").write_bytes(codec.encode(picture(1)))
    rows = datasets.Dataset.from_dict({"image": [str(tmp_path / "1.png")]}).cast_column(
        "image", datasets.Image()
    )
    assert sources.read(rows)["train"]["source"].to_pylist() == [f"{tmp_path}/1.png"]


def test_a_folder_of_save_to_disk_is_read(pictures, tmp_path):
    pictures.save_to_disk(tmp_path / "disk")
    datasets.DatasetDict({"train": pictures, "test": pictures}).save_to_disk(tmp_path / "both")
    for where, split in (("disk", "any"), ("both", "test")):
        table = sources.read({split: tmp_path / where})[split]
        assert [np.array_equal(one, picture(n)) for n, one in enumerate(decoded(table))] == [
            True
        ] * 3


def test_a_parquet_file_of_pictures_is_read_with_or_without_features(pictures, tmp_path):
    import pyarrow.parquet as pq

    bare = pictures.data.table.combine_chunks().replace_schema_metadata(None)
    pq.write_table(bare, tmp_path / "bare.parquet")
    plain = bare.set_column(
        0, "image", pa.chunked_array([bare["image"].combine_chunks().field("bytes")])
    )
    pq.write_table(plain, tmp_path / "plain.parquet")
    (tmp_path / "folder").mkdir()
    pq.write_table(bare, tmp_path / "folder" / "train.parquet")
    for where in (
        tmp_path / "p/train.parquet",
        tmp_path / "bare.parquet",
        tmp_path / "plain.parquet",
        tmp_path / "folder",
    ):
        table = sources.read({"x": where}, url_column="image")["x"]
        assert [np.array_equal(one, picture(n)) for n, one in enumerate(decoded(table))] == [
            True
        ] * 3
        assert table["label"].to_pylist() == [1, 0, 1]


def test_a_parquet_file_that_was_written_again_is_not_mistaken_for_the_old_one(pictures, tmp_path):
    where = tmp_path / "p/train.parquet"
    before = sources.read({"x": where})["x"]["source"][0].as_py()
    pictures.select(range(2)).to_parquet(where)
    assert sources.read({"x": where})["x"]["source"][0].as_py() != before
    uris.dataset_rows._column.cache_clear()
    with pytest.raises(uris.SourceError, match="was written again"):
        uris.read_bytes(before, max_bytes=99_999)


def test_given_takes_a_path_a_dataset_and_what_read_gives(tmp_path):
    with imgprep.session("local", workers=0):
        read = sources.read(pd.DataFrame({"path": ["no.png"]}), url_column="path")
        made = images.download(read, str(tmp_path / "out"), max_failed=1)
    assert isinstance(sources.given(made.folder), dataset.Dataset) and sources.given(made) is made
    assert sources.given(read) == read == sources.given(read["train"])
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.png").write_bytes(codec.encode(picture(1)))
    assert len(sources.given(tmp_path / "in")["train"]) == 1
    for wrong in (3, None, [], {}, {"train": "x"}):
        with pytest.raises(
            ValueError, match="give a path, a Dataset, or give what sources.read gives"
        ):
            sources.given(wrong)
