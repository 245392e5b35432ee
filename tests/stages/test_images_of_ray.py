"""What `images.write` takes from a Ray Dataset: encoded bytes, paths, arrays; and what it refuses in a sentence."""

import numpy as np
import pyarrow as pa
import pytest
from made import picture

import imgprep
from imgprep.picture import codec
from imgprep.stages import images


@pytest.fixture(scope="module", autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


class Batches:
    """What `write` uses of a Ray Dataset."""

    def __init__(self, **columns):
        self.table = pa.table(columns)

    def iter_batches(self, **options):
        yield self.table


def test_arrays_are_stored_as_png(tmp_path):
    tensors = pytest.importorskip("ray.data.extensions")
    arrays = np.stack([picture(1), picture(2)])
    made = images.write(
        Batches(image=tensors.ArrowTensorArray.from_numpy(arrays)), str(tmp_path / "out")
    )
    found = [codec.decode(data) for data in made.pictures("train", [0, 1])]
    assert made.counts()["ok"] == 2 and all(
        np.array_equal(a, b) for a, b in zip(found, arrays, strict=True)
    )


def test_pictures_on_disk_are_read_from_their_paths(tmp_path):
    data = codec.encode(picture(1))
    (tmp_path / "1.png").write_bytes(data)
    cells = [
        {"bytes": None, "path": str(tmp_path / "1.png")},
        {"bytes": None, "path": str(tmp_path / "gone.png")},
    ]
    made = images.write(Batches(image=cells), str(tmp_path / "out"))
    assert made.pictures("train", [0]) == [data] and made.counts()["ok"] == 1


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": ["aGVsbG8="]}, "the column 'image' holds str, not encoded bytes"),
        ({"image": [b"x", b"y"], "id": ["a", None]}, "row 2 has no 'id', which id_column names"),
    ],
)
def test_what_is_no_picture_and_no_id_is_one_sentence(tmp_path, columns, says):
    with pytest.raises(ValueError, match=says):
        images.write(
            Batches(**columns), str(tmp_path / "out"), id_column="id" if "id" in columns else None
        )
