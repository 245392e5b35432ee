"""Better pixels: noise, blur, size, light and colours. All take and give (H, W, 3) uint8 RGB."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy import ndarray

from imgprep.failures import Failure
from imgprep.hashing import versioned
from imgprep.picture import defects
from imgprep.picture.noise import NOISE_BLOCK, noise_sigma, without_impulses

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "auto",
    "contrast",
    "denoise",
    "grey",
    "levels",
    "noise_sigma",
    "saturation",
    "sharpen",
    "steps",
    "tune",
    "upscale",
    "white_balance",
]

# Of a result of `upscale`: 150 MB of RGB.
MAX_UPSCALED_PIXELS = 50_000_000
# Each brings a picture that was shrunk again closer to the one that was given.
BACK_PROJECTIONS = 4
# Of Minkowski: 1 is the mean of a channel, infinity its maximum.
NORM = 6


@versioned(2)
def denoise(image: ndarray) -> ndarray:
    """Take out salt and pepper, then random noise, each as far as it is there.

    A clean picture comes back untouched, its decimal points and dotted lines too. Salt and pepper
    become the median around them (switching median: Sun & Neuvo 1994). Random noise: a bilateral
    filter (Tomasi & Manduchi 1998) as strong as the noise. Does nothing about JPEG blocks, about
    noise that was compressed or enlarged, nor to pictures with a side under 24. Costs 0.3 ms per
    128 x 128 pixels, 1 ms where they are noisy: shrink first.

    >>> page = np.full((64, 64, 3), 255, np.uint8)
    >>> page[20:40, 30] = 0
    >>> np.array_equal(denoise(page), page)
    True
    """
    if min(image.shape[:2]) < 3 * NOISE_BLOCK:
        # Too few pixels to tell noise from picture.
        return image
    image = without_impulses(image)
    sigma = noise_sigma(image)
    if not sigma:
        return image
    # 7 x 7, four sigma: of many bilateral filters and non-local means the best for text (+3 dB,
    # against +2), as good for photographs (+4 to +6 dB), and 0.6 ms per 128 x 128 instead of 7.
    return cv2.bilateralFilter(image, 7, 4 * sigma, 2)


@versioned(1)
def grey(image: ndarray) -> ndarray:
    """Luma (ITU-R BT.601) in all three channels.

    >>> grey(np.array([[[255, 0, 0]]], np.uint8)).tolist()
    [[[76, 76, 76]]]
    """
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB)


@versioned(1)
def contrast(image: ndarray, *, limit: float = 2.0) -> ndarray:
    """Local contrast (CLAHE: Zuiderveld 1994) of the lightness in CIE Lab, 8 x 8 tiles.

    Colours stay. limit: how steep the local curve may become; 1 changes little. Also lifts noise:
    `denoise` first.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    curve = cv2.createCLAHE(limit, (8, 8))
    lab[:, :, 0] = curve.apply(lab[:, :, 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


@versioned(1)
def sharpen(
    image: ndarray,
    *,
    amount: float = 0.5,
    radius: float = 1.2,
) -> ndarray:
    """Unsharp mask: what a Gaussian blur takes away is added once more, times `amount`.

    amount: 0 to 5; 2 undoes a blur of the same radius best. radius: sigma of the blur, above 0 to
    50 pixels. Also lifts noise: `denoise` first. Does not tell a blurred picture from a sharp one.

    >>> step = np.repeat([[100] * 4 + [150] * 4], 8, 0)[:, :, None].repeat(3, 2).astype(np.uint8)
    >>> sharpen(step, amount=1)[0, 2:6, 0].tolist()
    [95, 83, 167, 155]
    """
    _check_number("amount", amount, 0, 5)
    _check_number("radius", radius, 0, 50)
    if radius == 0:
        raise ValueError("radius must be above 0 pixels")
    blurred = cv2.GaussianBlur(image, (0, 0), radius)
    return cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)


@versioned(1)
def upscale(
    image: ndarray,
    *,
    by: float = 2,
    max_pixels: int | None = MAX_UPSCALED_PIXELS,
) -> ndarray:
    """Enlarge by Lanczos' kernel, then so that the result, shrunk again, is the picture given.

    That is back-projection (Irani & Peleg 1991), four times: 0.3 dB more than the kernel alone. It
    invents nothing: for that there are networks (`models.Enhancer`). by: 1 to 4. max_pixels: of the
    result; None is no limit. Raises Failure, too_many_pixels, above.

    >>> upscale(np.zeros((20, 30, 3), np.uint8), by=1.5).shape
    (30, 45, 3)
    """
    _check_number("by", by, 1, 4)
    height, width = image.shape[:2]
    large_wh = (round(width * by), round(height * by))
    if max_pixels is not None and large_wh[0] * large_wh[1] > max_pixels:
        size = f"{large_wh[0]} x {large_wh[1]} pixels"
        raise Failure("too_many_pixels", f"enlarged it has {size}, max_pixels is {max_pixels}")
    if large_wh == (width, height):
        return image
    given = image.astype(np.float32)
    large = cv2.resize(given, large_wh, interpolation=cv2.INTER_LANCZOS4)
    for _ in range(BACK_PROJECTIONS):
        small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
        missing = given - small
        large = large + cv2.resize(missing, large_wh, interpolation=cv2.INTER_CUBIC)
    return large.round().clip(0, 255).astype(np.uint8)


@versioned(1)
def levels(image: ndarray, *, clip: float = 0.5) -> ndarray:
    """Stretch each channel, so that its darkest level is 0 and its brightest 255.

    So a veil goes, and a cast of the light. clip: percent of the pixels, 0 to 10, that may become
    the one or the other: single pixels decide nothing. A channel of one level stays. A picture of
    a sunset loses its red: see `auto`.

    >>> levels(np.array([[[50, 9, 0], [150, 9, 255]]], np.uint8), clip=0).tolist()
    [[[0, 9, 0], [255, 9, 255]]]
    """
    _check_number("clip", clip, 0, 10)
    low, high = defects.range_of(image, clip)
    steps = np.arange(256, dtype=np.float64)[:, None]
    # Where there is nothing to stretch, the identity.
    is_flat = high <= low
    low = np.where(is_flat, 0, low)
    high = np.where(is_flat, 255, high)
    curves = (steps - low) * 255 / (high - low)
    curves = curves.round().clip(0, 255).astype(np.uint8)
    return cv2.LUT(image, curves[None])


@versioned(1)
def saturation(image: ndarray, *, by: float = 1.1) -> ndarray:
    """Move each pixel away from the grey of its luma (ITU-R BT.601), or towards it.

    by: 0 (grey) to 5; 1 changes nothing. Luma stays but where a channel reaches its end. As the
    `saturate` of CSS filters does it.

    >>> saturation(np.array([[[100, 60, 60]]], np.uint8), by=2).tolist()
    [[[128, 48, 48]]]
    """
    _check_number("by", by, 0, 5)
    weights = np.array([0.299, 0.587, 0.114])
    matrix = by * np.eye(3) + (1 - by) * weights[None]
    return cv2.transform(image, matrix)


@versioned(1)
def white_balance(image: ndarray) -> ndarray:
    """Scale the channels, so that the light that the picture was taken in becomes white.

    The light is estimated by shades of grey (Finlayson & Trezzi 2004, with their norm of 6), of the
    pixels in which no channel is at its end. Luma stays about as it is. Wrong where one colour
    fills the picture: then its colour is taken for that of the light.

    >>> white_balance(np.full((9, 9, 3), (120, 100, 80), np.uint8))[0, 0].tolist()
    [104, 104, 104]
    """
    light = defects.light_of(image, NORM)
    if light is None:
        return image
    weights = np.array([0.299, 0.587, 0.114])
    gains = (light @ weights) / light
    return cv2.transform(image, np.diag(gains))


@versioned(1)
def auto(
    image: ndarray,
    *,
    noise: bool = True,
    colours: bool = True,
    blur: bool = True,
) -> ndarray:
    """Mend what is evidently wrong, and nothing else: a clean picture comes back as it is.

    noise: `denoise`. colours: `levels`, where a veil or a cast keeps every channel from its dark
    end and one from its bright end.
    blur: `sharpen`, where the finest details are missing that any sharp picture has. Each step can
    be left out. Does not change a cast of the light that may be meant, nor the size. Raises
    ValueError for a step that is neither True nor False.

    >>> clean = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    >>> np.array_equal(auto(clean, noise=False), clean)
    True
    """
    for name, value in {"noise": noise, "colours": colours, "blur": blur}.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, not {value!r}")
    if noise:
        image = denoise(image)
    # After the noise, whose grains reach both ends.
    if colours and defects.is_veiled(image):
        image = levels(image, clip=0.1)
    if blur and defects.is_blurred(image):
        image = sharpen(image, amount=1.5)
    return image


_STEPS: dict[str, Callable[..., ndarray]] = {
    "auto": auto,
    "denoise": denoise,
    "white_balance": white_balance,
    "levels": levels,
    "saturation": saturation,
    "upscale": upscale,
    "sharpen": sharpen,
}


# One more whenever the output of a step changes: it decides what is redone.
@versioned(1)
def steps(
    image: ndarray,
    *,
    auto: bool = True,
    denoise: bool = False,
    white_balance: bool = False,
    levels: bool = False,
    clip: float = 0.5,
    saturation: float = 1,
    upscale: float = 1,
    sharpen: float = 0,
    radius: float = 1.2,
) -> ndarray:
    """The functions of this module one after another, in this order, those that are asked for.

    saturation, upscale: their `by`; 1 leaves the step out. sharpen: its `amount`; 0 leaves it out.
    clip: of levels. radius: of sharpen, in pixels of the result. Raises ValueError for an option of
    the wrong kind, and Failure, too_many_pixels, as `upscale` does.

    >>> steps(np.full((20, 30, 3), 9, np.uint8), upscale=2).shape
    (40, 60, 3)
    """
    flags = {"auto": auto, "denoise": denoise, "white_balance": white_balance, "levels": levels}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, not {value!r}")
    asked: dict[str, dict[str, Any]] = {name: {} for name, is_on in flags.items() if is_on}
    if levels:
        asked["levels"] = {"clip": clip}
    if saturation != 1:
        asked["saturation"] = {"by": saturation}
    if upscale != 1:
        asked["upscale"] = {"by": upscale}
    if sharpen != 0:
        asked["sharpen"] = {"amount": sharpen, "radius": radius}
    for name, options in asked.items():
        image = _STEPS[name](image, **options)
    return image


def tune(
    pictures: Iterable[Any],
    *,
    sample: int = 20,
    side: int = 512,
) -> "pd.DataFrame":
    """Which options of which function mend your own pictures best, measured on a damaged sample.

    pictures: arrays (H, W, 3) uint8, encoded bytes, or rows with one of these as `image`; they are
    taken for clean. Of the first `sample` of them, a middle of at most side x side pixels is
    damaged in four ways: noise of sigma 20, blur of sigma 1.2, half the size, a cast with a veil.
    For each damage a small grid of options is tried.
    Returns one row per damage, function and options: mean PSNR (dB) and SSIM (Wang 2004) beside the
    clean pictures, what they gain over doing nothing, CPU milliseconds per megapixel, and which is
    `best` by each.
    Raises ValueError where there is no picture.

    >>> table = tune([np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)])
    >>> sorted(set(table["damage"]))
    ['blur', 'cast', 'half size', 'noise']
    """
    # It stands on this module.
    from imgprep.picture import tuning

    return tuning.table_of(pictures, sample=sample, side=side)


def _check_number(
    name: str,
    value: object,
    low: float,
    high: float,
) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        is_right = low <= value <= high
    else:
        is_right = False
    if not is_right:
        raise ValueError(f"{name} must be a number from {low} to {high}, not {value!r}")
