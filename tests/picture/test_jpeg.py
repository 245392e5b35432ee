"""jpeg: profiles in pieces, in odd places, broken; and kinds of JPEG that are not decoded."""

import pytest
from odd_files import P3_IN_SRGB, icc_segments, jpeg, segment, shows, with_segments
from test_codec import reason

from imgprep.picture import cicp
from imgprep.picture.jpeg import jpeg_profile

P3 = cicp.cicp_profile(12, 13)
LOSSY = 14  # levels that a JPEG of such colours may be off


def test_a_profile_counts_wherever_in_the_head_it_stands():
    assert shows(with_segments(jpeg(), *icc_segments(P3)), P3_IN_SRGB, LOSSY)
    late = with_segments(jpeg(), *icc_segments(P3), behind_frame_header=True)
    assert shows(late, P3_IN_SRGB, LOSSY)


def test_a_profile_in_pieces_is_put_together_in_their_order():
    pieces = icc_segments(P3, pieces=3)
    assert jpeg_profile(with_segments(jpeg(), *pieces)) == P3
    assert jpeg_profile(with_segments(jpeg(), *pieces[::-1])) == P3
    assert jpeg_profile(with_segments(jpeg(), *pieces, *pieces)) == P3


BROKEN = {
    "a piece is missing": icc_segments(P3, 3)[:2],
    "numbered 0": icc_segments(P3, numbers=[0]),
    "empty": [segment(0xE2, b"ICC_PROFILE\0\1\1")],
    "cut short": [segment(0xE2, b"ICC_PROFILE\0")],
    "no profile": [segment(0xE2, b"ICC_PROFILE\0\1\1 this is no profile")],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_profile_is_none(name):
    assert shows(with_segments(jpeg(), *BROKEN[name]), tolerance=LOSSY)


def test_a_profile_that_comes_twice_counts_once():
    assert shows(with_segments(jpeg(), *icc_segments(P3) * 2), P3_IN_SRGB, LOSSY)


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEE, 0xFE])
def test_other_segments_that_make_no_sense_do_not_cost_the_picture(marker):
    heads = [b"", b"Exif\0\0II*\0\xff\xff\xff\xff", b"MPF\0II*\0", b"Photoshop 3.0\x008BIM\4", b"Adobe"]
    for body in heads:
        assert shows(with_segments(jpeg(), segment(marker, body)), tolerance=LOSSY)


@pytest.mark.parametrize("process", [0xC3, 0xC5, 0xCB, 0xF7])
def test_lossless_hierarchical_and_jpeg_ls_are_not_decoded_and_not_called_damaged(process):
    data = jpeg()
    at = data.index(b"\xff\xc0") + 1
    assert reason(data[:at] + bytes([process]) + data[at + 1 :]) == "unsupported_format"
