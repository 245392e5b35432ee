"""Are the objects of blocks, merged, those of the whole picture? scikit-image labels the whole."""

import cv2
import numpy as np
import pytest
from skimage.measure import label, regionprops_table

from imgprep.tiles import borders, components, grid

RNG = np.random.default_rng(3)
SIZE = 700, 500  # width, height


def noise(share=0.45):
    return (RNG.random(SIZE[::-1]) < share).astype(np.uint8)


def blobs(sigma=5):
    return (cv2.GaussianBlur(RNG.random(SIZE[::-1]).astype(np.float32), (0, 0), sigma) > 0.5).astype(np.uint8)


MASKS = {
    "noise": noise(),
    "blobs": blobs(),
    "stripes": (np.add.outer(np.arange(SIZE[1]), np.arange(SIZE[0])) % 7 == 0).astype(np.uint8),
    "classes": np.where(blobs(), 1 + blobs(20), 0).astype(np.uint8),
    "uint16": blobs().astype(np.uint16) * 700,
    "nothing": np.zeros(SIZE[::-1], np.uint8),
    "all": np.ones(SIZE[::-1], np.uint8),
}


def tiled(mask, connectivity, side, *, merged=True):
    """Labels of the whole from blocks, and the table of objects."""
    blocks = grid.cut((0, 0, *SIZE), (side, side))
    labels, tables = [], []
    for x, y, w, h in blocks:
        part = np.ascontiguousarray(mask[y : y + h, x : x + w])
        labels.append(components.components(part, connectivity)[0])
        found = components.regions(labels[-1], part, x, y, SIZE[0])
        inner = slice(0, h), slice(0, w)
        tables.append(found | components.edges(labels[-1], inner, found["label"], both=False))
        if not merged:
            tables[-1] |= {side: tables[-1][side] * 0 for side in ("top", "bottom", "left", "right")}
    objects, part, starts = borders.merge_blocks(blocks, tables, SIZE, connectivity, both=False)
    whole = np.zeros(mask.shape, np.int64)
    for n, (x, y, w, h) in enumerate(blocks):
        ids = np.concatenate([[0], part[starts[n] : starts[n + 1]] + 1])
        whole[y : y + h, x : x + w] = ids[labels[n]]
    return whole, objects


@pytest.mark.parametrize("side", [64, 171, 1024])
@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("name", MASKS)
def test_merged_blocks_are_the_whole(name, connectivity, side):
    whole, objects = tiled(MASKS[name], connectivity, side)
    want = label(MASKS[name], connectivity=connectivity // 4)
    assert np.array_equal(whole, want)  # the ids, too: in raster order of the first pixels
    if want.any() and want.max() < 5000:
        props = regionprops_table(want, MASKS[name], properties=("area", "bbox", "centroid", "intensity_max"))
        boxes = {"y0": "bbox-0", "x0": "bbox-1", "y1": "bbox-2", "x1": "bbox-3", "value": "intensity_max"}
        assert all(np.array_equal(objects[ours], props[theirs]) for ours, theirs in (boxes | {"area": "area"}).items())
        assert np.allclose(objects["sum_x"] / objects["area"], props["centroid-1"])
        assert np.allclose(objects["sum_y"] / objects["area"], props["centroid-0"])


def test_unmerged_blocks_are_not():
    counts = {name: len(tiled(MASKS[name], 8, 64, merged=False)[1]["area"]) for name in ("noise", "blobs", "stripes")}
    assert all(n > label(MASKS[name], connectivity=2).max() for name, n in counts.items())


def test_the_wrong_neighbourhood_is_another_count():
    assert len(tiled(MASKS["stripes"], 4, 64)[1]["area"]) > len(tiled(MASKS["stripes"], 8, 64)[1]["area"])


def test_objects_that_both_sides_see_alike_are_one():
    whole = np.zeros((100, 200), np.int32)
    whole[20:60, 70:130], whole[80:90, 90:100], whole[80:90, 100:140] = 1, 2, 3  # 2 and 3 touch at the border
    blocks, tables = [(0, 0, 100, 100), (100, 0, 100, 100)], []
    for block in blocks:
        outer = grid.grown(block, 50, (200, 100))
        seen, inner = whole[grid.inside(outer, (0, 0, 200, 100))], grid.inside(block, outer)
        found = components.regions(seen[inner], seen[inner], block[0], 0, 200)
        tables.append(found | components.edges(seen, inner, found["label"], both=True))
    objects, *_ = borders.merge_blocks(blocks, tables, (200, 100), 8, both=True)
    assert objects["area"].tolist() == [40 * 60, 10 * 10, 10 * 40]
