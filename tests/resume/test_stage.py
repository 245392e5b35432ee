"""Facts about stages: what is recomputed, what a reader sees, what a kill leaves behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import folder, picture, table, tree

import imgprep
from imgprep import dataset, engine
from imgprep.dataset.files import Folder
from imgprep.failures import RunStopped
from imgprep.picture import codec
from imgprep.stages import images


@pytest.fixture(autouse=True)
def inline():
    with imgprep.session("local", workers=0):
        yield


@pytest.fixture
def raw(tmp_path):
    """Twenty pictures in two splits, one of them missing."""
    paths = folder(tmp_path / "in", 20)
    tables = {"train": table([*paths[:15], str(tmp_path / "gone.png")]), "test": table(paths[15:])}
    images.download(tables, str(tmp_path / "raw"))
    return str(tmp_path / "raw")


def darker(image, *, by=2):
    return image // by


def computed(out: str) -> int:
    """How many rows the newest run of a dataset folder computed; 0 when it had nothing to do."""
    return dataset.open(out).runs()[-1]["computed"]


def load(out: str, config: str = "default", **options):
    import datasets

    return datasets.load_dataset(out, config, cache_dir=f"{out}-cache", **options)


def test_every_input_row_is_in_one_of_the_two_configs(raw):
    ok, bad = load(raw), load(raw, "failures")
    assert {s: len(ok[s]) for s in ok} == {"train": 15, "test": 5}
    assert [r["reason"] for r in bad["train"]] == ["missing_file"] and "test" not in bad
    assert np.array_equal(np.asarray(ok["test"][0]["image"]), picture(15))
    assert dataset.open(raw).counts() == {
        "rows": 21, "ok": 20, "placeholder": 1, "failed": 0, "reasons": {"missing_file": 1},
    }  # fmt: skip


def test_streaming_gives_the_same_rows(raw):
    streamed = load(raw, split="train", streaming=True)
    assert [r["sha256"] for r in streamed] == load(raw, split="train")["sha256"]
    assert streamed.features == load(raw, split="train").features


def test_a_placeholder_shows_a_picture_but_is_not_ok(raw):
    row = load(raw, "failures")["train"][0]
    assert row["status"] == "placeholder" and row["image"].size == (128, 128) == (row["width"], row["height"])


def test_the_table_is_in_input_order_with_failures_in_their_place(raw):
    found = dataset.open(raw).table("train")
    assert found["status"].to_pylist() == ["ok"] * 15 + ["placeholder"]
    assert codec.decode(dataset.open(raw).pictures("train", [7])[0]).tolist() == picture(7).tolist()


def test_a_finished_stage_touches_no_file(raw, tmp_path):
    images.transform(raw, str(tmp_path / "out"), darker)
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("*") if f.is_file() and f.name != "lock"}
    images.transform(raw, str(tmp_path / "out"), darker)
    after = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("*") if f.is_file() and f.name != "lock"}
    assert before == after


def test_a_row_inserted_at_the_top_computes_one_row(tmp_path):
    paths = folder(tmp_path / "in", 12)
    out = str(tmp_path / "out")
    images.download({"train": table(paths[1:])}, out, batch_size=4)
    images.download({"train": table(paths)}, out, batch_size=4)
    assert computed(out) == 1
    images.download({"train": table(paths)}, str(tmp_path / "fresh"), batch_size=4)
    # The files are those of a fresh run; what the readers of the old version may still be reading is left for one run.
    listed = {f["file"] for f in dataset.open(out).files}
    assert listed == {f["file"] for f in dataset.open(str(tmp_path / "fresh")).files}
    assert Path(out, "README.md").read_bytes() == Path(tmp_path, "fresh", "README.md").read_bytes()
    images.download({"train": table(paths)}, out, batch_size=4)
    assert tree(out) == tree(tmp_path / "fresh")


def test_edited_labels_and_shuffled_rows_compute_nothing(tmp_path):
    paths, out = folder(tmp_path / "in", 10), str(tmp_path / "out")
    images.download({"train": table(paths, label=["a"] * 10)}, out)
    images.download({"train": table(paths, label=["b"] * 10)}, out)
    assert computed(out) == 0 and load(out)["train"]["label"] == ["b"] * 10
    images.download({"train": table(paths[::-1], label=["b"] * 10)}, out)
    assert computed(out) == 0
    assert np.array_equal(np.asarray(load(out)["train"][0]["image"]), picture(9))


def test_equal_sources_are_computed_once(tmp_path):
    paths, calls = folder(tmp_path / "in", 3), tmp_path / "calls"

    def count(image, path=str(calls)):
        with open(path, "a") as f:
            f.write("x")
        return image

    images.transform({"train": table(paths * 4), "test": table(paths[:1])}, str(tmp_path / "out"), count)
    assert calls.read_text() == "xxx" and dataset.open(str(tmp_path / "out")).counts()["ok"] == 13


def test_an_edited_function_recomputes_and_an_edited_comment_does_not(raw, tmp_path):
    out = str(tmp_path / "out")

    def version(source: str):
        scope: dict = {"__name__": "__main__"}
        exec(source, scope)
        return scope["half"]

    images.transform(raw, out, version("def half(image):\n    return image // 2\n"))
    images.transform(raw, out, version("def half(image):\n    # a comment\n    'text'\n    return image // 2\n"))
    assert len(dataset.open(out).runs()) == 1
    images.transform(raw, out, version("def half(image):\n    return image // 3\n"))
    assert computed(out) == 21 and "function changed" in dataset.open(out).runs()[-1]["why"]


def test_a_changed_option_says_which(raw, tmp_path, capsys):
    images.transform(raw, str(tmp_path / "out"), darker, by=2)
    images.transform(raw, str(tmp_path / "out"), darker, by=3, dry_run=True)
    assert "21 of 21 rows to compute: options changed" in capsys.readouterr().out
    assert dataset.open(str(tmp_path / "out")).info["options"]["options"] == {"by": 2}


def test_a_reader_sees_the_batches_of_a_first_run_as_they_are_finished(raw, tmp_path):
    out, seen = str(tmp_path / "out"), []

    def look(image):
        seen.append(dataset.open(out).counts()["ok"] if dataset.exists(out) else 0)
        return image

    images.transform(raw, out, look, batch_size=8)
    assert seen[0] == 0 and 8 in seen and 15 in seen


def test_a_reader_sees_the_old_version_until_the_new_one_is_whole(raw, tmp_path):
    out, seen = str(tmp_path / "out"), set()
    images.transform(raw, out, darker, batch_size=4)
    old = Path(out, "README.md").read_bytes()

    def look(image):
        seen.add(Path(out, "README.md").read_bytes())
        return image

    look.__name__ = "darker"  # as after an edit: another function's folder would be refused
    images.transform(raw, out, look, batch_size=4)
    assert seen == {old} != {Path(out, "README.md").read_bytes()}


def test_a_lost_file_is_made_again(raw, tmp_path):
    out = str(tmp_path / "out")
    images.transform(raw, out, darker)
    before = tree(out)
    os.truncate(dataset.open(out).data_files()[0], 100)
    images.transform(raw, out, darker)
    assert tree(out) == before


def test_retry_failed_tries_only_the_failures(tmp_path):
    paths, out = folder(tmp_path / "in", 5), str(tmp_path / "out")
    late = str(tmp_path / "in" / "late.png")
    images.download({"train": table([*paths, late])}, out)
    Path(late).write_bytes(codec.encode(picture(99)))
    images.download({"train": table([*paths, late])}, out, retry_failed=True)
    assert computed(out) == 1 and dataset.open(out).counts()["ok"] == 6


def test_what_a_function_raises_is_that_rows_error(raw, tmp_path):
    def picky(image):
        if image[0, 0, 0] == picture(3)[0, 0, 0]:
            raise KeyError("no thanks")
        return image

    out = images.transform(raw, str(tmp_path / "out"), picky)
    rows = out.table("train")
    assert rows["error"].to_pylist()[3] == "picky: KeyError: 'no thanks'" and rows["reason"].to_pylist()[3] == "error"
    assert out.counts()["failed"] == 1 and out.counts()["placeholder"] == 1


def test_placeholders_go_through_and_stay_placeholders(raw, tmp_path):
    row = images.transform(raw, str(tmp_path / "out"), darker).table("train").to_pylist()[-1]
    assert (row["status"], row["reason"]) == ("placeholder", "missing_file")
    before = codec.decode(dataset.open(raw).pictures("train", [15])[0])
    assert np.array_equal(codec.decode(dataset.open(str(tmp_path / "out")).pictures("train", [15])[0]), before // 2)


def test_nearly_everything_failing_alike_stops_early_and_is_tried_again(tmp_path):
    gone, out = [str(tmp_path / f"{i}.png") for i in range(900)], str(tmp_path / "out")
    with pytest.raises(RunStopped, match=r"of 900 rows: .* failed alike \(missing_file: there is no"):
        images.download({"train": table(gone)}, out, batch_size=900)
    assert not dataset.exists(out) and not Folder(out).list(".imgprep/parts")


@pytest.mark.parametrize("rows", [1, 49, 60, 900])
def test_a_network_that_is_away_stops_the_run_whatever_it_looks_like_from_row_to_row(tmp_path, rows):
    """The first rows are refused, then the host is left alone: two reasons of one cause."""
    urls, out = [f"http://127.0.0.1:1/{i}.png" for i in range(rows)], str(tmp_path / "out")
    with pytest.raises(RunStopped, match="failed alike .*refused: 127.0.0.1 accepts no connection"):
        images.download({"train": table(urls)}, out, allow_hosts=["127.0.0.1"], attempts=1)
    assert not dataset.exists(out) and not Folder(out).list(".imgprep/parts")


def test_max_failed_of_one_stops_nothing(tmp_path):
    urls = [f"http://127.0.0.1:1/{i}.png" for i in range(60)]
    out = images.download({"train": table(urls)}, str(tmp_path / "out"), allow_hosts=["127.0.0.1"], attempts=1,
                          max_failed=1.0)  # fmt: skip
    assert out.counts()["placeholder"] == 60 and set(out.counts()["reasons"]) == {"refused", "host_unavailable"}


def test_failures_that_are_tried_again_are_no_reason_to_stop(tmp_path):
    paths, out = folder(tmp_path / "in", 70), str(tmp_path / "out")
    rows = {"train": table([*paths, *(str(tmp_path / f"gone{i}") for i in range(60))])}
    for retry in (False, True, True):
        found = images.download(rows, out, retry_failed=retry)
    assert found.counts()["ok"] == 70 and computed(out) == 60


def test_more_failures_than_max_failed_stop_after_the_commit(tmp_path):
    paths, out = folder(tmp_path / "in", 4), str(tmp_path / "out")
    half = {"train": table([*paths, *(str(tmp_path / f"gone{i}") for i in range(5))])}
    with pytest.raises(RunStopped, match="4 of 9 pictures ready; 5 placeholders: missing_file 5: more than max_failed"):
        images.download(half, out)
    assert dataset.open(out).counts()["ok"] == 4


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_masks_and_pictures_are_stored_without_loss(tmp_path, format):
    paths = folder(tmp_path / "in", 2)
    out = images.transform({"train": table(paths)}, str(tmp_path / format), lambda i: i[:, :, 0] // 9, format=format)
    assert np.array_equal(codec.decode(out.pictures("train", [1])[0])[:, :, 1], picture(1)[:, :, 0] // 9)
    rows = images.transform({"train": table(paths)}, str(tmp_path / "rgb"), darker, format=format)
    assert np.array_equal(codec.decode(rows.pictures("train", [1])[0]), picture(1) // 2)


def test_a_function_may_return_columns_children_and_take_columns(tmp_path):
    paths = folder(tmp_path / "in", 3)
    tables = {"train": table(paths, label=["a", "b", "c"])}

    def measure(image, label):
        return {"mean": float(image.mean()), "said": label * 2}

    out = images.transform(tables, str(tmp_path / "m"), measure, features={"mean": "float32", "said": "string"})
    assert out.table("train")["said"].to_pylist() == ["aa", "bb", "cc"]
    assert np.allclose(out.table("train")["mean"].to_pylist(), [picture(i).mean() for i in range(3)])

    def halves(image):
        if image[0, 0, 0] == picture(1)[0, 0, 0]:
            raise ValueError("odd")
        return [{"image": image[:, :12]}, {"image": image[:, 12:]}]

    rows = images.transform(tables, str(tmp_path / "c"), halves, children=True).table("train").to_pylist()
    first = rows[0]["parent_id"]
    assert [r["image_id"] for r in rows[:2]] == [f"{first}-0", f"{first}-1"]
    assert [r["index"] for r in rows] == [0, 1, None, 0, 1]
    assert [r["status"] for r in rows] == ["ok", "ok", "failed", "ok", "ok"] and rows[0]["width"] == 12


def test_children_survive_a_reordering_without_being_computed_again(tmp_path):
    paths, out = folder(tmp_path / "in", 6), str(tmp_path / "out")

    def strips(image, *, n=3):
        return [{"image": image[i::n]} for i in range(n)]

    first = images.transform({"train": table(paths)}, out, strips, children=True).table("train")["sha256"].to_pylist()
    again = images.transform({"train": table(paths[::-1])}, out, strips, children=True).table("train")
    assert computed(out) == 0
    blocks = [first[i : i + 3] for i in range(0, 18, 3)]
    assert again["sha256"].to_pylist() == [h for block in blocks[::-1] for h in block]
    assert again["index"].to_pylist() == [0, 1, 2] * 6


class Darker:
    """A model: built once, then called."""

    built = 0

    def __init__(self, by=2):
        Darker.built += 1
        self.by = by

    def __call__(self, batch, *, add=0):
        return [image // self.by + np.uint8(add) for image in batch]


def test_a_class_is_built_once_and_batched(raw, tmp_path):
    Darker.built = 0
    out = images.transform(raw, str(tmp_path / "out"), Darker, batch=4, by=3, add=1)
    assert Darker.built == 1 and out.counts()["ok"] == 20
    assert np.array_equal(codec.decode(out.pictures("test", [2])[0]), picture(17) // 3 + 1)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda raw, out: images.transform(raw, out, darker, bye=2), "no option 'bye'; it has: by; did you mean 'by'"),
        (lambda raw, out: images.transform(raw, out, lambda image, colour: image), "needs 'colour'"),
        (lambda raw, out: images.transform(raw, out, lambda: 1), "takes no picture"),
        (lambda raw, out: images.transform(raw, out, lambda image: {"x": 1}), "declare it in features"),
        (lambda raw, out: images.transform(raw, out, lambda image: [image]), "children=True"),
        (lambda raw, out: images.transform(raw, out, lambda image: image.astype(float)), r"float64 \(16, 24, 3\)"),
        (lambda raw, out: images.transform(raw, out, darker, features={"status": "string"}), "'status' already"),
        (lambda raw, out: images.transform(raw, raw, darker), "is the source itself"),
        (lambda raw, out: images.transform(raw, out, darker, format="GIF"), "format is"),
        (lambda raw, out: images.transform(raw + "x", out, darker), "rawx"),
        (lambda raw, out: images.download({}, out, size_wh=[0, 3]), "size_wh is"),
        (lambda raw, out: images.download({}, out, atempts=3), "atempts"),
    ],
)
def test_the_users_mistake_raises_and_leaves_no_dataset(raw, tmp_path, call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        call(raw, str(tmp_path / "out"))
    assert not dataset.exists(str(tmp_path / "out"))


def test_types_and_metadata_are_the_same_in_every_file(tmp_path):
    paths = folder(tmp_path / "in", 9)
    rows = table([*paths, ""], n=[None] * 9 + [1], word=["007"] * 10)
    out = images.download({"train": rows}, str(tmp_path / "o"), batch_size=3)
    schemas = {pq.read_schema(f).to_string(show_schema_metadata=True) for f in out.data_files()}
    assert len(out.data_files()) == 3 and len(schemas) == 1 and "huggingface" in schemas.pop()
    assert load(out.folder)["train"][0]["n"] is None and load(out.folder)["train"]["word"][0] == "007"
    meta = pq.ParquetFile(out.data_files()[0]).metadata.row_group(0).column(0)
    assert meta.has_offset_index and meta.has_column_index


SCRIPT = """
import os, sys, time
sys.path[:0] = {paths!r}
import imgprep
from imgprep import images
def slow(image):
    time.sleep(0.05)
    return image // 2
if __name__ == "__main__":
    imgprep.session("local", workers={workers})
    print("go", flush=True)
    print(repr(images.transform({raw!r}, {out!r}, slow, batch_size=32)))
"""


def start(tmp_path, raw, out, workers=2):
    script = tmp_path / "job.py"
    script.write_text(SCRIPT.format(raw=raw, out=out, workers=workers, paths=[p for p in sys.path if p]))
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def children_of(pid: int) -> set[int]:
    import psutil

    return {p.pid for p in psutil.Process(pid).children(recursive=True)}


def alive(pids: set[int]) -> set[int]:
    import psutil

    found = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error, ProcessLookupError):  # it may end while we look
            found |= {pid} if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else set()
    return found


def wait_for(what, timeout_s: float = 30):
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def many(tmp_path):
    images.download({"train": table(folder(tmp_path / "in", 160))}, str(tmp_path / "raw"))
    return str(tmp_path / "raw")


def test_after_kill_9_of_everything_a_second_run_ends_with_the_bytes_of_an_unbroken_one(many, tmp_path):
    out = str(tmp_path / "out")
    job = start(tmp_path, many, out)
    wait_for(lambda: len(Folder(out).list(".imgprep/parts")) >= 3 or dataset.exists(out))
    workers = children_of(job.pid)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    wait_for(lambda: not alive(workers), 10)  # no orphan goes on
    if dataset.exists(out):
        load(out)  # never a half file
    parts = [f"{out}/.imgprep/parts/{p}" for p in Folder(out).list(".imgprep/parts")]
    keys = {key for p in parts for key in pq.read_table(p)["key"].to_pylist()}
    if dataset.exists(out):
        keys.update(dataset.open(out).index("train")["key"].to_pylist())
    done = len(keys)
    second = start(tmp_path, many, out)
    assert "160 of 160 pictures ready" in second.communicate()[0]
    assert computed(out) == 160 - done < 160
    third = start(tmp_path, many, str(tmp_path / "unbroken"))
    third.communicate()
    assert tree(out) == tree(tmp_path / "unbroken")


def test_a_killed_worker_costs_nothing_but_its_unit(many, tmp_path):
    job = start(tmp_path, many, str(tmp_path / "out"))
    wait_for(lambda: Folder(str(tmp_path / "out")).list(".imgprep/parts"))
    os.kill(max(children_of(job.pid)), signal.SIGKILL)
    assert "160 of 160 pictures ready" in job.communicate()[0]


def test_the_stop_button_ends_within_three_seconds_and_keeps_what_is_done(many, tmp_path):
    job = start(tmp_path, many, str(tmp_path / "out"))
    wait_for(lambda: Folder(str(tmp_path / "out")).list(".imgprep/parts"))
    workers, began = children_of(job.pid), time.monotonic()
    job.send_signal(signal.SIGINT)
    job.communicate()
    wait_for(lambda: not alive(workers), 3)
    assert time.monotonic() - began < 3
    assert Folder(str(tmp_path / "out")).list(".imgprep/parts")


def test_two_runs_on_one_folder_take_turns(many, tmp_path):
    out = str(tmp_path / "out")
    first = start(tmp_path, many, out)
    wait_for(lambda: Folder(out).list(".imgprep/parts"))
    second = start(tmp_path, many, out)
    said = first.communicate()[0], second.communicate()[0]
    assert "another run is working on" in said[1] and all("160 of 160 pictures ready" in s for s in said)
    assert len(dataset.open(out).runs()) == 1


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(many, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        with pytest.raises(RuntimeError, match="no space left on the disk: free some and run again"):
            images.transform(many, str(mount / "out"), darker)
        subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
        assert images.transform(many, str(mount / "out"), darker).counts()["ok"] == 160
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def test_a_finished_stage_imports_no_ray(raw, tmp_path):
    images.transform(raw, str(tmp_path / "out"), np.flipud)
    code = f"""
import sys, numpy, imgprep
from imgprep import images
imgprep.session("ray")
images.transform({raw!r}, {str(tmp_path / "out")!r}, numpy.flipud)
assert "ray" not in sys.modules and "torch" not in sys.modules, "started"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "nothing to compute" in done.stdout, done.stderr


def test_a_run_writes_its_log_apart_from_the_data(raw):
    (run,) = dataset.open(raw).runs()
    assert (run["rows"], run["computed"], run["reused"], run["engine"]) == (21, 21, 0, "inline")
    assert run["reasons"] == {"missing_file": 1} and run["seconds"] > 0
    assert json.loads(Path(raw, ".imgprep/manifest.jsonl").read_text().splitlines()[0])["complete"] is True


def test_a_ray_like_dataset_can_be_written_as_a_dataset_folder(raw, tmp_path):
    class Batches:
        def iter_batches(self, **_):
            rows = load(raw)["train"].with_format("arrow")
            yield rows[:7]
            yield rows[7:]

    out = images.write(Batches(), str(tmp_path / "out"), id_column="image_id")
    assert out.table("train")["sha256"].to_pylist() == dataset.open(raw).table("train")["sha256"].to_pylist()[:15]
    assert out.counts()["ok"] == 15 and load(out.folder)["train"].num_rows == 15


def test_progress_is_written_for_the_runner(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(engine.current(), "progress_file", str(tmp_path / "progress"))
    images.transform(raw, str(tmp_path / "out"), darker)
    last = json.loads((tmp_path / "progress").read_text().splitlines()[-1])
    assert last["stage"] == "darker" and last["line"].startswith("darker: 21/21 rows, ")


def test_threads_of_two_runs_do_not_mix(tmp_path):
    paths = folder(tmp_path / "in", 30)
    jobs = [({"train": table(paths)}, str(tmp_path / f"o{i}")) for i in range(2)]
    runs = [threading.Thread(target=images.download, args=job) for job in jobs]
    [t.start() for t in runs]
    [t.join() for t in runs]
    assert tree(tmp_path / "o0") == tree(tmp_path / "o1")


def test_an_empty_split_is_listed_nowhere_but_known(tmp_path):
    paths = folder(tmp_path / "in", 2)
    out = images.download({"train": table(paths), "test": table([])}, str(tmp_path / "out"))
    assert out.splits == ["train", "test"] and out.counts("test")["rows"] == 0 and list(load(out.folder)) == ["train"]


def test_user_columns_keep_their_types(tmp_path):
    paths = folder(tmp_path / "in", 2)
    when = pa.array([0, 1], pa.timestamp("ms"))
    rows = table(paths, n=pa.array([1, None], pa.int64()), tags=[["a"], ["b", "c"]], when=when)
    out = images.transform(images.download({"train": rows}, str(tmp_path / "raw")), str(tmp_path / "out"), darker)
    assert out.table("train").select(["n", "tags", "when"]) == rows.select(["n", "tags", "when"])


def test_a_first_run_of_a_hundred_rows_can_be_read_while_it_goes_on(tmp_path, monkeypatch):
    """All of it is one batch: what is ok is listed before that is whole, and replaced in the end."""
    monkeypatch.setattr("imgprep.resume.run.FIRST_SHOWN_S", 0)
    monkeypatch.setattr("imgprep.resume.run.SHOWN_S", 0)
    paths, out, seen = folder(tmp_path / "in", 100), str(tmp_path / "out"), []

    def look(image):
        if dataset.exists(out):
            seen.append(load(out)["train"].num_rows)
        if len(seen) == 30:
            raise ValueError("no")
        return image

    found = images.transform({"train": table(paths)}, out, look)
    assert {12, 47} <= set(seen) and found.counts() == {
        "rows": 100, "ok": 99, "placeholder": 0, "failed": 1, "reasons": {"error": 1},
    }  # fmt: skip
    assert len(list((tmp_path / "out" / "data").iterdir())) == 1
    assert not any(f.get("partial") for f in found.files) and found.info["complete"] is True


def test_what_a_killed_first_run_showed_stays_readable_until_there_is_more(tmp_path, monkeypatch):
    monkeypatch.setattr("imgprep.resume.run.FIRST_SHOWN_S", 0)
    rows, out = {"train": table(folder(tmp_path / "in", 100))}, str(tmp_path / "out")
    seen = tmp_path / "seen"

    def look(image, path=str(seen)):
        with open(path, "a") as file:
            file.write("x")
        return image

    class Killed(BaseException):
        pass

    def killed(run):
        if run.totals.rows > 30:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("imgprep.resume.run.Run._stop_early", killed)
        images.transform(rows, out, look)
    assert load(out)["train"].num_rows == 12 and dataset.open(out).info["complete"] is False
    images.transform(rows, out, look)
    assert seen.stat().st_size == 100  # no row was computed twice
    images.transform(rows, str(tmp_path / "fresh"), look)
    assert tree(out) == tree(tmp_path / "fresh")
