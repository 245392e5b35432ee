"""Damages a sample of clean pictures, mends it in several ways, and says how close each came."""

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy import ndarray

from imgprep.picture import codec, enhance

NOISE_SIGMA = 20
BLUR_SIGMA = 1.2
# A warm light, and a veil over all.
CAST_GAINS = np.array([0.70, 0.58, 0.42])
CAST_LIFT = np.array([60, 45, 30])

# Of SSIM, as its authors have them: for levels from 0 to 255.
WINDOW_SIGMA = 1.5
BORDER = 5
STABLE_MEAN, STABLE_SPREAD = (0.01 * 255) ** 2, (0.03 * 255) ** 2

Mend = Callable[[ndarray], ndarray]


class Try(NamedTuple):
    """One way to mend a damage. mend: takes the damaged picture."""

    function: str
    options: dict[str, Any]
    mend: Mend


def add_noise(image: ndarray) -> ndarray:
    """Gaussian, the same on every run."""
    noise = np.random.default_rng(0).normal(0, NOISE_SIGMA, image.shape)
    return (image + noise).round().clip(0, 255).astype(np.uint8)


def add_blur(image: ndarray) -> ndarray:
    return cv2.GaussianBlur(image, (0, 0), BLUR_SIGMA)


def halve(image: ndarray) -> ndarray:
    height, width = image.shape[:2]
    return cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def add_cast(image: ndarray) -> ndarray:
    cast: ndarray = image * CAST_GAINS + CAST_LIFT
    return cast.round().clip(0, 255).astype(np.uint8)


def _enlarged(image: ndarray, method: int) -> ndarray:
    height, width = image.shape[:2]
    return cv2.resize(image, (2 * width, 2 * height), interpolation=method)


def _linear(image: ndarray) -> ndarray:
    return _enlarged(image, cv2.INTER_LINEAR)


def _cubic(image: ndarray) -> ndarray:
    return _enlarged(image, cv2.INTER_CUBIC)


def _as_it_is(image: ndarray) -> ndarray:
    return image


def _with(function: Callable[..., ndarray], **options: Any) -> Try:
    def mend(image: ndarray) -> ndarray:
        return function(image, **options)

    return Try(function.__name__, options, mend)


class Damage(NamedTuple):
    """name, what does it, and the ways to mend it; the first is to do nothing."""

    name: str
    make: Mend
    tries: list[Try]


def damages() -> list[Damage]:
    """The four damages, and the grid of each."""
    nothing = Try("nothing", {}, _as_it_is)
    auto = _with(enhance.auto)
    denoised = _with(enhance.denoise)
    unsharp = []
    for radius in (0.8, 1.2, 2.0):
        for amount in (0.5, 1.0, 2.0, 3.0):
            unsharp.append(_with(enhance.sharpen, amount=amount, radius=radius))
    enlarged = [
        Try("linear", {}, _linear),
        Try("cubic", {}, _cubic),
        _with(enhance.upscale, by=2),
    ]
    balanced = [_with(enhance.levels, clip=clip) for clip in (0.0, 0.1, 0.5, 2.0)]
    balanced.append(_with(enhance.white_balance))
    return [
        Damage("noise", add_noise, [nothing, denoised, auto]),
        Damage("blur", add_blur, [nothing, *unsharp, auto]),
        Damage("half size", halve, enlarged),
        Damage("cast", add_cast, [nothing, *balanced, auto]),
    ]


def table_of(
    pictures: Iterable[Any],
    *,
    sample: int,
    side: int,
) -> pd.DataFrame:
    """As `enhance.tune` says."""
    cleans = []
    for one in islice(pictures, sample):
        clean = _middle(_pixels(one), side)
        if clean.size:
            cleans.append(clean)
    if not cleans:
        raise ValueError("there is no picture to try the options on")
    rows = []
    for damage in damages():
        damaged = [damage.make(clean) for clean in cleans]
        for one in damage.tries:
            row = {"damage": damage.name}
            rows.append(row | _tried(one, damaged, cleans))
    table = pd.DataFrame(rows)
    for measure in ("psnr", "ssim"):
        by_damage = table.groupby("damage")[measure]
        table[f"{measure}_gained"] = table[measure] - by_damage.transform("first")
        table[f"best_{measure}"] = table[measure] == by_damage.transform("max")
    return table


def _tried(
    one: Try,
    damaged: list[ndarray],
    cleans: list[ndarray],
) -> dict[str, Any]:
    """The means of a way over the sample."""
    started = time.process_time()
    mended = [one.mend(image) for image in damaged]
    seconds = time.process_time() - started
    pairs = list(zip(mended, cleans, strict=True))
    values = sum(image.size for image in mended)
    megapixels = values / 3 / 1e6
    words = [f"{name}={value}" for name, value in one.options.items()]
    decibels = [psnr(image, clean) for image, clean in pairs]
    likeness = [ssim(image, clean) for image, clean in pairs]
    return {
        "function": one.function,
        "options": ", ".join(words),
        "psnr": float(np.mean(decibels)),
        "ssim": float(np.mean(likeness)),
        "ms_per_megapixel": 1000 * seconds / megapixels,
    }


def _pixels(one: Any) -> ndarray:
    """Of an array, encoded bytes, or a row with one of these."""
    if isinstance(one, dict):
        one = one.get("image", one.get("bytes"))
        if isinstance(one, dict):
            one = one.get("bytes")
    if isinstance(one, bytes | bytearray):
        return codec.decode(bytes(one))
    image = np.asarray(one)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        must = "a picture is an array (H, W, 3) of uint8, or encoded bytes"
        raise ValueError(f"{must}, not {type(one).__name__} {image.shape} {image.dtype}")
    return image


def _middle(image: ndarray, side: int) -> ndarray:
    """At most side x side pixels, an even number each way: at full size, where details are."""
    height = min(image.shape[0], side) // 2 * 2
    width = min(image.shape[1], side) // 2 * 2
    top = (image.shape[0] - height) // 2
    left = (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def psnr(image: ndarray, clean: ndarray) -> float:
    """Peak signal-to-noise ratio in dB, of all channels; 99 where they are equal."""
    error = np.mean((image.astype(np.float64) - clean) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else 99.0


def ssim(image: ndarray, clean: ndarray) -> float:
    """Structural similarity of the luma (Wang, Bovik, Sheikh & Simoncelli 2004), -1 to 1."""
    one = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    other = cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY).astype(np.float64)
    mean_one = _local_mean(one)
    mean_other = _local_mean(other)
    squares = mean_one**2 + mean_other**2
    product = mean_one * mean_other
    spread = _local_mean(one * one + other * other) - squares
    shared = _local_mean(one * other) - product
    means = (2 * product + STABLE_MEAN) / (squares + STABLE_MEAN)
    spreads = (2 * shared + STABLE_SPREAD) / (spread + STABLE_SPREAD)
    found = means * spreads
    # As its authors: only where the window lies in the picture.
    if min(found.shape) > 2 * BORDER:
        found = found[BORDER:-BORDER, BORDER:-BORDER]
    return float(found.mean())


def _local_mean(values: ndarray) -> ndarray:
    """In a window of 11 x 11."""
    return cv2.GaussianBlur(values, (11, 11), WINDOW_SIGMA, borderType=cv2.BORDER_REFLECT)
