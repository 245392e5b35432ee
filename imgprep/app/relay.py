"""Shows a kernel's progress: a line redrawn in a terminal, one every ten seconds in a log."""

import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from imgprep.engine.progress import LOG_S, REDRAW_S


class Relay:
    """Follows `file`, to which a kernel appends its progress, while a `with` lasts."""

    def __enter__(self) -> "Relay":
        self._folder = tempfile.TemporaryDirectory(prefix="imgprep-progress-")
        self.file = os.path.join(self._folder.name, "progress.jsonl")
        Path(self.file).touch()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._folder.cleanup()

    def _follow(self) -> None:
        is_terminal = sys.stdout.isatty()
        shown = ""
        with open(self.file, encoding="utf-8") as lines:
            over = False
            while not over:
                # Looked at once more after the end: the last line is the one that stays.
                over = self._over.wait(REDRAW_S if is_terminal else LOG_S)
                # Only the latest line of each stage: a log wants no flicker.
                latest = {record["stage"]: record["line"] for record in map(json.loads, lines)}
                for stage, line in latest.items():
                    _show(line, is_terminal, is_new=bool(shown) and shown != stage)
                    shown = stage
        if is_terminal and shown:
            print(flush=True)


def _show(line: str, is_terminal: bool, *, is_new: bool) -> None:
    text = f"      {line}"
    if not is_terminal:
        print(text, flush=True)
        return
    begin = "\n" if is_new else "\r\x1b[2K"
    print(begin + text[: shutil.get_terminal_size().columns - 1], end="", flush=True)
