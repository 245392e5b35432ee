"""Ids of pictures as names of files that every system takes."""

import hashlib
import re
from collections import Counter

ENDING_OF = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "TIFF": "tif",
    "JPEG2000": "jp2",
}  # else Pillow's name in lower case


def stems(ids: list[str]) -> list[str]:
    """A file name for each id, without ending. Where it is not the id itself, a hash of that is
    added.

    They differ in more than upper and lower case.
    """
    # 80 and a hash: with an ending still short enough for every file system.
    plain = [re.sub(r"[^A-Za-z0-9_-]+", "_", one)[:80] for one in ids]
    # Windows and macOS take A.png and a.png for one file.
    same = Counter(map(str.lower, plain))
    names = []
    for name, one in zip(plain, ids, strict=True):
        if name != one or same[name.lower()] > 1:
            name += "-" + hashlib.sha256(one.encode()).hexdigest()[:16]
        names.append(name)
    return names


def ending(form: str) -> str:
    """The ending of a file of this format.

    >>> ending("JPEG"), ending("PNG")
    ('jpg', 'png')
    """
    return ENDING_OF.get(form, form.lower())
