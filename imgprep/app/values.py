"""What values a parameter may have beside its type: told by its name, which means one thing here.

A stage would refuse the same values, but only when the steps before it are done. A rule holds for
parameters whose default keeps it: a notebook of your own may mean something else by a name.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imgprep.app.parameters import Parameter


@dataclass(frozen=True)
class Rule:
    """holds: is a value right? says: what is; example: a right one. None is left to the type."""

    holds: Callable[[Any], bool]
    says: str
    example: Any


def _in_range(
    least: float, most: float = math.inf, *, open_end: bool = False
) -> Callable[..., bool]:
    def holds(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            return False
        return least <= value <= most and not (open_end and value == least)

    return holds


def _all_in_range(count: int, least: float) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        return isinstance(value, list) and len(value) == count and all(map(_in_range(least), value))

    return holds


def _each_in_range(least: float) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        is_list = isinstance(value, list) and len(value) > 0
        return is_list and all(map(_in_range(least), value))

    return holds


def _sides_hold(value: Any) -> bool:
    return isinstance(value, list) and all(map(_in_range(2), value))


def _one_of(*words: Any) -> Rule:
    says = " or ".join([", ".join(map(repr, words[:-1])), repr(words[-1])])
    return Rule(lambda value: value in words, says, words[0])


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_licence(value: Any) -> bool:
    from imgprep.stages.publish.licences import LICENCES  # slow to import, and seldom given

    return value in LICENCES


COUNT = Rule(_in_range(1), "a whole number of at least 1", 100)
NOT_NEGATIVE = Rule(_in_range(0), "a number of at least 0", 0)
SIDES = Rule(_all_in_range(2, 1), "width and height, two whole numbers of at least 1", [256, 256])
SECONDS = Rule(_in_range(0, open_end=True), "a number of seconds above 0", 10)

RULES = {
    "attempts": Rule(_in_range(1), COUNT.says, 3),
    "batch_size": Rule(_in_range(1), COUNT.says, 10_000),
    "channels": Rule(_each_in_range(0), "a list of numbers from 0", [0, 2]),
    "clip": Rule(_in_range(0, 10), "a percentage from 0 to 10", 0.5),
    "connectivity": _one_of(8, 4),
    "codec": _one_of("h264", "av1"),
    "copies": NOT_NEGATIVE,
    "engine": _one_of("auto", "ray", "local"),
    "fill": Rule(_in_range(0, 255), "a grey level from 0 to 255", 255),
    "form": _one_of("coco", "voc", "yolo", "labelme"),
    "format": _one_of("PNG", "WEBP", "JPEG"),
    "frames": _one_of("first", "all"),
    "halo": NOT_NEGATIVE,
    "iou": Rule(_in_range(0, 1, open_end=True), "a share above 0 and up to 1", 0.5),
    "licence": Rule(_is_licence, "an id of the Hub's list of licences", "cc-by-4.0"),
    "limit": COUNT,
    "max_bytes": Rule(_in_range(1), COUNT.says, 50_000_000),
    "max_disk_gb": Rule(_in_range(0, open_end=True), "a number of GiB above 0", 100),
    "max_failed": Rule(_in_range(0, 1), "a share of the rows, from 0 to 1", 0.5),
    "max_frames": COUNT,
    "max_pixels": Rule(_in_range(1), COUNT.says, 100_000_000),
    "max_side": COUNT,
    "min_area": NOT_NEGATIVE,
    "min_score": Rule(_in_range(0, 1), "a score from 0 to 1", 0.5),
    "names": _one_of("content", "picture"),
    "overlap": NOT_NEGATIVE,
    "plane": NOT_NEGATIVE,
    "pair_px": Rule(_in_range(1), COUNT.says, 256),
    "per_host": Rule(_in_range(1), COUNT.says, 8),
    "prices": Rule(_all_in_range(2, 0), "two prices of at least 0, in and out", [0.075, 0.3]),
    "radius": Rule(_in_range(0, 50), "a number of pixels from 0 to 50", 1.2),
    "repo_id": Rule(
        _matches(r"|[\w.-]+/[\w.-]+"), "owner/name, as the Hub writes it", "you/pictures"
    ),
    "row": NOT_NEGATIVE,
    "sample_rows": COUNT,
    "saturation": Rule(_in_range(0, 5), "a number from 0 to 5", 1.2),
    "scenes": Rule(_in_range(0, 1, open_end=True), "a share above 0 and up to 1", 0.1),
    "sharpen": Rule(_in_range(0, 5), "a number from 0 to 5", 1),
    "sides": Rule(_sides_hold, "a list of shorter sides of at least 2 pixels", [360, 720]),
    "threshold": Rule(_in_range(0, 1), "a score from 0 to 1", 0.3),
    "thumbnail_side": Rule(_in_range(1), COUNT.says, 256),
    "tune_sample": NOT_NEGATIVE,
    "upscale": Rule(_in_range(1, 4), "a number from 1 to 4", 2),
    "vision_max_bytes": Rule(_in_range(1), COUNT.says, 5_000_000),
    "vision_max_side": Rule(_in_range(1), COUNT.says, 1568),
    "workers": Rule(_in_range(0), "a number of processes; 0 computes without any other", 4),
}
ENDINGS = {"_wh": SIDES, "_s": SECONDS}


def check_value(parameter: Parameter, value: Any, shown: str) -> None:
    """ValueError, with an example of what is right, for a value that no step can take.

    shown: the parameter's name as it is given, "size_wh" or "ocr.size_wh".
    """
    rule = _rule(parameter.name)
    if rule is None or value is None:
        return
    keeps_it = parameter.default is None or rule.holds(parameter.default)
    if not keeps_it or rule.holds(value):
        return
    right = f"it is {rule.says}, for example {shown}={_as_typed(rule.example)}"
    raise ValueError(f"parameter {shown}={_as_typed(value)}: {right}")


def _as_typed(value: Any) -> str:
    """A value as one gives it on a command line: 50 and not 50.0, [256,256] without spaces."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{','.join(map(_as_typed, value))}]"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _rule(name: str) -> Rule | None:
    if name in RULES:
        return RULES[name]
    return next((rule for ending, rule in ENDINGS.items() if name.endswith(ending)), None)
