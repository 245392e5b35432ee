"""What is shown to a vision model, what it says, and the file that keeps its answers."""

import base64
import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from imgprep.redaction import redact_values

ANSWER_TABLE = """
create table if not exists answer (
    sha text, version text, answer text, primary key (sha, version)
)
"""


@dataclass(frozen=True)
class Linked:
    """A picture that the service reads by itself. sha256: of its bytes: signatures come and go."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Said:
    """What a model says of one picture; or the reason why it says nothing."""

    status: str  # ok | failed
    reason: str = ""
    error: str = ""
    words: dict[str, list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # words of none of the lists: never tags
    tokens_in: int = 0
    tokens_out: int = 0
    cached: bool = False


def data_url(data: bytes) -> str:
    kind = "jpeg"
    if data.startswith(b"\x89PNG"):
        kind = "png"
    elif data[8:12] == b"WEBP":
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def without_secrets(answer: Said) -> Said:
    """Without passwords and keys, which may stand in a picture and be read there."""
    return Said(**redact_values(vars(answer)))


class KeptAnswers:
    """Answers by picture and version of the prompt, each written as it comes."""

    def __init__(self, path: str | Path | None):
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=30)
        self._db.execute(ANSWER_TABLE)

    def get(self, sha: str, version: str) -> Said | None:
        asked = "select answer from answer where sha = ? and version = ?"
        found = self._db.execute(asked, (sha, version)).fetchone()
        return Said(**json.loads(found[0]), cached=True) if found else None

    def put(self, sha: str, version: str, answer: Said) -> None:
        kept = {k: v for k, v in vars(answer).items() if k != "cached"}
        with self._db:
            self._db.execute(
                "insert or replace into answer values (?, ?, ?)", (sha, version, json.dumps(kept))
            )

    def close(self) -> None:
        self._db.close()
