"""A Pillow picture of any mode becomes plain 8-bit sRGB pixels. Knows nothing of files."""

import io
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy import ndarray
from PIL import Image, ImageCms

Rgb = tuple[int, int, int]

# Bytes of pixels that are converted at once.
COLOUR_STRIP_BYTES = 1 << 20
# Numbers without an agreed white that are converted at once.
BAND_PIXELS = 1 << 20
# Levels that a profile may differ from sRGB and still be called that.
SAME_SHADE = 2
# TIFF's tags, as Pillow has them.
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262


def srgb(im: Image.Image, background: Rgb = (255, 255, 255)) -> ndarray:
    """A loaded picture as (H, W, 3) uint8 sRGB; what is transparent shows `background`.

    16-bit grey is scaled. Signed, 32-bit and float grey has no agreed white: see `grey_levels`.
    CMYK without a profile is converted naively.

    >>> srgb(Image.new("LA", (1, 1), (0, 51))).tolist()
    [[[204, 204, 204]]]
    """
    if im.mode[0] in "IF":
        im = _grey_of_8_bits(im)
    red, green, blue = background
    # In strips: half the time (they stay in the cache), and no second and third copy of a large
    # picture.
    out = np.empty((im.height, im.width, 3), np.uint8)
    rows = max(1, COLOUR_STRIP_BYTES // (3 * im.width))
    for top in range(0, im.height, rows):
        bottom = min(top + rows, im.height)
        strip = im.crop((0, top, im.width, bottom)) if rows < im.height else im
        out[top:bottom] = np.asarray(_converted(strip, (red, green, blue)))
    return out


def _converted(im: Image.Image, background: Rgb) -> Image.Image:
    """RGB of any mode of 8 bits."""
    icc = im.info.get("icc_profile")
    alpha = None
    if im.has_transparency_data:
        rgba = _with_alpha(im)
        alpha = rgba.getchannel("A")
        is_grey = im.mode in ("L", "LA")
        im = rgba.getchannel("R") if is_grey else rgba.convert("RGB")
    elif im.mode not in ("L", "RGB", "CMYK", "LAB"):
        im = im.convert("RGB")

    transform = profile(icc, im.mode)
    if transform:
        im = transform.apply(im)
    elif im.mode != "RGB":
        im = im.convert("RGB")
    if alpha is None:
        return im
    ground = Image.new("RGB", im.size, background)
    return Image.composite(im, ground, alpha)


def _with_alpha(im: Image.Image) -> Image.Image:
    clear = im.info.get("transparency")
    if im.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        # Of a 16-bit PNG, whose pixels Pillow has cut to 8 bits.
        cut = tuple(level >> 8 for level in clear)
        im.info = im.info | {"transparency": cut}
    return im.convert("RGBA")


# Building one takes milliseconds, and a set of pictures has few.
@lru_cache(maxsize=32)
def profile(icc: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from an ICC profile to sRGB (perceptual); None where there is nothing to do.

    That is: no profile, a broken one, one for another mode than the pixels', and one that is sRGB
    to within 2 levels, whatever its name.
    """
    if not icc and mode != "LAB":
        return None
    try:
        if icc:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        else:
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB")
    except (OSError, ImageCms.PyCMSError):
        return None
    if mode in ("L", "RGB") and _changes_little(transform, mode):
        return None
    return transform


def _changes_little(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1)
    colours = cube.reshape(-1, 64, 3)
    before = Image.fromarray(colours if mode == "RGB" else colours[:, :, 0])
    there = np.asarray(transform.apply(before), int)
    here = np.asarray(before.convert("RGB"), int)
    return bool(np.abs(there - here).max() <= SAME_SHADE)


def _grey_of_8_bits(im: Image.Image) -> Image.Image:
    """Mode I;16, I or F to L, or to LA where one value stands for transparent."""
    values = np.asarray(im)
    tags = getattr(im, "tag_v2", {})
    if im.mode.startswith("I;16") or (im.format == "PPM" and im.mode == "I"):
        # TIFF knows 12 bits, too.
        bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
        white = 2 ** min(bits, 16) - 1
        plain = values.astype(np.uint16, copy=False)
        grey = cv2.convertScaleAbs(plain, alpha=255 / white)
    else:
        grey = grey_levels(values)
    if tags.get(PHOTOMETRIC) == 0:
        # White is zero; Pillow inverts such pictures of 8 bits only.
        grey = 255 - grey
    clear = im.info.get("transparency")
    if clear is not None:
        is_seen = (values != clear).astype(np.uint8)
        grey = np.dstack([grey, is_seen * 255])
    out = Image.fromarray(grey)
    out.info["icc_profile"] = im.info.get("icc_profile")
    return out


def grey_levels(values: ndarray) -> ndarray:
    """Numbers (H, W) that have no agreed white, as uint8.

    Floats within [0, 1] are times 255, values within [0, 255] stay, else lowest..highest becomes
    0..255; NaN is 0, infinity the end that it is beyond.

    >>> grey_levels(np.array([[-100, 0, 155]], np.int16)).tolist()
    [[0, 100, 255]]
    """
    low, high = _finite_range(values)
    if low >= 0 and high <= 255:
        is_share = values.dtype.kind == "f" and high <= 1
        low, high = 0.0, 1.0 if is_share else 255.0
    grey = np.empty(values.shape, np.uint8)
    for rows in _bands(values):
        levels = values[rows].astype(np.float64)
        levels -= low
        levels *= 255 / (high - low) if high > low else 0
        levels = np.nan_to_num(levels, copy=False, posinf=255)
        grey[rows] = levels.round().clip(0, 255).astype(np.uint8)
    return grey


def _finite_range(values: ndarray) -> tuple[float, float]:
    """The lowest and the highest number that is one; (0, 0) where there is none."""
    lows, highs = [], []
    for rows in _bands(values):
        # The range of a float32 picture may overflow float32.
        levels = values[rows].astype(np.float64)
        finite = levels[np.isfinite(levels)]
        if finite.size:
            lows.append(float(finite.min()))
            highs.append(float(finite.max()))
    return min(lows, default=0.0), max(highs, default=0.0)


def _bands(values: ndarray) -> Iterator[slice]:
    """Rows that are worked on at once: in float64 a large picture would be eight times as large."""
    step = max(1, BAND_PIXELS // max(1, values.shape[1]))
    for top in range(0, len(values), step):
        yield slice(top, top + step)
