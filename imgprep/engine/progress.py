"""Progress of a stage: one line that is redrawn in JupyterLab and in a terminal, and stays as one line when saved."""

import json
import os
import shutil
import sys
import time
from collections import Counter
from typing import Any

from imgprep.words import clock


class Progress:
    """Rows done, rows/s, failures by reason and the time left.

    The clock starts with the first unit of work, not with the workers: else a run of a minute, of which Ray took 20 s
    to start, would say "6:00 left" when its first rows are done.
    """

    def __init__(self, stage: str, total: int, unit: str = "rows"):
        self.stage, self.total, self.done, self.unit = stage, total, 0, unit
        self.reasons: Counter = Counter()
        self._began: float | None = None
        self._drawn = time.monotonic()
        self._display: Any = None
        self._tty = sys.stderr.isatty()
        self._file = os.environ.get("IMGPREP_PROGRESS")
        if self._tty or _in_notebook():
            self._draw(final=False)  # there is something to see while the workers start

    def update(self, rows: int, reasons: dict[str, int], seconds: float) -> None:
        """`rows` more are done; `reasons`: those that failed; `seconds`: what a worker took for them."""
        self._began = self._began or time.monotonic() - seconds
        self.done += rows
        self.reasons.update(reasons)
        # A terminal and a notebook are redrawn a few times a second, a log gets a line every ten.
        pause = 0.2 if self._tty or _in_notebook() else 10
        if time.monotonic() - self._drawn >= pause:
            self._draw(final=False)

    def close(self) -> None:
        self._draw(final=True)

    def line(self, *, final: bool = False) -> str:
        text = f"{self.stage}: {self.done:,}/{self.total:,} {self.unit}"
        if self._began is None:
            return text
        seconds = max(time.monotonic() - self._began, 1e-6)
        rate = self.done / seconds
        left = f", {clock((self.total - self.done) / rate)} left" if 0 < self.done < self.total and not final else ""
        why = "; " + ", ".join(f"{k} {n:,}" for k, n in self.reasons.most_common()) if self.reasons else ""
        return f"{text}, {rate:,.0f}/s, {clock(seconds)}{left}{why}"

    def _draw(self, *, final: bool) -> None:
        self._drawn = time.monotonic()
        if self._file and self._began:
            record = {"stage": self.stage, "line": self.line(final=final)}
            with open(self._file, "a") as out:
                out.write(json.dumps(record) + "\n")
        if _in_notebook():
            from html import escape

            from IPython.display import display

            line = self.line(final=final)
            bar = f"<progress max='{max(self.total, 1)}' value='{self.done}' style='width:16em'></progress> "
            shown = {"text/plain": line, "text/html": f"<div>{'' if final else bar}{escape(line)}</div>"}
            if self._display is None:
                self._display = display(shown, raw=True, display_id=True)
            else:
                self._display.update(shown, raw=True)
        elif self._tty:
            # A line that wraps could not be taken back: only its last part would be.
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r\x1b[2K" + (self.line(final=True) + "\n" if final else self.line()[:width]))
            sys.stderr.flush()
        elif not os.environ.get("PYTEST_CURRENT_TEST"):
            print(self.line(final=final), file=sys.stderr, flush=True)


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return bool(shell and shell.get_ipython() and hasattr(shell.get_ipython(), "kernel"))
