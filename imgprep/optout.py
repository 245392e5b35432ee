"""What the owners of pictures say about their use: X-Robots-Tag and robots.txt. Text in, verdict out; no network."""

import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

OPT_OUT = {"noai", "noimageai", "noindex", "noimageindex", "none"}  # none is short for noindex, nofollow
VALUED = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}  # name: value, not agent: rule


def robots_tag(values: Sequence[str], agent: str) -> str:
    """The first X-Robots-Tag value that opts out of use by `agent` (a lower-case name), or "".

    "otherbot: noai, noindex" speaks to otherbot only, up to the end of that value.

    >>> robots_tag(["all", "otherbot: noai", "Imgprep: noai"], "imgprep"), robots_tag(["otherbot: noai"], "imgprep")
    ('Imgprep: noai', '')
    """
    for value in values:
        to = "*"
        for part in value.lower().split(","):
            name, colon, rule = part.strip().partition(":")
            if not colon:
                rule = name
            elif name.strip() in VALUED:
                continue
            elif re.fullmatch(r"[\w.*-]+", name.strip()):  # the rest of a date, "25 jun 2026 15:00:00", is no agent
                to = name.strip()
            if to in ("*", agent) and rule.strip() in OPT_OUT:
                return value
    return ""


class Robots:
    """The rules of a robots.txt (RFC 9309) for one agent: the longest matching path wins, and Allow wins a tie.

    >>> rules = Robots("User-agent: *\\nDisallow: /private/\\nAllow: /private/*.jpg$", "imgprep")
    >>> rules.allow("/private/a.jpg"), rules.allow("/private/a.html"), rules.allow("/")
    (True, False, True)
    """

    def __init__(self, text: str, agent: str):
        groups: dict[str, list[tuple[int, bool, str]]] = {}
        names, in_rules = [], False
        for line in text.splitlines():
            key, _, value = line.partition("#")[0].partition(":")
            key, value = key.strip().lower(), value.strip()
            if key == "user-agent":
                names = [] if in_rules else names
                in_rules = False
                names.append(value.lower().partition("/")[0])
                groups.setdefault(names[-1], [])
            elif key in ("allow", "disallow"):
                in_rules = True
                for name in names if value else []:
                    groups[name].append((len(value), key == "allow", value))
        self._rules = sorted(groups.get(agent, groups.get("*", [])), reverse=True)

    def allow(self, path: str) -> bool:
        """Whether the agent may ask for the path (with its query)."""
        path = _plain(path)
        return next((may for _, may, rule in self._rules if _covers(rule, path)), True)


def _covers(rule: str, path: str) -> bool:
    """Whether the path begins as the rule says. No regular expression: a hostile rule full of stars could stall one."""
    first, *middle = [_plain(part) for part in rule.removesuffix("$").split("*")]
    if not path.startswith(first):
        return False
    at = len(first)
    last = middle.pop() if rule.endswith("$") and middle else None
    for part in middle:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    if last is not None:
        return path.endswith(last) and len(path) - len(last) >= at
    return at == len(path) if rule.endswith("$") else True


def _plain(path: str) -> str:
    """One spelling for paths that differ only in their percent-encoding."""
    return quote(unquote(path), safe="/?&=;:@!$'()*+,~")
