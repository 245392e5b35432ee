"""What a size of a picture is: how long its sides, how many its bytes, which its format."""

import re
from dataclasses import dataclass, fields
from typing import Any

from imgprep.picture import budget
from imgprep.resume.options import check_known

# What a config may be called: no word of ours.
SIZE_NAME = re.compile(
    r"(?!(original|failures|metadata|index|data|default|all)$)[a-z][a-z0-9_]{0,39}"
)
SIZE_FORMATS = ("JPEG", "WEBP", "PNG")
PASSED = ("JPEG", "MPO", "PNG", "WEBP")  # what browsers show and vision models read
COPIED = "augmented"  # the size of the copies
SizeHeader = tuple[int, int, str]  # width and height as displayed, format


@dataclass(frozen=True)
class Size:
    """max_side: of the longest side, in pixels. max_bytes: of the file. None: no limit.

    format: None keeps that of a picture that fits, and is JPEG else. quality: the highest.
    """

    max_side: int | None = None
    max_bytes: int | None = None
    format: str | None = None
    quality: int = 95

    @staticmethod
    def of(name: str, given: dict[str, Any]) -> "Size":
        """What somebody asked for under this name. ValueError for what no picture can have."""
        if not SIZE_NAME.fullmatch(str(name)):
            told = "use small letters, digits and _, and no word of ours"
            raise ValueError(f"{name!r} cannot name a size: {told}")
        what = f"sizes[{name!r}]"
        check_known(what, given, [field.name for field in fields(Size)])
        for key in ("max_side", "max_bytes", "quality"):
            value = given.get(key)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{what}: {key} is a whole number above 0, not {value!r}")
        is_format = given.get("format") in (None, *SIZE_FORMATS)
        if not is_format or (given.get("quality") or 1) > 100:
            told = "format is JPEG, WEBP or PNG, and quality at most 100"
            raise ValueError(f"{what}: {told}, not {given!r}")
        if given.get("format") == "PNG" and given.get("max_bytes"):
            fix = "leave max_bytes out, or take JPEG or WEBP"
            raise ValueError(f"{what}: a PNG has no quality to lower: {fix}")
        return Size(**{key: value for key, value in given.items() if value is not None})

    def fits(self, header: SizeHeader, nbytes: int) -> bool:
        """Is a picture of so many bytes of this size already?"""
        width, height, format = header
        if self.max_side is not None and max(width, height) > self.max_side:
            return False
        if self.max_bytes is not None and nbytes > self.max_bytes:
            return False
        return format == self.format if self.format else format in PASSED


def sizes_of(
    vision: str | None,
    limits: dict[str, int | None],
    thumbnail_side: int | None,
    named: Any,
    *,
    with_copies: bool,
) -> dict[str, Size]:
    """Every size but the original. limits: that stand in for those of the vision size."""
    wanted: dict[str, dict[str, Any]] = {}
    if vision is not None:
        wanted["vision"] = _limits_of(vision) | {k: v for k, v in limits.items() if v is not None}
    if thumbnail_side is not None:
        wanted["thumbnail"] = {"max_side": thumbnail_side, "quality": 85}
    if not isinstance(named, dict) or not all(isinstance(size, dict) for size in named.values()):
        raise ValueError(f"sizes is {{name: {{'max_side': 800, …}}}}, not {named!r}")
    for name, size in named.items():
        # A named size may also change one of ours.
        wanted[name] = wanted.get(name, {}) | size
    if with_copies:
        side = wanted.get("vision", {}).get("max_side")
        wanted[COPIED] = {"max_side": side} | named.get(COPIED, {})
    elif COPIED in wanted:
        told = "the size 'augmented' is of the copies: give augment and copies, or another name"
        raise ValueError(told)
    return {name: Size.of(name, size) for name, size in wanted.items()}


def _limits_of(vision: str) -> dict[str, Any]:
    if vision not in budget.PRESETS:
        known = ", ".join(budget.PRESETS)
        raise ValueError(f"vision is one of {known}, or None, not {vision!r}")
    preset = budget.PRESETS[vision]
    return {"max_side": preset.max_side, "max_bytes": preset.file_bytes}
