"""What a piece of a picture says: the reader of PaddleOCR, as it travels in the package rapidocr.

A network says at each place along a line which letter stands there, or none (Graves et al.,
"Connectionist Temporal Classification", 2006); letters that follow each other and are the same are
one. Lines are read as they lie, from left to right.
"""

import math

import cv2
import numpy as np

from imgprep.models.onnx import open_session, picture_entry

LINE_PX = 48
# Shorter lines are filled up: the network learned from none that short.
LEAST_LONG_PX = 320
STANDS = 1.5  # times as high as it is wide: it is read from the side


class LineReader:
    """Called with a picture and the four corners of a line, it gives (text, mean probability).

    path: a file *.onnx (N, 3, 48, W) -> (N, places, letters) with its letters in the metadata
    `character`. ValueError for another one.
    """

    def __init__(self, path: str, shown: str):
        self._session = open_session(path)
        self._entry = picture_entry(self._session, shown).name
        said = self._session.get_modelmeta().custom_metadata_map.get("character", "")
        # Nought is no letter, and the last one is a space.
        self.letters = ["", *said.splitlines(), " "]
        count = self._session.get_outputs()[0].shape[-1]
        if not said or (isinstance(count, int) and count != len(self.letters)):
            told = f"has {count} letters and names of {len(self.letters)}"
            raise ValueError(f"{shown} {told}: it reads no lines")

    def __call__(self, image: np.ndarray, corners: np.ndarray) -> tuple[str, float]:
        line = cut_line(image, corners)
        if line.shape[0] < STANDS * line.shape[1]:
            return self._read(line)
        # It may lean to either side.
        sides = [self._read(np.rot90(line, turns)) for turns in (1, 3)]
        return max(sides, key=lambda side: side[1])

    def _read(self, line: np.ndarray) -> tuple[str, float]:
        """What a line (H, W, 3) that lies says."""
        height, width = line.shape[:2]
        long_px = max(LINE_PX // 3, math.ceil(LINE_PX * width / height))
        small = cv2.resize(np.ascontiguousarray(line), (long_px, LINE_PX))
        # It learned from pictures as OpenCV reads them, from -1 to 1.
        scaled = small[:, :, ::-1].astype(np.float32)
        scaled = scaled / np.float32(127.5) - 1
        filled = max(0, LEAST_LONG_PX - long_px)
        given = np.pad(scaled, [(0, 0), (0, filled), (0, 0)])
        bands_first = np.ascontiguousarray(given.transpose(2, 0, 1))
        answers = self._session.run(None, {self._entry: bands_first[None]})
        return self.said(answers[0][0])

    def said(self, answer: np.ndarray) -> tuple[str, float]:
        """The letters of (places, letters) probabilities, and how sure they are; ("", 0.0)."""
        numbers = answer.argmax(1)
        is_new = np.append(True, numbers[1:] != numbers[:-1])
        is_letter = is_new & (numbers != 0)
        if not is_letter.any():
            return "", 0.0
        text = "".join(self.letters[number] for number in numbers[is_letter])
        return text, float(answer.max(1)[is_letter].mean())


def cut_line(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """What lies between four corners, as a rectangle (H, W, 3) uint8."""
    placed = _in_turn(corners)
    across = placed[1] - placed[0]
    down = placed[3] - placed[0]
    width = max(1, round(float(np.linalg.norm(across))))
    height = max(1, round(float(np.linalg.norm(down))))
    flat = np.zeros((4, 2), np.float32)
    flat[1:3, 0] = width
    flat[2:, 1] = height
    how = cv2.getPerspectiveTransform(placed, flat)
    # What lies beyond the picture's edge is as the edge.
    beyond = cv2.BORDER_REPLICATE
    size_wh = (width, height)
    return cv2.warpPerspective(image, how, size_wh, flags=cv2.INTER_CUBIC, borderMode=beyond)


def _in_turn(corners: np.ndarray) -> np.ndarray:
    """Left upper, right upper, right lower, left lower."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left = by_x[:2]
    right = by_x[2:]
    left = left[np.argsort(left[:, 1], kind="stable")]
    right = right[np.argsort(right[:, 1], kind="stable")]
    return np.array([left[0], right[0], right[1], left[1]], np.float32)
