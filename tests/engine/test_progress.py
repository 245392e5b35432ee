"""Facts about progress: what a person sees in a terminal, in a log, in a notebook, and what stays of it when saved."""

import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from types import SimpleNamespace

import pytest
from made import folder

from imgprep.engine import progress
from imgprep.engine.progress import Progress
from imgprep.engine.session import current

CODE = """
import time
from imgprep.engine.progress import Progress
shown = Progress("download", 2000)
for _ in range(20):
    time.sleep(0.05)
    shown.update(100, {"http_404": 3, "timeout": 2, "too_many_redirects": 1, "host_unavailable": 1}, 0.05)
shown.close()
"""


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told: clock(seconds)."""
    now = [1000.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda s: forward(s)))

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


@pytest.fixture
def log(monkeypatch, capsys):
    """log(total, *updates): the lines that come to stderr, a second after another, outside of pytest."""

    def lines(total: int, *updates: int) -> list[str]:
        monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
        shown = Progress("ocr", total)
        for rows in updates:
            progress.time.sleep(1)
            shown.update(rows, {}, 1.0)
        shown.close()
        return capsys.readouterr().err.splitlines()

    return lines


def test_a_line_says_rows_speed_time_left_and_why_rows_failed(clock):
    shown = Progress("download", 1200)
    assert shown.line() == "download: 0/1,200 rows"
    clock(30)  # the workers start
    shown.update(300, {"http_404": 2}, 3.0)
    assert shown.line() == "download: 300/1,200 rows, 100/s, 3 s, 9 s left; http_404 2"
    clock(3)
    shown.update(300, {"timeout": 5, "http_404": 1}, 3.0)
    assert shown.line() == "download: 600/1,200 rows, 100/s, 6 s, 6 s left; timeout 5, http_404 3"
    assert shown.line(final=True) == "download: 600/1,200 rows, 100/s, 6 s; timeout 5, http_404 3"
    shown.close()


def test_a_log_gets_a_line_every_ten_seconds_and_the_last_one(clock, log):
    assert [line.split(" rows")[0] for line in log(100, *[4] * 25)] == ["ocr: 40/100", "ocr: 80/100", "ocr: 100/100"]


def test_a_run_that_ends_at_once_is_one_line(clock, log):
    assert log(3, 3) == ["ocr: 3/3 rows, 3/s, 1 s"]


def test_nothing_done_is_no_division_by_zero(clock, log):
    assert log(0) == ["ocr: 0/0 rows"] and log(0, 0) == ["ocr: 0/0 rows, 0/s, 1 s"]


def test_pytest_stays_silent(capsys):
    shown = Progress("ocr", 3)
    shown.update(3, {}, 1.0)
    shown.close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("columns", [200, 40])
def test_a_terminal_is_redrawn_in_one_line_however_narrow(columns):
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "PYTEST_CURRENT_TEST")}
    job = subprocess.Popen([sys.executable, "-c", CODE], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 9999)
        except OSError:  # Linux: the other end is closed
            break
    job.wait()
    *drawn, last = said.decode().removesuffix("\r\n").split("\r\x1b[2K")[1:]
    assert 3 <= len(drawn) <= 7 and all(len(line) < columns for line in drawn)
    assert re.fullmatch(r"download: 2,000/2,000 rows, [\d,]+/s, \d+ s; http_404 60, .*host_unavailable 20", last)


def test_the_runner_reads_one_json_line_per_change(clock, monkeypatch, tmp_path):
    monkeypatch.setattr(current(), "progress_file", str(tmp_path / "p"))
    shown = Progress("ocr", 100)
    clock(11)
    shown.update(50, {"error": 1}, 10.0)
    shown.close()
    first, last = map(json.loads, (tmp_path / "p").read_text().splitlines())
    assert first == {"stage": "ocr", "line": "ocr: 50/100 rows, 5/s, 10 s, 10 s left; error 1"}
    assert last == {"stage": "ocr", "line": "ocr: 50/100 rows, 5/s, 10 s; error 1"}


def test_the_runner_is_told_that_a_run_lives_before_its_first_row(clock, monkeypatch, tmp_path):
    monkeypatch.setattr(current(), "progress_file", str(tmp_path / "p"))
    shown = Progress("ocr", 100)
    clock(3)
    shown._draw(final=False)
    assert not (tmp_path / "p").exists(), "the workers start, which is no news"
    clock(9)
    shown._draw(final=False)
    (record,) = map(json.loads, (tmp_path / "p").read_text().splitlines())
    assert record == {"stage": "ocr", "line": "ocr: 0/100 rows, 12 s"}
    shown.close()


NOTEBOOK = """
import asyncio, numpy, imgprep
from imgprep import images
assert asyncio.get_running_loop()
imgprep.session("local", workers={workers})
def half(image):
    return image // 2
ready = images.transform({source!r}, {out!r}, half)
imgprep.close()
"""


@pytest.mark.notebooks
def test_a_saved_notebook_keeps_one_line_per_stage_and_no_widget(tmp_path):
    import nbclient
    import nbformat

    folder(tmp_path / "in", 30)
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    cells = [NOTEBOOK.format(workers=1, source=source, out=out)] * 2
    cells += [NOTEBOOK.format(workers=0, source=source, out="memory://out")]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "widgets" not in notebook.metadata
    first, second, third = (c.outputs for c in notebook.cells)
    for outputs in (first, third):
        assert [o.output_type for o in outputs] == ["stream", "display_data"]
        assert outputs[0].text == "half: 30 of 30 rows to compute: the first run\n"
        data = outputs[1].data
        assert set(data) == {"text/plain", "text/html"} and "<progress" not in data["text/html"]
        assert re.fullmatch(r"half: 30/30 rows, [\d,]+/s, \d+ s", data["text/plain"])
    assert [(o.output_type, o.text) for o in second] == [("stream", "half: 30 rows, nothing to compute\n")]


SLOW = """
import time
from imgprep.engine import progress
progress.SILENT_S = 0.5
shown = progress.Progress("upload", 200)
time.sleep(2)
shown.update(200, {}, 2)
shown.close()
time.sleep(1)
"""


def test_a_unit_that_takes_long_is_no_silence(monkeypatch):
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    done = subprocess.run([sys.executable, "-c", SLOW], env=environment, capture_output=True, text=True)
    said = done.stderr.splitlines()
    assert len(said) >= 3 and re.fullmatch("upload: 0/200 rows, [0-4] s", said[0]), said
    assert said[-1].startswith("upload: 200/200 rows, "), "and nothing behind the last line"
