"""Owners' wishes are read as they were meant."""

import pytest

from imgprep.io.web.optout import robots_tag


@pytest.mark.parametrize(
    ("value", "binds"),
    [
        ("noai", True),
        ("NoImageAI, nofollow", True),
        ("nofollow, noindex", True),
        ("none", True),
        ("imgprep: noai", True),
        ("Imgprep:noimageindex", True),
        ("*: noai", True),
        ("otherbot: noai", False),
        ("otherbot: nofollow, noai", False),
        ("otherbot: all, imgprep: noai", True),
        ("unavailable_after: 25 Jun 2026 15:00:00 PST", False),
        ("unavailable_after: Thursday, 25-Jun-26 15:00:00 PST, noai", True),
        ("max-image-preview: large, noindex", True),
        ("max-snippet:-1", False),
        ("all", False),
        ("noaiming", False),
        ("", False),
    ],
)
def test_an_x_robots_tag_binds_whom_it_names(value, binds):
    assert robots_tag([value], "imgprep") == (value if binds else "")
