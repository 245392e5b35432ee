"""jp2: palettes, the order of channels, and profiles, which Pillow leaves out."""

import numpy as np
import pytest
from odd_files import (
    COLOURS,
    INDICES,
    P3_IN_SRGB,
    PICTURE,
    WHITE,
    channel_box,
    jp2,
    palette_boxes,
    shows,
)
from test_codec import reason

from imgprep.picture import cicp

INDEXED = INDICES.astype(np.uint8)


def test_each_index_of_a_palette_has_its_own_colour_also_where_two_are_equal():
    assert shows(jp2(INDEXED, boxes=palette_boxes(COLOURS)))
    twice = [COLOURS[0], COLOURS[0], COLOURS[2], COLOURS[3]]
    assert shows(jp2(INDEXED, boxes=palette_boxes(twice)), twice)


def test_an_index_beyond_the_palette_is_its_last_colour():
    assert shows(jp2(INDEXED, boxes=palette_boxes(COLOURS[:3])), [*COLOURS[:3], COLOURS[2]])


def test_channels_are_in_the_order_that_the_file_says():
    blue_first = np.ascontiguousarray(PICTURE[..., ::-1])
    assert shows(jp2(blue_first, boxes=channel_box((0, 0, 3), (1, 0, 2), (2, 0, 1))))
    assert shows(jp2(PICTURE, boxes=channel_box((0, 0, 1), (1, 0, 2), (2, 0, 3))))


def test_opacity_may_be_the_first_channel():
    alpha = np.where(INDICES == 1, 0, 255).astype(np.uint8)
    stored = np.dstack([alpha, PICTURE])
    boxes = channel_box((0, 1, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3))
    assert shows(jp2(stored, boxes=boxes), [COLOURS[0], WHITE, *COLOURS[2:]])


def test_a_channel_of_no_known_kind_is_left_out():
    stored = np.dstack([PICTURE, np.zeros_like(INDEXED)])
    boxes = channel_box((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 65535, 65535))
    assert shows(jp2(stored, boxes=boxes))


@pytest.mark.parametrize("method", [2, 3])
def test_a_profile_says_what_the_colours_are(method):
    colour = bytes([method, 0, 0]) + cicp.cicp_profile(12, 13)
    assert shows(jp2(PICTURE, colour=colour), P3_IN_SRGB, 4)


def test_a_palette_that_cannot_be_is_damage():
    boxes = palette_boxes(COLOURS)
    broken = jp2(INDEXED, boxes=boxes.replace(b"\0\4\3", b"\xff\xff\3"))
    assert reason(broken) in ("corrupt", "truncated")
