"""What an export consists of: each of its files with size and checksum, in a file beside them.

A dataset folder lists its files itself. An export is of somebody else's format, which has no place for
that.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imgprep.dataset.files import Folder
from imgprep.dataset.whole import Inspection

EXPORT_MARK = ".imgprep-export"  # in every export
LINE_OF_FILE = re.compile(r"([0-9a-f]{64}) (\d+) (.+)")


def with_own_sum(text: str) -> bytes:
    """A list of checksums with one of itself at its end."""
    return f"{text}\n{zlib.crc32(text.encode()):08x}".encode()


def read_own_sum(data: bytes) -> str:
    """The list again. ValueError where it is not the one that was written."""
    text = data.decode("utf-8", "replace").rpartition("\n")[0]
    if with_own_sum(text) != data:
        raise ValueError("is damaged")
    return text


@dataclass(frozen=True)
class ListedFile:
    """A file as it was written."""

    name: str
    nbytes: int
    sha256: str


@dataclass(frozen=True)
class ExportMark:
    """Of which version of which dataset an export is, and its files.

    files: empty in what an earlier version of the package wrote.
    """

    version: str
    files: tuple[ListedFile, ...] = ()

    @staticmethod
    def of_folder(version: str, home: str) -> "ExportMark":
        """Of an export that is whole: every byte is read."""
        folder = Folder(home)
        paths = sorted(path for path in Path(home).rglob("*") if path.is_file())
        files = []
        for path in paths:
            name = path.relative_to(home).as_posix()
            files.append(ListedFile(name, path.stat().st_size, folder.sha256(name)))
        return ExportMark(version, tuple(files))

    @staticmethod
    def read_from(data: bytes) -> "ExportMark":
        """ValueError where it is not what was written."""
        if b"\n" not in data:
            return ExportMark(data.decode("ascii", "replace"))
        version, *lines = read_own_sum(data).split("\n")
        files = []
        for text in lines:
            found = LINE_OF_FILE.fullmatch(text)
            if not found:
                raise ValueError("is damaged")
            files.append(ListedFile(found[3], int(found[2]), found[1]))
        return ExportMark(version, tuple(files))

    def as_bytes(self) -> bytes:
        lines = [f"{file.sha256} {file.nbytes} {file.name}" for file in self.files]
        return with_own_sum("\n".join([self.version, *lines]))

    def is_all_there(self, folder: Folder) -> bool:
        """Has every file its size? Nothing is read."""
        sizes = _sizes(folder)
        return all(sizes.get(file.name) == file.nbytes for file in self.files)

    def damages(self, folder: Folder) -> Iterator[tuple[ListedFile, str]]:
        """Each file, and what is wrong with it as the end of a sentence; "" where nothing is."""
        look = Inspection(folder)
        for file in self.files:
            yield file, look.damage(file.name, nbytes=file.nbytes, sha256=file.sha256)


def _sizes(folder: Folder) -> dict[str, int]:
    """Of all files of an export."""
    if not folder.remote:
        paths = [path for path in Path(folder.path).rglob("*") if path.is_file()]
        return {p.relative_to(folder.path).as_posix(): p.stat().st_size for p in paths}
    fs, root = folder.filesystem()
    start = len(root.rstrip("/")) + 1
    found = fs.find(root, detail=True)
    return {path[start:]: int(about["size"]) for path, about in found.items()}
