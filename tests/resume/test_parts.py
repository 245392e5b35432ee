"""Facts about parts: what a run that was killed leaves, and what the next one makes of it."""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made import folder, picture, table

import imgprep
from imgprep import dataset
from imgprep.picture import codec
from imgprep.stages import images


class Killed(BaseException):
    """Ends a run wherever it is, as kill -9 does."""


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


def until(monkeypatch, rows: int, fails: bool = False) -> list[int]:
    """How many pictures `work` may see before it is killed; the list of those it saw. Python's own module may hold it:
    a global of this file would count as a part of the function."""
    seen: list[int] = []
    monkeypatch.setattr(sys, "imgprep_test", (seen, rows, fails), raising=False)
    return seen


def work(image):
    seen, rows, fails = sys.imgprep_test
    if len(seen) >= rows:
        raise Killed
    seen.append(int(image[0, 0, 0]))
    if fails:
        raise ValueError("the model is away")
    return image


@pytest.fixture
def halfway(tmp_path, monkeypatch):
    """Twenty pictures of which a killed run did sixteen, in two parts; (tables, out)."""
    tables, out = {"train": table(folder(tmp_path / "in", 20))}, str(tmp_path / "out")
    until(monkeypatch, 17)
    with pytest.raises(Killed):
        images.transform(tables, out, work)
    assert len(list(Path(out, ".imgprep/parts").iterdir())) == 2
    return tables, out


def test_a_run_goes_on_where_it_was_killed(halfway, monkeypatch):
    seen = until(monkeypatch, 99)
    images.transform(*halfway, work)
    assert len(seen) == 4 and not list(Path(halfway[1], ".imgprep/parts").iterdir())


@pytest.mark.parametrize("place", [0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.95])
@pytest.mark.parametrize("damage", ["a bit", "zeros", "cut"])
def test_a_damaged_part_is_computed_again(halfway, monkeypatch, damage, place):
    part = sorted(Path(halfway[1], ".imgprep/parts").iterdir())[0]
    data = bytearray(part.read_bytes())
    at = int(len(data) * place)
    if damage == "a bit":
        data[at] ^= 1
    else:
        data[at : at + 80 if damage == "zeros" else None] = bytes(80) if damage == "zeros" else b""
    part.write_bytes(data)
    seen = until(monkeypatch, 99)
    out = images.transform(*halfway, work)
    assert len(seen) in (4, 12)  # a bit of the page index harms nobody
    for i, data in enumerate(out.pictures("train", range(20))):
        assert np.array_equal(codec.decode(data), picture(i))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello"])
def test_a_foreign_file_among_the_parts_is_none(halfway, monkeypatch, content):
    Path(halfway[1], ".imgprep/parts/what.parquet").write_bytes(content)
    until(monkeypatch, 99)
    assert images.transform(*halfway, work).counts()["ok"] == 20
    assert not list(Path(halfway[1], ".imgprep/parts").iterdir())


def test_a_parquet_file_of_something_else_is_no_part(halfway, monkeypatch):
    pq.write_table(halfway[0]["train"], Path(halfway[1], ".imgprep/parts/what.parquet"))
    until(monkeypatch, 99)
    assert images.transform(*halfway, work).counts()["ok"] == 20


def test_retry_failed_tries_the_failures_of_a_killed_run_too(tmp_path, monkeypatch):
    tables, out = {"train": table(folder(tmp_path / "in", 20))}, str(tmp_path / "out")
    until(monkeypatch, 17, fails=True)
    with pytest.raises(Killed):
        images.transform(tables, out, work, max_failed=1.0)
    seen = until(monkeypatch, 99)
    assert images.transform(tables, out, work, retry_failed=True).counts()["ok"] == len(seen) == 20


def test_parts_of_another_function_are_of_no_use_and_go(halfway, monkeypatch):
    assert images.transform(*halfway, np.flipud).runs()[-1]["computed"] == 20
    assert not list(Path(halfway[1], ".imgprep/parts").iterdir())


def test_a_retry_that_is_killed_keeps_what_it_mended(tmp_path, monkeypatch):
    tables, out = {"train": table(folder(tmp_path / "in", 20))}, str(tmp_path / "out")
    until(monkeypatch, 99, fails=True)
    images.transform(tables, out, work, max_failed=1.0)
    until(monkeypatch, 10)
    with pytest.raises(Killed):
        images.transform(tables, out, work, retry_failed=True)
    seen = until(monkeypatch, 99)
    assert images.transform(tables, out, work, retry_failed=True).counts()["ok"] == 20
    assert len(seen) == 12 and dataset.open(out).runs()[-1]["computed"] == 12
