"""The pixels of TIFFs that Pillow shows wrongly: planes of 16 bits,
signed bytes, unsigned 32 bits.
"""

import io
from itertools import islice

import numpy as np
from PIL import Image, TiffImagePlugin

from imgprep.picture import colour, tiff
from imgprep.picture.damage import LoadOne

# How many planes are colours, by what they are: RGB, inks.
RGB, INKS = 2, 5
COLOURS = {RGB: 3, INKS: 4}
MODES = {
    (RGB, False): "RGB",
    (RGB, True): "RGBA",
    (INKS, False): "CMYK",
}
SEPARATE = 2  # of PLANAR
UNSIGNED, SIGNED = 1, 2  # of SAMPLE_FORMAT
ALPHA = (1, 2)  # of EXTRA_SAMPLES; 0 says nothing of what it is


def load_planes(
    im: Image.Image,
    data: bytes,
    load_one: LoadOne,
) -> Image.Image:
    """The page at which an opened TIFF stands, loaded by `load_one`, its pixels right."""
    directory = _directory_of(im, data)
    bits = set(directory.numbers(tiff.BITS))
    form = directory.number(tiff.SAMPLE_FORMAT, UNSIGNED)
    samples = directory.number(tiff.SAMPLES, 1)
    is_separate = directory.number(tiff.PLANAR, 1) == SEPARATE and samples > 1
    photometric = directory.number(tiff.PHOTOMETRIC, 0)
    if is_separate and bits == {16} and form == UNSIGNED and photometric in COLOURS:
        return _merged(im, data, directory, load_one)
    load_one(im)
    if samples > 1:
        return im
    if bits == {8} and form == SIGNED:
        return _as_grey(im, np.asarray(im).view(np.int8))
    if bits == {32} and form == UNSIGNED and im.mode == "I":
        return _as_grey(im, np.asarray(im).view(np.uint32))
    return im


def _directory_of(im: Image.Image, data: bytes) -> tiff.Directory:
    place = next(islice(tiff.strip_places(data), im.tell(), None))
    return tiff.directory_at(data, place)


def _merged(
    im: Image.Image,
    data: bytes,
    directory: tiff.Directory,
    load_one: LoadOne,
) -> Image.Image:
    """8 bits of each plane, put together."""
    photometric = directory.number(tiff.PHOTOMETRIC, 0)
    has_alpha = directory.number(tiff.EXTRA_SAMPLES, 0) in ALPHA
    # Ink has no alpha in Pillow.
    has_alpha = has_alpha and photometric == RGB
    mode = MODES[photometric, has_alpha]
    count = COLOURS[photometric] + has_alpha
    planes = []
    for n in range(count):
        alone = io.BytesIO(_plane(data, directory, n))
        plane = TiffImagePlugin.TiffImageFile(alone)
        load_one(plane)
        # As Pillow cuts 16 bits that are not in planes.
        high = np.asarray(plane).astype(np.uint16) >> 8
        planes.append(Image.fromarray(high.astype(np.uint8)))
    merged = Image.merge(mode, planes)
    merged.info["icc_profile"] = im.info.get("icc_profile")
    return merged


def _plane(
    data: bytes,
    directory: tiff.Directory,
    n: int,
) -> bytes:
    """One plane as a grey TIFF of its own."""
    offsets = directory.numbers(tiff.STRIP_OFFSETS) or directory.numbers(tiff.TILE_OFFSETS)
    sizes = directory.numbers(tiff.STRIP_BYTES) or directory.numbers(tiff.TILE_BYTES)
    each = len(offsets) // directory.number(tiff.SAMPLES, 1)
    mine = slice(n * each, (n + 1) * each)
    blocks = []
    for start, size in zip(offsets[mine], sizes[mine], strict=True):
        blocks.append(data[start : start + size])

    grey = tiff.Directory(directory.order)
    grey.update(directory)
    for tag in (*tiff.POINTERS, tiff.EXTRA_SAMPLES, tiff.SAMPLE_FORMAT):
        grey.pop(tag, None)
    grey.put(tiff.BITS, tiff.SHORT, [16])
    grey.put(tiff.SAMPLES, tiff.SHORT, [1])
    grey.put(tiff.PLANAR, tiff.SHORT, [1])
    grey.put(tiff.PHOTOMETRIC, tiff.SHORT, [1])
    return tiff.alone(grey, blocks)


def _as_grey(im: Image.Image, values: np.ndarray) -> Image.Image:
    """Pillow has no mode for such numbers."""
    grey = Image.fromarray(colour.grey_levels(values))
    grey.info["icc_profile"] = im.info.get("icc_profile")
    return grey
