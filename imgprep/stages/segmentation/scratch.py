"""Files of a folder as GDAL wants them: on this disk. Those of a store come down, or go up when made."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence

from imgprep.dataset.files import Folder

COPIED_BYTES = 8 << 20  # at once


@contextlib.contextmanager
def local_files(folder: Folder, names: Sequence[str]) -> Iterator[list[str]]:
    """The paths of these files, while the block lasts. FileNotFoundError where one is not there."""
    if not folder.remote:
        yield [folder.full(name) for name in names]
        return
    fs, root = folder.filesystem()
    with tempfile.TemporaryDirectory(prefix="imgprep-") as home:
        # A number in front: two folders may hold files of one name.
        paths = [os.path.join(home, f"{n}-{os.path.basename(name)}") for n, name in enumerate(names)]
        for name, path in zip(names, paths, strict=True):
            fs.get_file(f"{root}/{name}", path)
        yield paths


@contextlib.contextmanager
def local_file(folder: Folder, name: str) -> Iterator[str]:
    """One of them."""
    with local_files(folder, [name]) as paths:
        yield paths[0]


@contextlib.contextmanager
def made_file(folder: Folder, name: str) -> Iterator[str]:
    """Where to make a file, whole; when the block ends it is in the folder."""
    if not folder.remote:
        os.makedirs(os.path.dirname(folder.full(name)), exist_ok=True)
        yield folder.full(name)
        return
    with tempfile.TemporaryDirectory(prefix="imgprep-") as home:
        path = os.path.join(home, os.path.basename(name))
        yield path
        with folder.create(lambda _: name) as sink, open(path, "rb") as made:
            shutil.copyfileobj(made, sink, COPIED_BYTES)


def disk_of(folder: Folder) -> str:
    """A path on the disk that files of this folder are made on."""
    return tempfile.gettempdir() if folder.remote else folder.path


def remove_tree(folder: Folder, name: str) -> None:
    """A folder in it, with all that is there; nothing where there is none."""
    if not folder.remote:
        shutil.rmtree(folder.full(name), ignore_errors=True)
        return
    fs, root = folder.filesystem()
    with contextlib.suppress(FileNotFoundError):
        fs.rm(f"{root}/{name}", recursive=True)


def is_filled(folder: Folder, name: str) -> bool:
    """Is there something in a folder in it? As what a run that was ended left for the next one."""
    return bool(Folder(folder.full(name)).entries())
