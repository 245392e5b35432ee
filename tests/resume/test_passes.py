"""Passes before the rows: in order, each resumed by what it left, each told what the one before came to."""

import json
import time

import pytest

import imgprep
from imgprep import engine
from imgprep.dataset.files import Folder
from imgprep.engine import progress
from imgprep.resume import passes
from imgprep.resume.passes import Pass, run_passes


@pytest.fixture(autouse=True, scope="module")
def inline():
    imgprep.session("local", workers=0)
    yield
    imgprep.close()


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path / "out"))


def squares(folder, done, state):
    """A pass that leaves the square of each number of the state, and hands on their sum."""

    def fn(task):
        done.append(task.payload)
        folder.put(f"squares/{task.payload}.txt", str(task.payload**2).encode())
        return engine.Summary()

    def tasks(numbers):
        return {f"squares/{n}.txt": n for n in numbers}

    def reduce(numbers):
        state.append(numbers)
        return sum(int(folder.get(f"squares/{n}.txt")) for n in numbers)

    return Pass("squares", tasks=tasks, fn=fn, lost=fn, reduce=reduce)


def test_a_pass_sees_what_the_one_before_came_to(folder):
    done, seen = [], []

    def tell(task):
        folder.put("sum.txt", str(task.payload).encode())
        return engine.Summary()

    last = Pass("sum", tasks=lambda total: {"sum.txt": total}, fn=tell, lost=tell)
    passes = [squares(folder, done, seen), last]
    assert run_passes(passes, [1, 2, 3], folder, stage="s", run_id="r") == 14
    assert folder.get("sum.txt") == b"14" and seen == [[1, 2, 3]]


def test_what_a_pass_has_left_is_not_done_again(folder):
    done, seen = [], []
    run_passes([squares(folder, done, seen)], [1, 2], folder, stage="s", run_id="r")
    run_passes([squares(folder, done, seen)], [1, 2, 3], folder, stage="s", run_id="r")
    assert done == [1, 2, 3]
    folder.delete("squares/2.txt")
    assert run_passes([squares(folder, done, seen)], [1, 2, 3], folder, stage="s", run_id="r") == 14
    assert done == [1, 2, 3, 2]


def test_a_fault_of_the_user_ends_the_passes(folder):
    def broken(task):
        raise ValueError("give another option")

    wrong = Pass("wrong", tasks=lambda state: {"a": 1}, fn=broken, lost=broken)
    done = []
    with pytest.raises(ValueError, match="give another option"):
        run_passes([wrong, squares(folder, done, [])], [1], folder, stage="s", run_id="r")
    assert not done


def test_a_task_that_takes_long_is_no_silence(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "TICK_S", 0.02)
    monkeypatch.setattr(progress, "LOG_S", 0.05)
    monkeypatch.setattr(engine.current(), "progress_file", str(tmp_path / "lines"))

    def slow(task):
        time.sleep(0.5)
        folder.put("a", b"a")
        return engine.Summary()

    one = Pass("files", tasks=lambda state: {"a": 1}, fn=slow, lost=slow)
    run_passes([one], [], folder, stage="segment", run_id="r")
    lines = [json.loads(line)["line"] for line in (tmp_path / "lines").read_text().splitlines()]
    waiting = [line for line in lines if line.startswith("segment: files: 0/1 files")]
    assert len(waiting) >= 3 and lines[-1].startswith("segment: files: 1/1 files")
