"""Classes of several sources: a number means one name in all splits, or a sentence says what is missing."""

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imgprep.rows import sources

URLS = ["http://h/1", "http://h/2"]


def labelled(names, numbers, **columns):
    features = datasets.Features(
        {"url": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    features |= {name: feature for name, (feature, _) in columns.items()}
    data = {"url": URLS[: len(numbers)], "label": numbers} | {
        name: values for name, (_, values) in columns.items()
    }
    return datasets.Dataset.from_dict(data, features=datasets.Features(features))


def classes(tables):
    """split -> the names of the rows' classes, by the features that every split declares."""
    found = {}
    for split, table in tables.items():
        feature = datasets.Features.from_arrow_schema(table.schema)["label"]
        found[split] = [
            None if n is None else feature.int2str(n) for n in table["label"].to_pylist()
        ]
    names = [
        datasets.Features.from_arrow_schema(table.schema)["label"].names
        for table in tables.values()
    ]
    assert all(one == names[0] for one in names), "one list for all"
    return found


def test_other_orders_of_classes_are_mapped_by_name(tmp_path):
    one, other = labelled(["cat", "dog"], [0, 1]), labelled(["bird", "cat"], [0, 1])
    for given in ({"train": one, "test": other}, None):
        if given is None:  # the same from files
            one.to_parquet(tmp_path / "one.parquet")
            other.to_parquet(tmp_path / "other.parquet")
            given = {"train": tmp_path / "one.parquet", "test": tmp_path / "other.parquet"}
        tables = sources.read(given, url_column="url")
        assert classes(tables) == {"train": ["cat", "dog"], "test": ["bird", "cat"]}
        assert tables["test"]["label"].to_pylist() == [2, 0]


def test_names_in_a_csv_are_the_classes_of_a_dataset(tmp_path):
    (tmp_path / "t.csv").write_text("url,label\nhttp://h/1,dog\nhttp://h/2, eel\nhttp://h/3,\n")
    tables = sources.read(
        {"train": labelled(["cat", "dog"], [0, 1]), "test": tmp_path / "t.csv"}, url_column="url"
    )
    assert classes(tables) == {"train": ["cat", "dog"], "test": ["dog", "eel", None]}


def test_a_row_without_a_class_stays_without_one():
    tables = sources.read(
        {"a": labelled(["x", "y"], [-1, 1]), "b": labelled(["y"], [0])}, url_column="url"
    )
    assert classes(tables) == {"a": [None, "y"], "b": ["y"]}


def test_a_split_without_the_column_is_null_and_declares_the_same():
    bare = pa.table({"url": URLS})
    tables = sources.read({"a": labelled(["x", "y"], [0, 1]), "b": bare}, url_column="url")
    assert classes(tables) == {"a": ["x", "y"], "b": [None, None]}


def test_equal_classes_stay_as_they_are():
    tables = sources.read(
        {"a": labelled(["x", "y"], [0, -1]), "b": labelled(["x", "y"], [1])}, url_column="url"
    )
    assert [table["label"].to_pylist() for table in tables.values()] == [[0, -1], [1]]


@pytest.mark.parametrize("numbers", ["csv", "parquet"])
def test_numbers_without_names_are_refused(tmp_path, numbers):
    where = tmp_path / f"t.{numbers}"
    if numbers == "csv":
        where.write_text("url,label\nhttp://h/1,0\n")
    else:
        pq.write_table(pa.table({"url": URLS, "label": [0, 1]}), where)
    says = f"column 'label' holds numbers in .*t.{numbers} and classes with names in the Dataset of 'a': give the names"
    with pytest.raises(ValueError, match=says):
        sources.read({"a": labelled(["x"], [0]), "b": where}, url_column="url")


def test_classes_inside_lists_that_differ_are_refused():
    def inside(names):
        return labelled(
            ["x"], [0], objects=(datasets.List(datasets.ClassLabel(names=names)), [[0]])
        )

    sources.read({"a": inside(["p", "q"]), "b": inside(["p", "q"])}, url_column="url")
    with pytest.raises(
        ValueError,
        match="column 'objects' has classes inside, others in the Dataset of 'a' than in",
    ):
        sources.read({"a": inside(["p", "q"]), "b": inside(["q", "p"])}, url_column="url")
