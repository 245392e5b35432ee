"""A Pillow picture of any mode becomes plain 8-bit sRGB pixels. Knows nothing of files."""

import io
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageCms

STRIP_BYTES = 1 << 20


def srgb(im: Image.Image, background: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """A loaded picture as (H, W, 3) uint8 sRGB; what is transparent shows `background`.

    16-bit grey is scaled. Signed, 32-bit and float grey has no agreed white: floats within [0, 1] are times 255, values
    within [0, 255] stay, else lowest..highest becomes 0..255; NaN is 0. CMYK without a profile is converted naively.

    >>> srgb(Image.new("LA", (1, 1), (0, 51))).tolist()
    [[[204, 204, 204]]]
    """
    if im.mode[0] in "IF":
        im = _grey_of_8_bits(im)
    # In strips: half the time (they stay in the cache), and no second and third copy of a large picture.
    out = np.empty((im.height, im.width, 3), np.uint8)
    rows = max(1, STRIP_BYTES // (3 * im.width))
    for top in range(0, im.height, rows):
        strip = im.crop((0, top, im.width, min(top + rows, im.height))) if rows < im.height else im
        out[top : top + rows] = np.asarray(_srgb(strip, tuple(background)))
    return out


def _srgb(im: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    icc, alpha = im.info.get("icc_profile"), None
    if im.has_transparency_data:
        clear = im.info.get("transparency")
        if im.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
            # of a 16-bit PNG, whose pixels Pillow has cut to 8 bits
            im.info = im.info | {"transparency": tuple(c >> 8 for c in clear)}
        rgba = im.convert("RGBA")
        alpha = rgba.getchannel("A")
        im = rgba.getchannel("R") if im.mode in ("L", "LA") else rgba.convert("RGB")
    elif im.mode not in ("L", "RGB", "CMYK", "LAB"):
        im = im.convert("RGB")
    transform = profile(icc, im.mode)
    rgb = transform.apply(im) if transform else im.convert("RGB") if im.mode != "RGB" else im
    return Image.composite(rgb, Image.new("RGB", rgb.size, background), alpha) if alpha else rgb


@lru_cache(maxsize=32)  # building one takes milliseconds, and a set of pictures has few
def profile(icc: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from an ICC profile to sRGB (perceptual); None where there is nothing to do.

    That is: no profile, a broken one, one for another mode than the pixels', and one that is sRGB to within 2 levels,
    whatever its name.
    """
    if not icc and mode != "LAB":
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc)) if icc else ImageCms.createProfile("LAB")
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ImageCms.PyCMSError):
        return None
    if mode in ("L", "RGB"):
        steps = np.arange(0, 256, 17, dtype=np.uint8)
        colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 64, 3)
        before = Image.fromarray(colours if mode == "RGB" else colours[:, :, 0])
        if np.abs(np.asarray(transform.apply(before), int) - np.asarray(before.convert("RGB"), int)).max() <= 2:
            return None
    return transform


def _grey_of_8_bits(im: Image.Image) -> Image.Image:
    """Mode I;16, I or F to L, or to LA where one value stands for transparent."""
    values, tags, clear = np.asarray(im), getattr(im, "tag_v2", {}), im.info.get("transparency")
    if im.mode.startswith("I;16") or (im.format == "PPM" and im.mode == "I"):
        white = 2 ** min(tags.get(258, (16,))[0], 16) - 1  # BitsPerSample: TIFF knows 12, too
        grey = cv2.convertScaleAbs(values.astype(np.uint16, copy=False), alpha=255 / white)
    else:
        grey = values.astype(np.float64)  # the range of a float32 picture may overflow float32
        finite = grey[np.isfinite(grey)]
        low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
        if low >= 0 and high <= 255:
            low, high = 0, 1 if im.mode == "F" and high <= 1 else 255
        grey -= low
        grey *= 255 / (high - low) if high > low else 0
        grey = np.nan_to_num(grey, copy=False, posinf=255).round().clip(0, 255).astype(np.uint8)
    if tags.get(262) == 0:  # PhotometricInterpretation "white is zero"; Pillow inverts such pictures of 8 bits only
        grey = 255 - grey
    out = Image.fromarray(grey if clear is None else np.dstack([grey, (values != clear).astype(np.uint8) * 255]))
    out.info["icc_profile"] = im.info.get("icc_profile")
    return out
