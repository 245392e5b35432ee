"""enhance: noise goes, everything else stays."""

import time

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from skimage import data as samples

from imgprep.picture import codec
from imgprep.picture.enhance import contrast, denoise, grey, noise_sigma
from imgprep.picture.geometry import fit

WORDS = "Net wt 500 g e 2.5 litre INGREDIENTS: sugar, salt, water. Best before 12/2027. Lot 0381 " * 30


def label(height: int, step: int, paper=(255, 255, 255), ink=(0, 0, 0)) -> np.ndarray:
    """128 x 128 of thin text, letters `height` high, as a scan would have it: drawn at twice the size and averaged."""
    im = Image.new("RGB", (256, 256), paper)
    for i, y in enumerate(range(16, 256, 2 * step)):
        ImageDraw.Draw(im).text((16, y), WORDS[31 * i :], ink, ImageFont.load_default(2 * height))
    return cv2.resize(np.asarray(im), (128, 128), interpolation=cv2.INTER_AREA)


LABELS = [label(9, 14), label(14, 24), label(24, 34), label(10, 12, (230, 225, 200), (90, 20, 20)),
          label(12, 16, (20, 20, 60), (255, 255, 120))]  # fmt: skip


def photos() -> list[np.ndarray]:
    """Photographs, paper, cells: 128 x 128 and full size."""
    names = "astronaut camera coffee chelsea coins page rocket moon text brick grass gravel".split()
    found = [getattr(samples, n)() for n in names]
    full = [cv2.cvtColor(p, cv2.COLOR_GRAY2RGB) if p.ndim == 2 else np.ascontiguousarray(p[:, :, :3]) for p in found]
    return [fit(p, (128, 128)) for p in full] + [p[:200, 40:300] for p in full]


def gaussian(image: np.ndarray, sigma: float, same: bool = False, seed: int = 0) -> np.ndarray:
    shape = (*image.shape[:2], 1) if same else image.shape
    return np.clip(np.rint(image + np.random.default_rng(seed).normal(0, sigma, shape)), 0, 255).astype(np.uint8)


def salt_and_pepper(image: np.ndarray, share: float) -> np.ndarray:
    dice = np.random.default_rng(0).random(image.shape[:2])
    out = image.copy()
    out[dice < share / 2], out[dice > 1 - share / 2] = 0, 255
    return out


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


# --- nothing to do


@pytest.mark.parametrize("image", LABELS)
def test_clean_text_comes_back_as_it_was(image):
    assert np.array_equal(denoise(image), image)


@pytest.mark.parametrize(("height", "step"), [(6, 6), (7, 7), (8, 8), (8, 10), (10, 10), (12, 12), (16, 15)])
def test_even_a_page_without_a_calm_spot_comes_back_as_it_was(height, step):
    for paper, ink in [((255, 255, 255), (0, 0, 0)), ((255, 210, 0), (0, 0, 0)), ((0, 0, 0), (0, 0, 255))]:
        page = fit(np.asarray(label(height, step, paper, ink))[8:], (128, 128))
        assert np.array_equal(denoise(page), page)


@pytest.mark.parametrize("image", photos())
def test_clean_photographs_come_back_as_they_were(image):
    assert np.array_equal(denoise(image), image)


def test_patterns_lines_and_flat_pictures_come_back_as_they_were():
    y, x = np.mgrid[:128, :128]
    for plane in (
        x * 2,
        (x + y) % 2 * 255,
        x % 2 * 255,
        (x // 4 + y // 4) % 2 * 255,
        (x == y) * 255,
        0 * x + 37,
        (x % 9 == 4) * 255,
    ):
        image = np.dstack([plane] * 3).astype(np.uint8)
        assert np.array_equal(denoise(image), image)


@pytest.mark.parametrize("wh", [(1, 1), (1, 200), (23, 300), (2, 2)])
def test_pictures_too_small_to_tell_come_back_as_they_were(wh):
    image = np.random.default_rng(0).integers(0, 256, (wh[1], wh[0], 3), dtype=np.uint8)
    assert np.array_equal(denoise(image), image)


def test_the_input_is_not_written_to():
    noisy = gaussian(LABELS[1], 20)
    before = noisy.copy()
    denoise(salt_and_pepper(noisy, 0.05)), denoise(noisy), contrast(noisy), grey(noisy)
    assert np.array_equal(noisy, before)


# --- something to do


@pytest.mark.parametrize("image", LABELS)
@pytest.mark.parametrize("sigma", [12, 20, 35])
def test_noisy_text_gets_closer_to_the_clean_text(image, sigma):
    noisy = gaussian(image, sigma)
    assert psnr(denoise(noisy), image) > psnr(noisy, image) + 2


@pytest.mark.parametrize("image", photos()[:9])
def test_noisy_photographs_get_closer_to_the_clean_ones(image):
    assert psnr(denoise(gaussian(image, 20)), image) > psnr(gaussian(image, 20), image) + 2.5
    same = gaussian(image, 25, same=True)
    assert psnr(denoise(same), image) > psnr(same, image) + 1


@pytest.mark.parametrize("share", [0.02, 0.05, 0.15])
def test_salt_and_pepper_goes(share):
    for image in (*LABELS[1:3], *photos()[:6]):
        noisy = salt_and_pepper(image, share)
        assert psnr(denoise(noisy), image) > psnr(noisy, image) + 1.5


@pytest.mark.parametrize(
    "damage", [lambda a: gaussian(a, 20), lambda a: gaussian(a, 20, same=True), lambda a: salt_and_pepper(a, 0.03)]
)
def test_thin_strokes_stay_dark_and_the_paper_gets_light(damage):
    page = np.full((128, 128, 3), 235, np.uint8)
    for y in range(12, 120, 12):
        page[y, 10:118] = 20  # strokes of one pixel, across and down
    page[12:109, 64] = 20
    stroke, calm = page[:, :, 0] == 20, cv2.erode(page, np.ones((3, 3)))[:, :, 0] == 235
    out = denoise(damage(page)).astype(float)
    assert np.median(out[stroke]) < 50 and (out[stroke] < 120).mean() > 0.97
    assert out[calm].std() < 0.6 * damage(page)[calm].std()


def test_the_estimate_follows_the_noise():
    image = LABELS[2] // 2 + 60  # nothing is clipped
    found = [noise_sigma(gaussian(image, s)) for s in (0, 2, 8, 16, 32)]
    assert found[:2] == [0, 0]
    for estimate, truth in zip(found[2:], (8, 16, 32), strict=True):
        assert 0.8 * truth < estimate < 1.2 * truth


def test_denoising_128_pixels_takes_milliseconds():
    noisy = gaussian(LABELS[0], 20)
    started = time.process_time()
    for _ in range(20):
        denoise(noisy)
    assert (time.process_time() - started) / 20 < 0.01


# --- grey, contrast


def test_grey_is_luma_three_times():
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [7, 7, 7]]], np.uint8)
    assert grey(image)[0].tolist() == [[v] * 3 for v in (76, 150, 29, 255, 7)]


def test_contrast_spreads_lightness_and_keeps_hue():
    faint = (photos()[0] * 0.2 + 100).astype(np.uint8)
    out = contrast(faint)
    assert out.std() > 1.5 * faint.std() and out.shape == faint.shape and out.dtype == np.uint8
    patch = np.full((64, 64, 3), (120, 100, 100), np.uint8)
    assert np.ptp(contrast(patch).reshape(-1, 3), axis=0).max() == 0
    lab_before, lab_after = (cv2.cvtColor(a, cv2.COLOR_RGB2LAB).astype(int)[:, :, 1:] for a in (faint, out))
    assert np.abs(lab_before - lab_after).mean() < 2


def test_contrast_takes_any_size():
    for shape in [(1, 1, 3), (1, 50, 3), (3, 2, 3), (500, 3, 3)]:
        assert contrast(np.full(shape, 80, np.uint8)).shape == shape


@pytest.mark.corpus
def test_real_pictures_at_target_size_come_back_as_they_were(corpus):
    paths = [p for group in ("photos", "artwork", "product/images") for p in (corpus / group).rglob("*.*g")]
    changed = []
    for path in sorted(paths):
        image = fit(codec.decode(path.read_bytes(), min_wh=(256, 256)), (128, 128))
        if not np.array_equal(denoise(image), image):
            changed.append(path.name)
    assert len(paths) > 150 and changed == []


@pytest.mark.corpus
def test_real_pictures_with_noise_get_better(corpus):
    gains = []
    for path in sorted((corpus / "photos").glob("*.jpg")):
        image = fit(codec.decode(path.read_bytes(), min_wh=(256, 256)), (128, 128))
        gains.append(psnr(denoise(gaussian(image, 15)), image) - psnr(gaussian(image, 15), image))
    assert np.mean(gains) > 4 and min(gains) >= 0 and np.mean(np.array(gains) > 1) > 0.9
