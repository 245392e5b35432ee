"""Does a dataset folder still hold what it lists?

At each start: sizes, both ends of each file, and the checksum of what was touched since it was listed. `imgprep check`:
every checksum.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imgprep.dataset.files import Folder
from imgprep.dataset.manifest import MANIFEST, FileEntry

# The names of data files; nothing else is removed. The last piece is the beginning of the sha256.
OURS = re.compile(r".+-[0-9]{5}(\.[0-9]+)?-([0-9a-f]{12})\.parquet")
PARQUET_MAGIC = b"PAR1"  # at both ends of a Parquet file
OTHER_BYTES = "does not hold the bytes that were written"


@dataclass(frozen=True)
class Inspection:
    """How closely files are looked at.

    since_ns: only what was touched at this time or later is read as a whole; 0: everything is.
    """

    folder: Folder
    since_ns: int = 0

    @staticmethod
    def quick(folder: Folder) -> "Inspection":
        """What was listed before it was touched is read as a whole. A store keeps what it was given."""
        if folder.remote:
            return Inspection(folder, since_ns=1)
        try:
            return Inspection(folder, os.stat(folder.full(MANIFEST)).st_mtime_ns)
        except OSError:
            return Inspection(folder)

    def damage(self, name: str, *, nbytes: int | None = None, sha256: str = "") -> str:
        """What is wrong with a file, as the end of a sentence; "" where nothing is.

        nbytes, sha256: as they were written; without, the name says how the checksum begins.
        """
        size = self.folder.size(name)
        if size is None:
            return "is missing"
        if nbytes is not None and size != nbytes:
            return f"has {size:,} bytes and had {nbytes:,}"
        try:
            return self._other_bytes(name, sha256 or named_sha256(name))
        except OSError as e:
            return f"cannot be read ({e.strerror or type(e).__name__})"

    def _other_bytes(self, name: str, sha256: str) -> str:
        if self.since_ns and (self.folder.remote or self.folder.changed_ns(name) < self.since_ns):
            return "" if self.folder.remote or self._has_ends(name) else OTHER_BYTES
        is_same = self.folder.sha256(name).startswith(sha256)
        return "" if is_same else OTHER_BYTES

    def _has_ends(self, name: str) -> bool:
        if not name.endswith(".parquet"):
            return True
        with open(self.folder.full(name), "rb") as file:
            # Both ends: a file that was cut has the first, one
            # that was not flushed after a crash may have zeros.
            begins = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
            file.seek(-len(PARQUET_MAGIC), os.SEEK_END)
            return begins and file.read() == PARQUET_MAGIC

    def damages(self, files: Iterable[FileEntry]) -> Iterator[tuple[str, str]]:
        """(name, what is wrong) of each of these files of a manifest that is damaged."""
        for file in files:
            told = self.damage(file["file"], nbytes=file["bytes"], sha256=file.get("sha256", ""))
            if told:
                yield file["file"], told


def named_sha256(name: str) -> str:
    """The beginning of the sha256 that a file's name holds; "" where it holds none.

    >>> named_sha256("data/train-00000-0123456789ab.parquet"), named_sha256("README.md")
    ('0123456789ab', '')
    """
    found = OURS.fullmatch(name)
    return found[2] if found else ""


def note_checked(folder: Folder, files: Iterable[FileEntry]) -> None:
    """These files are what was written: the next look need not read those that were touched, as by a copy.

    The caller holds the folder's lock.
    """
    if folder.remote:
        return
    with contextlib.suppress(OSError):
        listed_ns = os.stat(folder.full(MANIFEST)).st_mtime_ns
        if any(folder.changed_ns(file["file"]) > listed_ns for file in files):
            # The manifest's time is "all was well then", so it is what moves.
            os.utime(folder.full(MANIFEST))


def damage_sentence(folder: Folder, found: dict[str, str]) -> str:
    """Which files are damaged, in one sentence.

    >>> damage_sentence(Folder("/d"), {"data/a": "is missing"})
    '1 file of /d is damaged: data/a is missing'
    """
    first = [f"{name} {told}" for name, told in list(found.items())[:3]]
    what = "1 file" if len(found) == 1 else f"{len(found):,} files"
    verb = "is" if len(found) == 1 else "are"
    more = " …" if len(found) > len(first) else ""
    return f"{what} of {folder.path} {verb} damaged: {', '.join(first)}{more}"
