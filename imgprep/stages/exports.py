"""The ok pictures of a dataset folder in other formats, each opened by `datasets` with equal rows.

Written a row group at a time, whatever the dataset's size, beside its place and then moved there.
"""

import contextlib
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from imgprep import dataset
from imgprep.dataset import MANIFEST, Dataset
from imgprep.dataset.files import Folder
from imgprep.engine.progress import tell_while
from imgprep.project import short
from imgprep.stages import leftovers
from imgprep.stages.forms import FORMS, Content
from imgprep.stages.sums import EXPORT_MARK, ExportMark


def export(
    source: str | Dataset,
    folder: str,
    form: str,
    *,
    config: str | None = None,
) -> str:
    """Write a config of a dataset folder (None: the default one) into another folder, in one of
    four forms. Returns the folder. On a store it is made here first, and its readers see it come.

    "disk": what `save_to_disk` writes, for `load_from_disk`; nothing is lost. Takes twice its size
        for a moment.
    "lance": data/<split>.lance, for `load_dataset` and `lance.dataset`; nothing is lost (`pip
        install imgprep[lance]`).
    "imagefolder": a file per picture and metadata.parquet, for up to some 10,000 pictures. A column
        whose name ends in file_name, which `datasets` would take for pictures, ends in filename.
    "webdataset": data/<split>-000000.tar with <id>.jpg (or as the first picture is; Pillow goes by
        the bytes) and <id>.json, in which dates, times and decimals are text and columns of bytes
        are left out.
    An export of the same version is left alone, an older one is replaced, and so is one that lost a
    file (`imgprep check` reads every byte); one that is killed leaves nothing. ValueError where a
    folder holds other files.
    """
    if form not in FORMS:
        raise ValueError(f"form is one of {', '.join(FORMS)}, not {form!r}")
    ds = dataset.open(source)
    target = Folder(folder)
    config = config or ds.configs[0]
    content = Content.of(ds, config)
    version = _exported_version(ds, form, config)
    before = target.get(EXPORT_MARK)
    if before is not None and _is_current(target, before, version):
        return folder
    is_taken = bool(target.entries()) if target.remote else _is_taken(target.path)
    if before is None and is_taken:
        raise ValueError(f"{target.path} holds files that no export wrote: name another folder")
    with tell_while(f"export {short(target.path)}"):
        _put_export(FORMS[form], content, target, version)
    return folder


def _put_export(
    write: Callable[[Content, str], None], content: Content, target: Folder, version: str
) -> None:
    """Make it, here or on its store."""
    if target.remote:
        _send_export(write, content, target, version)
        return
    with _beside(target.path) as holder:
        write(content, f"{holder}/new")
        _put_mark(f"{holder}/new", version)
        if os.path.isdir(target.path):
            os.rename(target.path, f"{holder}/old")
        os.rename(f"{holder}/new", target.path)


def _send_export(
    write: Callable[[Content, str], None], content: Content, target: Folder, version: str
) -> None:
    """Made here, then sent. The mark says so first and last: what is killed is replaced by the next."""
    with tempfile.TemporaryDirectory(prefix="imgprep-export-") as home:
        write(content, home)
        made = [path for path in sorted(Path(home).rglob("*")) if path.is_file()]
        mark = ExportMark.of_folder(version, home)
        target.put(EXPORT_MARK, b"unfinished")
        fs, root = target.filesystem()
        sent = {f"{root}/{EXPORT_MARK}"}
        for path in made:
            name = f"{root}/{path.relative_to(home).as_posix()}"
            fs.put_file(str(path), name)
            sent.add(name)
        # What an older export left: a reader's pattern would take it in.
        for old in set(fs.find(root)) - sent:
            fs.rm_file(old)
        target.put(EXPORT_MARK, mark.as_bytes())


def _put_mark(home: str, version: str) -> None:
    Folder(home).put(EXPORT_MARK, ExportMark.of_folder(version, home).as_bytes())


def _is_current(target: Folder, before: bytes, version: str) -> bool:
    """Is what is there of this version, with all its files?"""
    try:
        mark = ExportMark.read_from(before)
    except ValueError:
        return False
    return mark.version == version and mark.is_all_there(target)


def _exported_version(ds: Dataset, form: str, config: str) -> str:
    """Of this form, this config and this version of the dataset."""
    manifest = Folder(ds.folder).get(MANIFEST) or b""
    return hashlib.sha256(f"{form} {config} ".encode() + manifest).hexdigest()


def _is_taken(path: str) -> bool:
    """Is there a file, or a folder with something in it?"""
    if os.path.isdir(path):
        return bool(os.listdir(path))
    return os.path.exists(path)


@contextlib.contextmanager
def _beside(path: str) -> Iterator[str]:
    """A folder beside `path`, gone in the end; so are those that killed exports left."""
    home = os.path.dirname(path)
    start = f".export-{os.path.basename(path)}-"
    os.makedirs(home, exist_ok=True)
    for name in os.listdir(home):
        left = re.fullmatch(re.escape(start) + r"(\d+)", name)
        # A machine that went down left it; a process that was killed has its sweeper.
        if left and not psutil.pid_exists(int(left[1])):
            leftovers.settle(f"{home}/{name}", path)
    holder = f"{home}/{start}{os.getpid()}"
    os.makedirs(f"{holder}/new")
    sweeper = subprocess.Popen(
        # -I: isolated from the user's environment, since it must start whatever is set there.
        [sys.executable, "-I", leftovers.__file__, holder, path],
        stdin=subprocess.PIPE,
        # The stop button reaches the whole group: who tidies up is not in it.
        start_new_session=True,
    )
    try:
        yield holder
    finally:
        # Closes its stdin, so it tidies up, and waits for that.
        sweeper.communicate()
