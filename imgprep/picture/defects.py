"""What is evidently wrong with a picture: a veil, blur, the colour of the light.

The limits are such that none of 242 clean photographs and labels has a defect; of 29 paintings one
has, of the sun rising in fog.
"""

import cv2
import numpy as np
from numpy import ndarray

# A veil: no channel has darker levels than the one, and some channel none brighter than the other.
DARKEST, BRIGHTEST = 25, 150
# Where the levels are fewer, it is not a veil but a wall, or the sky.
LEAST_SPAN = 90
# Percent of the pixels that do not count.
CLIP = 0.5

# Energy of details of one pixel beside those of two. Of the clean pictures none has less than 0.66,
# 1.1 is usual; after a blur with a sigma of 1.2, 0.59 is.
LEAST_DETAIL = 0.6
# Levels of deviation, below which there are no details to compare.
FLAT = 0.5

# Pixels at an end say nothing of the light.
LOWEST, HIGHEST = 8, 247


def range_of(image: ndarray, clip: float) -> tuple[ndarray, ndarray]:
    """Of each channel the level above the darkest and that below the brightest `clip` percent."""
    lows, highs = [], []
    most = image.shape[0] * image.shape[1] * clip / 100
    for channel in range(image.shape[2]):
        how_many = cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel()
        up = np.cumsum(how_many, dtype=np.float64)
        down = np.cumsum(how_many[::-1], dtype=np.float64)
        lows.append(int(np.argmax(up > most)))
        highs.append(255 - int(np.argmax(down > most)))
    return np.array(lows), np.array(highs)


def is_veiled(image: ndarray) -> bool:
    """Whether nothing is dark, in any channel, and in some channel nothing is bright either."""
    low, high = range_of(image, CLIP)
    if (high - low).max() < LEAST_SPAN:
        return False
    return bool(low.min() > DARKEST and high.min() < BRIGHTEST)


def is_blurred(image: ndarray) -> bool:
    """Whether details of one pixel are weaker, beside those of two, than in any sharp picture."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    once = cv2.GaussianBlur(luma, (0, 0), 1)
    # Together with the first a blur of twice its sigma.
    twice = cv2.GaussianBlur(once, (0, 0), 3**0.5)
    fine = cv2.meanStdDev(luma - once)[1].item()
    coarse = cv2.meanStdDev(once - twice)[1].item()
    return coarse > FLAT and fine < LEAST_DETAIL * coarse


def light_of(image: ndarray, norm: float) -> ndarray | None:
    """The colour of the light, red, green, blue; None where no pixel tells.

    By the mean of Minkowski of each channel.
    """
    # One more and one less: these bounds count as inside.
    is_telling = cv2.inRange(image, (LOWEST + 1,) * 3, (HIGHEST - 1,) * 3)
    count = cv2.countNonZero(is_telling)
    if not count:
        return None
    # Of 256 levels instead of millions of pixels.
    powers = (np.arange(256) / 255) ** norm
    means = []
    for channel in range(3):
        how_many = cv2.calcHist([image], [channel], is_telling, [256], [0, 256]).ravel()
        means.append(float(how_many @ powers) / count)
    return np.array(means) ** (1 / norm)
