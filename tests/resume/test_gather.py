"""Facts about the files of a batch: how large they are, and that no history of edits and kills shows in them."""

import contextlib
import random
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from made import folder, picture, table, tree

import imgprep
from imgprep import dataset
from imgprep.dataset import parquet
from imgprep.dataset.files import Folder
from imgprep.picture import codec
from imgprep.resume import gather, kept
from imgprep.stages import images


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


def groups(file: Path | str) -> list[int]:
    """Bytes of each row group."""
    meta = pq.ParquetFile(file).metadata
    return [meta.row_group(g).total_byte_size for g in range(meta.num_row_groups)]


def test_row_groups_are_bounded_by_bytes_also_where_bytes_are_kept_that_cannot_be_opened(tmp_path, monkeypatch):
    for i in range(30):
        (tmp_path / f"{i}.jxl").write_bytes(b"\xff\n" + bytes([i]) * (3 << 20))
    kept: list[list[int]] = []
    delete = Folder.delete

    def look(self, name):
        kept.extend([groups(self.full(name))] if ".imgprep/parts/" in name else [])
        delete(self, name)

    monkeypatch.setattr(Folder, "delete", look)
    names = [str(tmp_path / f"{i}.jxl") for i in range(30)]
    out = images.download({"train": table(names)}, str(tmp_path / "out"), max_failed=1.0)
    (file,) = out.data_files("failures")
    assert out.counts()["reasons"] == {"unsupported_format": 30}
    assert sum(groups(file)) > 90 << 20 and max(groups(file)) < parquet.ROW_GROUP_BYTES + (4 << 20)
    assert kept and max(map(max, kept)) < 16 + 12 << 20
    originals = pq.read_table(file, columns=["original"])["original"]
    assert [v.as_py()[2] for v in originals] == [*range(30)]


@pytest.mark.parametrize("limit", [1, 1500])
def test_a_batch_becomes_several_files_where_one_would_be_too_large(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(parquet, "FILE_BYTES", limit)
    monkeypatch.setattr(gather, "CHUNK_BYTES", limit)
    paths = folder(tmp_path / "in", 14)
    paths[5:5], paths[9:9] = ["gone1", "gone2"], ["gone3"]
    good = [i for i in range(17) if "gone" not in paths[i]]
    rows = {"train": table(paths, n=range(17))}
    out = images.download(rows, str(tmp_path / "out"), batch_size=10)
    assert len(out.data_files()) > 2 and all(pq.ParquetFile(f).metadata.num_rows for f in out.data_files())
    # Rows keep their order from file to file.
    assert [n for f in out.data_files() for n in pq.read_table(f)["n"].to_pylist()] == good
    assert out.table("train")["n"].to_pylist() == [*range(17)]
    upside_down = {"train": rows["train"].take([*range(17)][::-1])}
    again = images.download(upside_down, out.folder, batch_size=10)
    assert again.runs()[-1]["computed"] == 0 and again.table("train")["n"].to_pylist() == [*range(17)][::-1]
    for n, data in enumerate(again.pictures("train", [16 - i for i in good])):
        assert np.array_equal(codec.decode(data), picture(n))
    images.download(upside_down, str(tmp_path / "fresh"), batch_size=10)
    assert [f["file"] for f in again.files] == [f["file"] for f in dataset.open(str(tmp_path / "fresh")).files]


def test_a_picture_larger_than_a_row_group_and_a_file_goes_through(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "FILE_BYTES", 1 << 20)
    huge = b"BM" + (54 + 4096 * 3072 * 3).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    huge += b"".join(n.to_bytes(size, "little") for n, size in ((40, 4), (4096, 4), (3072, 4), (1, 2), (24, 2)))
    (tmp_path / "huge.bmp").write_bytes(huge + bytes(24 + 4096 * 3072 * 3))
    paths = folder(tmp_path / "in", 2)
    tables = {"train": table([paths[0], str(tmp_path / "huge.bmp"), paths[1]])}
    out = images.download(tables, str(tmp_path / "out"))
    assert out.table("train")["width"].to_pylist() == [24, 4096, 24] and len(out.data_files()) == 2
    assert out.pictures("train", [1])[0] == (tmp_path / "huge.bmp").read_bytes()


def test_every_file_has_a_page_index_checksums_and_the_features(tmp_path):
    paths = [*folder(tmp_path / "in", 5), "gone"]
    out = images.download({"train": table(paths, n=range(6))}, str(tmp_path / "out"), batch_size=2)
    for file in [*out.data_files(), *out.data_files("failures")]:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        column = parquet.metadata.row_group(0).column(0)
        assert column.has_offset_index and column.has_column_index and b"huggingface" in parquet.schema_arrow.metadata
        assert parquet.read().num_rows == parquet.metadata.num_rows
    data = bytearray(Path(out.data_files()[0]).read_bytes())
    data[data.index(b"IDAT")] ^= 1  # in the middle of a picture
    Path(out.data_files()[0]).write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(out.data_files()[0], page_checksum_verification=True)


def test_the_same_input_gives_the_same_bytes_in_another_folder_and_at_another_time(tmp_path):
    rows = table([*folder(tmp_path / "in", 9), "gone"], n=pa.array([1, None] * 5), b=pa.array([None, True] * 5))
    for name in ("a", "b"):
        raw = images.download({"train": rows}, str(tmp_path / name / "raw"), batch_size=4)
        images.transform(raw, str(tmp_path / name / "out"), np.flipud, batch_size=3)
    for stage in ("raw", "out"):
        assert tree(tmp_path / "a" / stage) == tree(tmp_path / "b" / stage)


def test_an_edit_in_one_batch_leaves_the_files_of_the_others(tmp_path):
    # Arrow keeps the validity of eight rows in one byte: what stands beside a batch must not show in its books.
    paths, out = folder(tmp_path / "in", 9), str(tmp_path / "out")
    before = images.download({"train": table(paths, n=[1, None, 3, 4, 5, 6, 7, 8, 9])}, out, batch_size=3).files
    after = images.download({"train": table(paths, n=[1, None, 3, None, None, 6, 7, 8, 9])}, out, batch_size=3).files
    assert [f["batch"] for f in after if f in before] == [0, 0, 2, 2]


def test_nothing_is_removed_that_was_not_written_here(tmp_path):
    paths = folder(tmp_path / "in", 4)
    names = ("data/train.csv", "data/train-00000-of-00001.parquet", "failures/x.txt")
    own = [tmp_path / "out" / name for name in names]
    images.download({"train": table(paths)}, str(tmp_path / "out"))  # into a folder of somebody's it would be refused
    for file in own:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    for some in (paths, paths[:2], paths[1:]):
        images.download({"train": table(some)}, str(tmp_path / "out"))
    assert all(file.read_text() == "mine" for file in own)
    assert len(list((tmp_path / "out" / "data").glob("*.parquet"))) == 1 + 2  # the newest, and those of the one before


def test_a_folder_with_a_readme_of_its_own_is_refused(tmp_path):
    paths = folder(tmp_path / "in", 2)
    (tmp_path / "README.md").write_text("# My project")
    with pytest.raises(ValueError, match="has a README.md that imgprep did not write: name another folder"):
        images.download({"train": table(paths)}, str(tmp_path))
    assert (tmp_path / "README.md").read_text() == "# My project" and not (tmp_path / "data").exists()


class Killed(BaseException):
    """Ends a run wherever it is, as kill -9 does."""


POOL = 14


def work(image, *, by=1):
    """One to three children of a picture, none of every fifth. Counts its calls where that does not change its hash."""
    numbers, calls = sys.imgprep_test
    n = numbers[image.tobytes()]
    calls.append(n)
    if n % 5 == 4:
        raise ValueError(f"picture {n}")
    return [{"image": image[: i + 1] // by, "n": n * 10 + i} for i in range(1 + n % 3)]


class Story:
    """A dataset folder, the table it is made of, and everything that may happen to the two of them."""

    def __init__(self, root: Path, rng: random.Random):
        self.rng, self.out, self.fresh = rng, str(root / "out"), str(root / "fresh")
        self.paths = [*folder(root / "in", POOL), "gone1", "gone2"]
        self.rows = {"train": [self.row() for _ in range(8)], "test": [self.row() for _ in range(rng.randrange(5))]}
        self.by, self.batch_size, self.calls, self.told = 1, 4, [], ["begin"]
        self.harmed = False  # the outside world took a listed file away
        self.done: set | None = set()  # what is known to be committed
        self.ever: set = set()  # what a run had finished; it may be kept, though its rows left

    def row(self):
        return self.rng.randrange(len(self.paths)), self.rng.choice("ab")

    def insert(self, rows):
        rows.insert(self.rng.randrange(len(rows) + 1), self.row())

    def remove(self, rows):
        del rows[1:2]

    def shuffle(self, rows):
        self.rng.shuffle(rows)

    def relabel(self, rows):
        rows[:] = [(i, self.rng.choice("ab")) for i, _ in rows]

    def option(self, rows):
        self.by = 3 - self.by

    def batches(self, rows):
        self.batch_size = self.rng.choice([1, 3, 4, 100])

    def lose(self, rows, damage=False):
        files = [f for f in Path(self.out).rglob("*.parquet") if not damage or "parts" in f.parts]
        if files:
            file = self.rng.choice(files)
            self.harmed, self.done = self.harmed or "parts" not in file.parts, None
            data = bytearray(file.read_bytes())
            data[len(data) // 3] ^= 1
            file.write_bytes(data) if damage else file.unlink()

    def damage(self, rows):
        self.lose(rows, damage=True)

    def run(self, rows, out=None, retry=False):
        labels = {s: pa.array([label for _, label in r], pa.string()) for s, r in self.rows.items()}
        tables = {s: table([self.paths[i] for i, _ in r], label=labels[s]) for s, r in self.rows.items()}
        del self.calls[:]
        images.transform(tables, out or self.out, work, children=True, features={"n": "int64"}, by=self.by,
                         batch_size=self.batch_size, retry_failed=retry, max_failed=1.0)  # fmt: skip
        wanted = {(i, self.by) for r in self.rows.values() for i, _ in r if i < POOL}
        assert len(set(self.calls)) == len(self.calls), "a picture was computed twice"
        if self.done is not None and not retry and out is None:
            calls = {(i, self.by) for i in self.calls}
            assert calls <= wanted - self.done, "what is committed was computed again"
            assert calls >= wanted - self.ever, "what was never computed is there"
        self.done, self.harmed = wanted, False
        self.ever |= wanted

    def retry(self, rows):
        self.run(rows, retry=True)

    def kill(self, rows):
        self.steps = self.rng.randrange(40)
        with contextlib.suppress(Killed):
            self.run(rows)
            self.steps = None
            return
        self.steps, self.done = None, None
        self.ever |= {(i, self.by) for i in self.calls}

    steps: int | None = None  # how many more the run may take before it is killed

    def step(self):
        """Before and after every change of a file: may be the last one, and a reader may look."""
        if not self.harmed and Path(self.out, "README.md").exists():
            card = yaml.safe_load(Path(self.out, "README.md").read_text().split("---\n")[1]) or {"configs": []}
            files = [f for c in card["configs"] for split in c["data_files"] for f in split["path"]]
            assert all(Path(self.out, f).exists() for f in files), "the card lists a file that is not there"
        if self.steps is not None:
            self.steps -= 1
            if self.steps < 0:
                raise Killed


EVENTS = "insert remove shuffle relabel option batches lose damage retry run kill kill".split()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happened_the_next_run_ends_with_the_files_of_a_first_one(tmp_path, monkeypatch, seed):
    story = Story(tmp_path, random.Random(seed))
    numbers = {picture(i).tobytes(): i for i in range(POOL)}
    monkeypatch.setattr(sys, "imgprep_test", (numbers, story.calls), raising=False)
    create, delete = Folder.create, Folder.delete

    @contextlib.contextmanager
    def watched_create(self, name, **options):
        story.step()
        with create(self, name, **options) as sink:
            yield sink
        story.step()

    def watched_delete(self, name):
        story.step()
        delete(self, name)

    monkeypatch.setattr(Folder, "create", watched_create)
    monkeypatch.setattr(Folder, "delete", watched_delete)
    for _ in range(12):
        event = story.rng.choice(EVENTS)
        story.told.append(event)
        getattr(story, event)(story.rows[story.rng.choice(["train", "train", "test"])])
    story.run(None)
    story.run(None)
    assert not story.calls, story.told
    kept.forget_kept(Folder(story.out))
    story.harmed = True  # the other folder is none of the reader's
    story.run(None, story.fresh)
    assert tree(story.out) == tree(story.fresh), story.told
