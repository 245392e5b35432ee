"""TIFFs in which 0 is white: GDAL says so and gives the numbers as they are stored."""

from typing import Any

import numpy as np


def highest_of(dataset: Any) -> float | None:
    """What is black where 0 is white: all bits of the numbers that the file has.

    -1 for signed numbers, which are counted from the other end of their type, and 0 for floats,
    which change their sign. None where 0 is black, as in most files.
    """
    says_white = dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
    dtype = np.dtype(dataset.dtypes[0])
    # Of 8 bits GDAL makes a palette of greys, which is right; not where it wrote the file itself.
    is_grey_palette = dtype.name == "uint8" and dataset.colorinterp[0].name == "palette"
    if not says_white or is_grey_palette:
        return None
    if dtype.kind != "u":
        return -1 if dtype.kind == "i" else 0
    bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8 * dtype.itemsize)
    return (1 << int(bits)) - 1


def from_black(values: np.ndarray, highest: float) -> np.ndarray:
    """The numbers with 0 as black, in their own type."""
    # What is above the highest (a nodata value of 65535 in 12 bits) must not wrap around.
    if values.dtype.kind == "u":
        return np.asarray(highest - np.minimum(values, highest), values.dtype)
    return np.asarray(values.dtype.type(highest) - values)
