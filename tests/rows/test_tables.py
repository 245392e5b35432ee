import gzip

import pyarrow as pa
import pytest

from imgprep.rows import sources, tables


def table(tmp_path, data, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return tables.read_table(str(path))


def test_cells_of_a_csv_are_the_text_that_was_written(tmp_path):
    data = (
        b'\xef\xbb\xbf"id",note,n\r\n007,"a, ""b""\r\nc",NA\r\n+1,,null\r\n 1_000 ,\xc3\xa9,1e5\r\n'
    )
    assert table(tmp_path, data).to_pydict() == {
        "id": ["007", "+1", " 1_000 "],
        "note": ['a, "b"\r\nc', "", "é"],
        "n": ["NA", "null", "1e5"],
    }


def test_tsv_and_gzip_read_like_csv(tmp_path):
    wanted = {"a": ["1,5"], "b": ["x"]}
    assert table(tmp_path, b"a\tb\n1,5\tx\n", "t.tsv").to_pydict() == wanted
    assert table(tmp_path, gzip.compress(b'a,b\n"1,5",x\n'), "t.CSV.gz").to_pydict() == wanted


def test_a_row_that_ends_early_has_empty_cells(tmp_path):
    assert table(tmp_path, "a,b\n1,2\n3\n").to_pydict() == {"a": ["1", "3"], "b": ["2", ""]}


def test_jsonl_keeps_dates_as_text_and_nested_values(tmp_path):
    data = '{"d": "2026-01-31", "n": "007", "box": [1, 2]}\n\n{"d": "2026-02-01", "k": 1.5}\n'
    assert table(tmp_path, data, "t.jsonl").to_pylist() == [
        {"d": "2026-01-31", "n": "007", "box": [1, 2], "k": None},
        {"d": "2026-02-01", "n": None, "box": None, "k": 1.5},
    ]


@pytest.mark.parametrize(
    ("data", "name", "sentence"),
    [
        (
            b"a,b\n1,2\n1,2,3\n",
            "t.csv",
            "{} cannot be read: ParserError: .*Expected 2 fields in line 3, saw 3",
        ),
        (
            b'a,b\n1,2\n"3,4\n5,6\n',
            "t.csv",
            "{} cannot be read: ParserError: .*EOF inside string starting at row 2",
        ),
        (
            "a,b\n1,Кот\n".encode("cp1251"),
            "t.csv",
            r"{} cannot be read: it is not UTF-8 \(line 2\); give encoding=, .*",
        ),
        (
            "a,b\n1,é\n".encode("utf-16") + b"x",
            "t.csv",
            "{} cannot be read: UnicodeDecodeError: 'utf-16.*truncated.*",
        ),
        (b"", "t.csv", "{} cannot be read: EmptyDataError: No columns to parse from file"),
        (
            b"a",
            "t.xlsx",
            f"{{}} is no table that can be read; give a {tables.endings()} file .*, or a folder",
        ),
        (b"no gzip", "t.csv.gz", "{} cannot be read: BadGzipFile: Not a gzipped file .*"),
        (
            b'{"a": 1}\n{"a": "x"}\n',
            "t.jsonl",
            "{} cannot be read: ArrowInvalid: JSON parse error: .* in row 1",
        ),
        (b"PAR1", "t.parquet", "{} cannot be read: ArrowInvalid: .+"),
    ],
)
def test_a_broken_table_is_one_sentence(tmp_path, data, name, sentence):
    with pytest.raises(ValueError, match=f"^{sentence.format(tmp_path / name)}$"):
        table(tmp_path, data, name)


def test_a_stray_quote_inside_a_cell_is_no_error(tmp_path):
    assert table(tmp_path, b'a,b\n5" pipe,2\n')["a"].to_pylist() == ['5" pipe']


def test_a_missing_file_is_told_with_the_near_match(tmp_path):
    (tmp_path / "train.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match=r"there is no \S+trian.csv; did you mean 'train.csv'\?$"):
        tables.read_table(str(tmp_path / "trian.csv"))


def test_a_csv_has_quoted_text_empty_nulls_and_json_and_no_bytes():
    columns = {
        "a": ["1", None],
        "n": [1, None],
        "box": [[1, 2], None],
        "of": [{"k": "é"}, None],
        "raw": [b"x", None],
    }
    assert tables.to_csv(pa.table(columns)) == (
        '"a","n","box","of"\n"1",1,"[1, 2]","{""k"": ""é""}"\n,,,\n'.encode()
    )


@pytest.fixture
def feather(monkeypatch):
    """A type of table that somebody adds: one line."""
    import pyarrow.feather

    def read_feather(data, notes):
        return pyarrow.feather.read_table(pa.BufferReader(data))

    monkeypatch.setitem(tables.TABLE_FORMS, ".feather", tables.Form(read_feather))


def test_a_new_type_of_table_is_one_entry(feather, tmp_path):
    import pyarrow.feather

    where = str(tmp_path / "t.feather")
    pyarrow.feather.write_feather(pa.table({"url": ["http://h/1"], "n": [1]}), where)
    assert tables.known_columns(where) == ["url", "n"]
    assert sources.read({"train": where}, url_column="url")["train"]["n"].to_pylist() == [1]
    *most, last = tables.TABLE_FORMS  # as many as there are by now
    assert last == ".feather" and most[:4] == [".csv", ".tsv", ".parquet", ".jsonl"]
    with pytest.raises(ValueError, match=f"give a {', '.join(most)} or .feather file"):
        tables.read_table(str(tmp_path / "t.txt"))


def test_the_documentation_lists_the_endings():
    assert tables.endings().startswith(".csv, .tsv, .parquet")
    assert f"a table ({tables.endings()}, also .gz" in sources.read.__doc__


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.csv.gz"])
def test_the_columns_are_known_from_the_top_of_a_file(tmp_path, name):
    import pyarrow.parquet as pq

    path = tmp_path / name
    sep = "\t" if "tsv" in name else ";"
    body = f"a{sep}b\n1{sep}2\n".encode()
    if name.endswith("parquet"):
        pq.write_table(pa.table({"a": [1], "b": [2]}), path)
    else:
        path.write_bytes(gzip.compress(body) if name.endswith("gz") else body)
    assert tables.known_columns(str(path)) == ["a", "b"]


def test_the_columns_of_jsonl_and_of_what_is_damaged_are_not_known(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    assert [
        tables.known_columns(str(tmp_path / name))
        for name in ("t.jsonl", "t.parquet", "none.csv", "t")
    ] == [[]] * 4


def test_numbers_of_more_than_64_bits_in_jsonl_are_the_text_that_was_written(tmp_path, capsys):
    lines = [
        '{"id": 12345678901234567890, "n": 1.50, "of": [1, 99999999999999999999], "small": 7}',
        '{"id": 5, "n": 2, "small": 8}',
    ]
    assert table(tmp_path, "\n".join(lines), "t.jsonl").to_pydict() == {
        "id": ["12345678901234567890", "5"],
        "n": [1.5, 2.0],
        "of": ['["1", "99999999999999999999"]', None],
        "small": [7, 8],
    }
    assert "column 'id' has numbers of more than 64 bits: it stays text" in capsys.readouterr().out


def test_jsonl_in_utf16_and_with_a_mark_reads(tmp_path):
    text = '{"a": "é"}\n'
    for encoding in ("utf-8-sig", "utf-16"):
        assert table(tmp_path, text.encode(encoding), "t.jsonl").to_pydict() == {"a": ["é"]}


def test_objects_without_a_field_are_kept_as_json(tmp_path, capsys):
    data = '{"u": "x", "more": {}, "in": {"a": {}}}\n'
    assert table(tmp_path, data, "t.jsonl").to_pydict() == {
        "u": ["x"],
        "more": ["{}"],
        "in": ['{"a": {}}'],
    }
    assert "column 'more' has objects without a field" in capsys.readouterr().out
