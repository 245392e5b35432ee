"""Bytes: the best JPEG or WebP that fits a budget,
and what the providers of vision models allow.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from imgprep.failures import Failure
from imgprep.picture import codec, geometry

# The quality aimed at where a picture must be made smaller: at 60 it would be larger, but coarse.
AIM = 80


@dataclass(frozen=True)
class Limit:
    """Of one picture. is_base64: max_bytes counts the base64 string in a request, a third more.

    max_side: above it models shrink the picture, or refuse it; where the source names none, 2048
    is ours. checked: when a copy of `source` was read. Limits change: `vision_max_bytes` and
    `vision_max_side` of `variants.build` override.
    """

    max_bytes: int
    is_base64: bool
    max_side: int
    source: str
    checked: str

    @property
    def file_bytes(self) -> int:
        """The largest file: 3 bytes become 4 characters.

        >>> PRESETS["default"].file_bytes
        7500000
        """
        return self.max_bytes // 4 * 3 if self.is_base64 else self.max_bytes


PRESETS = {
    "default": Limit(
        10_000_000,
        True,
        2048,
        "cloud.google.com/vision/quotas: 10 MB of JSON",
        "2026-11-20",
    ),
    "openai": Limit(
        20_000_000,
        True,
        2048,
        "platform.openai.com/docs/guides/images: 20 MB",
        "2026-11-20",
    ),
    "azure": Limit(
        20_000_000,
        True,
        2048,
        "learn.microsoft.com, openai/concepts/gpt-with-vision: 20 MB",
        "2026-11-20",
    ),
    "azure_vision": Limit(
        20_000_000,
        False,
        16_000,
        "learn.microsoft.com, Image Analysis 4.0: 20 MB",
        "2026-11-20",
    ),
    "anthropic": Limit(
        5_242_880,
        True,
        1568,
        "platform.claude.com, vision: 5 MB in base64",
        "2026-11-20",
    ),
    "gemini": Limit(
        7_000_000,
        True,
        2048,
        "docs.cloud.google.com, image-understanding: 7 MB inline",
        "2026-11-20",
    ),
}


class OverBudget(Failure):
    """No quality and no size of this picture fits."""


def fit_bytes(
    image: np.ndarray,
    max_bytes: int,
    *,
    format: str = "JPEG",
    best: int = 95,
    least: int = 60,
    min_side: int = 64,
) -> tuple[bytes, int]:
    """Encode (H, W, 3) uint8 into at most max_bytes; returns the bytes and their quality.

    The quality is `best`, or the next higher one does not fit: a bisection, at most 7 encodes at
    the defaults, because bytes jump too much between neighbouring qualities for a better guess.
    Where not even `least` fits, the picture is made smaller so that a quality of about 80 does,
    and again. A JPEG has its colours at full size (4:4:4) where `best` fits with them, else at
    half (4:2:0). Raises OverBudget when the longest side would have to be below min_side.

    >>> data, quality = fit_bytes(np.zeros((100, 100, 3), np.uint8), 2000)
    >>> len(data) <= 2000, quality
    (True, 95)
    """
    small = image
    side = max(image.shape[:2])
    while True:
        data = codec.encode(small, format, quality=best, is_full_chroma=True)
        if len(data) <= max_bytes:
            return data, best
        found = b""
        sizes = {}
        low = min(least, best) - 1
        high = best + 1
        while high - low > 1:
            middle = (low + high) // 2
            data = codec.encode(small, format, quality=middle)
            sizes[middle] = len(data)
            if len(data) <= max_bytes:
                low = middle
                found = data
            else:
                high = middle
        if found:
            return found, low

        # Bytes go about with the pixels, so with the square of the side.
        near = min(sizes, key=lambda quality: abs(quality - AIM))
        share = sqrt(max_bytes / sizes[near])
        side = min(side - 1, int(side * share))
        if side < min_side:
            tried = f"no quality from {least} to {best} and no size from {min_side} px"
            raise OverBudget("over_budget", f"{tried} has {max_bytes} bytes")
        small = geometry.shrink(image, side)
