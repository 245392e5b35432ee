"""Progress of a stage: one line that is redrawn in JupyterLab and in a terminal, and stays as one line when saved."""

import json
import os
import sys
import time
from collections import Counter
from typing import Any


class Progress:
    """Rows done, rows/s, failures by reason and the time left. `say` prints a sentence of its own."""

    def __init__(self, stage: str, total: int):
        self.stage, self.total, self.done = stage, total, 0
        self.reasons: Counter = Counter()
        self._began = self._drawn = time.monotonic()
        self._display: Any = None
        self._tty = sys.stderr.isatty()
        self._file = os.environ.get("IMGPREP_PROGRESS")

    def update(self, rows: int, reasons: dict[str, int]) -> None:
        self.done += rows
        self.reasons.update(reasons)
        # A terminal and a notebook are redrawn a few times a second, a log gets a line every ten.
        pause = 0.2 if self._tty or _in_notebook() else 10
        if time.monotonic() - self._drawn >= pause:
            self._draw(final=False)

    def close(self) -> None:
        self._draw(final=True)

    def line(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-6)
        rate = self.done / seconds
        left = f", {clock((self.total - self.done) / rate)} left" if 0 < self.done < self.total else ""
        why = "; " + ", ".join(f"{k} {n:,}" for k, n in self.reasons.most_common()) if self.reasons else ""
        return f"{self.stage}: {self.done:,}/{self.total:,} rows, {rate:,.0f}/s, {clock(seconds)}{left}{why}"

    def _draw(self, *, final: bool) -> None:
        self._drawn = time.monotonic()
        if self._file:
            seconds = max(self._drawn - self._began, 1e-6)
            rate = self.done / seconds
            record = {
                "stage": self.stage,
                "done": self.done,
                "total": self.total,
                "rate": rate,
                "reasons": dict(self.reasons),
                "eta_s": (self.total - self.done) / rate if rate else None,
            }
            with open(self._file, "a") as out:
                out.write(json.dumps(record) + "\n")
        if _in_notebook():
            from html import escape

            from IPython.display import display

            bar = f"<progress max='{max(self.total, 1)}' value='{self.done}' style='width:16em'></progress>"
            shown = {"text/plain": self.line(), "text/html": f"<div>{bar} {escape(self.line())}</div>"}
            if self._display is None:
                self._display = display(shown, raw=True, display_id=True)
            else:
                self._display.update(shown, raw=True)
        elif self._tty:
            sys.stderr.write("\r\x1b[2K" + self.line() + ("\n" if final else ""))
            sys.stderr.flush()
        elif not os.environ.get("PYTEST_CURRENT_TEST"):
            print(self.line(), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """One sentence for the person at the notebook or terminal."""
    print(text, flush=True)


def clock(seconds: float) -> str:
    """
    >>> clock(7.2), clock(75), clock(3700)
    ('7 s', '1:15', '1:01:40')
    """
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60}:{s % 60:02}" if s < 3600 else f"{s // 3600}:{s // 60 % 60:02}:{s % 60:02}"


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return bool(shell and shell.get_ipython() and hasattr(shell.get_ipython(), "kernel"))
