"""robots.txt of each site: asked for once, waited for, obeyed (RFC 9309; Protego reads it)."""

from protego import Protego

from imgprep.io.web.addresses import parse_url
from imgprep.io.web.journey import Journey, Response


class Robots:
    """What the robots.txt of each site says to `agent`, and who waits for one that is under way."""

    def __init__(self, agent: str):
        self.agent = agent
        self._rules: dict[str, Protego] = {}
        self._unreadable: dict[str, Response] = {}
        self._waiting: dict[str, list[Journey]] = {}

    def knows(self, site: str) -> bool:
        return site in self._rules or site in self._unreadable

    def wait(self, journey: Journey) -> bool:
        """Whether its site's robots.txt is under way; then the journey is kept until `told`."""
        waiting = self._waiting.get(journey.url.site)
        if waiting is None:
            return False
        waiting.append(journey)
        return True

    def ask(self, journey: Journey) -> Journey:
        """The journey to the site's robots.txt, for which this one waits."""
        site = journey.url.site
        self._waiting[site] = [journey]
        url = parse_url(f"{journey.url.scheme}://{site}/robots.txt")
        return Journey(-1, url, url)

    def refusal(self, journey: Journey) -> Response | None:
        """Why this URL may not be asked for, or None."""
        url = journey.url
        if bad := self._unreadable.get(url.site):
            return Response(reason=bad.reason, error=f"robots.txt cannot be read: {bad.error}")
        rules = self._rules.get(url.site)
        if rules is not None and not rules.can_fetch(url.text, self.agent):
            return Response(reason="robots", error=f"robots.txt of {url.host} disallows this path")
        return None

    def told(self, site: str, response: Response) -> list[Journey]:
        """Take in what came of asking a site; gives those who waited for it."""
        status = response.http_status or 0
        if not response.reason:
            text = (response.body or b"").decode("utf-8", "replace")
            self._rules[site] = Protego.parse(text)
        # 429 is a server that cannot say now; so it counts with the 5xx.
        elif 400 <= status < 500 and status != 429:
            # Where there is none all is allowed; a server that cannot say forbids it.
            self._rules[site] = Protego.parse("")
        else:
            response.reason = "robots" if status else response.reason
            self._unreadable[site] = response
        return self._waiting.pop(site)

    def abandon(self) -> None:
        """Forget who waits: nobody will tell."""
        self._waiting.clear()

    def forget(self) -> None:
        """Forget what every site said."""
        self._rules.clear()
        self._unreadable.clear()
