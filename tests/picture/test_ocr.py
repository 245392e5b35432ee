"""ocr.prepare: one size, clean, in one step."""

import numpy as np
import pytest
from test_enhance import LABELS, gaussian, photos, psnr

from imgprep.picture import enhance, geometry
from imgprep.picture.ocr import prepare


@pytest.mark.parametrize(
    "wh", [(1, 1), (1, 300), (300, 1), (40000, 2), (2, 40000), (127, 129), (128, 128), (1000, 30), (640, 480)]
)
@pytest.mark.parametrize("size_wh", [(128, 128), [96, 64], (1, 1)])
def test_any_picture_gets_exactly_the_size(wh, size_wh):
    image = np.full((wh[1], wh[0], 3), 60, np.uint8)
    for options in ({}, {"grey": True, "contrast": True}, {"denoise": False}):
        out = prepare(image, size_wh, **options)
        assert out.shape == (size_wh[1], size_wh[0], 3) and out.dtype == np.uint8


def test_a_clean_picture_is_fitted_and_padded_and_nothing_else():
    for image in (*LABELS, *photos()):
        wide = image[: image.shape[0] // 2]
        assert np.array_equal(prepare(wide), geometry.fit_pad(wide))


def test_a_large_noisy_picture_is_shrunk_before_it_is_cleaned():
    clean = LABELS[2] // 2 + 60  # so that no noise is clipped
    large = gaussian(clean.repeat(4, 0).repeat(4, 1), 40)
    out = prepare(large)
    assert np.array_equal(out, enhance.denoise(geometry.fit(large)))
    assert psnr(out, clean) > psnr(geometry.fit(large), clean) + 3


def test_a_small_noisy_picture_is_cleaned_before_it_is_enlarged():
    small = gaussian(LABELS[1][:64, :64], 20)
    out, clean = prepare(small), geometry.fit_pad(LABELS[1][:64, :64])
    assert np.array_equal(out, geometry.fit_pad(enhance.denoise(small)))
    assert psnr(out, clean) > psnr(enhance.denoise(geometry.fit_pad(small)), clean) + 1  # the other order


def test_denoise_can_be_left_out():
    noisy = gaussian(LABELS[1], 20)
    assert np.array_equal(prepare(noisy, denoise=False), noisy)
    assert psnr(prepare(noisy), LABELS[1]) > psnr(noisy, LABELS[1]) + 2


def test_padding_is_not_part_of_the_picture():
    noisy = gaussian(LABELS[1], 20)[:40]  # were the white padding measured, it would be the calmest spot
    for options in ({}, {"contrast": True}):
        white, black = prepare(noisy, fill=255, **options), prepare(noisy, fill=[0, 0, 0], **options)
        assert np.array_equal(white[44:84], black[44:84])
        assert (white[:44] == 255).all() and (black[84:] == 0).all()


def test_grey_makes_all_channels_equal_the_padding_too():
    out = prepare(photos()[0][:50], grey=True, fill=[255, 0, 0])
    assert (out == out[:, :, :1]).all() and out[0, 0, 0] == 76


def test_contrast_makes_faint_text_stand_out():
    faint = (LABELS[1] * 0.15 + 110).astype(np.uint8)
    assert prepare(faint, contrast=True).std() > 1.8 * prepare(faint).std()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"denoise": "yes"}, "denoise must be True or False, not 'yes'"),
        ({"grey": 1}, "grey must be"),
        ({"contrast": None}, "contrast must be"),
        ({"fill": "white"}, "fill must be"),
        ({"size_wh": 128}, "size_wh must be"),
        ({"size_wh": (0, 9)}, "size_wh must be"),
    ],
)
def test_a_wrong_option_is_said_in_a_sentence(options, says):
    with pytest.raises(ValueError, match=says):
        prepare(LABELS[0], **options)


def test_it_carries_its_version():
    assert prepare.version == 2
