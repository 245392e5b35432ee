"""What all models have in common: checked when named, loaded when first used, asked by windows."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from imgprep.models import nets
from imgprep.models.spec import spec_from

SEGMENTERS = {"classes": "Semantic", "objects": "Instances"}
# The largest square that a model without a size of its own is given at once.
LARGEST = 2048
# For threads that come first together.
_loading = threading.RLock()


class Model:
    """A model, checked when it is named, loaded when it is first used.

    radius: what `overlap` lets it look around.
    """

    gives = ""
    activation = ""
    # One per worker.
    once = True
    # Raise it when the same model gives other pixels.
    version = 1

    def __init__(
        self,
        model: str,
        window: int | None,
        overlap: int | None,
        batch: int,
        threshold: float,
    ):
        # The order of attributes is in the keys of results, so it stays.
        self.spec = nets.spec_of(model)
        self.model = model
        self.threshold = threshold
        self._check_kind()
        self.window = self._window(window)
        # Does it always get exactly `window`?
        self.padded = bool(window or self.spec.window)
        if type(batch) is not int or batch < 1:
            raise ValueError(f"batch is a number of pictures, not {batch!r}")
        self.batch = self.spec.batch or batch
        self.overlap = _overlap(overlap, min(self.window))
        self.radius = self.overlap // 2
        self.least_wh = (0, 0)
        self.tile_wh = (LARGEST // 2, LARGEST // 2)
        if self.padded:
            width, height = self.window
            self.least_wh = self.window
            # With its halo a tile is a window.
            shared = 2 * self.radius
            self.tile_wh = (width - shared, height - shared)

    def _window(self, side: int | None) -> tuple[int, int]:
        own = self.spec.window
        if side is None:
            return own or (LARGEST, LARGEST)
        if self.spec.fixed and own and own != (side, side):
            told = f"takes pictures of {own[0]} x {own[1]} pixels only"
            raise ValueError(f"{self.model} {told}: leave out window")
        return side, side

    def _check_kind(self) -> None:
        if self.gives not in self.spec.gives:
            first = self.spec.gives[0]
            raise ValueError(f"{self.model} gives {first}: take models.{SEGMENTERS[first]}")

    def scaling_told(self, dtype: str) -> str:
        """What is done to the numbers of a picture before the model sees them, in words."""
        if dtype != "uint8":
            return f"{self.model}: pictures of {dtype} go in as they are"
        return f"{self.model}: pictures of 8 bits are {self.spec.scaling_told()}"

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a worker, and what a result depends on: plain values."""
        state = dict(vars(self))
        state.pop("_net", None)
        # It stands with the spec, where it stood before there were specs.
        state.pop("activation", None)
        spec = state.get("spec")
        if spec is not None and not isinstance(spec, dict):
            state["spec"] = spec.plain() | self._asked()
        return state

    def _asked(self) -> dict[str, Any]:
        """How the model is asked: what its spec cannot know."""
        return {"wanted": self.gives}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        plain = state.get("spec")
        if isinstance(plain, dict):
            self.spec = spec_from(plain)
            self.activation = plain.get("activation", "")

    def _run(self, tiles: Sequence[np.ndarray]) -> list[Any]:
        """The model's answer for each tile, none larger than the window."""
        with _loading:
            if not hasattr(self, "_net"):
                self._net = nets.load_net(
                    self.spec, self.gives, threshold=self.threshold, activation=self.activation
                )
        found: dict[int, Any] = {}
        for some in self._batches(tiles):
            stack = np.stack([self._padded(tiles[i]) for i in some])
            if stack.dtype.kind == "f":
                # One NaN would make NaN of all that the network sees together.
                stack = np.nan_to_num(stack, copy=False, nan=0)
            answers = self._net(stack)
            found |= dict(zip(some, answers, strict=True))
        return [found[i] for i in range(len(tiles))]

    def _batches(self, tiles: Sequence[np.ndarray]) -> Iterator[list[int]]:
        """Numbers of tiles that go through together: those of equal size."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for i, tile in enumerate(tiles):
            alike.setdefault(tile.shape, []).append(i)
        for shape, same in alike.items():
            self._check_bands(shape)
            for at in range(0, len(same), self.batch):
                yield same[at : at + self.batch]

    def _check_bands(self, shape: tuple[int, ...]) -> None:
        bands = self.spec.bands
        has = shape[2] if len(shape) == 3 else 1
        if len(shape) != 3 or (bands and bands != has):
            raise ValueError(f"{self.model} takes {bands} bands, this picture has {has}")

    def _padded(self, tile: np.ndarray) -> np.ndarray:
        """Mirrored at its right and lower edge, where the model always gets a window."""
        if not self.padded:
            return tile
        width, height = self.window
        right = max(0, width - tile.shape[1])
        below = max(0, height - tile.shape[0])
        margins = (0, below), (0, right), (0, 0)
        return np.pad(tile, margins, "symmetric")


def _overlap(overlap: int | None, side: int) -> int:
    if overlap is None:
        return side // 8
    if type(overlap) is not int or not 0 <= overlap < side:
        told = f"from 0 to less than the window, {side} pixels"
        raise ValueError(f"overlap is {told}, not {overlap!r}")
    return overlap
