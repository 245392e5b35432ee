"""enhance: noise goes, everything else stays."""

import time

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from skimage import data as samples

from imgprep.failures import Failure
from imgprep.picture import codec
from imgprep.picture.enhance import (
    auto,
    contrast,
    denoise,
    grey,
    levels,
    noise_sigma,
    saturation,
    sharpen,
    steps,
    tune,
    upscale,
    white_balance,
)
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


# --- dots are not noise


def page_of_dots(places):
    page = np.full((128, 128, 3), 255, np.uint8)
    for x, y in places:
        page[y, x] = 0
    return page


def numbers_with_points():
    page = page_of_dots([])
    points = [(x + 14, y) for y in range(10, 126, 9) for x in range(2, 100, 32)]
    for x, y in points:
        cv2.putText(page, "12", (x - 14, y), cv2.FONT_HERSHEY_PLAIN, 0.6, (0, 0, 0), 1)
        cv2.putText(page, "5", (x + 3, y), cv2.FONT_HERSHEY_PLAIN, 0.6, (0, 0, 0), 1)
        page[y, x] = 0
    return page


DOTS = {
    "decimal points": numbers_with_points(),
    "dotted leaders": page_of_dots([(x, y) for y in range(12, 124, 14) for x in range(36, 112, 4)]),
    "needle print": page_of_dots(
        [(x, y + i) for y in range(10, 118, 12) for x in range(10, 118, 6) for i in (0, 2, 4)]
    ),
    "on black": 255 - page_of_dots([(x, y) for y in range(12, 124, 14) for x in range(36, 112, 4)]),
}


@pytest.mark.parametrize("name", DOTS)
def test_dots_in_rows_and_columns_stay(name):
    assert np.array_equal(denoise(DOTS[name]), DOTS[name])


def test_strewn_dots_go_also_where_they_are_in_a_part_of_the_page_only():
    dice = np.random.default_rng(1)
    places = dice.integers(2, 126, (200, 2))
    assert (denoise(page_of_dots(places)) == 255).mean() > 0.995
    upper = np.column_stack([dice.integers(2, 126, 150), dice.integers(2, 60, 150)])
    assert (denoise(page_of_dots(upper)) == 255).mean() > 0.995


# --- a large picture is seen through bands


@pytest.mark.parametrize("sigma", [0, 10, 20])
def test_bands_of_a_large_picture_tell_as_much_as_the_whole(sigma):
    large = cv2.resize(samples.coffee(), (1200, 800), interpolation=cv2.INTER_AREA)
    noisy = gaussian(large, sigma)
    seen = noise_sigma(noisy)
    assert (sigma == 0) == (seen == 0)
    if sigma:
        quarters = [noise_sigma(noisy[y : y + 300, x : x + 300]) for y in (0, 400) for x in (0, 800)]
        assert min(quarters) * 0.9 <= seen <= max(quarters) * 1.1


# --- sharpen, upscale, levels, saturation, white balance


def test_sharpen_undoes_a_blur_and_leaves_what_is_flat():
    for image in photos()[12:20]:
        blurred = cv2.GaussianBlur(image, (0, 0), 1.2)
        assert psnr(sharpen(blurred, amount=2), image) > psnr(blurred, image) + 1
    flat = np.full((30, 40, 3), (9, 200, 77), np.uint8)
    assert np.array_equal(sharpen(flat, amount=5, radius=3), flat)
    assert np.array_equal(sharpen(photos()[0], amount=0), photos()[0])


def test_upscale_is_closer_than_linear_and_shrinks_back_to_what_was_given():
    for image in photos()[12:16]:
        image = np.ascontiguousarray(image[:200, :200])
        half = cv2.resize(image, (100, 100), interpolation=cv2.INTER_AREA)
        linear = cv2.resize(half, (200, 200), interpolation=cv2.INTER_LINEAR)
        assert psnr(upscale(half), image) > psnr(linear, image) + 0.5
        back = cv2.resize(upscale(half), (100, 100), interpolation=cv2.INTER_AREA)
        assert np.abs(back.astype(int) - half).mean() < 1
    assert upscale(np.zeros((5, 7, 3), np.uint8), by=4).shape == (20, 28, 3)
    assert upscale(image, by=1) is image


def test_upscale_is_bounded_in_pixels():
    with pytest.raises(Failure, match="enlarged it has 400 x 200 pixels, max_pixels is 79999") as caught:
        upscale(np.zeros((50, 100, 3), np.uint8), by=4, max_pixels=79_999)
    assert caught.value.reason == "too_many_pixels"
    assert upscale(np.zeros((50, 100, 3), np.uint8), by=4, max_pixels=80_000).shape == (200, 400, 3)


def test_levels_undo_a_cast_with_a_veil_and_keep_a_full_range():
    ramp = np.arange(256, dtype=np.uint8).repeat(40).reshape(64, 160)
    image = np.dstack([ramp, ramp[::-1], ramp[:, ::-1]])
    cast = (image * (0.7, 0.58, 0.42) + (60, 45, 30)).round().astype(np.uint8)
    assert psnr(levels(cast, clip=0), image) > psnr(cast, image) + 20
    assert np.array_equal(levels(image, clip=0), image)
    flat = np.full((9, 9, 3), (0, 99, 255), np.uint8)
    assert np.array_equal(levels(flat), flat)


def test_single_pixels_do_not_decide_the_levels():
    dull = np.full((100, 100, 3), 100, np.uint8)
    dull[50:] = 150
    dull[0, 0], dull[0, 1] = 0, 255
    assert np.unique(levels(dull)).tolist() == [0, 255]
    assert np.unique(levels(dull, clip=0)).tolist() == [0, 100, 150, 255]


def test_saturation_keeps_luma_and_greys():
    image = photos()[2] // 2 + 60
    luma = [cv2.cvtColor(a, cv2.COLOR_RGB2GRAY).astype(int) for a in (image, saturation(image, by=1.3))]
    assert np.abs(luma[0] - luma[1]).max() <= 1
    assert np.array_equal(saturation(image, by=1), image)
    assert np.ptp(saturation(image, by=0).astype(int), axis=2).max() <= 1
    grey_ramp = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, 2)
    assert np.array_equal(saturation(grey_ramp, by=3), grey_ramp)


def test_white_balance_makes_a_grey_card_grey_and_keeps_one_that_is():
    card = np.random.default_rng(0).integers(60, 120, (50, 50, 1)).repeat(3, 2)
    warm = (card * (1.2, 1.0, 0.7)).round().astype(np.uint8)
    assert np.ptp(white_balance(warm).astype(int), axis=2).max() <= 2
    assert np.array_equal(white_balance(card.astype(np.uint8)), card)
    # No pixel tells where all are at an end.
    black_and_white = np.kron(np.eye(8), np.ones((8, 8)))[:, :, None].repeat(3, 2).astype(np.uint8) * 255
    assert np.array_equal(white_balance(black_and_white), black_and_white)


@pytest.mark.parametrize(
    ("function", "options", "says"),
    [
        (sharpen, {"amount": -1}, "amount must be a number from 0 to 5, not -1"),
        (sharpen, {"amount": "much"}, "amount must be"),
        (sharpen, {"radius": 0}, "radius must be above 0"),
        (sharpen, {"radius": True}, "radius must be a number"),
        (upscale, {"by": 0.5}, "by must be a number from 1 to 4, not 0.5"),
        (upscale, {"by": 8}, "by must be"),
        (levels, {"clip": 50}, "clip must be a number from 0 to 10"),
        (levels, {"clip": float("nan")}, "clip must be"),
        (saturation, {"by": None}, "by must be a number from 0 to 5"),
        (auto, {"noise": 1}, "noise must be True or False, not 1"),
        (auto, {"blur": "yes"}, "blur must be"),
    ],
)
def test_a_wrong_option_is_said_in_a_sentence(function, options, says):
    with pytest.raises(ValueError, match=says):
        function(LABELS[0], **options)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 50, 3), (3, 2, 3), (500, 3, 3)])
def test_any_size_will_do(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for function in (sharpen, levels, saturation, white_balance, auto):
        made = function(image)
        assert made.shape == shape and made.dtype == np.uint8
    assert upscale(image).shape == (2 * shape[0], 2 * shape[1], 3)


# --- auto


@pytest.mark.parametrize("image", [*LABELS, *photos(), *DOTS.values()])
def test_auto_gives_clean_pictures_back_as_they_are(image):
    assert np.array_equal(auto(image), image)


def test_auto_mends_noise_a_cast_and_blur_and_each_step_can_be_left_out():
    clean = cv2.resize(samples.astronaut(), (400, 400), interpolation=cv2.INTER_AREA)
    noisy = gaussian(clean, 20)
    assert psnr(auto(noisy), clean) > psnr(noisy, clean) + 5
    assert np.array_equal(auto(noisy, noise=False), noisy)
    cast = (clean * (0.7, 0.58, 0.42) + (60, 45, 30)).round().astype(np.uint8)
    assert psnr(auto(cast), clean) > psnr(cast, clean) + 10
    assert np.array_equal(auto(cast, colours=False), cast)
    blurred = cv2.GaussianBlur(clean, (0, 0), 2)
    assert psnr(auto(blurred), clean) > psnr(blurred, clean) + 0.8
    assert np.array_equal(auto(blurred, blur=False), blurred)


def test_a_sunset_keeps_its_red_and_a_plain_wall_its_colour():
    x = np.linspace(0, 1, 200)[None, :, None]
    sunset = (x * (255, 120, 30)).repeat(150, 0).round().astype(np.uint8)
    wall = (120 + 40 * x.repeat(150, 0).repeat(3, 2)).astype(np.uint8)
    for image in (sunset, wall):
        assert np.array_equal(auto(image, blur=False), image)


@pytest.mark.corpus
def test_auto_gives_200_clean_photographs_back_as_they_are(corpus):
    groups = ("photos", "exif", "detection", "product/images")
    paths = sorted(p for g in groups for p in (corpus / g).rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    changed, seen = [], 0
    for path in paths:
        image = codec.decode(path.read_bytes(), min_wh=(800, 800))
        seen += 1
        if np.abs(auto(image).astype(int) - image).max() > 1:
            changed.append(path.name)
    assert seen >= 200 and changed == []


# --- tune


def test_tune_says_what_mends_the_sample_best():
    table = tune([p for p in photos()[12:18]], side=200)
    first = table.groupby("damage").first()
    assert set(table["damage"]) == {"noise", "blur", "half size", "cast"}
    assert (first["psnr_gained"] == 0).all() and (first["ssim_gained"] == 0).all()
    best = table[table["best_psnr"]].drop_duplicates("damage").set_index("damage")
    assert best["function"].to_dict() == {
        "noise": "denoise", "blur": "sharpen", "half size": "upscale", "cast": "levels",
    }  # fmt: skip
    assert (best["psnr_gained"] > [3, 1.2, 0.5, 10]).all()


def test_tune_takes_arrays_bytes_and_rows_and_no_more_than_the_sample():
    image = photos()[0]
    data = codec.encode(image)
    rows = [image, data, {"image": data}, {"image": {"bytes": data, "path": None}}]
    tables = [tune([one]).drop(columns="ms_per_megapixel") for one in rows]
    assert all(table.equals(tables[0]) for table in tables)

    def endless():
        while True:
            yield image

    assert len(tune(endless(), sample=2)) == len(tables[0])
    with pytest.raises(ValueError, match="there is no picture"):
        tune([])
    with pytest.raises(ValueError, match=r"a picture is an array \(H, W, 3\) of uint8"):
        tune([np.zeros((4, 4))])


def test_ssim_is_that_of_scikit_image():
    from skimage.metrics import structural_similarity

    from imgprep.picture import tuning

    image = photos()[0]
    noisy = gaussian(image, 20)
    lumas = [cv2.cvtColor(a, cv2.COLOR_RGB2GRAY) for a in (image, noisy)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    theirs = structural_similarity(*lumas, data_range=255, **options)
    assert abs(tuning.ssim(noisy, image) - theirs) < 0.01
    assert tuning.ssim(image, image) == pytest.approx(1) and tuning.psnr(image, image) == 99


class TestSteps:
    def test_they_are_the_functions_in_their_order(self):
        image = photos()[0]
        made = steps(image, auto=False, denoise=True, white_balance=True, levels=True, clip=1.0, saturation=1.5,
                     upscale=2, sharpen=0.5, radius=2.0)  # fmt: skip
        wanted = saturation(levels(white_balance(denoise(image)), clip=1.0), by=1.5)
        assert np.array_equal(made, sharpen(upscale(wanted, by=2), amount=0.5, radius=2.0))

    def test_all_off_gives_the_picture_back(self):
        image = gaussian(photos()[0], 20)
        assert np.array_equal(steps(image, auto=False), image)
        assert np.array_equal(steps(image), auto(image))

    @pytest.mark.parametrize("wrong", [{"levels": 0.5}, {"auto": 1}, {"sharpen": "a lot"}, {"saturation": -1}])
    def test_a_wrong_option_is_said(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong)) if "levels" in wrong or "auto" in wrong else "must be"):
            steps(LABELS[0], **wrong)
