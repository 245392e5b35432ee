"""Files whose names are no UTF-8, under names that GDAL can be told."""

import os
import tempfile
from dataclasses import dataclass
from typing import Any

from imgprep.io.rasters.formats import Readable


@dataclass(frozen=True)
class Spelled:
    """A path on this machine as GDAL is told it. holder: what keeps the links, or None."""

    path: str
    found: Readable
    holder: Any = None

    def close(self) -> None:
        if self.holder is not None:
            self.holder.cleanup()


def spelled(path: str, found: Readable) -> Spelled:
    """The path itself; or, where it is no UTF-8, a link to it, and to what lies beside it."""
    if _is_utf8(path):
        return Spelled(path, found)
    holder = tempfile.TemporaryDirectory(prefix="imgprep-link-")
    stem = os.path.splitext(path)[0]
    links = []
    for name in (path, *found.beside):
        link = os.path.join(holder.name, "scene" + name.removeprefix(stem))
        os.symlink(os.path.abspath(name), link)
        links.append(link)
    beside = tuple(links[1:])
    return Spelled(links[0], found._replace(beside=beside), holder)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
