"""What a person sees of publishing: what would change on the Hub, or what did."""

import re
from dataclasses import dataclass, field
from html import escape

from imgprep.project import short
from imgprep.words import bytes_text, number_of

NAMES_SHOWN = 50  # names of files


@dataclass
class Publication:
    """What is, or would be, on the Hub. repr() and a notebook show what would change, and the card.

    problems: why it cannot be published. notes: what is good to know.
    commit: "" until it is there. loaded: what was loaded back, in words.
    """

    folder: str
    repo: str
    card: str
    added: list[str]
    removed: list[str]
    unchanged: list[str]
    nbytes: int
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    url: str = ""
    commit: str = ""
    tag: str | None = None
    loaded: str = ""

    def __repr__(self) -> str:
        if self.commit:
            where = f"{self.url} holds {short(self.folder)} at commit {self.commit[:12]}"
            tagged = f"tagged {self.tag}" if self.tag else ""
            return ", ".join(filter(None, [where, self.loaded, tagged]))
        lines = [f"not to be published: {problem}" for problem in self.problems]
        lines += [f"note: {note}" for note in self.notes]
        files = number_of(len(self.added), "file")
        change = f"{files} to send ({bytes_text(self.nbytes)}), {len(self.removed):,} to remove"
        lines.append(f"{self.repo}: {change}, {len(self.unchanged)} unchanged")
        return "\n".join(lines)

    @property
    def body(self) -> str:
        """The card without its head and its picture, which is not there yet."""
        return re.sub(r"\A---\n.*?^---$|^!\[[^\n]*", "", self.card, flags=re.S | re.M)

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{escape(line)}</p>" for line in repr(self).splitlines())
        url = escape(self.url)
        link = f"<p><a href='{url}'>{url}</a></p>" if self.commit else ""
        for word in ("added", "removed", "unchanged"):
            said += _folded_list(word, getattr(self, word))
        card = f"<details><summary>card</summary><pre>{escape(self.card)}</pre></details>"
        return f"{link}{said}{card}"


def _folded_list(word: str, names: list[str]) -> str:
    listed = "<br>".join(map(escape, names[:NAMES_SHOWN]))
    return f"<details><summary>{len(names):,} {word}</summary>{listed}</details>"
