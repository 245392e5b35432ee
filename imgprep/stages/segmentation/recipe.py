"""All that decides what comes of a picture, checked before any work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imgprep.stages.segmentation import chain
from imgprep.tiles import windows

TILE_WH = (1024, 1024)
LEAST_TILE = 64
# What the numbers of a truth are.
TRUTHS = ("objects", "classes")
# Of an operator without a bound, where the call names none.
UNBOUNDED_HALO = 128


@dataclass(frozen=True)
class Recipe:
    """The operator, its tiles, and what is made of its mask."""

    operator: Any
    tile_wh: tuple[int, int]
    halo: int
    connectivity: int
    min_area: int
    fill_holes: bool
    objects: bool
    blend: str = "crop"
    truth_of: str = "objects"

    @property
    def least_wh(self) -> tuple[int, int]:
        """A model may take no less."""
        return getattr(self.operator, "least_wh", (0, 0))

    @property
    def own_labels(self) -> bool:
        return bool(getattr(self.operator, "instances", False))

    @property
    def two_pass(self) -> bool:
        return chain.is_two_pass(self.operator)

    @property
    def has_labels(self) -> bool:
        """Does anything ask which pixels are one object?"""
        return self.objects or self.min_area > 0

    @property
    def hole_connectivity(self) -> int:
        """What separates objects must not be connected across their corners."""
        return 12 - self.connectivity


def checked_recipe(
    operator: Any,
    *,
    tile_wh: Any,
    halo: Any,
    approximate: bool,
    blend: str,
    connectivity: Any,
    min_area: Any,
    fill_holes: bool,
    objects: bool,
    truth_of: str,
) -> Recipe:
    """The recipe of these options; ValueError for one that is wrong, or would change the mask."""
    step = chain.operator_of(operator)
    chain.check_steps(step)
    sides = _tile(getattr(step, "tile_wh", TILE_WH) if tile_wh is None else tile_wh)
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity is 4 or 8, not {connectivity!r}")
    if isinstance(min_area, bool) or not isinstance(min_area, int) or min_area < 0:
        raise ValueError(f"min_area is a number of pixels, not {min_area!r}")
    if truth_of not in TRUTHS:
        known = " or ".join(map(repr, TRUTHS))
        raise ValueError(f"truth_of is {known}, not {truth_of!r}")
    reach = _halo(step, halo, sides, approximate)
    recipe = Recipe(
        step,
        sides,
        reach,
        connectivity,
        min_area,
        fill_holes,
        objects,
        blend,
        truth_of,
    )
    if fill_holes and recipe.own_labels:
        raise ValueError("fill_holes is for masks: this operator gives objects of its own")
    _check_blend(recipe)
    return recipe


def _tile(value: Any) -> tuple[int, int]:
    is_pair = isinstance(value, list | tuple) and [type(v) for v in value] == [int, int]
    if not is_pair or min(value) < LEAST_TILE:
        told = f"[width, height] of a tile in pixels, at least {LEAST_TILE}"
        raise ValueError(f"tile_wh is {told}, not {value!r}")
    width, height = value
    return width, height


def _halo(operator: Callable, halo: Any, tile_wh: tuple[int, int], approximate: bool) -> int:
    """How far a tile reads beyond itself.

    ValueError where the whole picture's answer is another.
    """
    if halo is not None and (type(halo) is not int or halo < 0):
        raise ValueError(f"halo is a number of pixels, not {halo!r}")
    name = chain.operator_name(operator)
    radius = getattr(operator, "radius", halo)
    if radius is None and not hasattr(operator, "radius"):
        what = "how far a pixel's answer depends on others"
        fix = f"set {name}.radius = 0 (or the pixels), or give halo"
        raise ValueError(f"{name} does not state {what}: {fix}")
    if radius is None and not approximate:
        what = "looks without a bound, so tiles change its result"
        raise ValueError(f"{name} {what}: approximate=True accepts that")
    if halo is not None and radius is not None and halo < radius and not approximate:
        what = f"looks {radius} pixels around, halo={halo} would change its result"
        fix = "leave halo out, or say approximate=True"
        raise ValueError(f"{name} {what} at the tiles' borders: {fix}")
    found = _stated(halo, radius, UNBOUNDED_HALO)
    if getattr(operator, "instances", False):
        # What both sides of a border see says which objects are one.
        found = max(found, 1)
    if found > min(tile_wh):
        fix = f"make tile_wh {list(tile_wh)} larger"
        raise ValueError(f"a halo of {found} pixels is more than a tile: {fix}")
    return found


def _stated(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _check_blend(recipe: Recipe) -> None:
    if recipe.blend not in windows.BLENDS:
        known = ", ".join(map(repr, windows.BLENDS))
        raise ValueError(f"blend is {known}, not {recipe.blend!r}")
    if recipe.blend == "crop":
        return
    told = f"blend={recipe.blend!r} weighs probabilities"
    operator = recipe.operator
    gives = getattr(operator, "has_probabilities", not isinstance(operator, chain.BUILT_IN))
    if recipe.own_labels or not gives:
        raise ValueError(f"{told}, {chain.operator_name(operator)} gives none")
    if not recipe.halo:
        fix = "give halo, half of what they are to share"
        raise ValueError(f"{told} where tiles overlap: {fix}")
