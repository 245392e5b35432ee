"""A function's signature is what every door takes: typed, checked, the same bytes."""

import io
import json

import cv2
import numpy as np
import pytest
from made import picture
from PIL import Image

from imgprep.picture import codec
from imgprep.serve import operations
from imgprep.serve.answers import Refusal


def warm(image, *, by: int = 10, name="x"):
    """Warmer by so many levels."""
    return cv2.add(image, (by, 0, 0, 0))


WARM = operations.operation(warm)


def test_options_have_the_types_of_the_signature():
    assert operations.checked(WARM, {"by": "30"}) == {"by": 30}
    assert operations.checked(WARM, {"by": 30, "name": "y"}) == {"by": 30, "name": "y"}
    assert operations.checked(WARM, {}) == {}


@pytest.mark.parametrize(("given", "says"), [({"by": "much"}, "by: .*integer"), ({"bye": 1}, "its options: by, name")])
def test_a_wrong_option_says_which_there_are(given, says):
    with pytest.raises(Refusal, match=says) as caught:
        operations.checked(WARM, given)
    assert (caught.value.reason, caught.value.status) == ("wrong_option", 422)


def test_lists_come_as_json_or_as_lists():
    fit_pad = operations.builtin()["fit_pad"]
    assert operations.checked(fit_pad, {"size_wh": "[64, 32]"})["size_wh"] == [64, 32]
    assert operations.checked(fit_pad, {"size_wh": ["64", "32"]})["size_wh"] == [64, 32]


def test_a_word_of_the_doors_is_no_option():
    with pytest.raises(ValueError, match="'format'"):
        operations.operation(lambda image, *, format="PNG": image, "mine")
    with pytest.raises(ValueError, match="name"):
        operations.operation(lambda image: image)


def test_png_is_what_the_cell_and_transform_write():
    image = picture(1, (64, 48))
    result = operations.compute(warm, codec.encode(image), {"by": 5}, "PNG", None)
    assert result.body == codec.encode(warm(image, by=5)) and result.media_type == "image/png"


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "JPEG"])
def test_every_format_opens_and_looks_like_the_picture(format):
    image = cv2.GaussianBlur(picture(2, (64, 48)), (0, 0), 8)
    opened = Image.open(io.BytesIO(operations.encoded(image, format)))
    assert opened.format == format
    assert np.abs(np.asarray(opened.convert("RGB")).astype(int) - image).mean() < 4


def test_columns_come_as_json_with_their_pictures():
    def both(image):
        return {"mean": image.mean(), "small": image[:4, :4]}

    body = json.loads(operations.compute(both, codec.encode(picture(3)), {}, "PNG", None).body)
    assert body["mean"] == picture(3).mean() and body["small"]["media_type"] == "image/png"


def test_a_job_is_named_by_what_it_does():
    first = operations.job_id("fit", {"max_side": 8}, "a")
    assert first == operations.job_id("fit", {"max_side": 8}, "a") != operations.job_id("fit", {"max_side": 9}, "a")


def test_a_large_photograph_is_fitted_without_decoding_all_of_it():
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    large = cv2.resize(coarse, (1600, 1200), interpolation=cv2.INTER_CUBIC)
    data = codec.encode(large, "JPEG", quality=95)
    made = operations.compute(operations.fit_side, data, {"max_side": 200}, "PNG", None)
    found = codec.decode(made.body)
    whole = operations.fit_side(codec.decode(data), max_side=200)
    assert found.shape == whole.shape == (150, 200, 3)
    assert cv2.PSNR(found, whole) > 40


@pytest.mark.parametrize(
    ("size_wh", "side", "decoded"),
    [((1024, 768), 200, (192, 256)), ((1024, 768), 180, (384, 512)), ((1000, 750), 200, (375, 500))],
)
def test_a_photograph_is_decoded_near_its_target_or_at_twice_of_it(size_wh, side, decoded):
    coarse = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    large = cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC)
    data = codec.encode(large, "JPEG", quality=95)
    image = operations.decoded_for_fit(data, side)
    assert image.shape[:2] == decoded
    found = operations.fit_side(image, max_side=side)
    found_wh = found.shape[1], found.shape[0]
    best = np.asarray(Image.fromarray(codec.decode(data)).resize(found_wh, Image.LANCZOS))
    assert max(found_wh) == side and cv2.PSNR(found, best) > 45
