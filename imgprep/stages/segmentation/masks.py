"""What an operator may return, as a mask of one kind."""

from typing import Any, NamedTuple

import numpy as np

from imgprep.stages.segmentation.pieces import NODATA

# So far beyond 0 and 1 a probability may lie.
ROUNDING = 0.01


class MaskAnswer(NamedTuple):
    """mask: (h, w) uint8 or uint16, or int32 labels. known: where it says something, None: all."""

    mask: np.ndarray
    known: np.ndarray | None = None


def as_mask(result: Any, shape: tuple[int, int], own_labels: bool = False) -> MaskAnswer:
    """bool and probabilities become 0 and 1; and so do 0 and 255, as OpenCV has masks.

    A probability that is no number is no answer. own_labels: the operator gives objects, as
    numbers of their own. ValueError for what is no mask of that shape.
    """
    what = type(result).__name__
    if isinstance(result, np.ndarray):
        what = f"{result.dtype} {result.shape}"
    if not isinstance(result, np.ndarray) or result.shape != shape:
        told = "it returns one number per pixel, (h, w)"
        raise ValueError(f"the operator returned {what} for a tile of {shape}: {told}")
    if own_labels:
        if result.dtype.kind not in "iu":
            raise ValueError(f"the operator returned {what}: a mask is int32 labels")
        return MaskAnswer(result.astype(np.int32))
    if result.dtype.kind == "f":
        return _of_odds(result)
    if result.dtype == bool:
        # A view costs nothing, but is only for what lies in one piece.
        is_whole = result.flags.c_contiguous
        return MaskAnswer(result.view(np.uint8) if is_whole else result.astype(np.uint8))
    if str(result.dtype) not in NODATA:
        kinds = "bool, uint8, uint16 or float32"
        raise ValueError(f"the operator returned {what}: a mask is {kinds}")
    if result.dtype == np.uint8 and result.max() == 255:
        return MaskAnswer(np.where(result == 255, np.uint8(1), result))
    return MaskAnswer(result)


def _of_odds(odds: np.ndarray) -> MaskAnswer:
    """Of probabilities: 1 from a half on. ValueError where they are none."""
    is_known = ~np.isnan(odds)
    known = None if is_known.all() else is_known
    some = odds if known is None else odds[is_known]
    if some.size:
        low = some.min()
        high = some.max()
        if low < -ROUNDING or high > 1 + ROUNDING:
            told = f"{odds.dtype} from {low:.4g} to {high:.4g}"
            fix = "probabilities are 0 to 1, and a mask of 0 and 255 is uint8"
            raise ValueError(f"the operator returned {told}: {fix}")
    return MaskAnswer((odds >= 0.5).view(np.uint8), known)
