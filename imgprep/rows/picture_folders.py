"""A folder of pictures as rows: what lies in it, which folders are classes and which are splits."""

import os
import re
from collections import Counter
from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from imgprep import project, words
from imgprep.io import uris
from imgprep.picture import header
from imgprep.rows.opened import Opened, filled

DECODED = {*header.FORMATS, *header.VAGUE_FORMATS, "HEIF", "MPO"}
PICTURE_ENDINGS = {
    ending for ending, form in Image.registered_extensions().items() if form in DECODED
}
PICTURE_ENDINGS |= {".svs", ".ndpi", ".scn"}  # slides that `segment` reads
# What cannot be decoded everywhere, and a person calls a picture: their rows say why not.
PICTURE_ENDINGS |= {".heic", ".heif", ".hif", ".avif", ".jxl", ".ico", ".pjpeg", ".pjp"}
HIDDEN_NAME = re.compile(r"(^|/)\.")
SYSTEM = {"thumbs.db", "desktop.ini", "ehthumbs.db"}  # what Windows leaves in every folder
SPLIT_OF = {  # what people call the folders of splits, as `datasets` knows them
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


def is_picture(name: str) -> bool:
    """Does the ending say that this is a picture?"""
    return os.path.splitext(name.lower())[1] in PICTURE_ENDINGS


def file_names(where: str) -> list[str]:
    """Every file below a folder (a path or an fsspec URI), from the folder on, sorted.

    No hidden ones. Links to folders are followed. ValueError for a folder that may not be read.
    """
    fs, path = fsspec.core.url_to_fs(where)
    path = path.rstrip("/")
    if isinstance(fs, LocalFileSystem):
        found = list(_walk(path, "", ()))
    else:
        found = [name[len(path) + 1 :] for name in fs.find(path)]
    return sorted(name for name in found if not HIDDEN_NAME.search(name))


def _walk(root: str, start: str, above: tuple[str, ...]) -> Iterator[str]:
    """The files in one folder and below. above: the folders that lead here, without links."""
    # Without links: the same folder under two names is one round.
    real = os.path.realpath(os.path.join(root, start))
    if real in above:
        # A link to a folder above it leads round for ever.
        words.say(f"{root}: the link {uris.printable(start)!r} leads back to a folder above it")
        return
    try:
        entries = list(os.scandir(real))
    except OSError as e:
        shown = uris.printable(start) or "."
        raise ValueError(f"the folder {shown!r} in {root} may not be read: {e.strerror}") from e
    for entry in entries:
        name = f"{start}/{entry.name}" if start else entry.name
        if not entry.is_dir():
            yield name
        elif not entry.name.startswith("."):
            yield from _walk(root, name, (*above, real))


def open_pictures(where: str, split: str, names: list[str]) -> Opened:
    """The pictures among these files of a folder as rows, with a column `file_name`.

    Where there are subfolders, they are the column `label`; in train/cat, test/cat … those of the
    split that is asked for. What by its name is no picture is left out, and how much is said.
    """
    inside = _split_folder(where, split, names)
    if inside:
        where = f"{where.rstrip('/')}/{inside}"
        start = f"{inside}/"
        names = [name.removeprefix(start) for name in names if name.startswith(start)]
    _tell_left_out(where, names)
    pictures = [name for name in names if is_picture(name)]
    shown = pa.array(map(uris.printable, pictures), pa.string())
    columns = {"file_name": shown}
    if pc.any(pc.match_substring(shown, "/")).as_py():
        # All that is above the first slash: deeper folders are a person's order, not classes.
        columns["label"] = pc.replace_substring_regex(shown, r"^([^/]*)/.*|^.*", r"\1")
    root = project.absolute(where)
    sources = pa.array([uris.source_of(f"{root}/{name}") for name in pictures], pa.string())
    table = filled(where, pa.table(columns), "pictures in it")
    return Opened(where, table, source=sources, name=shown)


def _split_folder(where: str, split: str, names: list[str]) -> str:
    """The subfolder that is the split, where the subfolders are splits; else ""."""
    pictures = [name for name in names if is_picture(name)]
    tops = list(dict.fromkeys(name.split("/")[0] for name in pictures if "/" in name))
    splits = [top for top in tops if top.lower() in SPLIT_OF]
    is_mixed = len(splits) < len(tops) or any("/" not in name for name in pictures)
    if not splits or (is_mixed and len(splits) == 1):
        return ""
    listed = ", ".join(splits)
    fix = ", ".join(f"{top!r}: '{where.rstrip('/')}/{top}'" for top in splits)
    if is_mixed:
        raise ValueError(f"{where} has the folders {listed} beside others; name them: {{{fix}}}")
    if len(splits) == 1:
        return splits[0]
    kind = SPLIT_OF.get(split.lower())
    for top in splits:
        if top == split or kind == SPLIT_OF[top.lower()]:
            return top
    raise ValueError(f"{where} has no split {split!r}, but the folders {listed}: {{{fix}}}")


def _tell_left_out(where: str, names: list[str]) -> None:
    endings: Counter[str] = Counter()
    for name in names:
        if not is_picture(name) and os.path.basename(name).lower() not in SYSTEM:
            endings[os.path.splitext(name.lower())[1] or "without ending"] += 1
    if not endings:
        return
    listed = ", ".join(f"{ending} {n:,}" for ending, n in endings.most_common(5))
    n = endings.total()
    what = "1 file is no picture" if n == 1 else f"{n:,} files are no pictures"
    words.say(f"{where}: {what} by name and left out: {uris.printable(listed)}")
