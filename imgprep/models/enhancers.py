"""Super-resolution: a network that makes a picture larger, of any size, without seams."""

import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from imgprep.models import nets
from imgprep.models.onnx import entrance, full_float, open_session, spec_of_file
from imgprep.tiles import grid, windows

# A side of what a model that takes any size is given at once.
TILE_PX = 256
# That neighbouring tiles share.
OVERLAP_PX = 32
# A side of the picture by which the scale is found.
PROBE_PX = 32
MAX_MADE_PIXELS = 200_000_000
# So far beyond black and white a pixel may lie before it is cut off.
BEYOND = 0.5
_loading_enhancers = threading.RLock()


class Enhancer:
    """Called with a picture (h, w, 3) uint8 it gives the larger one, (h * scale, w * scale, 3).

    model: a file `*.onnx` (N, bands, H, W) -> (N, bands, H * scale, W * scale), of 3 bands, or of
        1: that is given the brightness, and colours are enlarged with it. `scale` is read from
        the model. Pictures go in, and come out, from 0 to 1, or as the file's metadata says
        (rescale_factor, image_mean, image_std).
    tile: side of the squares that are done one by one, for a model that takes any size.
    overlap: what two neighbours share; there they are mixed, so that no seam is seen.
    max_pixels: of the result; ValueError where it would have more.
    Does not sharpen or denoise beyond what the model does. Raises ValueError for a missing extra or
    file, before any work; and for a model that does not enlarge pictures.
    """

    # One per worker.
    once = True
    # Raise it when the same model gives other pixels.
    version = 1

    def __init__(
        self,
        model: str,
        *,
        tile: int = TILE_PX,
        overlap: int = OVERLAP_PX,
        max_pixels: int = MAX_MADE_PIXELS,
    ):
        path = nets.checked_model_path(model)
        if not model.lower().endswith(".onnx"):
            raise ValueError(f"an enhancer is a file *.onnx, not {model!r}")
        self.model = model
        self.spec = spec_of_file(path)
        if self.spec.bands not in (0, 1, 3):
            told = f"{model} takes pictures of {self.spec.bands} bands"
            raise ValueError(f"{told}: an enhancer takes 3, or the brightness alone")
        self.tile_wh = self.spec.window or (tile, tile)
        side = min(self.tile_wh)
        if type(tile) is not int or type(overlap) is not int or not 0 <= overlap < side:
            told = f"from 0 to less than a tile, {side} pixels"
            raise ValueError(f"overlap is {told}, not {overlap!r}")
        self.overlap = overlap
        self.max_pixels = max_pixels

    @property
    def scale(self) -> int:
        """How much larger it makes a picture."""
        return self._loaded().scale

    def __getstate__(self) -> dict[str, Any]:
        # What travels, and what a result depends on.
        return {name: value for name, value in vars(self).items() if name != "_net"}

    def __call__(self, image: np.ndarray | list[np.ndarray]) -> Any:
        if isinstance(image, list):
            return [self._enlarged(one) for one in image]
        return self._enlarged(image)

    def _enlarged(self, image: np.ndarray) -> np.ndarray:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            told = f"{image.dtype} {image.shape}"
            raise ValueError(f"{self.model} takes pictures of uint8 (h, w, 3), not {told}")
        net = self._loaded()
        height, width = (side * net.scale for side in image.shape[:2])
        if width * height > self.max_pixels:
            told = f"{self.model} would make {width:,} x {height:,} pixels"
            raise ValueError(f"{told}, more than max_pixels={self.max_pixels:,}")
        if self.spec.bands != 1:
            return self._tiled(net, image)
        # A network of one band knows brightness; the eye forgives colours that are only enlarged.
        luma, red, blue = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
        colours = [
            cv2.resize(c, (width, height), interpolation=cv2.INTER_CUBIC) for c in (red, blue)
        ]
        enlarged = self._tiled(net, luma[..., None])[..., 0]
        return cv2.cvtColor(cv2.merge([enlarged, *colours]), cv2.COLOR_YCrCb2RGB)

    def _tiled(self, net: "_Net", image: np.ndarray) -> np.ndarray:
        """The windows stand on a grid of the result, each the scale times as large."""
        scale = net.scale
        height, width = (side * scale for side in image.shape[:2])
        tile_w, tile_h = self.tile_wh

        def predict(boxes: Sequence[windows.Box]) -> list[np.ndarray]:
            found = []
            for box in boxes:
                x, y, w, h = (side // scale for side in box)
                tile = grid.crop(image, (x, y, w, h))
                found.append(net.enlarge(tile, self.spec.window)[: h * scale, : w * scale])
            return found

        out = np.empty((height, width, image.shape[2]), np.uint8)
        for y, rows in windows.stitch_windows(
            (width, height),
            (tile_w * scale, tile_h * scale),
            predict,
            overlap=self.overlap * scale,
            blend="hann" if self.overlap else "crop",
        ):
            out[y : y + len(rows)] = np.clip(np.rint(rows * 255), 0, 255).astype(np.uint8)
        return out

    def _loaded(self) -> "_Net":
        with _loading_enhancers:
            # Threads that come first together.
            if not hasattr(self, "_net"):
                self._net = _Net(self)
        return self._net


class _Net:
    """The model, open, its scale known by what it makes of a small picture."""

    def __init__(self, enhancer: Enhancer):
        self._model = enhancer.model
        self._spec = enhancer.spec
        self._session = open_session(enhancer.spec.path)
        self._entry = self._session.get_inputs()[0]
        self._entered = entrance(enhancer.spec, self._entry)
        width, height = enhancer.spec.window or (PROBE_PX, PROBE_PX)
        probe = np.full((height, width, enhancer.spec.bands or 3), 128, np.uint8)
        self.scale = self._scale_of(probe)

    def _scale_of(self, probe: np.ndarray) -> int:
        answer = self._run(probe)
        tall, rest = divmod(answer.shape[0], probe.shape[0])
        wide, more = divmod(answer.shape[1], probe.shape[1])
        same_bands = answer.shape[2] == probe.shape[2]
        if rest or more or tall != wide or tall < 1 or not same_bands:
            told = f"makes {answer.shape} of a picture of {probe.shape}"
            raise ValueError(f"{self._model} {told}: an enhancer makes it larger by a whole number")
        return tall

    def enlarge(self, tile: np.ndarray, window: tuple[int, int] | None) -> np.ndarray:
        """float32 from 0 to 1 of a tile; one that is smaller than the window is mirrored."""
        if window:
            right = max(0, window[0] - tile.shape[1])
            below = max(0, window[1] - tile.shape[0])
            tile = np.pad(tile, ((0, below), (0, right), (0, 0)), "symmetric")
        return self._run(tile)

    def _run(self, tile: np.ndarray) -> np.ndarray:
        answer = self._session.run(None, {self._entry.name: self._entered(tile[None])})[0]
        found = full_float(answer, self._spec)
        if not np.isfinite(found).all():
            raise ValueError(f"{self._model} gives NaN: its weights, or what it was given, are bad")
        low, high = float(found.min()), float(found.max())
        if low < -BEYOND or high > 1 + BEYOND:
            told = f"gives {low:.3g} to {high:.3g} where black is 0 and white is 1"
            fix = "write rescale_factor into its metadata"
            raise ValueError(f"{self._model} {told}: {fix}")
        return found
