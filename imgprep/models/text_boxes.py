"""Text in pictures: where it stands and what it says, by the networks in the package rapidocr.

The first network says of every pixel how likely it is text (Liao et al., "Real-time Scene Text
Detection with Differentiable Binarization", 2020); it takes eyes, wheels and blood cells for
letters, too, so a second one reads what it found, and what cannot be read is no text. They are
PaddleOCR's, under Apache-2.0 as RapidOCR; of the package only the files are used, none of its code
is run.
"""

import glob
import importlib.util
import os
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imgprep.models import nets
from imgprep.models.described import files_digest
from imgprep.models.found import FoundBoxes, as_objects
from imgprep.models.onnx import open_session, picture_entry
from imgprep.models.text_reader import LineReader
from imgprep.words import extra

TEXT_PACKAGE = "rapidocr"
FINDER = "models/*_det_*.onnx"
READER = "models/*_rec_*.onnx"
# As RapidOCR's config.yaml has them for this network.
SHORTEST_PX = 736
LONGEST_PX = 2000
LIKELY_PIXEL = 0.3
LIKELY_REGION = 0.5
SIDES_OF = 32
MOST_REGIONS = 1000
LEAST_PX = 3
GROWN_BY = 1.6

_loading_text = threading.RLock()


class Text:
    """Called with a picture it gives {"has_text": bool, "objects": [{label: "text", score,
    box_xywh, text}]}, the surest first.

    model: "rapidocr" (the extra `text`), or a file *.onnx of a network that finds text,
        (N, 3, H, W) -> (N, 1, H, W). reader: the one that reads what was found; None: what was
        found counts unread, `text` is "", and `score` is how likely the pixels are text.
    at_least: mean probability of the letters, or of the pixels where nothing is read.
    least_letters: single signs are often none.
    shortest_px: what a picture's shorter side is enlarged to, if it is shorter; less is faster and
        misses small print. Its longer side is at most 2,000 pixels.
    A box stands around a line or a word, upright, in pixels of the picture. Text that stands on its
    head is not read. Raises ValueError for a missing extra or file, before any work, and for
    another kind of network.
    """

    # One per worker.
    once = True
    # Raise it when the same networks give other boxes or letters.
    version = 1

    def __init__(
        self,
        model: str = TEXT_PACKAGE,
        *,
        reader: str | None = TEXT_PACKAGE,
        at_least: float = 0.8,
        least_letters: int = 2,
        shortest_px: int = SHORTEST_PX,
    ):
        if type(at_least) not in (int, float) or not 0 < at_least <= 1:
            raise ValueError(f"at_least is a probability above 0, not {at_least!r}")
        if type(least_letters) is not int or least_letters < 1:
            raise ValueError(f"least_letters is a whole number above 0, not {least_letters!r}")
        if type(shortest_px) is not int or not SIDES_OF <= shortest_px <= LONGEST_PX:
            told = f"from {SIDES_OF} to {LONGEST_PX:,} pixels"
            raise ValueError(f"shortest_px is a whole number {told}, not {shortest_px!r}")
        self.model = model
        self.reader = reader
        self.at_least = at_least
        self.least_letters = least_letters
        self.shortest_px = shortest_px
        finder = text_network(model, FINDER)
        _check_finder(finder, model)
        self.digests = [_file_digest(finder)]
        if reader is not None:
            path = text_network(reader, READER)
            LineReader(path, reader)
            self.digests.append(_file_digest(path))

    @staticmethod
    def features() -> dict[str, Any]:
        """The columns, for images.transform(features=…)."""
        from datasets import List, Value

        box = List(Value("float32"), length=4)
        one = {"label": Value("string"), "score": Value("float32"), "box_xywh": box}
        return {"has_text": Value("bool"), "objects": List(one | {"text": Value("string")})}

    def __getstate__(self) -> dict[str, Any]:
        # What travels, and what a result depends on.
        return {name: value for name, value in vars(self).items() if name != "_nets"}

    def __call__(self, image: np.ndarray) -> dict[str, Any]:
        height, width = image.shape[:2]
        objects: list[dict[str, Any]] = []
        for corners, likely in self.find(image):
            text = ""
            score = likely
            if self.reader is not None:
                text, score = self._read(image, corners)
                if len(text.strip()) < self.least_letters:
                    continue
            if score < self.at_least:
                continue
            box = [*corners.min(0), *corners.max(0)]
            one = FoundBoxes(np.round([box]), np.array([score]), ["text"])
            # None where the box lies outside of the picture.
            for found in as_objects(one, (width, height))["objects"]:
                objects.append(found | {"text": text})
        objects.sort(key=lambda one: (-one["score"], one["box_xywh"]))
        return {"has_text": bool(objects), "objects": objects}

    def find(self, image: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Four corners (4, 2) x y in pixels of a picture (H, W, 3) uint8, and how likely they hold
        text.
        """
        session, _ = self._loaded()
        given = _scaled(image, self.shortest_px)
        entry = session.get_inputs()[0].name
        likely = session.run(None, {entry: given})[0][0, 0]
        if np.isnan(likely).any():
            raise ValueError(f"{self.model} gives NaN: its weights, or what it was given, are bad")
        by_xy = np.array(image.shape[1::-1]) / likely.shape[::-1]
        return [(corners * by_xy, score) for corners, score in _regions(likely)]

    def _read(self, image: np.ndarray, corners: np.ndarray) -> tuple[str, float]:
        _, reader = self._loaded()
        assert reader is not None
        return reader(image, corners)

    def _loaded(self) -> tuple[Any, LineReader | None]:
        with _loading_text:
            # Threads that come first together.
            if not hasattr(self, "_nets"):
                reader = None
                if self.reader is not None:
                    reader = LineReader(text_network(self.reader, READER), self.reader)
                self._nets = open_session(text_network(self.model, FINDER)), reader
        return self._nets


def text_network(model: str, packaged: str) -> str:
    """The path of a network's file. packaged: its pattern in the package.

    ValueError where it is missing.
    """
    if model != TEXT_PACKAGE:
        return nets.checked_model_path(model)
    spec = importlib.util.find_spec(TEXT_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob(packaged)):
            return str(path)
    raise ValueError(f"the networks that find and read text come with `{extra('text')}`")


def _file_digest(path: str) -> str:
    return files_digest(os.path.dirname(path), glob.escape(os.path.basename(path)))


def _check_finder(path: str, model: str) -> None:
    session = open_session(path)
    takes = picture_entry(session, model)
    outputs = session.get_outputs()
    is_map = len(outputs) == 1 and len(outputs[0].shape) == 4 and outputs[0].shape[1] == 1
    if len(takes.shape) == 4 and takes.shape[1] == 3 and takes.type == "tensor(float)" and is_map:
        return
    told = ", ".join(f"{output.name} {output.shape}" for output in outputs)
    kind = "a network that finds text makes (N, 1, H, W) of (N, 3, H, W)"
    raise ValueError(f"{model} makes {told} of {takes.shape}: {kind}")


def _scaled(image: np.ndarray, shortest_px: int) -> np.ndarray:
    """(1, 3, h, w) float32 from -1 to 1, blue first, with sides that the network halves evenly."""
    height, width = image.shape[:2]
    by = max(1.0, shortest_px / min(height, width))
    by = min(by, LONGEST_PX / max(height, width))
    sides = []
    for side in (width, height):
        steps = max(1, round(side * by / SIDES_OF))
        sides.append(SIDES_OF * steps)
    small = cv2.resize(image, sides)
    # It learned from pictures as OpenCV reads them.
    scaled = small[:, :, ::-1].astype(np.float32) / np.float32(127.5) - 1
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))[None]


def _regions(likely: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Four corners and a score of each region of a map that is likely text."""
    is_likely = cv2.dilate((likely > LIKELY_PIXEL).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(is_likely, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for contour in contours[:MOST_REGIONS]:
        middle, size_wh, angle = cv2.minAreaRect(contour)
        if min(size_wh) < LEAST_PX:
            continue
        score = _mean_inside(likely, cv2.boxPoints((middle, size_wh, angle)))
        if score < LIKELY_REGION:
            continue
        # The network draws the middle of text: its edge lies as far outside as this.
        area = size_wh[0] * size_wh[1]
        margin = area * GROWN_BY / (2 * (size_wh[0] + size_wh[1]))
        grown_wh = [side + 2 * margin for side in size_wh]
        found.append((cv2.boxPoints((middle, grown_wh, angle)).astype(np.float64), score))
    return found


def _mean_inside(likely: np.ndarray, corners: np.ndarray) -> float:
    """The mean of a map inside four corners."""
    last = np.array(likely.shape[::-1]) - 1
    start = np.clip(np.floor(corners.min(0)), 0, last).astype(int)
    end = np.clip(np.ceil(corners.max(0)), 0, last).astype(int) + 1
    piece = likely[start[1] : end[1], start[0] : end[0]]
    inside = np.zeros(piece.shape, np.uint8)
    moved = (corners - start).astype(np.int32)
    cv2.fillPoly(inside, [moved], 1)
    return float(cv2.mean(piece, inside)[0])
