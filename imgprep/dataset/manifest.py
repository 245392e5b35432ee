"""The manifest: what is committed, one line per file, below a line that says how it was made.

The first line holds a checksum of all of them, so that a list which was damaged is no list.
"""

import json
from typing import Any

from imgprep import hashing
from imgprep.dataset.files import PRIVATE, Folder

MANIFEST = f"{PRIVATE}/manifest.jsonl"
CHECKSUM = "checksum"
FileEntry = dict[str, Any]  # a file, as the manifest has it


class DamagedManifest(ValueError):
    """The manifest is there, and is not what was written."""


def manifest_bytes(info: dict[str, Any], files: list[FileEntry]) -> bytes:
    """The manifest as it is written."""
    # Over what is parsed, not over bytes: a list that an editor saved with other spaces is whole.
    sealed = info | {CHECKSUM: hashing.digest(info, files)}
    lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in [sealed, *files]]
    return "".join(lines).encode()


def read_manifest(folder: Folder) -> tuple[dict[str, Any], list[FileEntry]]:
    """Info and files of a dataset folder. ValueError where it is none, DamagedManifest where it was one."""
    data = folder.get(MANIFEST)
    if data is None:
        raise ValueError(f"{folder.path!r} is no dataset folder: it has no {MANIFEST}")
    try:
        info, *files = [json.loads(line) for line in data.decode().removesuffix("\n").split("\n")]
        checksum = info.pop(CHECKSUM, None)
        # None: of a version that wrote no checksum.
        is_whole = checksum in (None, hashing.digest(info, files))
    except (ValueError, AttributeError):  # torn, zeros, not text, no line at all
        is_whole = False
    if not is_whole:
        told = f"the list of its files, {MANIFEST}, is damaged"
        fix = "run the stage that made it again: what is whole is kept"
        raise DamagedManifest(f"{folder.path}: {told}; {fix}")
    return info, files


def has_checksum(folder: Folder) -> bool:
    """Can the list itself be checked? Those of earlier versions cannot."""
    head = (folder.get(MANIFEST) or b"").partition(b"\n")[0]
    return f'"{CHECKSUM}": '.encode() in head
