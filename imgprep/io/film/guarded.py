"""A film's file whose faults are not lost: PyAV prints what a read raises, and takes it for the end."""

from dataclasses import dataclass, field
from typing import BinaryIO

from imgprep.io.uris.bodies import unread


@dataclass
class GuardedFile:
    """Reads a file; after a fault it is at its end, and `check` says why.

    source: what the file is called in a sentence.
    """

    file: BinaryIO
    source: str
    fault: Exception | None = field(default=None, init=False)

    def read(self, size: int = -1) -> bytes:
        """What comes next; nothing after a fault."""
        if self.fault is not None:
            return b""
        try:
            return self.file.read(size)
        except Exception as e:  # a disk's, a store's: each has errors of its own
            self.fault = e
            return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True

    def check(self) -> None:
        """Raises SourceError where a read has failed."""
        if self.fault is not None:
            raise unread(self.source, self.fault) from self.fault
