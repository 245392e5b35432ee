"""Facts about the line that says how far a stage is."""

import time

from imgprep import progress


def test_the_clock_starts_with_the_first_work_not_with_the_workers(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    shown = progress.Progress("ocr", 120)
    assert shown.line() == "ocr: 0/120 rows"
    now[0] += 20  # Ray starts
    shown.update(10, {}, 2.0)
    assert shown.line() == "ocr: 10/120 rows, 5/s, 2 s, 22 s left"
    now[0] += 2
    shown.update(50, {"timeout": 3, "http_404": 4}, 2.0)
    assert shown.line() == "ocr: 60/120 rows, 15/s, 4 s, 4 s left; http_404 4, timeout 3"
    assert shown.line(final=True) == "ocr: 60/120 rows, 15/s, 4 s; http_404 4, timeout 3"
