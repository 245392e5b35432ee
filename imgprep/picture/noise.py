"""How noisy a picture is, and the grains of salt and pepper in it."""

import cv2
import numpy as np
from numpy import ndarray

BLOCK = 8
HALF = BLOCK // 2
# The difference of two Laplacians: blind to straight edges.
LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
# Two opponent colours, in which noise has the sigma that it has in the channels.
OPPONENT = np.array([[1, -1, 0], [0.5, 0.5, -1]], np.float32) / np.sqrt([[2.0], [1.5]])
AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)

LEAST_SIGMA = 4
CALM = 0.05  # share of the blocks that count
# Of pure noise, too, the calmest blocks are below the mean.
CALMEST_OF_NOISE = 1.15
# Between neighbours, where the mask meets pure noise, the correlation is -2/3.
MOST_NEGATIVE, LEAST_NEGATIVE = -0.76, -0.57


def noise_sigma(image: ndarray) -> float:
    """Standard deviation of the random noise, in levels; 0.0 if less than 4, or none for certain.

    Immerkaer's mask (Fast Noise Variance Estimation, 1996), but by blocks, of which the calmest 5 %
    count: every picture is calm somewhere, and noise is everywhere. Except dense text, and grass.
    So first in two opponent colours, where black on white is nothing at all, then in all channels;
    and what the mask leaves in the calm blocks must correlate with its neighbours as it does where
    the mask meets pure noise: by -2/3; structure brings it nearer to 0.
    Limits from 200 photographs, paintings, labels and receipts and 148 dense pages and textures, at
    about 128 x 128: none is called noisy; 96 % of the 200 are with noise of 10 levels, 88 % if it
    is the same in all channels. Such grey noise on a page full of small print is found only above
    25.
    """
    pixels = image.astype(np.float32)
    for planes in (cv2.transform(pixels, OPPONENT), pixels):
        rough = cv2.filter2D(planes, -1, LAPLACIANS)[1:-1, 1:-1]
        level = _blocks(np.abs(rough))
        calmest = np.quantile(level, CALM)
        sigma = CALMEST_OF_NOISE * np.sqrt(np.pi / 2) / 6 * calmest
        if sigma >= LEAST_SIGMA and _is_random(rough, level <= 1.3 * calmest):
            return float(sigma)
    return 0.0


def _is_random(rough: ndarray, is_calm: ndarray) -> bool:
    """Whether neighbours in the calm blocks correlate as pure noise does, across and down."""
    energy = _blocks(rough * rough)[is_calm].sum()
    for axis in (0, 1):
        shared = _blocks(rough * np.roll(rough, 1, axis))[is_calm].sum()
        if not MOST_NEGATIVE < shared / energy < LEAST_NEGATIVE:
            return False
    return True


def _blocks(values: ndarray) -> ndarray:
    """Means over blocks of BLOCK x BLOCK and all channels; the blocks overlap by half."""
    means = cv2.blur(values.mean(2), (BLOCK, BLOCK))
    return np.asarray(means[HALF:-HALF:HALF, HALF:-HALF:HALF])


def without_impulses(image: ndarray) -> ndarray:
    """Grains of salt and pepper become the median around them; the picture itself without any."""
    highest = cv2.dilate(image, AROUND)
    lowest = cv2.erode(image, AROUND)
    above = cv2.subtract(image, highest)
    below = cv2.subtract(lowest, image)
    gap = cv2.max(above, below)
    # Far from all neighbours, which agree with each other: so not a stroke, nor the end of one.
    is_alone = (gap > 96) & (cv2.subtract(highest, lowest) < gap // 2)
    # Clean pages of dense text have up to 0.0009.
    if is_alone.mean() < 0.0015:
        return image
    alike = _alike_neighbours(image)
    is_extreme = (image < 8) | (image > 247)
    # Where they are crowded two grains often touch; else a pair is a thin stroke.
    is_crowded = (is_extreme & (alike == 0)).mean() > 0.03
    is_grain = is_extreme & (alike <= is_crowded)
    return np.where(is_grain, cv2.medianBlur(image, 3), image)


def _alike_neighbours(image: ndarray) -> ndarray:
    """Of each pixel's eight neighbours, how many are within 32 levels, by channel."""
    height, width = image.shape[:2]
    framed = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REFLECT_101)
    alike = np.zeros(image.shape, np.uint8)
    for y, x in np.argwhere(AROUND):
        neighbour = framed[y : y + height, x : x + width]
        alike += cv2.absdiff(image, neighbour) < 32
    return alike
