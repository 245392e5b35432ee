"""Which files of requests were sent, and what became of them: batches.json beside the files.

A round is all requests, or all of those before that failed. So what was sent is known whatever dies
in between.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from imgprep.stages.batch_requests.files import asks_of, put_private

STATE_FILE = "batches.json"
ENDED = ("completed", "expired", "cancelled", "failed")


@dataclass
class Sent:
    """A file of requests. batch: its id at the service, "" until it is there. results: files that
    came back."""

    file: str
    asks: str
    batch: str = ""
    status: str = ""
    results: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.status in ENDED


@dataclass
class State:
    """asks: what the first round asks, as one hash. rounds: the files of each."""

    asks: str
    rounds: list[list[Sent]]

    @property
    def files(self) -> list[Sent]:
        return [one for sent in self.rounds for one in sent]

    @property
    def is_over(self) -> bool:
        return all(one.is_over for one in self.files)

    def save(self, folder: Path) -> None:
        put_private(folder / STATE_FILE, json.dumps(asdict(self), indent=1).encode())


def load_state(folder: Path) -> State | None:
    """None where nothing was sent."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        rounds = [[Sent(**one) for one in sent] for sent in found["rounds"]]
        return State(found["asks"], rounds)
    except (ValueError, KeyError, TypeError):
        told = "is not as it was written: put it back, or write the requests into another folder"
        raise ValueError(f"{path} {told}") from None


def forget_state(folder: Path) -> None:
    """As if nothing had been sent. What came back goes, too."""
    state = load_state(folder)
    for name in (name for one in (state.files if state else []) for name in one.results):
        (folder / name).unlink(missing_ok=True)
    (folder / STATE_FILE).unlink(missing_ok=True)


def watched(folder: Path, lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, as they are to replace what is in the folder.

    Where batches were sent from there: the same requests are the same batches, and nothing is paid
    for twice; of other ones a ValueError comes behind the last line, as long as a batch is under
    way.
    """
    state = load_state(folder)
    if state is None:
        yield from lines
        return
    whole = hashlib.sha256()
    for text in lines:
        whole.update(asks_of(text))
        yield text
    if whole.hexdigest() == state.asks:
        return
    if not state.is_over:
        told = "has other requests under way: poll them first, or write into another folder"
        raise ValueError(f"{folder} {told}")
    forget_state(folder)
