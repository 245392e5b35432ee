"""What a search gives: hits with the reason for each, and a word where there are none."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from imgprep.redaction import redact
from imgprep.words import number_of


@dataclass(frozen=True)
class Hit:
    """A picture that was found: which, and why."""

    image_id: str
    split: str
    score: float
    likeness: float | None = None  # cosine, where vectors found it
    words: int | None = None  # its place among those that words found
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """Hits, the best first; and where there are none, what is near."""

    hits: list[Hit] = field(default_factory=list)
    note: str = ""
    near_tags: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    @property
    def ids(self) -> list[str]:
        return [hit.image_id for hit in self.hits]

    def __repr__(self) -> str:
        if not self.hits:
            return redact(self.note)
        shown = ", ".join(f"{hit.image_id} {hit.score:.2f}" for hit in self.hits[:5])
        return f"{number_of(len(self.hits), 'picture')}: {shown}"
