"""Progress of a stage: one line, redrawn in JupyterLab and in a terminal, one line when saved."""

import contextlib
import contextvars
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

from imgprep.engine.session import current
from imgprep.words import LOG, clock

REDRAW_S = 0.2  # a terminal and a notebook
LOG_S = 10  # a log, which keeps every line
SILENT_S = 8  # after which a line says that the run lives, also where no unit is done


class Progress:
    """Rows done, rows/s, failures by reason and the time left.

    total: None where nothing can be counted; then it says how long that takes by now.

    The clock starts with the first unit of work, not with the workers: else a run of a minute, of
    which Ray took 20 s to start, would say "6:00 left" when its first rows are done.
    """

    def __init__(self, stage: str, total: int | None, unit: str = "rows"):
        self.stage = stage
        self.total = total
        self.done = 0
        self.unit = unit
        self.reasons: Counter[str] = Counter()
        self._began: float | None = None
        self._drawn = time.monotonic()
        self._display: Any = None
        self._tty = sys.stderr.isatty()
        self._file = current().progress_file
        self._created = time.monotonic()
        # Reentrant: `close` draws while it holds it.
        self._drawing = threading.RLock()
        self._over = threading.Event()
        if self._tty or _in_notebook():
            self._draw(final=False)  # there is something to see while the workers start
        threading.Thread(target=self._beat, daemon=True).start()

    def update(self, rows: int, reasons: Mapping[str, int], seconds: float) -> None:
        """`rows` more are done; `reasons`: those that failed; `seconds`: what a worker took."""
        # Back by what the first unit took, or the rate would begin with infinity.
        self._began = self._began or time.monotonic() - seconds
        self.done += rows
        self.reasons.update(reasons)
        pause = REDRAW_S if self._tty or _in_notebook() else LOG_S
        if time.monotonic() - self._drawn >= pause:
            self._draw(final=False)

    def close(self) -> None:
        """Draw the line that stays."""
        with self._drawing:
            self._over.set()
            self._draw(final=True)

    def _beat(self) -> None:
        """Nobody waits for long without a word: a unit may take a minute on a slow line."""
        while not self._over.wait(min(1, SILENT_S)):
            with self._drawing:
                is_silent = time.monotonic() - self._drawn >= SILENT_S
                if is_silent and not self._over.is_set():
                    self._draw(final=False)

    def line(self, *, final: bool = False) -> str:
        """What a person reads now. final: without the time left."""
        waited = time.monotonic() - self._created
        if self.total is None:
            return f"{self.stage}, {clock(waited)}"
        text = f"{self.stage}: {self.done:,}/{self.total:,} {self.unit}"
        if self._began is None:
            return text if waited < SILENT_S or final else f"{text}, {clock(waited)}"
        seconds = max(time.monotonic() - self._began, 1e-6)
        rate = self.done / seconds
        text += f", {rate:,.0f}/s, {clock(seconds)}"
        if 0 < self.done < self.total and not final:
            text += f", {clock((self.total - self.done) / rate)} left"
        if self.reasons:
            text += "; " + ", ".join(f"{k} {n:,}" for k, n in self.reasons.most_common())
        return text

    def _draw(self, *, final: bool) -> None:
        with self._drawing:
            self._draw_line(final)

    def _draw_line(self, final: bool) -> None:
        self._drawn = time.monotonic()
        # Before the level is looked at: the runner shows
        # the line also where a notebook is silenced.
        is_late = time.monotonic() - self._created >= SILENT_S
        if self._file and (self._began or is_late):
            self._tell_runner(final)
        if not LOG.isEnabledFor(logging.INFO):
            return
        if _in_notebook():
            self._draw_in_notebook(final)
        elif self._tty:
            self._draw_in_terminal(final)
        elif not os.environ.get("PYTEST_CURRENT_TEST"):
            print(self.line(final=final), file=sys.stderr, flush=True)

    def _tell_runner(self, final: bool) -> None:
        record = {"stage": self.stage, "line": self.line(final=final)}
        # Opened anew for each line: the runner reads it meanwhile, and a killed kernel loses none.
        with open(self._file, "a") as out:
            out.write(json.dumps(record) + "\n")

    def _draw_in_notebook(self, final: bool) -> None:
        from IPython.display import display

        line = self.line(final=final)
        bar = f"<progress max='{self.total or 1}' value='{self.done}' style='width:16em'>"
        is_bare = final or self.total is None
        html = escape(line) if is_bare else f"{bar}</progress> {escape(line)}"
        shown = {"text/plain": line, "text/html": f"<div>{html}</div>"}
        # One display that is updated: papermill saves
        # each new one, and only the last line is wanted.
        if self._display is None:
            self._display = display(shown, raw=True, display_id=True)
        else:
            self._display.update(shown, raw=True)

    def _draw_in_terminal(self, final: bool) -> None:
        # A line that wraps could not be taken back: only its last part would be.
        width = shutil.get_terminal_size().columns - 1
        text = self.line(final=True) + "\n" if final else self.line()[:width]
        sys.stderr.write("\r\x1b[2K" + text)
        sys.stderr.flush()


@contextlib.contextmanager
def alongside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """work(over) in a thread of its own; `over` is set, and the thread waited for, at the end."""
    over = threading.Event()
    # In a notebook what is shown belongs to the cell, and that is in the context.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def tell_while(what: str) -> Iterator[None]:
    """Says what takes so long, once it takes long: for steps in which nothing can be counted."""

    def tell(over: threading.Event) -> None:
        if over.wait(SILENT_S):
            return
        shown = Progress(what, None)
        shown._created -= SILENT_S
        shown._draw(final=False)
        over.wait()
        shown.close()

    with alongside(tell):
        yield


def _in_notebook() -> bool:
    # Looked up and not imported: where nobody has imported it, this is no notebook.
    shell = sys.modules.get("IPython")
    return bool(shell and shell.get_ipython() and hasattr(shell.get_ipython(), "kernel"))
