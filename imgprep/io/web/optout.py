"""What the owners of pictures say about their use: X-Robots-Tag (for robots.txt see `robots`)."""

import re
from collections.abc import Sequence

OPT_OUT = {"noai", "noimageai", "noindex", "noimageindex", "none"}  # none: noindex, nofollow
# These are "name: value", not "agent: rule".
VALUED = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}


def robots_tag(values: Sequence[str], agent: str) -> str:
    """The first X-Robots-Tag value that opts out of use by `agent` (a lower-case name), or "".

    "otherbot: noai, noindex" speaks to otherbot only, up to the end of that value.

    >>> robots_tag(["all", "otherbot: noai", "Imgprep: noai"], "imgprep")
    'Imgprep: noai'
    >>> robots_tag(["otherbot: noai"], "imgprep")
    ''
    """
    for value in values:
        to = "*"
        for part in value.lower().split(","):
            name, colon, rule = part.strip().partition(":")
            if not colon:
                rule = name
            elif name.strip() in VALUED:
                continue
            # The rest of a date, "25 jun 2026 15:00:00", is no agent.
            elif re.fullmatch(r"[\w.*-]+", name.strip()):
                to = name.strip()
            if to in ("*", agent) and rule.strip() in OPT_OUT:
                return value
    return ""
