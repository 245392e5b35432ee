"""Masks as COCO's run lengths: how many pixels are out, in, out … down the columns, left to right.

A mask is {"size": [height, width], "counts": [0, 3, 9 …]}; COCO's files also have the counts as
text.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

LETTER = 48  # the first of the 64 characters of the text form
DIGIT_BITS = 5
SIGN = 0x10
MORE = 0x20


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """The run lengths of a mask, (H, W) bool or numbers of which 0 is out.

    >>> encode_mask(np.array([[0, 1], [0, 1]]))
    {'size': [2, 2], 'counts': [2, 2]}
    """
    flat = np.asarray(mask, bool).ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    if flat.size and flat[0]:
        # The first run is always of what is out.
        counts.insert(0, 0)
    height, width = np.shape(mask)
    return {"size": [height, width], "counts": counts}


def decode_mask(mask: dict[str, Any]) -> np.ndarray:
    """The pixels of a mask, (H, W) bool. ValueError where the runs are not as many as the pixels.

    >>> decode_mask({"size": [2, 2], "counts": [2, 2]}).astype(int).tolist()
    [[0, 1], [0, 1]]
    """
    height, width = mask["size"]
    counts = runs_of(mask)
    if sum(counts) != height * width or min(counts, default=0) < 0:
        raise ValueError(f"run lengths of {sum(counts):,} pixels are no mask of {width} x {height}")
    is_in = np.arange(len(counts)) % 2 == 1
    return np.repeat(is_in, counts).reshape((height, width), order="F")


def runs_of(mask: dict[str, Any]) -> list[int]:
    """The counts as numbers, of whichever form."""
    counts = mask["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    return from_text(counts) if isinstance(counts, str) else [int(n) for n in counts]


def mask_area(mask: dict[str, Any]) -> int:
    """How many pixels are in."""
    return sum(runs_of(mask)[1::2])


def mask_bounds(mask: dict[str, Any]) -> list[float]:
    """The smallest box around what is in; [0, 0, 0, 0] where nothing is."""
    pixels = decode_mask(mask)
    columns = np.flatnonzero(pixels.any(axis=0))
    rows = np.flatnonzero(pixels.any(axis=1))
    if not len(columns):
        return [0.0, 0.0, 0.0, 0.0]
    x, y = float(columns[0]), float(rows[0])
    return [x, y, columns[-1] + 1 - x, rows[-1] + 1 - y]


def from_text(text: str) -> list[int]:
    """The counts of COCO's text form; from the third on it holds the difference to the last but
    one.

    >>> from_text(to_text([2, 2, 700, 1]))
    [2, 2, 700, 1]
    """
    counts: list[int] = []
    number = shift = 0
    for letter in text:
        digit = ord(letter) - LETTER
        if not 0 <= digit < 64:
            raise ValueError(f"{letter!r} is no letter of COCO's run lengths")
        number |= (digit & 0x1F) << shift
        shift += DIGIT_BITS
        if digit & MORE:
            continue
        if digit & SIGN:
            number -= 1 << shift
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number = shift = 0
    return counts


def to_text(counts: Sequence[int]) -> str:
    """COCO's text form of the counts, as `pycocotools` writes it."""
    letters = []
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        while True:
            digit = number & 0x1F
            number >>= DIGIT_BITS
            # The sign is the highest bit of the last digit.
            is_last = number == (-1 if digit & SIGN else 0)
            letters.append(chr(LETTER + (digit if is_last else digit | MORE)))
            if is_last:
                break
    return "".join(letters)
