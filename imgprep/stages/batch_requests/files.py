"""Files of requests: cut at the limits of a batch API, for their owner alone, there when all are
whole."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Of one file: OpenAI's API reference, "Create batch", 2025.
MAX_LINES, MAX_BYTES = 50_000, 200_000_000
# `request_line` puts it first: a line may have 10 MB.
CUSTOM_ID = re.compile(rb'\{"custom_id": ("(?:[^"\\]|\\.)*")')


def request_line(request: dict[str, Any]) -> bytes:
    return json.dumps(request, ensure_ascii=False).encode() + b"\n"


def requests_in(files: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """(custom_id, line) of each request."""
    for file in files:
        with file.open("rb") as lines:
            for text in lines:
                found = CUSTOM_ID.match(text)
                if not found:
                    raise ValueError(f"{file} is no file of requests: write them again")
                yield json.loads(found[1]), text


def asks_of(text: bytes) -> bytes:
    """What a request asks. A URL counts without its signature, which differs each time."""
    request = json.loads(text)
    for part in request["body"]["messages"][0]["content"]:
        if part["type"] == "image_url" and not part["image_url"]["url"].startswith("data:"):
            part["image_url"]["url"] = part["image_url"]["url"].partition("?")[0]
    return hashlib.sha256(request_line(request)).digest()


def asks_of_file(file: Path) -> str:
    """What the requests of a file ask, as one hash."""
    whole = hashlib.sha256()
    for _, text in requests_in([file]):
        whole.update(asks_of(text))
    return whole.hexdigest()


def put_private(path: Path, data: bytes) -> None:
    """A file of mode 0600, written beside its place and moved there."""
    part = path.with_name(f".{path.name}")
    with open(part, "wb", opener=_opener) as file:
        file.write(data)
    part.rename(path)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@dataclass
class RequestFiles:
    """The files `stem`-00001.jsonl and so on of a folder. They appear, and those of before go, when
    all are whole.

    dry_run: nothing is written; what would be is counted.
    """

    folder: Path
    stem: str
    max_lines: int = MAX_LINES
    max_bytes: int = MAX_BYTES
    dry_run: bool = False
    files: int = field(default=0, init=False)
    lines: int = field(default=0, init=False)
    nbytes: int = field(default=0, init=False)
    _lines: int = field(default=0, init=False)  # of the last file
    _bytes: int = field(default=0, init=False)

    def write(self, lines: Iterable[bytes]) -> None:
        """ValueError, and nothing is changed, for a line that is larger than a file may be."""
        if not self.dry_run:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()  # what a killed process left
        with contextlib.ExitStack() as parts:
            parts.callback(self._sweep)
            for text in lines:
                self._add(text)
            if not self.dry_run:
                self._appear()

    def paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self.stem}-*.jsonl"))

    def clear(self) -> None:
        for path in self.paths():
            path.unlink()

    def _add(self, text: bytes) -> None:
        size = len(text)
        if size > self.max_bytes:
            limit = f"max_bytes={self.max_bytes:,} of a file"
            raise ValueError(f"a request has {size:,} bytes, more than {limit}")
        is_full = self._lines >= self.max_lines or self._bytes + size > self.max_bytes
        if not self.files or is_full:
            self.files += 1
            self._lines = self._bytes = 0
        self.lines += 1
        self.nbytes += size
        self._lines += 1
        self._bytes += size
        if not self.dry_run:
            with open(self._part(self.files), "ab", opener=_opener) as file:
                file.write(text)

    def _part(self, number: int) -> Path:
        return self.folder / f".{self.stem}-{number:05d}.jsonl"

    def _appear(self) -> None:
        self.clear()
        for number in range(1, self.files + 1):
            part = self._part(number)
            part.rename(part.with_name(part.name.removeprefix(".")))

    def _sweep(self) -> None:
        for rest in self.folder.glob(f".{self.stem}-*.jsonl"):
            rest.unlink()
