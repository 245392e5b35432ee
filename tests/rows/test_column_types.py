import pyarrow as pa
import pytest

from imgprep.rows import column_types


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
        ([""] * 2000 + ["1"], pa.int64()),
        (["1"] * 2000 + ["1.5"], pa.float64()),
        (["1"] * 2000 + ["x"], pa.string()),
    ],
)
def test_a_number_is_what_prints_back_as_it_was_written(cells, wanted):
    assert column_types.unified("c", [pa.chunked_array([cells])], [True]) == wanted


def test_one_cell_of_another_file_decides_with():
    columns = [pa.chunked_array([["1", "2"]]), pa.chunked_array([["x"]])]
    assert column_types.unified("c", columns, [True, True]) == pa.string()
    assert (
        column_types.unified("c", [columns[0], pa.chunked_array([[1.5]])], [True, False])
        == pa.float64()
    )
    assert (
        column_types.unified("c", [columns[1], pa.chunked_array([[15]])], [True, False])
        == pa.string()
    )
    assert (
        column_types.unified("c", [pa.chunked_array([["x"]]).dictionary_encode()], [False])
        == pa.string()
    )
    with pytest.raises(ValueError, match="c has incompatible types: list<item: int64> vs string"):
        column_types.unified("c", [pa.chunked_array([[[1]]]), columns[1]], [False, True])


def test_an_empty_cell_is_null_in_a_number_and_empty_in_a_text():
    column = pa.chunked_array([["1", ""]])
    assert column_types.typed(column, pa.int64()).to_pylist() == [1, None]
    assert column_types.typed(column, pa.string()).to_pylist() == ["1", ""]


def test_views_and_run_ends_become_what_they_stand_for():
    column = {
        "view": pa.array(["a", None], pa.string_view()),
        "bytes": pa.array([b"a", None], pa.binary_view()),
        "named": pa.array(["x", "x"]).dictionary_encode(),
        "inside": pa.array(
            [[{"k": "a"}], None], pa.large_list(pa.struct([("k", pa.string_view())]))
        ),
        "n": pa.array([1, 2]),
    }
    table = pa.table(column)
    plain, notes = column_types.plain(table)
    assert plain.to_pylist() == table.to_pylist() and notes == []
    kinds = [
        pa.string(),
        pa.binary(),
        pa.string(),
        pa.large_list(pa.struct([("k", pa.string())])),
        pa.int64(),
    ]
    assert plain.schema.types == kinds
