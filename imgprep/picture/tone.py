"""The tone of a picture: plain measures of its light and colour, and words for them.

Not what a viewer feels.

Colourfulness: Hasler and Suesstrunk 2003. Contrast: RMS of lightness, Peli 1990. Warmth: the share
of colour in red to yellow less that in cyan to violet; greens are neither, since b* alone calls
grass warm.
"""

from typing import Any

import cv2
import numpy as np

TONE_SIDE = 256
SOURCE, VERSION = "measured", "1"
TONE_WORDS = (
    "low key",
    "high key",
    "soft contrast",
    "hard contrast",
    "black and white",
    "nearly colourless",
    "vivid",
    "muted",
    "warm",
    "cool",
    "one hue",
    "smooth",
    "busy",
)
TONE_MEASURES = (
    "colourfulness",
    "key",
    "contrast",
    "warmth",
    "chroma",
    "one_hue",
    "dark",
    "bright",
    "detail",
)


def measure_tone(image: np.ndarray) -> dict[str, float]:
    """TONE_MEASURES of one (H, W, 3) uint8 picture.

    colourfulness 0 to about 150; key (median), contrast (deviation) and detail in L* of 100; chroma
    (mean); warmth -1 to 1; one_hue: share of the colour in the commonest 30 degrees; dark, bright:
    share of pixels below 15, above 95.
    """
    height, width = image.shape[:2]
    scale = min(1, TONE_SIDE / max(height, width))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    light, chroma = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    warm = chroma[(hue < 95) | (hue > 340)].sum()
    cool = chroma[(hue > 170) & (hue < 310)].sum()
    coloured = chroma > 12
    hues = np.bincount((hue[coloured] // 30).astype(int) % 12, chroma[coloured], 12)
    blurred = cv2.GaussianBlur(light, (0, 0), 2)
    return {
        "colourfulness": round(_colourfulness(small), 1),
        "key": round(float(np.median(light)), 1),
        "contrast": round(float(light.std()), 1),
        "warmth": round(float((warm - cool) / (chroma.sum() + 1e-6)), 2),
        "chroma": round(float(chroma.mean()), 1),
        "one_hue": round(float(hues.max() / (hues.sum() + 1e-6)), 2),
        "dark": round(float((light < 15).mean()), 2),
        "bright": round(float((light > 95).mean()), 2),
        "detail": round(float(np.abs(light - blurred).mean()), 2),
    }


def _colourfulness(image: np.ndarray) -> float:
    red, green, blue = (image[..., band].astype(np.float32) for band in range(3))
    red_green = red - green
    yellow_blue = (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def tone_words(measured: dict[str, float]) -> list[str]:
    """The TONE_WORDS that `measure_tone` speaks for."""
    chroma, key = measured["chroma"], measured["key"]
    conditions = {
        "low key": measured["dark"] > 0.55 or key < 22,
        "high key": measured["dark"] <= 0.55 and key > 78,
        "soft contrast": measured["contrast"] < 12,
        "hard contrast": measured["contrast"] > 30,
        "black and white": chroma < 1.5,
        "nearly colourless": 1.5 <= chroma < 4,
        "vivid": chroma >= 4 and measured["colourfulness"] > 75,
        "muted": chroma >= 4 and measured["colourfulness"] < 28,
        "warm": chroma >= 5 and measured["warmth"] > 0.75,
        "cool": chroma >= 5 and measured["warmth"] < -0.4,
        "one hue": chroma >= 8 and measured["one_hue"] > 0.72,
        "smooth": measured["detail"] < 0.9,
        "busy": measured["detail"] > 4.5,
    }
    return [word for word in TONE_WORDS if conditions[word]]


def tone_tags(image: np.ndarray) -> list[dict[str, Any]]:
    """The words of a picture as entries of the column `tags`."""
    return named_tones(measure_tone(image))


def named_tones(measured: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "kind": "tone",
            "name": word,
            "score": 1.0,
            "source": SOURCE,
            "version": VERSION,
            "evidence": "",
        }
        for word in tone_words(measured)
    ]
