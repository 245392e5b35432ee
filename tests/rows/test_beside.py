"""A folder of pictures that became a dataset folder: both can be read, and it is said which is."""

import numpy as np
import pytest
from made import picture

import imgprep
from imgprep.app import inputs
from imgprep.picture import codec
from imgprep.rows import beside, sources
from imgprep.stages import images, segmentation, variants


@pytest.fixture(autouse=True)
def _here():
    with imgprep.session("local", workers=0):
        yield


def put(home, *names):
    for n, name in enumerate(names):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(codec.encode(picture(n, (64, 64))))
    return str(home)


def same(image):
    return image


@pytest.fixture
def both(tmp_path):
    """A dataset folder of three rows, with two pictures of somebody's in it."""
    images.transform(put(tmp_path / "in", "1.png", "2.png", "3.png"), str(tmp_path / "both"), same)
    return put(tmp_path / "both", "mine.png", "holidays/sea.jpg")


def named(tables):
    return [row["file_name"] for table in tables.values() for row in table.to_pylist()]


def test_the_pictures_are_readable_all_the_same(both, tmp_path):
    assert named(sources.read({"train": f"{both}/*"})) == ["holidays/sea.jpg", "mine.png"]
    made = images.transform(f"{both}/*", str(tmp_path / "out"), same)
    assert made.table("train")["file_name"].to_pylist() == ["holidays/sea.jpg", "mine.png"]
    sized = variants.build(sources.read(f"{both}/*"), str(tmp_path / "sizes"), vision=None)
    assert sized.counts()["ok"] == 4


def test_a_dataset_that_is_read_as_such_is_said_to_be_one(both, tmp_path, capsys):
    capsys.readouterr()
    made = images.transform(both, str(tmp_path / "out"), same)
    assert made.counts()["rows"] == 3
    told = (
        f"{both} is a dataset folder and read as one (3 rows that 'same' made); "
        f"2 pictures of yours beside it left out: name '{both}/*' to read them\n"
    )
    assert capsys.readouterr().out.startswith(told)
    assert sources.read({"train": both})["train"].num_rows == 3
    assert capsys.readouterr().out == told


def test_where_nothing_lies_beside_it_nothing_is_said(tmp_path, capsys):
    images.transform(put(tmp_path / "in", "1.png"), str(tmp_path / "plain"), same)
    capsys.readouterr()
    images.transform(str(tmp_path / "plain"), str(tmp_path / "out"), same)
    assert "dataset folder" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="plain has no pictures in it"):
        sources.read({"train": str(tmp_path / "plain") + "/*"})


def test_masks_of_a_segmentation_are_no_pictures_of_yours(tmp_path, capsys):
    source = put(tmp_path / "in", "1.png")
    made = segmentation.segment(source, str(tmp_path / "masks"), "128")
    assert made.table("train")["mask"][0].as_py().endswith(".tif")
    assert beside.pictures_beside(made.folder) == [] and beside.told_dataset(made.folder) == ""
    put(tmp_path / "masks", "masks/mine.png")
    assert beside.pictures_beside(made.folder) == ["masks/mine.png"]


def test_a_plain_folder_and_one_for_datasets_are_read_so_too(tmp_path):
    home = put(tmp_path / "in", "cat/1.png", "dog/2.png")
    assert named(sources.read(f"{home}/*")) == named(sources.read(home))
    (tmp_path / "in" / "metadata.csv").write_text("file_name,word\ncat/1.png,a\n")
    table = sources.read(f"{home}/*")["train"]
    assert table["label"].to_pylist() == ["cat", "dog"]


def test_it_stays_apart_from_what_is_made_of_it(both, tmp_path):
    with pytest.raises(ValueError, match="lies in the source"):
        images.transform(f"{both}/*", f"{both}/out", same)
    with pytest.raises(ValueError, match="is the source itself"):
        images.transform(f"{both}/*", both, same)
    with pytest.raises(ValueError, match="there is no .*none"):
        sources.read({"train": str(tmp_path / "none") + "/*"})
    assert not inputs.is_missing(f"{both}/*") and inputs.is_missing(str(tmp_path / "none") + "/*")
    assert np.asarray(codec.decode(open(f"{both}/mine.png", "rb").read())).shape == (64, 64, 3)
