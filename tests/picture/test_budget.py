"""budget: never a byte too many, and no quality given away."""

import cv2
import numpy as np
import pytest
from made import picture

from imgprep.picture import budget, codec


def photo(n: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Smooth with some noise, as photographs are: (H, W, 3) uint8."""
    smooth = cv2.resize(picture(n, (12, 8)), size_wh, interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(n).normal(0, 8, smooth.shape).astype(np.float32)
    return np.clip(smooth + cv2.GaussianBlur(noise, (0, 0), 0.8), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("limit", [300_000, 60_000, 25_000, 12_000])
def test_the_budget_is_kept_and_the_next_quality_does_not_fit(limit, format, monkeypatch):
    image, calls, encode = photo(1, (800, 600)), [], codec.encode
    monkeypatch.setattr(codec, "encode", lambda a, *f, **o: calls.append(a.shape) or encode(a, *f, **o))
    data, quality = budget.fit_bytes(image, limit, format=format)
    made = codec.decode(data)
    assert len(data) <= limit and 60 <= quality <= 95
    assert max(calls.count(shape) for shape in calls) <= 7
    if quality < 95:  # of the picture at the size that was chosen
        small = budget.geometry.shrink(image, max(made.shape[:2]))
        assert encode(small, format, quality=quality) == data
        assert len(encode(small, format, quality=quality + 1)) > limit
        assert len(data) > 0.9 * limit or made.shape[:2] != image.shape[:2]


def test_a_picture_is_made_smaller_only_where_no_quality_fits_and_then_stays_good():
    image = photo(2, (1200, 900))
    coarse = len(codec.encode(image, "JPEG", quality=60))
    data, quality = budget.fit_bytes(image, coarse)
    assert codec.probe(data).width == 1200 and quality == 60
    data, quality = budget.fit_bytes(image, coarse - 1)
    assert codec.probe(data).width < 1200 and 70 <= quality <= 90


def test_colours_are_full_where_they_fit():
    red = np.zeros((64, 64, 3), np.uint8)
    red[::2, ::2] = (255, 0, 0)
    shown = codec.decode(budget.fit_bytes(red, 100_000)[0])
    assert np.abs(shown.astype(int) - red).mean() < 10 < np.abs(codec.decode(codec.encode(red, "JPEG")) - red).mean()


def test_what_no_quality_and_size_has_is_said():
    with pytest.raises(budget.OverBudget, match="from 60 to 95 and no size from 64 px has 750 bytes"):
        budget.fit_bytes(photo(3, (640, 480)), 750)


def test_base64_takes_a_third():
    import base64

    for limit in budget.PRESETS.values():
        assert limit.checked and limit.source and limit.max_side > 1000
        if limit.is_base64:
            characters = len(base64.b64encode(b"x" * limit.file_bytes))
            assert limit.max_bytes - 4 < characters <= limit.max_bytes
    assert budget.PRESETS["default"].file_bytes == 7_500_000
