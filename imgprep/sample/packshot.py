"""Product pictures whose label is true: real photographs with a sticker on them.

No files are written, no network.

The photographs come out of the installed wheels of scikit-image and scikit-learn; data/README.md
names their authors and licences. Everything drawn follows from a seed, so the same versions give
the same pixels.
"""

import functools
import importlib.util
import random
import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont


class Product(NamedTuple):
    name: str
    photo: str
    accent: tuple[int, int, int]
    labels: str  # what its label can state: "entity number number … unit, …"


PRODUCTS = [
    Product(
        "Espresso Beans",
        "coffee.png",
        (122, 62, 29),
        "item_weight 125 200 250 340 500 750 gram, "
        "item_weight 1 1.5 2.5 kilogram, item_weight 8 12 16 ounce",
    ),
    Product(
        "Cat Treats",
        "chelsea.png",
        (190, 88, 22),
        "item_weight 40 50 60 75 150 180 gram, "
        "item_weight 1.5 2 3 kilogram, item_weight 2.5 4 6 ounce",
    ),
    Product(
        "Jasmine Tea",
        "china.jpg",
        (36, 110, 74),
        "item_weight 25 50 75 gram, item_weight 3.5 7 ounce, "
        "item_volume 330 500 millilitre, item_volume 1 litre",
    ),
    Product(
        "Flower Food",
        "flower.jpg",
        (176, 44, 100),
        "item_volume 100 250 500 750 millilitre, "
        "item_volume 1 2.5 5 litre, item_weight 5 10 20 gram",
    ),
    Product(
        "Model Rocket",
        "rocket.jpg",
        (26, 62, 120),
        "height 36 42.5 75 centimetre, height 11.75 18 inch, "
        "width 25 32 64 millimetre, item_weight 85 95 gram",
    ),
    Product(
        "Star Projector",
        "hubble_deep_field.jpg",
        (88, 52, 150),
        "wattage 5 7.5 9 12 watt, voltage 5 9 12 volt, "
        "width 12 14.5 18.5 centimetre, depth 90 110 150 millimetre",
    ),
    Product(
        "Eye Lotion",
        "retina.jpg",
        (0, 112, 130),
        "item_volume 5 10 15 20 30 120 millilitre, item_volume 0.5 1 4 fluid ounce",
    ),
    Product(
        "Wall Clock",
        "clock_motion.png",
        (40, 44, 52),
        "width 24 30 35 40 centimetre, width 10 12.25 16 inch, "
        "depth 3.5 4 6.5 centimetre, voltage 1.5 3 volt",
    ),
    Product(
        "Garden Lamp",
        "brick.png",
        (150, 52, 36),
        "wattage 4 6 18 40 60 watt, height 45 60 80 centimetre, "
        "height 9 16.5 24 inch, voltage 12 24 volt",
    ),
    Product(
        "Lawn Seed",
        "grass.png",
        (44, 112, 36),
        "item_weight 400 800 900 gram, item_weight 1 2.25 5 10 kilogram, item_weight 3 7 20 pound",
    ),
    Product(
        "Garden Gravel",
        "gravel.png",
        (92, 80, 70),
        "item_weight 2 7.5 15 20 kilogram, item_weight 5 30 50 pound, "
        "depth 3 5 7.5 centimetre, depth 1.25 2 inch",
    ),
]
PAPER = (252, 250, 245)
INK = (26, 28, 34)
STATES = re.compile(r"(\w+) ([\d. ]+) (\D+)")  # entity, numbers, unit


def labels(product: Product) -> list[tuple[str, str]]:
    """Every (entity, value) that the product's label can state: ("item_volume", "2.5 litre")."""
    out = []
    for part in product.labels.split(", "):
        entity, numbers, unit = STATES.fullmatch(part).groups()  # type: ignore[union-attr]
        out += [(entity, f"{number} {unit}") for number in numbers.split()]
    return out


def draw(product: Product, entity: str, value: str, *, seed: str) -> np.ndarray:
    """A picture of the product, (H, W, 3) uint8 RGB, longest side 300 to 900.

    `value` is the only quantity on it.
    """
    rng = random.Random(seed)
    long = rng.triangular(300, 900, 400)
    aspect = rng.choice([1, 1, 0.8, 0.75, 4 / 3, 1.25])
    w = int(long * min(1, aspect))
    h = int(long * min(1, 1 / aspect))
    picture = Image.fromarray(_crop(product.photo, rng, (w, h)))
    sticker = _sticker(product, entity, value, rng, int(w * rng.uniform(0.45, 0.75)))
    sticker = sticker.rotate(rng.gauss(0, 4), Image.Resampling.BICUBIC, expand=True)
    x = int((w - sticker.width) * rng.uniform(0, 1))
    y = int((h - sticker.height) * rng.uniform(0.05, 0.95))
    picture.paste(sticker, (x, y), sticker)
    if rng.random() > 0.15:
        return np.asarray(picture)
    # a poor camera
    grain = np.random.default_rng(rng.getrandbits(32))
    noise = grain.normal(0, rng.uniform(6, 14), (h, w, 3))
    return (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)


def _crop(name: str, rng: random.Random, size_wh: tuple[int, int]) -> np.ndarray:
    """A part of the photograph in this size, perhaps mirrored, a little lighter or darker."""
    photo = photograph(name)
    height, width = photo.shape[:2]
    scale = rng.uniform(0.4, 1) * min(width / size_wh[0], height / size_wh[1])
    w = int(size_wh[0] * scale)
    h = int(size_wh[1] * scale)
    x = rng.randint(0, width - w)
    y = rng.randint(0, height - h)
    part = cv2.resize(photo[y : y + h, x : x + w], size_wh, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return cv2.convertScaleAbs(part, alpha=rng.uniform(0.85, 1.15))


def _sticker(product: Product, entity: str, value: str, rng: random.Random, w: int) -> Image.Image:
    """The product's name, what is stated, and the value, on a card with round corners."""
    h = int(w * rng.uniform(0.45, 0.6))
    plain = (PAPER, INK, product.accent)
    coloured = (product.accent, PAPER, (255, 240, 205))
    black = (INK, PAPER, (250, 206, 110))
    card, ink, small = rng.choice([plain, coloured, black])
    sticker = Image.new("RGBA", (w, h))
    pen = ImageDraw.Draw(sticker)
    pen.rounded_rectangle([1, 1, w - 2, h - 2], w // 25, card)
    _write_text(pen, product.name.upper(), (w / 2, h * 0.18), (w * 0.8, h * 0.19), ink)
    pen.line([(w * 0.1, h * 0.33), (w * 0.9, h * 0.33)], small, max(1, h // 70))
    stated = entity.replace("item_", "net ").upper()
    _write_text(pen, stated, (w / 2, h * 0.46), (w * 0.5, h * 0.12), small)
    _write_text(pen, value, (w / 2, h * 0.74), (w * 0.86, h * 0.38), ink, bold=0.015)
    return sticker


def _write_text(
    pen: ImageDraw.ImageDraw,
    text: str,
    at_xy: tuple[float, float],
    room_wh: tuple[float, float],
    ink: tuple[int, ...],
    bold: float = 0.0,
) -> None:
    """Centred on a point, as large as the room allows."""
    width = 100 * room_wh[0] / _font(100).getlength(text)
    size = max(8, int(min(room_wh[1], width)))
    pen.text(at_xy, text, ink, _font(size), anchor="mm", stroke_width=round(bold * size))


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow's own: nothing to install, the same letters everywhere
    return ImageFont.load_default(size)  # type: ignore[return-value]


@functools.cache
def photograph(name: str) -> np.ndarray:
    """A photograph out of an installed wheel, (H, W, 3) uint8."""
    package, folder = "skimage", "data"
    if name in ("china.jpg", "flower.jpg"):
        package, folder = "sklearn", "datasets/images"
    found = importlib.util.find_spec(package)  # an import would take seconds
    assert found is not None and found.submodule_search_locations
    (installed,) = found.submodule_search_locations
    return np.asarray(Image.open(Path(installed, folder, name)).convert("RGB"))
