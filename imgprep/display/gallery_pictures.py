"""The gallery's pictures: small, in WebP, each with the five colours that it is made of."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from imgprep.dataset import Dataset
from imgprep.picture import codec, geometry

WEBP_QUALITY = 62
TOGETHER = 64  # pictures held in their full size


@dataclass(frozen=True)
class Small:
    data: bytes
    width: int
    height: int
    colours: list[str]


def small_pictures(ds: Dataset, places: Sequence[tuple[str, int]], side: int) -> list[Small]:
    """Of each (split, row) the picture with `side` pixels along its longest side, never
    enlarged.
    """
    found: list[Small] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # decoding lets other threads run
        # In pieces: all originals of a collection do not fit into memory.
        for start in range(0, len(places), TOGETHER):
            some = places[start : start + TOGETHER]
            held = [ds.pictures(split, [row])[0] for split, row in some]
            found += pool.map(lambda data: _small(data, side), held)
    return found


def _small(data: bytes | None, side: int) -> Small:
    try:
        image = codec.decode(data or b"", min_wh=(side, side))
    except codec.DecodeError:
        image = np.full((3, 4, 3), 128, np.uint8)  # it was ok once; its place stays
    if max(image.shape[:2]) > side:
        image = geometry.fit(image, (side, side))
    height, width = image.shape[:2]
    encoded = codec.encode(image, "WEBP", quality=WEBP_QUALITY)
    return Small(encoded, width, height, palette(image))


def palette(image: np.ndarray) -> list[str]:
    """Five colours, the commonest first, as #rrggbb."""
    # 24 x 24: five colours are no question of detail, and k-means takes time by the pixel.
    tiny = cv2.resize(image, (24, 24), interpolation=cv2.INTER_AREA)
    few = tiny.reshape(-1, 3).astype(np.float32)
    # k-means begins with random centres: the same picture has the same colours every time.
    cv2.setRNGSeed(0)
    wanted = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 8, 1.0)
    before: Any = None
    _, labels, centres = cv2.kmeans(few, 5, before, wanted, 1, cv2.KMEANS_PP_CENTERS)
    counts = np.bincount(labels.ravel(), minlength=5)
    colours = []
    for n in np.argsort(-counts, kind="stable"):
        red, green, blue = (int(value) for value in centres[n])
        colours.append(f"#{red:02x}{green:02x}{blue:02x}")
    return colours
