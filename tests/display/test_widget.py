"""The gallery's host in a cell: what it sends to the browser, and where a decision goes."""

import json

import numpy as np
import pytest

from imgprep import show, tags
from imgprep.display.widget import keep_corrections
from imgprep.picture import codec

pytest.importorskip("anywidget")


@pytest.fixture
def tagged(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(4):
        (folder / f"p{n}.png").write_bytes(codec.encode(np.full((40, 60, 3), 50 * n, np.uint8), "PNG"))
    return tags.find(str(folder), str(tmp_path / "tagged"), taggers=["tone"])


def test_a_live_gallery_carries_its_pictures_and_keeps_decisions(tagged, tmp_path):
    file = tmp_path / "corrections.json"
    live = show.gallery(tagged, live=True, corrections=file)
    data = json.loads(live.data)
    start, length = data["at"][1]
    assert codec.decode(live.pictures[start : start + length]).shape == (40, 60, 3)
    one = {"image_id": data["id"][0], "kind": "tone", "name": "low key", "accepted": False}
    live.decided = [one]
    assert tags.read_corrections(file) == [one]
    live.decided = [one, one | {"accepted": True}]
    assert [c["accepted"] for c in tags.read_corrections(file)] == [True]
    done = tags.apply(tagged, file, str(tmp_path / "done"))
    assert "human:you" in {e["source"] for row in done.table("train", ["tags"])["tags"].to_pylist() for e in row}


def test_decisions_are_added_to_those_there(tmp_path):
    file = tmp_path / "c.json"
    for name in ("a", "b"):
        keep_corrections(file, [{"image_id": "i", "kind": "k", "name": name, "accepted": True}])
    assert len(tags.read_corrections(file)) == 2


def test_without_a_file_or_a_cell_it_says_what_to_name(tagged):
    with pytest.raises(ValueError, match="name the HTML file"):
        show.gallery(tagged)
