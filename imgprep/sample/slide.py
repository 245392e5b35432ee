"""A microscope slide of any size with cells that are known one by one, for notebook 04, tests and benchmarks.

Three quarters are tissue, unevenly lit; the rest is bare glass, brighter than anything. No two cells touch.
"""

import os
from pathlib import Path

import cv2
import numpy as np

from imgprep.io.rasters import gdal
from imgprep.io.rasters.mosaic import tiff_options
from imgprep.project import project_root, resolve

PITCH, SIDE = 96, 512  # pixels: of the grid that cells are dealt to, and of the pieces that are drawn at once


def draw(size_wh: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A piece (x, y, w, h) of the slide: RGB (h, w, 3) uint8 and the cells' numbers (h, w) int32, 0 between them."""
    x, y, w, h = box
    rng = np.random.default_rng((x, y, 7))
    column, row = np.arange(x, x + w), np.arange(y, y + h)[:, None]
    is_tissue = column < size_wh[0] * 3 // 4
    light = 158 + 18 * np.sin(column / 700) * np.cos(row / 900) + 5 * np.sin(column / 13) * np.sin(row / 17)
    is_tissue, grey = is_tissue[:, None], np.where(is_tissue, light, 244)[..., None]
    grain = rng.standard_normal((h, w, 3), np.float32) * np.where(is_tissue, 5, 1)
    image = np.clip(grey + np.where(is_tissue, [8, -22, 4], 0) + grain, 0, 255).astype(np.uint8)
    labels = np.zeros((h, w), np.int32)
    for j in range(y // PITCH, (y + h - 1) // PITCH + 1):
        for i in range(x // PITCH, (x + w - 1) // PITCH + 1):
            one = np.random.default_rng((i, j, 8))
            radius = int(one.integers(8, 24))
            at = [int(one.integers(radius + 3, PITCH - radius - 3)) + PITCH * n for n in (i, j)]
            if one.random() < 0.4 or at[0] + radius >= size_wh[0] * 3 // 4 or at[1] + radius >= size_wh[1]:
                continue
            axes, angle = (radius, int(radius * one.uniform(0.6, 1))), float(one.integers(180))
            colour = tuple(int(c) for c in one.integers((60, 30, 80), (95, 60, 115)))
            for target, value in ((image, colour), (labels, j * (-(-size_wh[0] // PITCH)) + i + 1)):
                cv2.ellipse(target, (at[0] - x, at[1] - y), axes, angle, 0, 360, value, -1)
    return image, labels


def make(folder: str, size_wh: tuple[int, int] = (4096, 3072)) -> dict[str, str]:
    """Write slide.tif and truth.tif (the cells' numbers) into `folder`, unless they are there; returns their paths.

    The same size gives the same pixels. Memory: a row of pieces.
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
            for y in range(0, size_wh[1], SIDE):
                for x in range(0, size_wh[0], SIDE):
                    box = x, y, min(SIDE, size_wh[0] - x), min(SIDE, size_wh[1] - y)
                    image, labels = draw(size_wh, box)
                    slide.write(image.transpose(2, 0, 1), window=rasterio.windows.Window(*box))
                    truth.write(labels, 1, window=rasterio.windows.Window(*box))
    for path in paths.values():
        Path(f"{path}.part").rename(path)
    return paths


def ready(*paths: str | None) -> None:
    """If one of `paths` is of the project's own sample slide, make that. For the first cell of a notebook."""
    home = project_root() / "data" / "sample" / "slide"
    if any(path and Path(resolve(path)).parent == home for path in paths):
        make(str(home))
