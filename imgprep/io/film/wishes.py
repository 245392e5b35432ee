"""What is asked of a film, checked before it is opened."""

from typing import Any

from imgprep.io.film.ladder import LadderWish
from imgprep.io.film.rung import Encoding, check_encoder

USUAL_SIDES = (360, 720, 1080)
USUAL_THUMBNAIL_S = 4.0
USUAL_MAX_HOURS = 24.0
USUAL = {"h264": (23, "veryfast"), "av1": (35, "8")}  # crf, preset
MOST_CRF = {"h264": 51, "av1": 63}


def check_span(name: str, value: Any, told: str, most: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= most:
        raise ValueError(f"{name} is {told}, not {value!r}")


def ladder_wish(
    sides: Any = USUAL_SIDES,
    codec: Any = "h264",
    crf: Any = None,
    preset: Any = None,
    thumbnail_s: float | None = USUAL_THUMBNAIL_S,
    max_hours: float | None = USUAL_MAX_HOURS,
) -> LadderWish:
    """What the options of `transcode` ask for. ValueError for what no ladder can be made of."""
    if codec not in USUAL:
        raise ValueError(f"codec is 'h264' or 'av1', not {codec!r}")
    is_list = isinstance(sides, list | tuple) and bool(sides)
    if not is_list or not all(type(side) is int and side >= 2 for side in sides):
        told = "sides is a list of the renditions' shorter sides in pixels, [360, 720]"
        raise ValueError(f"{told}, not {sides!r}")
    usual_crf, usual_preset = USUAL[codec]
    crf = usual_crf if crf is None else crf
    if type(crf) is not int or not 0 <= crf <= MOST_CRF[codec]:
        raise ValueError(f"crf is a whole number from 0 to {MOST_CRF[codec]}, not {crf!r}")
    if thumbnail_s is not None:
        check_span("thumbnail_s", thumbnail_s, "a number of seconds above 0, or None", 1e9)
    if max_hours is not None:
        check_span("max_hours", max_hours, "a number of hours above 0, or None", 1e9)
    encoding = Encoding(codec, crf, str(usual_preset if preset is None else preset))
    check_encoder(encoding)
    return LadderWish(tuple(sorted(set(sides))), encoding, thumbnail_s, max_hours)
