"""Constructed pictures, whose composition is known: the score is high, and the evidence is where it was put."""

import json

import cv2
import numpy as np
import pytest

from imgprep.picture import codec, composition

W, H = 480, 360


def noise(seed: int, height: int = H, width: int = W) -> np.ndarray:
    random = np.random.default_rng(seed).integers(0, 256, (height // 6, width // 6, 3)).astype(np.uint8)
    return cv2.resize(random, (width, height), interpolation=cv2.INTER_CUBIC)


def thing_at(x: float, y: float, radius: int = 42) -> np.ndarray:
    """A sharp, coloured disc on a soft ground."""
    image = np.full((H, W, 3), (70, 90, 110), np.uint8)
    mask = np.zeros((H, W), np.uint8)
    cv2.circle(mask, (round(x * W), round(y * H)), radius, 255, -1)
    lively = noise(3) // 2 + np.array([120, 60, 0], np.uint8)
    image[mask > 0] = lively[mask > 0]
    return image


def lines_to(x: float, y: float) -> np.ndarray:
    image = np.full((H, W, 3), 235, np.uint8)
    target = np.array([x * W, y * H])
    for angle in np.radians([20, 40, 65, 115, 140, 160, 205, 320, 335]):
        way = np.array([np.cos(angle), np.sin(angle)])
        start, stop = (target + way * length for length in (60, 420))
        cv2.line(image, start.round().astype(int), stop.round().astype(int), (20, 20, 20), 3, cv2.LINE_AA)
    return image


def dots(step: int) -> np.ndarray:
    image = np.full((H, W, 3), 240, np.uint8)
    for y in range(step // 2, H, step):
        for x in range(step // 2, W, step):
            cv2.circle(image, (x, y), step // 4, (200, 40, 40), -1, cv2.LINE_AA)
            cv2.line(image, (x - step // 4, y), (x + step // 4, y + step // 5), (20, 20, 20), 2)
    return image


def seen(image: np.ndarray, technique: str) -> tuple[float, dict]:
    score, evidence = composition.scores(image)[technique]
    assert 0 <= score <= 1
    return score, evidence


@pytest.mark.parametrize("x", [0.5, 0.48])
def test_a_picture_that_equals_its_mirror_image_is_symmetric_about_that_axis(x):
    half = noise(1, H, 2 * round(x * W))[:, : round(x * W)]
    whole = np.hstack([half, half[:, ::-1]])
    rest = W - whole.shape[1]
    image = np.hstack([whole, noise(2, H, 6 * max(rest, 6))[:, :rest]])
    score, evidence = seen(image, "symmetry")
    assert score > composition.TAGGED_FROM["symmetry"]
    assert evidence["axis"] == "vertical"
    assert evidence["at"] == pytest.approx(x, abs=0.02)


def test_noise_is_not_symmetric():
    assert seen(noise(5), "symmetry")[0] < 0.3


@pytest.mark.parametrize("point", [(1 / 3, 1 / 3), (2 / 3, 1 / 3), (2 / 3, 2 / 3)])
def test_a_thing_on_a_crossing_of_the_thirds_is_found_there(point):
    score, evidence = seen(thing_at(*point), "rule of thirds")
    assert score > 0.7
    assert evidence["point"] == pytest.approx(point, abs=0.001)
    x, y, w, h = evidence["box"]
    assert x + w / 2 == pytest.approx(point[0], abs=0.05)
    assert y + h / 2 == pytest.approx(point[1], abs=0.05)
    assert seen(thing_at(*point), "centered")[0] < 0.2


def test_a_thing_in_the_middle_is_centered_there():
    score, evidence = seen(thing_at(0.5, 0.5), "centered")
    assert score > composition.TAGGED_FROM["centered"]
    assert evidence["point"] == pytest.approx([0.5, 0.5], abs=0.03)


@pytest.mark.parametrize("point", [(0.5, 0.45), (0.35, 0.5)])
def test_lines_from_all_sides_lead_to_their_point(point):
    score, evidence = seen(lines_to(*point), "leading lines")
    assert score > 0.6
    assert evidence["point"] == pytest.approx(point, abs=0.05)
    assert len(evidence["lines"]) >= 6


def test_one_element_many_times_is_a_pattern_with_that_step():
    step = 60
    score, evidence = seen(dots(step), "pattern")
    assert score > composition.TAGGED_FROM["pattern"]
    across, down = evidence["period"][0] * W, evidence["period"][1] * H
    assert max(abs(across), abs(down)) / step == pytest.approx(round(max(abs(across), abs(down)) / step), abs=0.05)


def test_a_plain_picture_is_no_pattern():
    assert seen(np.full((H, W, 3), 130, np.uint8), "pattern")[0] == 0


def test_a_dark_border_around_a_lively_middle_frames_it():
    image = np.full((H, W, 3), 15, np.uint8)
    image[70:290, 90:390] = noise(4)[70:290, 90:390] // 2 + 110
    score, evidence = seen(image, "framing")
    assert score > 0.6
    assert evidence["box"] == pytest.approx([90 / W, 70 / H, 300 / W, 220 / H], abs=0.05)


def test_only_what_scores_high_is_named_and_framing_never():
    half = noise(1)[:, : W // 2]
    named = composition.composition_tags(np.hstack([half, half[:, ::-1]]))
    assert "symmetry" in [tag["name"] for tag in named]
    assert "framing" not in composition.TAGGED_FROM
    assert json.loads(named[0]["evidence"]) is not None


@pytest.mark.parametrize("size_wh", [(1, 1), (3, 900), (900, 3), (24, 24)])
def test_pictures_of_any_size_have_six_scores(size_wh):
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    found = composition.scores(image)
    assert set(found) == {*composition.TECHNIQUES}
    assert all(np.isfinite(score) for score, _ in found.values())


def test_the_same_picture_scores_the_same_every_time():
    image = noise(9)
    assert composition.scores(image) == composition.scores(image.copy())


@pytest.mark.corpus
@pytest.mark.slow
def test_the_scores_agree_with_two_raters(corpus):
    """Mean area under the curve over both raters; the floors are what the method reached when it was chosen."""
    import csv

    from sklearn.metrics import roc_auc_score

    with open(corpus / "composition_labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [composition.scores(codec.decode((corpus / row["file"]).read_bytes(), min_wh=(512, 512))) for row in rows]
    floors = {
        "rule of thirds": 0.72,
        "centered": 0.74,
        "symmetry": 0.82,
        "framing": 0.82,
        "leading lines": 0.66,
        "pattern": 0.66,
    }
    for technique, floor in floors.items():
        areas = []
        for rater in ("rater_a", "rater_b"):
            known = [n for n, row in enumerate(rows) if row[rater] != "?"]
            truth = [technique in rows[n][rater].split(";") for n in known]
            areas.append(roc_auc_score(truth, [found[n][technique][0] for n in known]))
        assert np.mean(areas) >= floor, technique
