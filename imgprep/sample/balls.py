"""Coloured balls on grey photographs, where they are (COCO), and the demo's detector of them.

Bricks of the same colours lie among them, so that a detector can be wrong; and one picture is
stored on its side, as a camera does it, so that boxes have to be of the upright one.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from imgprep.sample import packshot
from imgprep.sample.detector import BALL_LABELS, write_detector

PICTURE_COUNT = 12
PICTURE_WH = (640, 480)
BALL_COLOURS = ((40, 80, 230), (30, 180, 70), (225, 40, 45))  # in the order of BALL_LABELS
BACKDROPS = ("coffee.png", "china.jpg", "flower.jpg", "rocket.jpg")
RADII_PX = (10, 46)
TURNED = 5  # the number of the picture that is stored on its side
TURNED_SIDEWAYS = 6  # EXIF: the top of the picture is its right side
BALLS_MODEL = "demo_detector.onnx"
BALLS_TRUTH = "truth.json"


def make_balls(folder: str | Path) -> None:
    """Write pictures, truth and detector into a new folder; one that is there stays as it is."""
    folder = Path(folder)
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".balls-", dir=folder.parent) as work:
        new = Path(work, "new")
        new.mkdir()
        write_detector(new / BALLS_MODEL)
        (new / "pictures").mkdir()
        (new / BALLS_TRUTH).write_text(json.dumps(_write_pictures(new / "pictures"), indent=1))
        new.rename(folder)


def _write_pictures(folder: Path) -> dict[str, Any]:
    """The pictures, and what COCO's file says of them."""
    told: dict[str, Any] = {"images": [], "annotations": []}
    for number in range(PICTURE_COUNT):
        picture, balls = ball_picture(number)
        name = f"balls-{number:02d}.jpg"
        _save_picture(picture, folder / name, is_turned=number == TURNED)
        width, height = PICTURE_WH
        told["images"].append({"id": number, "file_name": name, "width": width, "height": height})
        for place, box in balls:
            told["annotations"].append(
                {
                    "id": len(told["annotations"]) + 1,
                    "image_id": number,
                    "category_id": place + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    names = enumerate(BALL_LABELS, 1)
    return told | {"categories": [{"id": place, "name": name} for place, name in names]}


def ball_picture(number: int) -> tuple[np.ndarray, list[tuple[int, list[int]]]]:
    """One of them, (480, 640, 3) uint8, and its balls: (place in BALL_LABELS, box_xywh)."""
    rng = np.random.default_rng(number)
    photo = packshot.photograph(BACKDROPS[number % len(BACKDROPS)])
    grey = cv2.cvtColor(cv2.resize(photo, PICTURE_WH), cv2.COLOR_RGB2GRAY)
    picture = np.repeat(grey[:, :, None], 3, 2)
    for _ in range(rng.integers(1, 3)):
        _draw_brick(picture, rng)
    balls: list[tuple[int, list[int]]] = []
    for _ in range(rng.integers(3, 8)):
        radius = int(rng.integers(*RADII_PX))
        x, y = (int(rng.integers(radius, side - radius)) for side in PICTURE_WH)
        box = [x - radius, y - radius, 2 * radius + 1, 2 * radius + 1]
        if any(_touch(box, other) for _, other in balls):
            continue
        place = int(rng.integers(len(BALL_LABELS)))
        _draw_ball(picture, (x, y), radius, BALL_COLOURS[place])
        balls.append((place, box))
    return picture, balls


def _touch(box: list[int], other: list[int]) -> bool:
    starts = np.maximum(box[:2], other[:2])
    ends = np.minimum(np.add(box[:2], box[2:]), np.add(other[:2], other[2:]))
    return bool((ends > starts).all())


def _draw_ball(picture: np.ndarray, at_xy: tuple[int, int], radius: int, colour: tuple[int, ...]) -> None:
    cv2.circle(picture, at_xy, radius, colour, -1, cv2.LINE_AA)
    # Light falls from the upper left.
    shine = tuple(min(255, value + 60) for value in colour)
    light = at_xy[0] - radius // 3, at_xy[1] - radius // 3
    cv2.circle(picture, light, max(2, radius // 5), shine, -1, cv2.LINE_AA)


def _draw_brick(picture: np.ndarray, rng: np.random.Generator) -> None:
    """A rectangle of a ball's colour, which is no ball."""
    corner = rng.integers(0, (PICTURE_WH[0] - 120, PICTURE_WH[1] - 60))
    sides = rng.integers((70, 20), (120, 40))
    colour = BALL_COLOURS[int(rng.integers(len(BALL_COLOURS)))]
    cv2.rectangle(picture, corner.tolist(), (corner + sides).tolist(), colour, -1)


def _save_picture(picture: np.ndarray, path: Path, *, is_turned: bool) -> None:
    image = Image.fromarray(picture)
    exif = Image.Exif()
    if is_turned:
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = TURNED_SIDEWAYS
    image.save(path, quality=92, exif=exif)
