"""Files of annotations where others may be: only what `annotations.write` wrote is replaced."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

# Beside COCO's file, or in the folder of the other formats: file -> sha256 of what was written.
HASHES_FILE = ".imgprep-annotations"


def put_annotations(where: str, dump: Callable[[str], None]) -> None:
    """Let `dump` write to a place of its own, then put it where it belongs, in place of what an
    earlier call put there.

    ValueError, and nothing is changed, where a file stands that this did not write, or that was
    edited since: boxes drawn by hand are hours of work.
    """
    target = Path(where).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".annotations-") as place:
        made = Path(place, target.name)
        dump(str(made))
        home = target if made.is_dir() else target.parent
        origin = made if made.is_dir() else made.parent
        files = [path.relative_to(origin) for path in sorted(origin.rglob("*")) if path.is_file()]
        known = _written_before(home)
        _check_ours(home, files, known)
        for name in files:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            known[name.as_posix()] = _bytes_hash(origin / name)
            shutil.move(origin / name, home / name)
    notes = json.dumps(known, ensure_ascii=False, indent=1, sort_keys=True)
    (home / HASHES_FILE).write_text(notes, "utf-8")


def check_names_inside(names: Iterable[str]) -> None:
    """ValueError where the name of a picture's file leads out of the folder that gets its own."""
    for name in names:
        parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
        is_whole = os.path.isabs(name) or PureWindowsPath(name).drive
        if ".." in parts or is_whole:
            fix = "name_column is the column of names within a folder"
            raise ValueError(f"{name!r} leads out of the folder of annotations: {fix}")


def _written_before(home: Path) -> dict[str, str]:
    try:
        found = json.loads((home / HASHES_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_ours(home: Path, files: Iterable[Path], known: dict[str, str]) -> None:
    for name in files:
        path = home / name
        if path.exists() and _bytes_hash(path) != known.get(name.as_posix()):
            told = f"{path} is there already, and not as this wrote it"
            raise ValueError(f"{told}: name another place, or move it away")


def _bytes_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
