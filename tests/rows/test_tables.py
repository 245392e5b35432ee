import gzip

import pyarrow as pa
import pytest

from imgprep.rows import tables


def table(tmp_path, data, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return tables.read(str(path))


def test_cells_of_a_csv_are_the_text_that_was_written(tmp_path):
    data = b'\xef\xbb\xbf"id",note,n\r\n007,"a, ""b""\r\nc",NA\r\n+1,,null\r\n 1_000 ,\xc3\xa9,1e5\r\n'
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
        (b"a,b\n1,2\n1,2,3\n", "t.csv", "{} cannot be read: ParserError: .*Expected 2 fields in line 3, saw 3"),
        (b'a,b\n1,2\n"3,4\n5,6\n', "t.csv", "{} cannot be read: ParserError: .*EOF inside string starting at row 2"),
        ("a,b\n1,é\n".encode("latin-1"), "t.csv", "{} cannot be read: UnicodeDecodeError: 'utf-8' codec can't .*"),
        ("a,b\n1,é\n".encode("utf-16"), "t.csv", "{} cannot be read: UnicodeDecodeError: 'utf-8' codec can't .*"),
        (b"", "t.csv", "{} cannot be read: EmptyDataError: No columns to parse from file"),
        (b"a", "t.xlsx", "{} is no table that can be read; give a .csv, .tsv, .parquet or .jsonl file .*, or a folder"),
        (b"no gzip", "t.csv.gz", "{} cannot be read: BadGzipFile: Not a gzipped file .*"),
        (b'{"a": 1}\n{"a": "x"}\n', "t.jsonl", "{} cannot be read: ArrowInvalid: JSON parse error: .* in row 1"),
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
        tables.read(str(tmp_path / "trian.csv"))


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["1", "-20", "0", ""], pa.int64()),
        (["1", "007"], pa.string()),
        (["1", "+1"], pa.string()),
        (["1", "1_000"], pa.string()),
        (["1", " 2"], pa.string()),
        (["1", "NA"], pa.string()),
        (["1.5", "nan"], pa.string()),
        (["inf"], pa.string()),
        (["1e-05", "0.1"], pa.float64()),
        (["1.5", "2", "500.0", "-0.25", ""], pa.float64()),
        (["1.5", "1.50"], pa.string()),
        (["1.5", "1e5"], pa.string()),
        (["1.5", ".5"], pa.string()),
        (["0.30000000000000004"], pa.float64()),
        (["0.30000000000000004999"], pa.string()),
        (["9223372036854775808"], pa.string()),
        (["", ""], pa.string()),
    ],
)
def test_a_number_is_what_prints_back_as_it_was_written(cells, wanted):
    assert tables.unified("c", [pa.chunked_array([cells])], [True]) == wanted


def test_one_cell_of_another_file_decides_with():
    columns = [pa.chunked_array([["1", "2"]]), pa.chunked_array([["x"]])]
    assert tables.unified("c", columns, [True, True]) == pa.string()
    assert tables.unified("c", [columns[0], pa.chunked_array([[1.5]])], [True, False]) == pa.float64()
    assert tables.unified("c", [columns[1], pa.chunked_array([[15]])], [True, False]) == pa.string()
    assert tables.unified("c", [pa.chunked_array([["x"]]).dictionary_encode()], [False]) == pa.string()
    with pytest.raises(ValueError, match="c has incompatible types: list<item: int64> vs string"):
        tables.unified("c", [pa.chunked_array([[[1]]]), columns[1]], [False, True])


def test_an_empty_cell_is_null_in_a_number_and_empty_in_a_text():
    column = pa.chunked_array([["1", ""]])
    assert tables.typed(column, pa.int64()).to_pylist() == [1, None]
    assert tables.typed(column, pa.string()).to_pylist() == ["1", ""]


def test_a_csv_has_quoted_text_empty_nulls_and_json_and_no_bytes():
    columns = {"a": ["1", None], "n": [1, None], "box": [[1, 2], None], "of": [{"k": "é"}, None], "raw": [b"x", None]}
    assert tables.to_csv(pa.table(columns)) == ('"a","n","box","of"\n"1",1,"[1, 2]","{""k"": ""é""}"\n,,,\n'.encode())
