"""What a worker does with a film: opens it, makes its rows, and says what was wrong with it."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from imgprep import engine
from imgprep.failures import Failure
from imgprep.io.film.facts import FilmFacts
from imgprep.io.film.guarded import GuardedFile
from imgprep.io.film.places import Films
from imgprep.resume import make
from imgprep.resume.inputs import Wanted
from imgprep.resume.parts import PartWriter
from imgprep.resume.work import Loaded

FACTS = pa.schema(
    [
        ("film_width", pa.int32()),
        ("film_height", pa.int32()),
        ("film_codec", pa.string()),
        ("film_duration_s", pa.float64()),
        ("film_rate", pa.float64()),
        ("film_turned_by", pa.int32()),
        ("film_note", pa.string()),
        ("audio_codec", pa.string()),
        ("audio_duration_s", pa.float64()),
        ("audio_rate", pa.int32()),
        ("audio_channels", pa.int32()),
    ]
)
FilmRow = dict[str, Any]


def fact_columns(facts: FilmFacts) -> FilmRow:
    """The facts of a film as columns of its rows."""
    named = {}
    for name, value in dataclasses.asdict(facts).items():
        named[name if name.startswith("audio_") else f"film_{name}"] = value
    return named


class FilmMaker(Protocol):
    """Makes the rows of one film.

    Raises Failure for what is wrong with it, also after some rows.
    """

    def __call__(self, wanted: Wanted, file: GuardedFile) -> Iterator[FilmRow]: ...


@dataclass(frozen=True)
class FilmWork:
    """One unit: the rows of its films, written as they come."""

    parts: PartWriter
    films: Films
    make: FilmMaker

    def __call__(self, task: engine.Task) -> engine.Summary:
        summary = self.parts.write(task, self._rows(task.payload))
        return summary + engine.Summary(attempts=len(task.payload))

    def _rows(self, payload: list[Wanted]) -> Iterator[FilmRow]:
        for wanted in payload:
            # A film that ends early has given rows already: the failure is one more.
            given = 0
            try:
                with self.films.open(wanted.where) as file:
                    for row in self.make(wanted, file):
                        given += 1
                        yield row
            except Failure as e:
                one = Loaded(wanted.key, None, {})
                yield make.failed(one, e.reason, str(e), child=given if given else -1)
