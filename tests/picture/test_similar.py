"""similar: copies are near, strangers are far, and nothing is compared twice too often."""

import time

import cv2
import numpy as np
import pytest
from skimage import data as samples

from imgprep.picture import codec, geometry
from imgprep.picture.similar import brightness, entropy, look, near, phash, sharpness, without_borders


def distance(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def pictures() -> list[np.ndarray]:
    return [
        getattr(samples, n)()[:, :, :3] for n in ("astronaut", "coffee", "chelsea", "rocket", "immunohistochemistry")
    ]


COPIES = {
    "half the size": lambda a: cv2.resize(a, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "another aspect": lambda a: cv2.resize(a, (300, 200), interpolation=cv2.INTER_AREA),
    "JPEG 30": lambda a: codec.decode(codec.encode(a, "JPEG", quality=30)),
    "grey": lambda a: np.repeat(cv2.cvtColor(a, cv2.COLOR_RGB2GRAY)[:, :, None], 3, 2),
    "brighter": lambda a: cv2.convertScaleAbs(a, alpha=1.1, beta=12),
    "noisy": lambda a: np.clip(a + np.random.default_rng(0).normal(0, 12, a.shape), 0, 255).astype(np.uint8),
    "cropped": lambda a: a[3:-3, 3:-3],
}


@pytest.mark.parametrize("change", COPIES)
def test_a_changed_copy_keeps_nearly_the_same_hash(change):
    for image in pictures():
        assert distance(phash(image), phash(COPIES[change](np.ascontiguousarray(image)))) <= 6


BORDERED = {
    "padded with white": lambda a: geometry.fit_pad(a, (300, 300)),
    "padded with black": lambda a: geometry.fit_pad(a, (300, 500), fill=0),
    "framed": lambda a: cv2.copyMakeBorder(a, 20, 30, 25, 15, cv2.BORDER_CONSTANT, value=(90, 90, 90)),
    "padded, as a JPEG": lambda a: codec.decode(codec.encode(geometry.fit_pad(a, (400, 400)), "JPEG")),
}


@pytest.mark.parametrize("change", BORDERED)
def test_padding_is_not_part_of_what_a_picture_looks_like(change):
    for image in map(np.ascontiguousarray, pictures()):
        assert distance(phash(image), phash(BORDERED[change](image))) <= 8


def test_two_padded_pictures_are_strangers_still():
    hashes = [phash(geometry.fit_pad(np.ascontiguousarray(p), (128, 512))) for p in pictures()]
    assert min(distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 12


def test_borders_go_and_what_is_all_border_stays():
    inner = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    framed = cv2.copyMakeBorder(inner, 32, 32, 16, 16, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    assert np.array_equal(without_borders(framed), inner)
    assert np.array_equal(without_borders(inner), inner)
    plain = np.full((50, 60, 3), 200, np.uint8)
    assert without_borders(plain) is plain


def test_mirrored_pictures_are_found_where_they_are_asked_for():
    images = [np.ascontiguousarray(p) for p in pictures()]
    hashes = [phash(p) for p in images + [np.ascontiguousarray(p[:, ::-1]) for p in images]]
    assert near(hashes) == []
    groups = near(hashes, max_distance=8, mirrored=True)
    assert groups == [[i, i + len(images)] for i in range(len(images))]
    # One that is its own mirror image is no pair, and 0 is near nothing.
    assert near([hashes[0], 0, 0], mirrored=True) == []
    assert near([7, 7, 9 ^ (1 << 40), 2**63], max_distance=0, mirrored=True) == [[0, 1]]


@pytest.mark.parametrize("size_wh", [(128, 128), (64, 200), (9, 8)])
def test_a_placeholder_has_no_hash(size_wh):
    for color in [(200, 200, 200), (0, 0, 90)]:
        data = codec.placeholder(size_wh, color)
        assert look(data) == 0 and phash(codec.decode(data)) == 0
    nearly = codec.decode(codec.placeholder((128, 128)))
    nearly[20:60, 40:90] = (10, 200, 30)
    assert phash(nearly) != 0


def test_different_pictures_have_different_hashes():
    hashes = [phash(p) for p in pictures()]
    assert min(distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 12
    assert all(0 < h < 2**64 for h in hashes)
    upside_down = [phash(np.ascontiguousarray(p[::-1])) for p in pictures()]
    assert min(map(distance, hashes, upside_down)) > 12


def test_flat_pictures_have_no_hash_and_are_near_nothing():
    noise = np.random.default_rng(0).integers(0, 4, (40, 60, 3), dtype=np.uint8)
    flat = [phash(np.full((40, 60, 3), v, np.uint8)) for v in (0, 128, 255)] + [phash(noise), phash(noise + 90)]
    assert flat == [0] * 5 and near(flat) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (500, 2, 3), (3000, 3000, 3)])
def test_any_size_has_a_hash(shape):
    assert 0 <= phash(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)) < 2**64


def brute(hashes: list[int], max_distance: int) -> list[list[int]]:
    """The same by definition: all pairs, then what they connect."""
    group = list(range(len(hashes)))
    for i in range(len(hashes)):
        for j in range(i):
            if hashes[i] and hashes[j] and distance(hashes[i], hashes[j]) <= max_distance and group[i] != group[j]:
                old, new = group[i], group[j]
                group = [new if g == old else g for g in group]
    return sorted(c for g in set(group) if len(c := [i for i, x in enumerate(group) if x == g]) > 1)


@pytest.mark.parametrize("max_distance", range(13))
def test_the_groups_are_those_of_all_pairs(max_distance):
    rng = np.random.default_rng(max_distance)
    centres = rng.integers(1, 2**64, 12, dtype=np.uint64).tolist()
    hashes = [0, 0, *centres]
    for _ in range(150):
        flips = rng.choice(64, rng.integers(0, max_distance + 4), replace=False).tolist()
        hashes.append(centres[rng.integers(12)] ^ sum(1 << bit for bit in flips))
    assert near(hashes, max_distance=max_distance) == brute(hashes, max_distance)


def test_a_distance_of_exactly_max_is_in_and_one_more_is_out():
    for flips in (5, 6, 7):
        spread = sum(1 << (9 * i) for i in range(flips))  # one bit in each band: the hardest case
        assert near([2**63 + 5, (2**63 + 5) ^ spread], max_distance=6) == ([[0, 1]] if flips <= 6 else [])


def test_equal_hashes_are_one_group_in_the_order_of_the_input():
    assert near([9, 2**60, 9, 2**60, 9], max_distance=0) == [[0, 2, 4], [1, 3]]
    assert near([]) == near([7]) == []


def test_a_chain_is_one_group_although_its_ends_are_far_apart():
    chain = [(1 << 6 * i) - 1 for i in range(1, 10)]
    assert near(chain, max_distance=6) == [list(range(9))]


def test_a_hundred_thousand_hashes_take_seconds_also_when_many_are_alike():
    rng = np.random.default_rng(0)
    hashes = rng.integers(1, 2**64, 100_000, dtype=np.uint64)
    hashes[:4000] = hashes[0]
    for _ in range(2):  # each copy differs from the first in two bits, and so in up to four from the others
        hashes[:4000] ^= np.uint64(1) << rng.integers(0, 64, 4000).astype(np.uint64)
    started = time.process_time()
    groups = near(hashes.tolist())
    assert time.process_time() - started < 15
    assert len(groups) == 1 and set(groups[0]) >= set(range(4000))


@pytest.mark.parametrize("max_distance", [-1, 13, 64, 2.5, "6"])
def test_a_wrong_distance_is_said(max_distance):
    with pytest.raises(ValueError, match="max_distance must be from 0 to 12 bits"):
        near([1, 2], max_distance=max_distance)


def test_brightness_is_mean_luma():
    assert brightness(np.full((5, 5, 3), (255, 0, 0), np.uint8)) == 76
    half = np.zeros((10, 10, 3), np.uint8)
    half[:5] = 200
    assert brightness(half) == 100


def test_sharpness_falls_with_blur_and_not_with_size():
    for image in map(np.ascontiguousarray, pictures()):
        steps = [sharpness(cv2.GaussianBlur(image, (0, 0), s) if s else image) for s in (0, 1, 3, 8)]
        assert steps == sorted(steps, reverse=True) and steps[-1] < steps[0] / 5
        large = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
        assert 0.6 < sharpness(large) / steps[0] < 1.6
    assert sharpness(np.full((400, 300, 3), 9, np.uint8)) == 0


def test_entropy_counts_the_levels():
    assert entropy(np.full((8, 8, 3), 9, np.uint8)) == 0
    ramp = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, 2)
    assert entropy(ramp) == 8
    assert entropy(ramp // 16) == pytest.approx(4)


@pytest.mark.corpus
def test_two_sizes_of_one_photograph_are_found_among_strangers(corpus):
    paths = [p for group in ("photos", "artwork", "product/images") for p in sorted((corpus / group).rglob("*.*g"))]
    hashes = [phash(codec.decode(p.read_bytes(), min_wh=(64, 64))) for p in paths]
    found = [[paths[i].name for i in group] for group in near(hashes)]
    assert found == [["high-trestle-trail.jpg", "tony-webster-97532.jpg"], ["front_en.jpg", "front_small_en.jpg"]]
