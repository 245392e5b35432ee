"""Each ok row once an epoch, whoever reads how many; and mixed when that is asked for."""

import os

import numpy as np
import pytest
from made import folder as pictures
from made import table

import imgprep
from imgprep import dataset
from imgprep.picture import codec
from imgprep.stages import images

torch_data = pytest.importorskip("torch.utils.data")
COUNT = 90


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset of pictures; one of them is broken."""
    home = tmp_path_factory.mktemp("rows")
    paths = pictures(home / "in", COUNT)
    (home / "in" / "0007.png").write_bytes(b"no picture")
    imgprep.session("local", workers=0)
    rows = table(paths, n=list(range(COUNT)))
    ds = images.download({"train": rows}, str(home / "out"), batch_size=40)
    yield ds
    imgprep.close()


def numbers(rows, **loader):
    return [row["n"] for row in torch_data.DataLoader(rows, batch_size=None, **loader)]


WHOLE = [n for n in range(COUNT) if n != 7]


def test_the_order_is_the_dataset_s(made):
    assert numbers(made.torch_rows("train")) == WHOLE


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_share_the_rows(made, workers):
    found = numbers(made.torch_rows("train", columns=["n"]), num_workers=workers)
    assert sorted(found) == WHOLE


def test_processes_share_them_too(made):
    parts = [numbers(made.torch_rows("train", rank=rank, world=3)) for rank in range(3)]
    assert sorted(sum(parts, [])) == WHOLE and all(parts)


@pytest.mark.parametrize("at_a_time", [1, 7, 40])
def test_a_group_is_read_a_few_rows_at_a_time(made, monkeypatch, at_a_time):
    monkeypatch.setattr("imgprep.dataset.torch_rows.AT_A_TIME", at_a_time)
    parts = [numbers(made.torch_rows("train", rank=rank, world=4)) for rank in range(4)]
    assert sum(parts, []) == WHOLE and max(map(len, parts)) - min(map(len, parts)) <= 1


def test_an_epoch_is_mixed_as_its_seed_says(made):
    rows = made.torch_rows("train", shuffle_rows=30, seed=1)
    first, again = numbers(rows), numbers(rows)
    rows.set_epoch(1)
    second = numbers(rows)
    assert first == again and sorted(first) == sorted(second) == WHOLE
    assert first != second and first != WHOLE
    assert numbers(made.torch_rows("train", shuffle_rows=30, seed=2)) != first


def test_workers_that_stay_take_the_new_epoch(made):
    rows = made.torch_rows("train", columns=["n"], shuffle_rows=30)
    loader = torch_data.DataLoader(rows, batch_size=None, num_workers=1, persistent_workers=True)
    first = [row["n"] for row in loader]
    rows.set_epoch(1)
    second = [row["n"] for row in loader]
    assert first != second and sorted(first) == sorted(second) == WHOLE


def test_pictures_are_decoded_or_bytes(made):
    one = next(iter(made.torch_rows("train", columns=["image", "n"])))
    raw = next(iter(made.torch_rows("train", columns=["image"], decode=None)))
    assert list(one) == ["image", "n"] and np.array_equal(one["image"], codec.decode(raw["image"]))


def test_failures_are_a_config_like_another(made):
    assert numbers(made.torch_rows("train", config="failures", decode=None)) == [7]


def test_a_wrong_name_is_told(made):
    with pytest.raises(ValueError, match="no split 'tst'; .* has train"):
        made.torch_rows("tst")
    with pytest.raises(ValueError, match="no column 'm'; .* has image_id, n, "):
        dataset.open(made.folder).torch_rows("train", columns=["m"])


@pytest.mark.store
def test_of_a_store_no_byte_is_fetched_twice(s3, tmp_path, monkeypatch):
    import s3fs

    random = np.random.default_rng(1)
    (tmp_path / "in").mkdir()
    for number in range(12):
        noise = random.integers(0, 256, (300, 300, 3), np.uint8)
        (tmp_path / "in" / f"{number}.png").write_bytes(codec.encode(noise))
    bucket = f"rows-{os.urandom(4).hex()}"
    s3.mkdir(bucket)
    there = images.download(str(tmp_path / "in"), f"s3://{bucket}/out")
    fetched = []
    fetch = s3fs.core.S3File._fetch_range

    def counted(self, start, end):
        fetched.append(end - start)
        return fetch(self, start, end)

    rows = there.torch_rows("train", columns=["image", "image_id"], decode=None, shuffle_rows=5)
    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", counted)
    pictures_bytes = sum(len(row["image"]) for row in rows)
    assert pictures_bytes <= sum(fetched) < 1.2 * pictures_bytes, fetched  # the ends of files are read besides
