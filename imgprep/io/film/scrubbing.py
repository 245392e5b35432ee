"""Small pictures for a player's time line: sheets of them, and a WebVTT that says where each is."""

import os
from typing import Any

import numpy as np

from imgprep.io.film.rung import TICKS
from imgprep.io.film.upright import SizeWh, still_of
from imgprep.picture import codec

SHEET_SIDE = 5  # pictures in a row, and rows in a sheet
THUMB_SIDE = 160
SHEET_QUALITY = 75


class Scrubber:
    """Takes a small picture every so many seconds. size_wh: of the upright film."""

    def __init__(self, folder: str, size_wh: SizeWh, every_s: float):
        self._folder = folder
        scale = min(1.0, THUMB_SIDE / max(size_wh))
        width, height = (max(1, round(side * scale)) for side in size_wh)
        self.thumb_wh = width, height
        self._step = round(every_s * TICKS)
        self._due = 0
        self._thumbs: list[np.ndarray] = []  # of the sheet that is being filled
        self._starts: list[int] = []
        self.sheets: list[str] = []

    def take(self, frame: Any, ticks: int) -> None:
        """Look at an upright frame that is seen from then on."""
        if ticks < self._due:
            return
        self._due = (ticks // self._step + 1) * self._step
        self._starts.append(ticks)
        self._thumbs.append(still_of(frame, self.thumb_wh, 1))
        if len(self._thumbs) == SHEET_SIDE**2:
            self._write_sheet()

    def finish(self, end_ticks: int) -> None:
        """Write the last sheet, and the file that says where and when each picture is."""
        if self._thumbs:
            self._write_sheet()
        ends = [*self._starts[1:], max(end_ticks, self._starts[-1] + 1)]
        cues = [self._cue(n, start, ends[n]) for n, start in enumerate(self._starts)]
        text = "WEBVTT\n\n" + "\n".join(cues)
        with open(os.path.join(self._folder, "thumbnails.vtt"), "w", encoding="utf-8") as file:
            file.write(text)

    def _cue(self, number: int, start: int, end: int) -> str:
        sheet, place = divmod(number, SHEET_SIDE**2)
        row, column = divmod(place, SHEET_SIDE)
        width, height = self.thumb_wh
        box = f"{column * width},{row * height},{width},{height}"
        times = f"{vtt_time(start)} --> {vtt_time(end)}"
        return f"{times}\n{self.sheets[sheet]}#xywh={box}\n"

    def _write_sheet(self) -> None:
        width, height = self.thumb_wh
        columns = min(len(self._thumbs), SHEET_SIDE)
        rows = -(-len(self._thumbs) // SHEET_SIDE)
        sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
        for number, thumb in enumerate(self._thumbs):
            top = number // SHEET_SIDE * height
            left = number % SHEET_SIDE * width
            sheet[top : top + height, left : left + width] = thumb
        name = f"sprite-{len(self.sheets):03d}.jpg"
        data = codec.encode(sheet, "JPEG", quality=SHEET_QUALITY)
        with open(os.path.join(self._folder, name), "wb") as file:
            file.write(data)
        self.sheets.append(name)
        self._thumbs = []


def vtt_time(ticks: int) -> str:
    """
    >>> vtt_time(90_000 * 3725 + 45_000)
    '01:02:05.500'
    """
    ms = round(ticks * 1000 / TICKS)
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}.{ms:03d}"
