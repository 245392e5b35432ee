"""What is kept between passes: numbers and JSON, and never a pickle."""

import io
import os
import pickle

import numpy as np
import pytest

from imgprep.dataset.files import Folder
from imgprep.stages.segmentation import pieces


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path / "out"))


STATS = {
    "of a threshold": {"dtype": "uint16", "counts": {-3: np.arange(9), 4: np.ones(9, np.int64)}},
    "numbers and text": [1, 2.5, True, None, "tissue", (3, [4])],
    "an array of floats": np.linspace(0, 1, 7, dtype=np.float32).reshape(7, 1),
    "a number of numpy's": np.float64(0.25),
}


@pytest.mark.parametrize("name", STATS)
def test_stats_come_back_as_they_were(folder, name):
    pieces.write_piece(folder, "a", pieces.packed_stats(STATS[name]), {"failed": []})
    arrays, about = pieces.read_piece(folder, "a")
    found = pieces.unpacked_stats(arrays)
    np.testing.assert_equal(found, STATS[name])
    assert type(found) is type(STATS[name]) or name == "a number of numpy's"
    assert about == {"failed": []}


def test_stats_that_are_no_plain_values_are_refused():
    for wrong in ({1, 2}, object(), np.array([object()]), {"deep": [b"bytes"]}):
        with pytest.raises(ValueError, match="what is kept of a tile is numbers, text, arrays"):
            pieces.packed_stats(wrong)


class Planted:
    def __reduce__(self):
        return os.mkdir, ("planted",)


def test_a_planted_pickle_is_not_run(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sink = io.BytesIO()
    meta = np.frombuffer(b"{}", np.uint8)
    np.savez(sink, meta=meta, stats=np.array([Planted()], object))
    folder.put("a.npz", sink.getvalue())
    with pytest.raises(ValueError, match="allow_pickle"):
        pieces.read_piece(folder, "a")
    raw = np.frombuffer(pickle.dumps(Planted()), np.uint8)
    pieces.write_piece(folder, "b", {"stats": raw}, {})
    with pytest.raises(ValueError):
        pieces.unpacked_stats(pieces.read_piece(folder, "b")[0])
    assert not (tmp_path / "planted").exists()
