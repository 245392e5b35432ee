"""Product pictures whose label is true: real photographs on packs and under stickers. No files are written, no network.

The photographs come out of the installed wheels of scikit-image and scikit-learn; data/README.md names their authors
and licences. Everything drawn follows from a seed, so the same versions give the same pixels.
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

CAPTIONS = {"item_weight": "NET WEIGHT", "item_volume": "CONTENTS", "wattage": "POWER"}  # the others: their own name


class Product(NamedTuple):
    name: str
    photo: str
    tint: tuple[int, int, int] | None  # colours a grey photograph
    accent: tuple[int, int, int]
    labels: str  # what its label can state: "entity number number … unit, …"


PRODUCTS = [
    Product("Espresso Beans", "coffee.png", None, (122, 62, 29),
            "item_weight 125 200 250 340 500 750 gram, item_weight 1 1.5 2.5 kilogram, item_weight 8 12 16 ounce"),
    Product("Espresso Maker", "coffee.png", None, (52, 58, 70),
            "wattage 850 1050 1200 1450 1500 watt, voltage 110 120 220 230 240 volt, height 28.5 31 36 centimetre"),
    Product("Cat Treats", "chelsea.png", None, (190, 88, 22),
            "item_weight 40 50 60 75 150 180 gram, item_weight 1.5 2 3 kilogram, item_weight 2.5 4 6 ounce"),
    Product("Jasmine Tea", "china.jpg", None, (36, 110, 74),
            "item_weight 25 50 75 gram, item_weight 3.5 7 ounce, item_volume 330 500 millilitre, item_volume 1 litre"),
    Product("Flower Food", "flower.jpg", None, (176, 44, 100),
            "item_volume 100 250 500 750 millilitre, item_volume 1 2.5 5 litre, item_weight 5 10 20 gram"),
    Product("Model Rocket", "rocket.jpg", None, (26, 62, 120),
            "height 36 42.5 75 centimetre, height 11.75 18 inch, width 25 32 64 millimetre, item_weight 85 95 gram"),
    Product("Star Projector", "hubble_deep_field.jpg", None, (88, 52, 150),
            "wattage 5 7.5 9 12 watt, voltage 5 9 12 volt, width 12 14.5 18.5 centimetre, depth 90 110 150 millimetre"),
    Product("Eye Lotion", "retina.jpg", None, (0, 112, 130),
            "item_volume 5 10 15 20 30 120 millilitre, item_volume 0.5 1 4 fluid ounce"),
    Product("Wall Clock", "clock_motion.png", (255, 236, 200), (40, 44, 52),
            "width 24 30 35 40 centimetre, width 10 12.25 16 inch, depth 3.5 4 6.5 centimetre, voltage 1.5 3 volt"),
    Product("Brick Mortar", "brick.png", (255, 196, 160), (150, 52, 36),
            "item_weight 5 10 12.5 20 25 40 kilogram, item_weight 10 22 55 pound"),
    Product("Garden Lamp", "brick.png", (225, 228, 236), (150, 100, 10),
            "wattage 4 6 18 40 60 watt, height 45 60 80 centimetre, height 9 16.5 24 inch, voltage 12 24 volt"),
    Product("Lawn Seed", "grass.png", (196, 236, 120), (44, 112, 36),
            "item_weight 400 800 900 gram, item_weight 1 2.25 5 10 kilogram, item_weight 3 7 20 pound"),
    Product("Lawn Mower", "grass.png", (170, 226, 140), (190, 62, 16),
            "voltage 18 36 40 230 volt, wattage 1000 1300 1600 1800 watt, width 32 37 46 centimetre, width 14 21 inch"),
    Product("Garden Gravel", "gravel.png", (255, 240, 220), (92, 80, 70),
            "item_weight 2 7.5 15 20 kilogram, item_weight 5 30 50 pound, depth 3 5 7.5 centimetre, depth 1.25 2 inch"),
]  # fmt: skip
PAPER, INK = (252, 250, 245), (26, 28, 34)


def labels(product: Product) -> list[tuple[str, str]]:
    """Every (entity, value) that the product's label can state, such as ("item_volume", "2.5 litre")."""
    out = []
    for part in product.labels.split(", "):
        entity, numbers, unit = re.fullmatch(r"(\w+) ([\d. ]+) (\D+)", part).groups()
        out += [(entity, f"{number} {unit}") for number in numbers.split()]
    return out


def choose(rng: random.Random) -> tuple[Product, str, str]:
    """A product, and an entity and a value that its label can state."""
    product = rng.choice(PRODUCTS)
    return product, *rng.choice(labels(product))


def draw(product: Product, entity: str, value: str, *, seed: str) -> np.ndarray:
    """A picture of the product, (H, W, 3) uint8 RGB, longest side 300 to 900: `value` is the only quantity on it.

    A pack in a studio (width and height: with the arrow that measures it), or a sticker on the photograph itself.
    """
    rng = random.Random(seed)
    long, aspect = rng.triangular(300, 900, 400), rng.choice([1, 1, 0.8, 0.75, 4 / 3, 1.25])
    w, h = int(long * min(1, aspect)), int(long * min(1, 1 / aspect))
    measured = entity in ("width", "height")
    if not measured and rng.random() < 0.3:
        size_wh = int(w * rng.uniform(0.5, 0.7)), int(w * rng.uniform(0.2, 0.26))
        label = _label(product, entity, value, rng, size_wh, is_pack=False)
        centre = w / 2 + rng.uniform(-0.45, 0.45) * (w - size_wh[0]), h * rng.choice([0.26, 0.3, 0.68, 0.74])
        picture = _place(_crop(product, rng, (w, h)), label, centre, rng.gauss(0, 4), radius=size_wh[0] // 25)
    else:
        pack_h = int(h * rng.uniform(0.62, 0.7) if measured else h * rng.uniform(0.68, 0.88))
        slim = rng.uniform(0.85, 1.1) if entity == "width" else rng.uniform(0.62, 0.95)
        pack_w = int(min(pack_h * slim, w * (0.6 if entity == "height" else 0.72)))
        label_h = int(min(pack_h * 0.48, pack_w * 0.54))
        label = _label(product, entity, "" if measured else value, rng, (pack_w, label_h), is_pack=True)
        pack = np.vstack([_crop(product, rng, (pack_w, pack_h - label_h)), label])
        if rng.random() < 0.4:  # a tin: light along its middle, round edges in the shade
            light = cv2.resize(np.uint8([[120, 205, 255, 246, 215, 180, 110]]), (pack_w, pack_h))
            pack = cv2.multiply(pack, cv2.merge([light] * 3), scale=1 / 255)
        x = w * 0.42 if entity == "height" else w / 2 + rng.uniform(-0.4, 0.4) * (w - pack_w)
        y = h * 0.42 if entity == "width" else h / 2 + rng.uniform(-0.4, 0.3) * (h - pack_h)
        degrees = 0 if measured else rng.gauss(0, 2)
        picture = _place(_backdrop(rng, (w, h)), pack, (x, y), degrees, radius=pack_w // rng.choice([14, 30]))
        if entity == "width":
            picture = _measure(picture, value, (x, y), (pack_w, pack_h))
        elif entity == "height":  # the same, lying on its side
            picture = np.rot90(_measure(np.rot90(picture, -1), value, (h - y, x), (pack_h, pack_w)))
    if rng.random() < 0.15:  # a poor camera
        noise = _noise()[: picture.shape[0], : picture.shape[1]]
        picture = cv2.addWeighted(picture, 1, noise, k := rng.uniform(0.2, 0.45), -128 * k)
    return picture


def _label(product: Product, entity: str, value: str, rng: random.Random, size_wh, *, is_pack: bool) -> np.ndarray:
    """The panel that carries the text, in a colour its ink stands out from. On a pack it also names the product."""
    (w, h), accent = size_wh, product.accent
    coloured, black = (accent, PAPER, (255, 240, 205)), (INK, PAPER, (250, 206, 110))
    panel, ink, small = rng.choice([(PAPER, INK, accent), coloured, black])
    label = Image.new("RGB", size_wh, panel)
    pen = ImageDraw.Draw(label)
    caption = CAPTIONS.get(entity, entity.upper())
    if not is_pack:
        pen.rectangle([w * 0.025, w * 0.025, w * 0.975, h - w * 0.025], outline=small, width=max(1, h // 60))
        _text(pen, caption, (w / 2, h * 0.25), (w * 0.6, h * 0.18), small)
        _text(pen, value, (w / 2, h * 0.6), (w * 0.86, h * 0.46), ink, bold=0.015)
    elif value:
        _text(pen, product.name.upper(), (w / 2, h * 0.18), (w * 0.8, h * 0.19), ink)
        pen.line([(w * 0.1, h * 0.33), (w * 0.9, h * 0.33)], small, max(1, h // 70))
        _text(pen, caption, (w / 2, h * 0.46), (w * 0.5, h * 0.12), small)
        _text(pen, value, (w / 2, h * 0.74), (w * 0.86, h * 0.38), ink, bold=0.015)
    else:
        _text(pen, product.name.upper(), (w / 2, h * 0.45), (w * 0.84, h * 0.3), ink, bold=0.015)
        pen.line([(w * 0.3, h * 0.72), (w * 0.7, h * 0.72)], small, max(1, h // 40))
    return np.asarray(label)


def _measure(picture: np.ndarray, value: str, xy: tuple[float, float], pack_wh: tuple[int, int]) -> np.ndarray:
    """With an arrow below the pack, as long as the pack is wide, and `value` on it, as in a shop."""
    room = picture.shape[0] - (xy[1] + pack_wh[1] / 2)
    y, left, right = picture.shape[0] - room * 0.5, xy[0] - pack_wh[0] / 2, xy[0] + pack_wh[0] / 2
    width, size = max(2, round(room / 30)), min(room * 0.34, 0.52 * pack_wh[0] * 100 / _font(100).getlength(value))
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    ink = INK if picture[int(y), int(left) : int(right)].mean() > 90 else PAPER
    pen.line([left, y, right, y], ink, width)
    for end, inwards in ((left, room * 0.14), (right, -room * 0.14)):
        pen.line([end, y - room * 0.2, end, y + room * 0.2], ink, width)
        pen.polygon([end, y, end + inwards, y - room * 0.07, end + inwards, y + room * 0.07], ink)
    half = _font(int(size)).getlength(value) / 2 + size * 0.5
    plate = [xy[0] - half, y - size * 0.8, xy[0] + half, y + size * 0.8]
    pen.rounded_rectangle(plate, size * 0.3, PAPER, INK, width // 2)
    _text(pen, value, (xy[0], y), (half * 2, size), INK, bold=0.015)
    return np.asarray(canvas)


def _text(pen: ImageDraw.ImageDraw, text: str, xy, room_wh, ink, bold: float = 0.0) -> None:
    """Write `text` centred on `xy`, as large as the room allows."""
    size = max(8, int(min(room_wh[1], 100 * room_wh[0] / _font(100).getlength(text))))
    pen.text(xy, text, ink, _font(size), anchor="mm", stroke_width=round(bold * size))


def _place(canvas: np.ndarray, card: np.ndarray, xy: tuple[float, float], degrees: float, *, radius: int) -> np.ndarray:
    """Lay `card` with its centre on `xy`, turned, with round corners and a soft shadow."""
    (h, w), (card_h, card_w) = canvas.shape[:2], card.shape[:2]
    shape = Image.new("L", (card_w, card_h))
    ImageDraw.Draw(shape).rounded_rectangle([1, 1, card_w - 2, card_h - 2], radius, 255)
    turn = cv2.getRotationMatrix2D((card_w / 2, card_h / 2), degrees, 1)
    turn[:, 2] += xy[0] - card_w / 2, xy[1] - card_h / 2
    top = cv2.warpAffine(card, turn, (w, h), borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(np.asarray(shape), turn, (w, h)).astype(np.float32) / 255
    turn[1, 2] += h * 0.02  # the light comes from above
    small = cv2.warpAffine(np.asarray(shape), turn / 8, (w // 8, h // 8))  # a blur at an eighth costs a 64th
    shadow = cv2.resize(cv2.GaussianBlur(small, (0, 0), max(w, h) / 300), (w, h)).astype(np.float32) * (0.5 / 255)
    canvas = cv2.blendLinear(canvas, np.zeros_like(canvas), 1 - shadow, shadow)
    return cv2.blendLinear(top, canvas, mask, 1 - mask)


def _crop(product: Product, rng: random.Random, size_wh: tuple[int, int]) -> np.ndarray:
    """A part of the product's photograph, scaled to `size_wh`, perhaps mirrored, a little lighter or darker."""
    photo = _photo(product.photo, product.tint)
    scale = rng.uniform(0.6, 1) * min(photo.shape[1] / size_wh[0], photo.shape[0] / size_wh[1])
    w, h = int(size_wh[0] * scale), int(size_wh[1] * scale)
    x, y = rng.randint(0, photo.shape[1] - w), rng.randint(0, photo.shape[0] - h)
    part = photo[y : y + h, x : x + w]
    part = cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC)
    return cv2.convertScaleAbs(part[:, ::-1] if rng.random() < 0.5 else part, alpha=rng.uniform(0.85, 1.15))


def _backdrop(rng: random.Random, size_wh: tuple[int, int]) -> np.ndarray:
    """A light studio, wall and table, in which something far out of focus is reflected: no two are alike."""
    warm, light = rng.randint(-12, 12), rng.randint(185, 240)
    column = np.array([light - 24, light - 8, light + 6, light + 12, light + 12, light - 16, light - 8, light])
    wall = np.dstack([column + warm, column, column - warm]).clip(0, 255).astype(np.uint8).transpose(1, 0, 2)
    blurred = cv2.resize(_crop(rng.choice(PRODUCTS), rng, (32, 32)), (8, 8), interpolation=cv2.INTER_AREA)
    k = rng.choice([0.3, 0.4, 0.5, 0.9])
    mixed = cv2.addWeighted(np.repeat(wall, 8, axis=1), 1 - k, blurred, k, 0)
    return cv2.resize(mixed, size_wh, interpolation=cv2.INTER_CUBIC)


@functools.cache
def _photo(name: str, tint: tuple[int, int, int] | None) -> np.ndarray:
    """A photograph out of an installed wheel, (H, W, 3) uint8. Downloads nothing; a missing one raises ValueError."""
    package, folder = ("sklearn", "datasets/images") if name in ("china.jpg", "flower.jpg") else ("skimage", "data")
    spec = importlib.util.find_spec(package)  # does not import the package, which would take seconds
    path = Path(spec.origin).parent / folder / name if spec and spec.origin else Path(name)
    if not path.is_file():
        raise ValueError(f"the sample needs the photograph {name} of {package}: install scikit-image and scikit-learn")
    photo = np.asarray(Image.open(path).convert("RGB"))
    return photo if tint is None else (photo * (np.array(tint) / 255)).astype(np.uint8)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # Pillow's own: nothing to install, the same letters everywhere


@functools.cache
def _noise() -> np.ndarray:
    return np.random.default_rng(0).normal(128, 30, (900, 900, 3)).clip(0, 255).astype(np.uint8)
