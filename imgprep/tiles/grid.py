"""A picture as a grid of boxes (x, y, width, height), and what lies around and inside each."""

from collections.abc import Sequence

from numpy import ndarray

from imgprep.tiles.windows import Box


def cut(box: Box, tile_wh: Sequence[int]) -> list[Box]:
    """Its tiles, row by row; the last of a row and of a column may be smaller.

    >>> cut((10, 0, 5, 2), (3, 2))
    [(10, 0, 3, 2), (13, 0, 2, 2)]
    """
    x, y, w, h = box
    tile_w, tile_h = tile_wh
    found = []
    for top in range(y, y + h, tile_h):
        for left in range(x, x + w, tile_w):
            right = min(left + tile_w, x + w)
            bottom = min(top + tile_h, y + h)
            found.append((left, top, right - left, bottom - top))
    return found


def blocks(
    size_wh: tuple[int, int], tile_wh: Sequence[int], side: int, *, single: bool = False
) -> list[Box]:
    """Whole tiles, about `side` pixels long, row by row; single: one tile each.

    >>> len(blocks((5000, 3000), (1024, 1024), 2048))
    6
    >>> blocks((5000, 3000), (4096, 4096), 2048)[1]
    (4096, 0, 904, 3000)
    """
    if single:
        return cut((0, 0, *size_wh), tile_wh)
    return cut((0, 0, *size_wh), [max(1, round(side / t)) * t for t in tile_wh])


def grown(box: Box, halo: int, size_wh: tuple[int, int], least_wh: tuple[int, int] = (0, 0)) -> Box:
    """With a halo around it, cut off at the picture's edge:
    what is beyond is the operator's affair.

    least_wh: what is smaller grows, towards where there is more of the picture.

    >>> grown((0, 10, 5, 5), 2, (100, 100))
    (0, 8, 7, 9)
    """
    x, y, w, h = box
    left, right = _span(x, w, halo, size_wh[0], least_wh[0])
    top, bottom = _span(y, h, halo, size_wh[1], least_wh[1])
    return left, top, right - left, bottom - top


def _span(
    at: int,
    length: int,
    halo: int,
    size: int,
    least: int,
) -> tuple[int, int]:
    low = max(0, at - halo)
    high = min(size, at + length + halo)
    if high - low < least:
        low = max(0, min(low, size - least))
        high = min(size, low + least)
    return low, high


def inside(box: Box, outer: Box) -> tuple[slice, slice]:
    """Rows and columns of a box in an array of `outer`."""
    x = box[0] - outer[0]
    y = box[1] - outer[1]
    return slice(y, y + box[3]), slice(x, x + box[2])


def crop(image: ndarray, box: Box) -> ndarray:
    """The pixels of a box, a view: a box that leaves the picture has fewer."""
    x, y, w, h = box
    return image[y : y + h, x : x + w]
