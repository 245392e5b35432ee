"""What `imgprep check` says of a folder, and the line that shows that it is at work."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from imgprep.engine.progress import Progress
from imgprep.project import short
from imgprep.words import bytes_text, number_of

RUN_AGAIN = "run the stage that made it again: it computes what is lost, and nothing else"
ASK_AGAIN = "run the upload again with refresh=True: it puts back what is missing, and nothing else"
LONG_BYTES = 1 << 30  # of less there is an answer within seconds, and no line before it
Thing = TypeVar("Thing")


@dataclass
class Checkup:
    """What was found of one folder: problems, and what could not be looked at."""

    folder: str
    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    objects: int = 0
    fix: str = RUN_AGAIN

    def lines(self) -> Iterator[str]:
        """As they are printed."""
        name = short(self.folder)
        for problem in self.problems:
            yield f"{name}: {problem}"
        if self.problems:
            yield f"{name}: {ASK_AGAIN if self.objects else self.fix}"
        else:
            objects = f", {number_of(self.objects, 'object')}" if self.objects else ""
            yield f"{name}: whole, {self.files:,} files, {bytes_text(self.bytes)}{objects}"
        for one in self.unknown:
            yield f"{name}: not checked: {one}"


def with_progress(
    things: Iterable[Thing], label: str, total: int, unit: str, *, is_long: bool
) -> Iterator[Thing]:
    """The same things, and a line of progress where they take long."""
    if not is_long:
        yield from things
        return
    progress = Progress(label, total, unit)
    try:
        for one in things:
            yield one
            progress.update(1, {}, 0)
    finally:
        progress.close()
