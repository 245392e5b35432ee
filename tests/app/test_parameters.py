import pytest

from imgprep.app.parameters import cell_of, declared, fitted_value, nearest


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("007", str, "007"),
        ("null", str, "null"),
        ("true", str, "true"),
        ("", str, ""),
        ("007", str | None, "007"),
        ("null", str | None, None),
        ("None", int | None, None),
        ("256", int, 256),
        ("1e-3", float, 0.001),
        ("0", float, 0.0),
        ("False", bool, False),
        ("[256,256]", list[int], [256, 256]),
        ('["127.0.0.1"]', list[str], ["127.0.0.1"]),
        ("[127.0.0.1, no, 007]", list[str], ["127.0.0.1", "no", "007"]),
        ("[]", list[str], []),
        ("[1, [2, x]]", list, [1, [2, "x"]]),
        ("{a: 1}", dict, {"a": 1}),
        ("{a: 010}", dict[str, int], {"a": 10}),
        ("[1, 2]", list[int] | None, [1, 2]),
        ("0.25", int | float, 0.25),
    ],
)
def test_a_text_is_read_as_the_declared_type(text, kind, value):
    assert fitted_value(text, kind) == value
    assert type(fitted_value(text, kind)) is type(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("abc", int), ("1.5", int), ("yes", bool), ("1", bool), ("[1, x]", list[int]), ("3", list[int]), ("[1", list),
        (True, int), (1, bool), (1, str), (None, str), (1.5, int), ([1, "x"], list[int]), ({"a": 1}, list), ([], dict),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(value, kind):
    with pytest.raises(ValueError, match="is not"):
        fitted_value(value, kind)


def test_values_become_what_papermill_can_inject(tmp_path):
    # papermill turns a tuple into the text "(1, 2)"
    assert fitted_value((1, 2), list[int]) == [1, 2]
    assert fitted_value(tmp_path, str) == str(tmp_path)
    assert fitted_value(3, float) == 3


def test_the_cell_gives_names_types_defaults_and_help():
    cell = declared(
        "# what goes in\n"
        "train_csv: str = 'a.csv'  # the table\n"
        "size_wh: list[int] = [\n    128,\n    128,\n]  # width, height\n"
        "limit: int | None = None\n",
        "01.ipynb",
    )
    assert [(p.name, p.default, p.help) for p in cell.values()] == [
        ("train_csv", "a.csv", "the table"),
        ("size_wh", [128, 128], "width, height"),
        ("limit", None, ""),
    ]
    assert cell["limit"].kind == int | None


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("size = 3", "'size = 3' in the parameters cell is not `name: type = literal`"),
        ("import os", "is not `name: type = literal`"),
        ("size: int = 2 * 64", "parameter size"),
        ("size: int = 'big'", "parameter size: 'big' is not int"),
        ("size: Path = 'x'", "parameter size"),
    ],
)
def test_a_cell_of_anything_but_typed_literals_is_refused(source, says):
    with pytest.raises(ValueError, match="^01.ipynb") as error:
        declared(source, "01.ipynb")
    assert says in str(error.value)


def test_reading_a_cell_runs_nothing_of_it():
    with pytest.raises(ValueError, match="x.ipynb"):
        declared("a: __import__('os').abort() = 1", "x.ipynb")


def test_a_notebook_has_exactly_one_parameters_cell():
    tagged = {"metadata": {"tags": ["parameters"]}, "source": ["a: int = 1\n", "b: int = 2"]}
    assert cell_of({"cells": [{"metadata": {}, "source": ""}, tagged]}, "x") == "a: int = 1\nb: int = 2"
    for cells in ([], [tagged, tagged]):
        with pytest.raises(ValueError, match=f"x has {len(cells)} cells tagged 'parameters'"):
            cell_of({"cells": cells}, "x")


def test_the_near_match_also_finds_a_parameter_of_a_step():
    assert nearest("denoise", ["out", "ocr.denoise"]) == "; did you mean 'ocr.denoise'?"
    assert nearest("size_hw", ["out", "size_wh"]) == "; did you mean 'size_wh'?"
    assert nearest("zzz", ["out", "size_wh"]) == "; there is: out, size_wh"


BOOM = ["(lambda: __import__('os').abort())()", "str.__subclasses__()", "[str for x in (1,)][0]", "f'{1}'", "Any",
        "list[int, str]", "dict[int]", "str[int]", "str + None", "str and None", "3", "'str'"]  # fmt: skip


@pytest.mark.parametrize("annotation", BOOM)
def test_a_type_is_one_of_a_closed_list_and_is_not_evaluated(annotation):
    with pytest.raises(ValueError, match="^x.ipynb: parameter a: .* is no type of a parameter"):
        declared(f"a: {annotation} = None", "x.ipynb")


def test_or_means_what_the_bar_does_so_that_papermill_reads_it_too():
    cell = declared("a: str or None = None\nb: dict or str or None = {}\nc: list[int] or None = [1]", "x")
    assert [p.kind for p in cell.values()] == [str | None, dict | str | None, list[int] | None]


@pytest.mark.parametrize("source", ["a: int = (1", "a: int = 1\n  b", "a: int = " + "(" * 500, "\0"])
def test_a_cell_that_is_no_python_is_one_sentence(source):
    with pytest.raises(ValueError, match="^x.ipynb: the parameters cell is not Python: [^\n]+$"):
        declared(source, "x.ipynb")
