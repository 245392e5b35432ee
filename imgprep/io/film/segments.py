"""Where a rendition is written: one file for its header, one for each segment, cut at MP4's boxes."""

import os
from typing import Any

BOX_HEAD = 8
HEAD_FILE = "init.mp4"


class SegmentFiles:
    """What PyAV writes a fragmented MP4 into: each fragment becomes a file of the folder.

    nbytes: of each segment. What the disk says (no space left) is raised where it happens.
    """

    def __init__(self, folder: str):
        os.makedirs(folder)
        self.folder = folder
        self.nbytes: list[int] = []
        self.head = b""
        self._rest = bytearray()
        self._fragment = b""

    @staticmethod
    def name_of(number: int) -> str:
        """The file of a segment."""
        return f"{number:05d}.m4s"

    def write(self, data: Any) -> int:
        """Called by PyAV."""
        self._rest += data
        while len(self._rest) >= BOX_HEAD:
            length = int.from_bytes(self._rest[:4])
            start = BOX_HEAD
            if length == 1 and len(self._rest) >= 2 * BOX_HEAD:  # more than 4 GiB
                length = int.from_bytes(self._rest[BOX_HEAD : 2 * BOX_HEAD])
            if length < start or len(self._rest) < length:
                break
            self._take(bytes(self._rest[4:8]), bytes(self._rest[:length]))
            del self._rest[:length]
        return len(data)

    def _take(self, kind: bytes, box: bytes) -> None:
        if kind == b"ftyp":
            self.head = box
        elif kind == b"moov":
            self.head += box
            self._put(HEAD_FILE, self.head)
        elif kind == b"moof":
            self._fragment = box
        elif kind == b"mdat":
            whole = self._fragment + box
            self._put(self.name_of(len(self.nbytes)), whole)
            self.nbytes.append(len(whole))

    def _put(self, name: str, data: bytes) -> None:
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(data)
