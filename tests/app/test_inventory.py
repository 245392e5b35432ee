"""ls, diff and clean: what there is, in what two datasets differ, and that nothing of use is ever thrown away."""

import os

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from made import folder, table, tree

import imgprep
from imgprep.app import inventory
from imgprep.app.cli import main
from imgprep.app.comparison import differences
from imgprep.rows import sources
from imgprep.stages import images


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


@pytest.fixture
def home(project):
    """A project with two datasets under data/."""
    folder(project.root / "in", 6)
    rows = table([str(project.root / f"in/{i:04d}.png") for i in range(6)], label=list("abcabc"), price=[0.5] * 6)
    images.download({"train": rows}, "data/a/raw")
    images.transform("data/a/raw", "data/a/flipped", np.flipud)
    return project.root, rows


def changed(rows: pa.Table, **columns: list) -> pa.Table:
    for name, values in columns.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows


def test_ls_lists_every_dataset_folder_below(home, capsys, monkeypatch):
    assert main(["ls"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["folder", "rows", "ok", "size", "age"]
    assert [line[:3] for line in lines[1:]] == [["data/a/flipped", "6", "6"], ["data/a/raw", "6", "6"]]
    assert lines[1][4] == "KB" and lines[1][-1] in ("s", "min")
    assert main(["ls", "data/a/raw"]) == 0 and len(capsys.readouterr().out.splitlines()) == 2
    monkeypatch.chdir("data")  # as in any shell, a path that is given counts from here
    assert main(["ls", "a/raw"]) == 0 and capsys.readouterr().out.splitlines()[1].startswith("a/raw ")
    assert main(["diff", "a/raw", "a/raw"]) == 0
    monkeypatch.chdir("..")
    assert main(["ls", "in"]) == 2
    assert capsys.readouterr().err == "imgprep: no dataset folder in in\n"


@pytest.mark.store
def test_ls_and_diff_work_on_a_store(home, s3, capsys):
    s3.mkdir("inventory")
    s3.put(str(home[0] / "data/a"), "inventory/x/", recursive=True)
    fsspec.filesystem("s3").invalidate_cache()
    assert inventory.find_datasets("s3://inventory") == ["s3://inventory/x/a/flipped", "s3://inventory/x/a/raw"]
    assert inventory.find_datasets("s3://inventory/x/a/raw/") == ["s3://inventory/x/a/raw"]
    assert "s3://inventory/x/a/raw" in inventory.listing(["s3://inventory/x"])
    assert differences("data/a/raw", "s3://inventory/x/a/raw") == {}
    assert main(["ls", "nosuch://x"]) == 2
    assert "imgprep: nosuch://x cannot be opened: ValueError: Protocol not known" in capsys.readouterr().err


def test_equal_datasets_do_not_differ(home, capsys):
    again = images.download({"train": home[1]}, "data/again", batch_size=2)
    assert differences("data/a/raw", again.folder) == {}
    capsys.readouterr()
    assert main(["diff", "data/a/raw", "data/again"]) == 0 and capsys.readouterr().out == ""


def test_a_shuffle_is_no_change_also_where_urls_repeat(home):
    root, _ = home
    lines = [f"in/{n % 3:04d}.png,{label}" for n, label in enumerate("abcabd")]
    for name, some in (("first", lines), ("shuffled", lines[::-1])):
        (root / f"{name}.csv").write_text("\n".join(["url,label", *some]) + "\n")
        rows = sources.read({"train": root / f"{name}.csv"}, url_column="url")
        images.download(rows, f"data/{name}")
    assert differences("data/first", "data/shuffled") == {}


def test_what_was_added_removed_relabelled_moved_and_what_failed_now(home, capsys):
    root, rows = home
    names = rows["image_id"].to_pylist()
    (root / "in/0005.png").write_bytes((root / "in/0000.png").read_bytes())
    (root / "in/0004.png").unlink()
    newer = changed(rows, label=list("abXabc"), price=[0.5, float("nan"), *[0.5] * 4]).slice(1)
    extra = rows.slice(0, 1).set_column(0, "image_id", pa.array(["new"]))
    tables = {"train": pa.concat_tables([newer.slice(0, 2), newer.slice(3)]), "test": newer.slice(2, 1)}
    images.download({"train": pa.concat_tables([tables["train"], extra]), "test": tables["test"]}, "data/newer")
    assert differences("data/a/raw", "data/newer") == {
        "added": ["new"],
        "removed": [names[0]],
        "label changed": [names[2]],
        "price changed": [names[1]],
        "split changed": [names[3]],
        "outcome ok -> missing_file": [names[4]],
        "picture changed": [names[5]],
    }
    assert main(["diff", "data/a/raw", "data/newer"]) == 1
    assert f"1 label changed: {names[2]}\n" in capsys.readouterr().out
    assert main(["diff", "data/a/raw", "data/none"]) == 2


def test_columns_may_have_the_names_that_diff_uses(home):
    rows = home[1].rename_columns({"label": "outcome", "price": "split"}).append_column("key", pa.array(range(6)))
    for name, last in (("x", "c"), ("y", "b")):
        images.download({"train": changed(rows, outcome=[*"abcab", last])}, f"data/{name}")
    assert differences("data/x", "data/x") == {}
    assert differences("data/x", "data/y") == {"outcome changed": [rows["image_id"][5].as_py()]}


def test_a_nan_is_equal_to_itself_and_a_column_may_come_or_go(home):
    rows = changed(home[1], price=[float("nan")] * 6)
    images.download({"train": rows}, "data/nan")
    images.download({"train": rows.append_column("more", [[1] * 6])}, "data/more")
    assert differences("data/nan", "data/nan") == {}
    assert {what: len(ids) for what, ids in differences("data/nan", "data/more").items()} == {
        "column 'more' added": 6
    }


def runs(root, pipeline: str, *names: str, latest: str = "") -> None:
    for name in names:
        (root / "reports" / pipeline / name).mkdir(parents=True)
        (root / "reports" / pipeline / name / "01.ipynb").write_text("x" * 10)
    if latest:
        (root / "reports" / pipeline / "latest").write_text(f"{latest}\n")


def test_clean_keeps_the_newest_runs_the_latest_and_what_is_not_a_run(home, capsys):
    root, _ = home
    times = [f"202611{day}T112637Z-dcbd5c" for day in (18, 19, 20, 21, 22)]
    runs(root, "products", *times, "20261122T112637Z-dcbd5c-2", "my notes", latest=times[0])
    runs(root, "tiny", times[0])
    before = tree(root)
    assert main(["clean", "--keep", "2", "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [*(f"reports/products/{name}" for name in times[1:4]), "3 files and runs, 30 B, would be deleted"]
    assert tree(root) == before
    assert main(["clean", "--keep", "2"]) == 0
    assert {*os.listdir(root / "reports/products")} == {times[0], times[4], f"{times[4]}-2", "my notes", "latest"}
    assert os.listdir(root / "reports/tiny") == [times[0]]
    assert main(["clean"]) == 0 and capsys.readouterr().out.endswith("0 files and runs, 0 B, deleted\n")
    assert main(["clean", "--keep", "0"]) == 2


def test_clean_takes_litter_and_leaves_results_that_are_not_committed(home, capsys):
    root, _ = home
    from imgprep.dataset import Dataset
    from imgprep.dataset.files import Folder
    from imgprep.engine import Task
    from imgprep.resume.parts import PartWriter, part_schema

    ds = Dataset("data/a/raw")
    index = ds.index("train").to_pylist()
    writer = PartWriter(Folder(ds.folder), part_schema(pa.schema([])))

    def part(name: str, rows: list[dict], **changes) -> None:
        facts = [{n: row[n] for n in ("key", "done", "nbytes", "etag")} | changes for row in rows]
        said = [{"child": -1, "reason": "" if row["done"] else "error", "error": "", **row} for row in facts]
        writer.write(Task(name, facts), said)

    part("committed", index[:3])
    part("fresh", index[:3], key=b"0" * 16)
    part("refreshed", index[3:], etag='"newer"')
    part("retried", index[3:], done=False)
    (root / "data/a/raw/.imgprep/parts/damaged.parquet").write_bytes(b"PAR1")
    (root / "data/a/raw/.imgprep/tmp/.1-half").write_bytes(b"1234")
    before = tree("data")
    gone = [os.path.relpath(path, "data/a/raw/.imgprep") for path, _ in inventory.sweep(["data"], keep=3)]
    assert sorted(gone) == ["parts/committed.parquet", "parts/damaged.parquet", "tmp/.1-half"]
    assert before.items() - tree("data").items() == {
        (f"a/raw/.imgprep/{g}", before[f"a/raw/.imgprep/{g}"]) for g in gone
    }


def test_clean_leaves_a_folder_alone_in_which_a_run_is_at_work(home):
    import filelock

    (home[0] / "data/a/raw/.imgprep/tmp").mkdir(exist_ok=True)
    (home[0] / "data/a/raw/.imgprep/tmp/.1-half").write_bytes(b"1234")
    with filelock.FileLock("data/a/raw/.imgprep/lock"):
        assert inventory.sweep(["data"], keep=3) == []
    assert len(inventory.sweep(["data"], keep=3)) == 1
