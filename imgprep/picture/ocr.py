"""Pictures made ready for text recognition."""

from collections.abc import Sequence

import numpy as np

from imgprep.hashing import versioned
from imgprep.picture import enhance, geometry


# One more whenever the output changes, also through enhance or geometry: it decides what is redone.
@versioned(2)
def prepare(
    image: np.ndarray,
    size_wh: Sequence[int] = (128, 128),
    *,
    denoise: bool = True,
    fill: int | Sequence[int] = 255,
    grey: bool = False,
    contrast: bool = False,
) -> np.ndarray:
    """Fit a picture (H, W, 3) uint8 into size_wh, clean it, pad it in the centre to that size.

    denoise: `enhance.denoise`, which leaves a clean picture as it is. fill: colour of the padding,
    0 to 255 or [r, g, b]. contrast: `enhance.contrast`. grey: one luma in all three channels. Does
    not crop, deskew or binarise. Raises ValueError for an option of the wrong kind.

    >>> prepare(np.full((60, 200, 3), 9, np.uint8), (96, 64), fill=0).shape
    (64, 96, 3)
    """
    for name, value in {"denoise": denoise, "grey": grey, "contrast": contrast}.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, not {value!r}")
    height, width = image.shape[:2]
    is_larger = geometry.fitted_wh((width, height), size_wh) < (width, height)
    # Noise is filtered at the smaller of the two scales. Before enlarging, because enlarged noise
    # is no longer random; after shrinking, because averaging k x k pixels takes k times off the
    # noise and leaves k x k times less to do.
    if is_larger:
        image = geometry.fit(image, size_wh)
    if denoise:
        image = enhance.denoise(image)
    # After the noise, or it would grow too; before the padding, which is not the picture.
    if contrast:
        image = enhance.contrast(image)
    image = geometry.fit_pad(image, size_wh, fill=fill)
    return enhance.grey(image) if grey else image
