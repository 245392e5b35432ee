"""gif: a canvas that is transparent where nothing has been painted, as browsers show it."""

import numpy as np
import pytest
from odd_files import COLOURS, HEIGHT, INDICES, WHITE, WIDTH, frame_shows, gif, shows
from test_codec import reason

from imgprep.picture import codec
from imgprep.picture.codec import DecodeError

SMALL = np.full((HEIGHT // 2, WIDTH // 2), 2, np.uint8)


def test_around_a_first_frame_that_is_smaller_it_is_white_whatever_the_background():
    for background in (0, 3):
        data = gif([{"indices": SMALL, "at": (WIDTH // 2, HEIGHT // 2)}], background=background)
        assert shows(data, [WHITE, WHITE, WHITE, COLOURS[2]])
        assert codec.decode(data, background=(9, 8, 7))[0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize("disposal", [2, 3])
def test_what_is_disposed_of_is_transparent_from_the_first_frame_on(disposal):
    small, other = np.full((8, 12), 2, np.uint8), np.full((8, 12), 3, np.uint8)
    first, second, third = codec.frames(gif([
        {"indices": INDICES.astype(np.uint8), "disposal": disposal},
        {"indices": small, "at": (4, 4), "disposal": disposal},
        {"indices": other, "at": (20, 14), "disposal": disposal},
    ]))  # fmt: skip
    assert frame_shows(first, COLOURS)
    assert second[6, 6].tolist() == list(COLOURS[2])
    assert second[2, 38].tolist() == second[22, 2].tolist() == list(WHITE)
    assert third[6, 6].tolist() == third[22, 2].tolist() == list(WHITE)
    assert third[16, 22].tolist() == list(COLOURS[3])


def test_what_is_kept_stays_and_the_clear_index_paints_nothing():
    holes = np.full((8, 12), 2, np.uint8)
    holes[::2] = 1
    frames = list(codec.frames(gif([
        {"indices": INDICES.astype(np.uint8), "disposal": 1},
        {"indices": holes, "at": (4, 4), "clear": 1},
    ])))  # fmt: skip
    assert frames[1][4, 6].tolist() == list(COLOURS[0])
    assert frames[1][5, 6].tolist() == list(COLOURS[2])
    assert frames[1][22, 2].tolist() == list(COLOURS[2])


def test_a_frame_beyond_the_canvas_is_cut_and_one_without_pixels_changes_nothing():
    whole = {"indices": INDICES.astype(np.uint8), "disposal": 1}
    beyond = {"indices": SMALL, "at": (WIDTH - 4, HEIGHT - 4), "disposal": 1}
    outside = {"indices": SMALL, "at": (WIDTH, HEIGHT)}
    frames = list(codec.frames(gif([whole, beyond, outside])))
    assert [f.shape for f in frames] == [(HEIGHT, WIDTH, 3)] * 3
    assert frames[1][-1, -1].tolist() == list(COLOURS[2])
    assert np.array_equal(frames[1], frames[2])


def test_a_frame_with_too_many_pixels_is_refused_when_it_is_its_turn():
    data = gif([{"indices": INDICES.astype(np.uint8)}, {"indices": INDICES.astype(np.uint8)}])
    at = data.rindex(b"\x2c\0\0\0\0") + 5
    large = data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
    seen = codec.frames(large, max_pixels=10_000)
    assert next(seen).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(DecodeError, match="frame 1 has 65535 x 65535 pixels"):
        next(seen)


def test_thousands_of_frames_are_counted_and_refused_before_the_first():
    dot = {"indices": np.zeros((1, 1), np.uint8)}
    data = gif([dot] * 20_000, (1, 1))
    assert codec.probe(data).frames == 20_000
    assert reason(data, lambda d: next(codec.frames(d))) == "too_many_frames"
    assert len(list(codec.frames(gif([dot] * 3, (1, 1)), max_frames=3))) == 3
    assert reason(gif([dot] * 3, (1, 1)), lambda d: list(codec.frames(d, max_frames=2))) == "too_many_frames"
    assert len(list(codec.frames(gif([dot] * 600, (1, 1)), max_frames=None))) == 600
    # The first one is a picture all the same.
    assert codec.decode(data).shape == (1, 1, 3)
