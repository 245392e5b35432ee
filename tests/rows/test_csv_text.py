"""What a CSV's bytes say of themselves: the encoding, and what parts its columns."""

import pytest

from imgprep.rows import tables


@pytest.fixture
def cells(tmp_path, capsys):
    """cells(bytes) -> (the table as a dict, what was said)."""

    def read(data, name="t.csv", **options):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        table = tables.read_table(str(path), **options)
        return table.to_pydict(), capsys.readouterr().out.replace(f"{path}: ", "")

    return read


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("a;b\nx;é\n", "parted by semicolons (';')"),
        ("a\tb\nx\té\n", "parted by tabs ('\\t')"),
        ("a|b\nx|é\n", "parted by bars ('|')"),
        ("sep=;\na;b\nx;é\n", "parted by semicolons (';')"),
        ('"sep=;"\r\na;b\r\nx;é\r\n', "parted by semicolons (';')"),
        ("sep=,\na,b\nx,é\n", ""),
        ("a,b\nx,é\n".encode("utf-16"), "read as utf-16"),
        ("a,b\nx,é\n".encode("utf-16-le"), "read as utf-16-le"),
        ("a,b\nx,é\n".encode("utf-16-be"), "read as utf-16-be"),
        ("a,b\nx,é\n".encode("utf-32"), "read as utf-32"),
        ("a,b\nx,é\n".encode("cp1252"), "read as Windows-1252"),
        ("a;b\nx;é\n".encode("latin-1"), "read as Windows-1252"),
        ("a,b\nx,é\n".encode("utf-8-sig"), ""),
    ],
)
def test_a_dialect_is_found_and_said(cells, data, said):
    table, out = cells(data)
    assert table == {"a": ["x"], "b": ["é"]}
    assert said in out and bool(out) == bool(said)


def test_what_is_given_is_not_guessed_and_nothing_is_said(cells):
    assert cells("a;b\nКот;1\n".encode("cp1251"), sep=";", encoding="cp1251") == (
        {"a": ["Кот"], "b": ["1"]},
        "",
    )
    assert cells("a;b,c\n1;2,3\n", sep=",") == ({"a;b": ["1;2"], "c": ["3"]}, "")
    assert cells("sep=;\na,b\n1,2\n", sep=",") == ({"a": ["1"], "b": ["2"]}, "")


@pytest.mark.parametrize(
    "text", ["naïve café, „Größe“ 5 € – 20 m²", "Müßiggang", "L’Oréal®, 10 µm", "señor ¡ay!"]
)
def test_western_texts_are_known(cells, text):
    table, said = cells(f'a,b\n"{text}",1\n'.encode("cp1252"))
    assert table["a"] == [text] and "Windows-1252" in said


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Кошка", "cp1251"),
        ("łódka", "cp1250"),
        ("猫の写真", "shift_jis"),
        ("γάτα", "cp1253"),
        ("고양이", "euc_kr"),
    ],
)
def test_what_could_be_several_encodings_is_asked_for(cells, text, encoding):
    with pytest.raises(
        ValueError, match=r"it is not UTF-8 \(line 3\); give encoding=, for example 'cp1252'"
    ):
        cells(f"a,b\n1,2\n{text},1\n".encode(encoding))
    assert cells(f"a,b\n{text},1\n".encode(encoding), encoding=encoding)[0]["a"] == [text]


def test_a_damaged_letter_in_utf8_is_no_other_encoding(cells):
    with pytest.raises(ValueError, match=r"it is not UTF-8 \(line 3\)"):
        cells("a,b\né,1\n".encode() + b"\xc3,2\n")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sep": ";;"}, "sep is one character, for example ';', not ';;'"),
        ({"encoding": "utf-9"}, "there is no encoding 'utf-9'; usual ones are"),
        ({"encoding": "ascii"}, "it is not in encoding='ascii': "),
    ],
)
def test_mistakes_are_one_sentence(cells, options, says):
    with pytest.raises(ValueError, match=f"cannot be read: {says}"):
        cells("a,b\né,1\n", **options)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("url,label\nhttp://h/a;b|c,cat\n", ["url", "label"]),
        ("url\nhttp://h/a;b\n", ["url"]),
        ("a;b,label\n1;2,cat\n", ["a;b", "label"]),
        ('"a;b";"c,d"\n1;2\n', ["a;b", "c,d"]),
        ("url;price, EUR\nx;1,5\n", ["url", "price, EUR"]),
        ("a,b\n1,2\n3\n", ["a", "b"]),
    ],
)
def test_commas_part_the_columns_where_nothing_speaks_against_it(cells, text, names):
    assert [*cells(text)[0]] == names


def test_a_tsv_that_has_commas_is_read_too(cells):
    table, said = cells("a,b\n1,2\n", "t.tsv")
    assert table == {"a": ["1"], "b": ["2"]} and "parted by commas" in said


def test_decimal_commas_stay_text_and_that_is_said(cells):
    table, said = cells("url;price;of\nx;1,5;1\ny;-2,25;2\nz;3;3\n")
    assert table["price"] == ["1,5", "-2,25", "3"]
    assert "numbers with decimal commas stay text, as they are written: 'price'" in said


def test_an_empty_cell_of_the_only_column_keeps_its_row(cells):
    assert cells("url\na\n\nc\n\n\n")[0] == {"url": ["a", "", "c"]}
    assert cells("\n\nurl\na\n")[0] == {"url": ["a"]}
    assert cells("a,b\n1,2\n\n3,4\n")[0] == {"a": ["1", "3"], "b": ["2", "4"]}


def test_empty_columns_without_a_name_behind_the_last_are_left_out(cells):
    table, said = cells("a,b,,\n1,2,,\n3,4,,\n")
    assert table == {"a": ["1", "3"], "b": ["2", "4"]} and "2 empty columns without a name" in said
    assert [*cells("a,,\n1,,x\n")[0]] == ["a", ""]  # twice the same name: a dict holds one


def test_a_header_may_have_line_ends_of_any_kind_in_quotes(cells):
    table, _ = cells('"a\r\nb",c\r1,2\r')
    assert list(table) == ["a\r\nb", "c"] and table["c"] == ["2"]
