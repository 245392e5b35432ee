"""A microscope slide of any size with cells that are known one by one, for notebook 04.

Three quarters are tissue, unevenly lit; the rest is bare glass, brighter than anything. No two
cells touch.
"""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imgprep.io.rasters import gdal
from imgprep.io.rasters.mosaic import tiff_options
from imgprep.project import project_root, resolve

PITCH = 96  # pixels of the grid that cells are dealt to
SLIDE_SIDE = 512  # pixels of the pieces that are drawn at once
GLASS = 244  # grey
STAIN = [8, -22, 4]  # what tissue adds to its grey, in red, green and blue


def draw_piece(
    size_wh: tuple[int, int], box: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A piece (x, y, w, h) of the slide.

    RGB (h, w, 3) uint8, and the cells' numbers (h, w) int32, 0 between them.
    """
    x, y, w, h = box
    image = _ground(size_wh, box)
    labels = np.zeros((h, w), np.int32)
    for row in range(y // PITCH, (y + h - 1) // PITCH + 1):
        for column in range(x // PITCH, (x + w - 1) // PITCH + 1):
            _draw_cell(image, labels, size_wh, (x, y), (column, row))
    return image, labels


def _ground(size_wh: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """Tissue and glass without any cell."""
    x, y, w, h = box
    column = np.arange(x, x + w)
    row = np.arange(y, y + h)[:, None]
    light = 158 + 18 * np.sin(column / 700) * np.cos(row / 900)
    light = light + 5 * np.sin(column / 13) * np.sin(row / 17)
    is_tissue = (column < size_wh[0] * 3 // 4)[:, None]
    grey = np.where(is_tissue[:, 0], light, GLASS)[..., None]
    noise = np.random.default_rng((x, y, 7)).standard_normal((h, w, 3), np.float32)
    grain = noise * np.where(is_tissue, 5, 1)
    colour = grey + np.where(is_tissue, STAIN, 0) + grain
    return np.clip(colour, 0, 255).astype(np.uint8)


def _draw_cell(
    image: np.ndarray,
    labels: np.ndarray,
    size_wh: tuple[int, int],
    corner_xy: tuple[int, int],
    cell: tuple[int, int],
) -> None:
    """The cell of one place of the grid,
    unless that is empty or the cell would not lie in tissue.
    """
    rng = np.random.default_rng((*cell, 8))
    radius = int(rng.integers(8, 24))
    room = radius + 3, PITCH - radius - 3
    at_x = int(rng.integers(*room)) + PITCH * cell[0]
    at_y = int(rng.integers(*room)) + PITCH * cell[1]
    is_empty = rng.random() < 0.4
    if is_empty or at_x + radius >= size_wh[0] * 3 // 4 or at_y + radius >= size_wh[1]:
        return
    axes = radius, int(radius * rng.uniform(0.6, 1))
    angle = float(rng.integers(180))
    colour = tuple(int(c) for c in rng.integers((60, 30, 80), (95, 60, 115)))
    number = cell[1] * (-(-size_wh[0] // PITCH)) + cell[0] + 1
    centre = at_x - corner_xy[0], at_y - corner_xy[1]
    cv2.ellipse(image, centre, axes, angle, 0, 360, colour, -1)
    cv2.ellipse(labels, centre, axes, angle, 0, 360, number, -1)  # type: ignore[call-overload]


def make(folder: str, size_wh: tuple[int, int] = (4096, 3072)) -> dict[str, str]:
    """Write slide.tif and truth.tif (the cells' numbers) into `folder`; returns their paths.

    Files that are there stay. The same size gives the same pixels. Memory: a row of pieces.
    """
    paths = {name: os.path.join(folder, f"{name}.tif") for name in ("slide", "truth")}
    if all(map(os.path.exists, paths.values())):
        return paths
    os.makedirs(folder, exist_ok=True)
    with gdal() as rasterio:
        whole = {"width": size_wh[0], "height": size_wh[1], "bigtiff": "IF_SAFER"}
        whole |= tiff_options("deflate", 2)
        slide = rasterio.open(f"{paths['slide']}.part", "w", **whole, count=3, dtype="uint8")
        truth = rasterio.open(f"{paths['truth']}.part", "w", **whole, count=1, dtype="int32")
        with slide, truth:
            _write_pieces(rasterio, slide, truth, size_wh)
    for path in paths.values():
        Path(f"{path}.part").rename(path)
    return paths


def _write_pieces(rasterio: Any, slide: Any, truth: Any, size_wh: tuple[int, int]) -> None:
    for y in range(0, size_wh[1], SLIDE_SIDE):
        for x in range(0, size_wh[0], SLIDE_SIDE):
            box = x, y, min(SLIDE_SIDE, size_wh[0] - x), min(SLIDE_SIDE, size_wh[1] - y)
            image, labels = draw_piece(size_wh, box)
            window = rasterio.windows.Window(*box)
            slide.write(image.transpose(2, 0, 1), window=window)
            truth.write(labels, 1, window=window)


def ready(source: str, truth: str | None = None) -> str | None:
    """If they are of the project's own sample slide, make that. For a notebook's first cell.

    Returns the truth: the one that was given; without one the sample's own, for the sample only.
    """
    home = project_root() / "data" / "sample" / "slide"
    if any(path and Path(resolve(path)).parent == home for path in (source, truth)):
        own = make(str(home))["truth"]
        return truth or own
    return truth
