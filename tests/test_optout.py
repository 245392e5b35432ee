"""Owners' wishes are read as they were meant."""

import time

import pytest

from imgprep.optout import Robots, robots_tag


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


RULES = """
# a comment
User-agent: otherbot
Disallow: /

User-agent: ImgPrep/1.0
User-agent: thirdbot
Disallow: /private/   # all of it
Allow: /private/open/
Disallow: /*.gif$
Disallow: /a%20b
Disallow: /q?x=
Disallow:
Sitemap: http://example.org/

User-agent: *
Disallow: /
"""


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/", True),
        ("/private/1.jpg", False),
        ("/private/open/1.jpg", True),
        ("/x/1.gif", False),
        ("/x/1.gif?v=2", True),
        ("/a b", False),
        ("/a%20b/c", False),
        ("/q?x=1", False),
        ("/q?y=1", True),
    ],
)
def test_the_group_that_names_us_counts_and_its_longest_rule(path, may):
    assert Robots(RULES, "imgprep").allow(path) is may


def test_who_is_not_named_follows_the_star_group_and_no_rules_allow_all():
    assert not Robots(RULES, "unnamed").allow("/")
    assert Robots("User-agent: otherbot\nDisallow: /", "imgprep").allow("/")
    assert Robots("<html>not found</html>", "imgprep").allow("/")


def test_a_rule_full_of_stars_takes_no_time():
    rules = Robots("User-agent: *\nDisallow: " + "/*a" * 500 + "$", "imgprep")
    started = time.perf_counter()
    assert rules.allow("/a" * 5000 + "b")
    assert time.perf_counter() - started < 1
