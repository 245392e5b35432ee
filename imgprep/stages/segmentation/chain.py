"""What words, numbers and lists mean as operators, and several operators as one."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgprep.stages.segmentation.built import Built
from imgprep.stages.segmentation.filters import OF_MASKS_ONLY, STEPS, Filter, Watershed
from imgprep.stages.segmentation.threshold import METHODS, Threshold

NUMBER_WORD = r"-?\d+(\.\d+)?(e-?\d+)?"
SIDE_WORDS = ("dark", "bright")


def operator_of(operator: Any) -> Any:
    """The operator that a number, words ("otsu", "128 bright",
    "median 5"), a list or a callable mean.

    ValueError, with the words there are, for anything else.
    """
    if isinstance(operator, list | tuple):
        return Chain(tuple(operator_of(step) for step in operator))
    if isinstance(operator, type):
        return Built(operator)
    if callable(operator):
        return operator
    words = str(operator).strip()
    found = _threshold(words) or _filter_step(words)
    if found is not None:
        return found
    if _is_model(words):
        from imgprep import models

        return models.named(words)
    known = [
        f"NUMBER, {', '.join(METHODS)} (each also with {' or '.join(SIDE_WORDS)})",
        *(f"{name} SIZE" for name in STEPS),
    ]
    more = "FILE.onnx, OWNER/MODEL, functions, lists of these"
    raise ValueError(f"no operator {operator!r}; there are: {', '.join(known)}, {more}")


def _is_model(words: str) -> bool:
    """A file of a network, or of weights (that is told there), a folder, a name on the Hub?"""
    return bool(re.fullmatch(r".+\.(onnx|pt|pth|ckpt|safetensors)|\S+/\S+", words, re.IGNORECASE))


def _threshold(words: str) -> Threshold | None:
    name, _, side = words.partition(" ")
    if side not in ("", *SIDE_WORDS):
        return None
    if name in METHODS:
        return Threshold(name, side or "dark")
    if re.fullmatch(NUMBER_WORD, name):
        return Threshold(float(name), side or "dark")
    return None


def _filter_step(words: str) -> Any:
    name, _, size = words.partition(" ")
    if name in STEPS and re.fullmatch(r"\d+(\.\d+)?", size):
        return STEPS[name](float(size))
    return None


def operator_name(operator: Callable) -> str:
    return getattr(operator, "__name__", type(operator).__name__)


def steps_of(operator: Callable) -> tuple:
    return operator.steps if isinstance(operator, Chain) else (operator,)


def check_steps(operator: Callable) -> None:
    """ValueError for a step of ours on what it is not made for. Of other functions nobody knows."""
    kind = "picture"
    before = ""
    for step in steps_of(operator):
        name = operator_name(step)
        if kind == "objects":
            raise ValueError(f"{before} gives objects: no step can follow it, {name} does")
        if _is_for_masks(step) and kind == "picture":
            told = f"{before} gives a picture" if before else "this is a picture"
            fix = f"put a threshold before it, as in ['otsu', {name!r}]"
            raise ValueError(f"{name} is for masks, and {told}: {fix}")
        if getattr(step, "instances", False):
            kind = "objects"
        elif not isinstance(step, Filter):
            kind = "mask"
        before = name
    if kind == "picture":
        fix = f"put a threshold behind it, as in [{before!r}, 'otsu']"
        raise ValueError(f"{before} gives a picture and no mask: {fix}")


def _is_for_masks(step: Any) -> bool:
    if isinstance(step, Filter):
        return step.name in OF_MASKS_ONLY
    return isinstance(step, Watershed)


def is_two_pass(operator: Callable) -> bool:
    return hasattr(operator, "choose") and getattr(operator, "two_pass", True)


def is_of_package(operator: Callable) -> bool:
    """Do all of its steps come with this package? They leave their tile as it is."""
    kinds = [step.cls if isinstance(step, Built) else type(step) for step in steps_of(operator)]
    return all(kind.__module__.startswith("imgprep.") for kind in kinds)


def known_cut(operator: Callable) -> float | None:
    """The number of a threshold that was given one."""
    for step in steps_of(operator):
        if isinstance(step, Threshold) and isinstance(step.method, int | float):
            return step.method
    return None


def own(operator: Callable, tile: np.ndarray) -> np.ndarray:
    """The tile as an operator may have it.

    Somebody's function may write into it, and its neighbours see it, too.
    """
    return tile if is_of_package(operator) else tile.copy()


@dataclass(frozen=True)
class Chain:
    """Steps one after another; at most one of them has two passes. Its radius is their sum."""

    steps: tuple

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError("an operator needs at least one step")
        if sum(hasattr(step, "choose") for step in self.steps) > 1:
            told = "only one step can decide over the whole picture"
            raise ValueError(f"{told}: leave one threshold out")
        for step in self.steps:
            if not hasattr(step, "radius"):
                name = operator_name(step)
                told = f"set {name}.radius = 0, or the pixels it looks around"
                raise ValueError(f"{name} does not state its radius: {told}")

    @property
    def __name__(self) -> str:
        return ", ".join(map(operator_name, self.steps))

    @property
    def radius(self) -> int | None:
        radii = [step.radius for step in self.steps]
        return None if None in radii else sum(radii)

    @property
    def instances(self) -> bool:
        return getattr(self.steps[-1], "instances", False)

    @property
    def once(self) -> bool:
        return any(getattr(step, "once", False) for step in self.steps)

    @property
    def two_pass(self) -> bool:
        return self._at >= 0 and is_two_pass(self.steps[self._at])

    @property
    def stats_radius(self) -> int:
        # Only those before it: what comes after looks at the mask.
        before = self.steps[: max(self._at, 0)]
        return sum(step.radius or 0 for step in before)

    @property
    def _at(self) -> int:
        """Which step decides over the whole picture; -1 for none."""
        for n, step in enumerate(self.steps):
            if hasattr(step, "choose"):
                return n
        return -1

    def stats(self, tile: np.ndarray, inner: tuple[slice, slice], valid: np.ndarray | None) -> Any:
        for step in self.steps[: self._at]:
            tile = step(tile)
        return self.steps[self._at].stats(tile, inner, valid)

    def merge(self, a: Any, b: Any) -> Any:
        return self.steps[self._at].merge(a, b)

    def histogram(self, stats: Any) -> Any:
        step = self.steps[self._at]
        return step.histogram(stats) if hasattr(step, "histogram") else None

    def choose(self, stats: Any) -> Any:
        return self.steps[self._at].choose(stats)

    def __call__(self, tile: np.ndarray, chosen: Any = None) -> np.ndarray:
        decides = self._at if self.two_pass else -1
        for n, step in enumerate(self.steps):
            tile = step(tile, chosen) if n == decides else step(tile)
        return tile


BUILT_IN = (Threshold, Filter, Watershed, Chain)
