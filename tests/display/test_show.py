"""Facts about what a notebook cell shows: all of the data is text, small enough to save, at home in both themes."""

import numpy as np
import pyarrow as pa
import pytest
from made import picture, table

import imgprep
from imgprep.display import show
from imgprep.picture import codec, enhance
from imgprep.stages import images, upload, variants

HOSTILE = "<img src=x onerror=alert(1)>'\""
SIGNED = "ftp://me:secret@example.org/" + "long/" * 30 + "cat.png?X-Amz-Signature=abc"


@pytest.fixture(scope="module")
def ds(tmp_path_factory):
    """Train 30 and test 10 rows of two kinds; in train one source is missing and one is a signed URL nobody reads."""
    root = tmp_path_factory.mktemp("show")
    for n in range(38):
        (root / f"{n}.png").write_bytes(codec.encode(picture(n, (40, 30))))
    paths = [str(root / f"{n}.png") for n in range(38)]
    kinds = [HOSTILE, "jar"] * 15
    with imgprep.session("local", workers=0):
        tables = {"train": table([*paths[:28], str(root / "gone.png"), SIGNED], kind=kinds, empty=[None] * 30)}
        tables["test"] = table(paths[28:], kind=kinds[:10], empty=[None] * 10)
        return images.download(tables, str(root / "raw"))


def html(cell: show.Cell) -> str:
    text = cell._repr_html_()
    assert "background" not in text and "color:" not in text, "the theme's own colours, light or dark"
    assert len(text) <= 200_000 and "\n" not in repr(cell)
    return text


def test_a_sheet_shows_rows_of_all_splits_with_label_and_size(ds):
    text = html(show.sheet(ds, 8))
    assert text.count("<img src='data:image/webp;base64,") == 8
    assert text.count("jar · 40 × 30</figcaption>") >= 2
    assert HOSTILE not in text and "&lt;img src=x onerror=alert(1)&gt;&#x27;&quot; · 40 × 30" in text


def test_a_sheet_gives_the_reason_of_a_placeholder_not_the_size_we_gave_it(ds):
    text = html(show.sheet(ds, 40))
    assert " · missing_file</figcaption>" in text and "128 × 128" not in text


def test_a_sheet_can_be_of_one_split(ds):
    assert html(show.sheet(ds, 20, split="test")).count("<figure") == 10


def test_a_wrong_number_is_the_users_mistake(ds):
    with pytest.raises(ValueError, match="1 to 100"):
        show.sheet(ds, 1000)


def test_before_and_after_say_their_sizes():
    text = html(show.before_after(picture(1, (400, 300)), picture(2)[:, :, 0]))
    assert text.count("<img") == 2 and "before · 400 × 300<" in text and "after · 24 × 16<" in text
    assert repr(show.before_after(picture(1), picture(2))) == "before · 24 × 16; after · 24 × 16"


def test_failures_are_listed_by_reason_with_what_they_mean(ds):
    text = html(show.failures(ds))
    assert "<b>missing_file</b>" in text and "no such file or object" in text and "…/gone.png" in text
    assert "<b>unsupported_scheme</b>" in text and text.count("<img") == 2, "placeholders are shown"
    assert repr(show.failures(ds)) == "38 of 40 pictures ready; 2 placeholders: missing_file 1, unsupported_scheme 1"


def test_a_dataset_without_failures_says_so(ds):
    assert html(show.failures(ds, split="test")) == "<p>10 of 10 pictures ready.</p>"


def test_a_table_is_shown_without_secrets():
    cells = {"image_id": ["1"], "link": [SIGNED], "note": [HOSTILE], "source": [SIGNED]}
    cell = show.table(pa.table(cells))
    text = html(cell)
    assert "me:secret" not in text and "abc" not in text and HOSTILE not in text
    assert repr(cell) == "1 row: image_id, link, note"


def test_rows_are_a_table_of_what_is_there_without_secrets(ds):
    text = html(show.rows(ds, "train", 30))
    assert text.count("<tr>") == 31 and text.count("<img") == 30
    assert "<th style='text-align:left;vertical-align:middle'>kind</th>" in text and ">empty</th>" not in text
    assert "secret" not in text and "abc" not in text.split("ftp://")[1][:80] and "ftp://example.org/long/" in text
    assert HOSTILE not in text


def test_rows_leave_source_out_where_another_column_says_the_same(tmp_path):
    (tmp_path / "a.png").write_bytes(codec.encode(picture(1)))
    path = str(tmp_path / "a.png")
    with imgprep.session("local", workers=0):
        same = images.download({"train": table([path], link=[path])}, str(tmp_path / "same"))
        other = images.download({"train": table([path], link=["a.png"])}, str(tmp_path / "other"))
    assert ">source</th>" not in html(show.rows(same)) and ">source</th>" in html(show.rows(other))


def test_sizes_stand_beside_one_another_and_a_place_that_anyone_can_read_is_red(tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / "in" / f"{n}.png").write_bytes(codec.encode(picture(n, (400, 300))))
    with imgprep.session("local", workers=0):
        made = variants.build(str(tmp_path / "in"), str(tmp_path / "sizes"), vision_max_side=200, thumbnail_side=64)
        up = upload.upload(made, str(tmp_path / "store"), str(tmp_path / "up"))
    text = html(show.sizes(made, n=2))
    assert text.count("<img src=") == 6 and ">vision: 3 pictures" in text
    for size in ("400 × 300 · PNG, as it was", "64 × 48 · JPEG, quality 85"):
        assert text.count(f"{size} · ") == 4, "of two pictures, each told to eyes and to readers"
    found = upload.public(up)
    assert "3 pictures" in html(show.places(up, found)) and str(tmp_path) not in html(show.places(up, found))
    found[next(iter(found))] = True
    assert show.places(up, found)._repr_html_().count("<b style='color:#d11'>PUBLIC") == 1


def test_changes_show_those_that_changed_most(tmp_path):
    def some_inverted(image):
        return 255 - image if image[0, 0, 0] in (30, 60) else image + 1

    for n in range(8):
        grey = np.full((20, 30, 3), 10 * n, np.uint8)
        (tmp_path / f"{n}.png").write_bytes(codec.encode(grey))
    given = table([str(tmp_path / f"{n}.png") for n in range(8)])
    with imgprep.session("local", workers=0):
        before = images.download({"train": given}, str(tmp_path / "before"))
        after = images.transform(before, str(tmp_path / "after"), some_inverted)
    names = given["image_id"].to_pylist()
    cell = show.changes(before, after, n=2)
    assert repr(cell) == f"2 pictures before and after: {names[3]}, {names[6]}"


def test_changes_show_each_picture_beside_what_it_was(ds, tmp_path):
    with imgprep.session("local", workers=0):
        ready = images.transform(ds, str(tmp_path / "ready"), enhance.steps, upscale=2)
    cell = show.changes(ds, ready, n=3)
    text = html(cell)
    assert text.count("<img") == 6 and text.count("40 × 30<") == 3 and text.count("80 × 60<") == 3
    assert repr(cell).startswith("3 pictures before and after: ")
    assert html(show.changes(ds, ready, n=100)).count("<tr>") == 38 + 1, "placeholders changed nothing"
