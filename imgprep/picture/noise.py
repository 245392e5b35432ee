"""How noisy a picture is, and the grains of salt and pepper in it."""

import cv2
import numpy as np
from numpy import ndarray

NOISE_BLOCK = 8
HALF_BLOCK = NOISE_BLOCK // 2
# The difference of two Laplacians: blind to straight edges.
LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
# Two opponent colours, in which noise has the sigma that it has in the channels.
OPPONENT = np.array([[1, -1, 0], [0.5, 0.5, -1]], np.float32) / np.sqrt([[2.0], [1.5]])
AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)

LEAST_SIGMA = 4
CALM = 0.05  # share of the blocks that count
# Of pure noise, too, the calmest blocks are below the mean.
CALMEST_OF_NOISE = 1.15
# Immerkaer's factor, from the mean of what the mask leaves to the sigma of the noise.
SIGMA_OF_MASK = CALMEST_OF_NOISE * np.sqrt(np.pi / 2) / 6
# Between neighbours, where the mask meets pure noise, the correlation is -2/3.
MOST_NEGATIVE, LEAST_NEGATIVE = -0.76, -0.57

# Levels between a grain and what is around it.
FAR = 96
# Clean pages of dense text have up to 0.0009 of such pixels.
FEW = 0.0015
# Times chance, from which dots stand in rows.
IN_ROWS = 2.0
# So many pixels are looked at, in bands that are one block and its border high; and so many bands.
SEEN_PIXELS = 100_000
LEAST_BANDS = 20
BAND = NOISE_BLOCK + 2


def noise_sigma(image: ndarray) -> float:
    """Standard deviation of the random noise, in levels; 0.0 if less than 4, or none for certain.

    Immerkaer's mask (Fast Noise Variance Estimation, 1996), but by blocks, of which the calmest 5 %
    count: every picture is calm somewhere, and noise is everywhere. Except dense text, and grass.
    So first in two opponent colours, where black on white is nothing at all, then in all channels;
    and what the mask leaves in the calm blocks must correlate with its neighbours as it does where
    the mask meets pure noise: by -2/3; structure brings it nearer to 0.
    Of more than 100,000 pixels, bands that are spread over the height stand for the whole.
    Limits from 200 photographs, paintings, labels and receipts and 148 dense pages and textures, at
    about 128 x 128: none is called noisy; 96 % of the 200 are with noise of 10 levels, 88 % if it
    is the same in all channels. Such grey noise on a page full of small print is found only above
    25.
    """
    rough, is_banded = _rough(image)
    # The mask is linear: opponent colours of what it leaves are what it leaves of them.
    for planes in (cv2.transform(rough, OPPONENT), rough):
        level = _blocks(np.abs(planes), is_banded)
        calmest = np.quantile(level, CALM)
        sigma = SIGMA_OF_MASK * calmest
        if sigma < LEAST_SIGMA:
            continue
        is_calm = level <= 1.3 * calmest
        if _is_random(planes, is_calm, is_banded):
            return float(sigma)
    return 0.0


def _rough(image: ndarray) -> tuple[ndarray, bool]:
    """What the mask leaves of a picture, float32; of a large one, of bands one below the other."""
    height, width = image.shape[:2]
    bands = max(LEAST_BANDS, SEEN_PIXELS // (width * BAND))
    if bands * BAND >= height:
        rough = cv2.filter2D(image, cv2.CV_32F, LAPLACIANS)
        return rough[1:-1, 1:-1], False
    tops = np.linspace(0, height - BAND, bands).astype(int)
    pieces = [image[top : top + BAND] for top in tops]
    some = np.concatenate(pieces)
    rough = cv2.filter2D(some, cv2.CV_32F, LAPLACIANS)
    # The first and last row of a band have neighbours in another.
    by_band = rough.reshape(bands, BAND, width, 3)
    inner = by_band[:, 1:-1, 1:-1]
    return inner.reshape(bands * NOISE_BLOCK, width - 2, 3), True


def _is_random(
    planes: ndarray,
    is_calm: ndarray,
    is_banded: bool,
) -> bool:
    """Whether neighbours in the calm blocks correlate as pure noise does, across and down."""
    energy = _blocks(planes * planes, is_banded)[is_calm].sum()
    for axis in (0, 1):
        products = planes * np.roll(planes, 1, axis)
        if is_banded and axis == 0:
            # Above a band's first row is another's last one.
            products[::NOISE_BLOCK] = 0
            products *= NOISE_BLOCK / (NOISE_BLOCK - 1)
        shared = _blocks(products, is_banded)[is_calm].sum()
        if not MOST_NEGATIVE < shared / energy < LEAST_NEGATIVE:
            return False
    return True


def _blocks(values: ndarray, is_banded: bool) -> ndarray:
    """Means over blocks of NOISE_BLOCK a side and all channels;
    they overlap by half, bands do not.
    """
    channels = values.shape[2]
    # numpy's mean over the last axis takes twenty times as long.
    shares = np.full((1, channels), 1 / channels, np.float32)
    mean = cv2.transform(values, shares)
    means = cv2.blur(mean, (NOISE_BLOCK, NOISE_BLOCK))
    if is_banded:
        return np.asarray(means[HALF_BLOCK::NOISE_BLOCK, HALF_BLOCK:-HALF_BLOCK:HALF_BLOCK])
    return np.asarray(means[HALF_BLOCK:-HALF_BLOCK:HALF_BLOCK, HALF_BLOCK:-HALF_BLOCK:HALF_BLOCK])


def without_impulses(image: ndarray) -> ndarray:
    """Grains of salt and pepper become the median around them; the picture itself without any.

    Dots that stand in rows or columns, as decimal points, dotted lines and the print of needles do,
    are no grains: those are strewn.
    """
    median = cv2.medianBlur(image, 3)
    # In a seventh of the time: what is far from all neighbours is as far from their median.
    is_off = cv2.absdiff(image, median) > FAR
    if np.count_nonzero(is_off) < FEW * image.size:
        return image
    is_alone = _stands_alone(image)
    if np.count_nonzero(is_alone) < FEW * image.size:
        return image
    if _is_print(is_alone):
        return image
    alike = _alike_neighbours(image)
    is_extreme = (image < 8) | (image > 247)
    # Where they are crowded two grains often touch; else a pair is a thin stroke.
    is_single = is_extreme & (alike == 0)
    is_crowded = is_single.mean() > 0.03
    is_grain = is_extreme & (alike <= is_crowded)
    return np.where(is_grain, median, image)


def _stands_alone(image: ndarray) -> ndarray:
    """By channel: far from all neighbours, which agree with each other.

    So it is not a stroke, nor the end of one.
    """
    highest = cv2.dilate(image, AROUND)
    lowest = cv2.erode(image, AROUND)
    above = cv2.subtract(image, highest)
    below = cv2.subtract(lowest, image)
    gap = np.maximum(above, below)
    spread = np.subtract(highest, lowest)
    return (gap > FAR) & (spread < gap >> 1)


def _is_print(is_alone: ndarray) -> bool:
    """Whether the dots stand in rows or columns.

    By von Neumann's ratio: how much the counts of neighbouring rows differ, beside what chance
    gives (1 for what is strewn, however unevenly over the picture).
    """
    dots = is_alone.any(2)
    for axis in (0, 1):
        counts = dots.sum(axis)
        jumps = np.diff(counts.astype(np.float64))
        by_chance = 2 * counts.mean()
        if np.mean(jumps**2) > IN_ROWS * by_chance:
            return True
    return False


def _alike_neighbours(image: ndarray) -> ndarray:
    """Of each pixel's eight neighbours, how many are within 32 levels, by channel."""
    height, width = image.shape[:2]
    framed = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REFLECT_101)
    alike = np.zeros(image.shape, np.uint8)
    for y, x in np.argwhere(AROUND):
        neighbour = framed[y : y + height, x : x + width]
        alike += cv2.absdiff(image, neighbour) < 32
    return alike
