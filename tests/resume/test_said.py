"""Every summary says what went wrong most often, in its own words."""

import pytest
from made import folder, table

import imgprep
from imgprep import RunStopped, dataset
from imgprep.stages import images


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


def mostly(image):
    if image[0, 0, 0] % 5 == 0:
        raise ValueError(f"picture {image[0, 0, 0]}")
    return image if image[0, 0, 0] % 5 == 1 else {}["x"]


def test_the_commonest_error_stands_in_the_summary_and_in_what_stops_a_run(tmp_path):
    rows, out = {"train": table(folder(tmp_path / "in", 40))}, str(tmp_path / "out")
    with pytest.raises(RunStopped, match="more than max_failed=0.5.*\"mostly: KeyError: 'x'\" on \\d+ of \\d+$"):
        images.transform(rows, out, mostly)
    found = dataset.open(out)
    said = found.error_words()
    assert said.startswith("\"mostly: KeyError: 'x'\" on ")
    assert repr(found).endswith(said) and "KeyError: &#x27;x&#x27;" in found._repr_html_()


def test_a_run_that_is_stopped_early_says_on_how_many(tmp_path):
    rows = {"train": table(folder(tmp_path / "in", 70))}

    def always(image):
        image[:] = 7
        return mostly(image)

    with pytest.raises(RunStopped, match=r"failed alike \(error: always: KeyError: 'x', on \d+ of \d+\)"):
        images.transform(rows, str(tmp_path / "out"), always)


def test_without_errors_nothing_is_said(tmp_path):
    found = images.download({"train": table(folder(tmp_path / "in", 2))}, str(tmp_path / "out"))
    assert repr(found) == "2 of 2 pictures ready" and found.error_words() == ""
