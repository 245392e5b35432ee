"""`imgprep check` of what is made of a dataset and can be made again: exports and search indexes."""

from pathlib import Path

from imgprep.app import checkup
from imgprep.app.checkup import Checkup, with_progress
from imgprep.dataset.files import Folder
from imgprep.project import short
from imgprep.stages.search.checking import INDEX_NAMES, check_index
from imgprep.stages.sums import EXPORT_MARK, ExportMark

EXPORT_AGAIN = "delete it and export again: it is made of the dataset alone"
BUILD_AGAIN = (
    "make it again with search.build: of the dataset alone, without what was added to it since"
)


def exports_in(root: str) -> list[str]:
    """The folders of exports at and below a folder or fsspec URI."""
    if not Folder(root).remote:
        return sorted(str(path.parent) for path in Path(root).rglob(EXPORT_MARK))
    fs, path = Folder(root).filesystem()
    marks = fs.glob(f"{path}/**/{EXPORT_MARK}")
    folders = [name.removesuffix(f"/{EXPORT_MARK}") for name in marks]
    return sorted(map(fs.unstrip_protocol, folders))


def indexes_in(root: str) -> list[Path]:
    """The folders of search indexes at and below a folder; a store has none."""
    if Folder(root).remote:
        return []
    # By each of the files that only an index has: any one of them may be what was lost.
    homes = {path.parent for name in INDEX_NAMES for path in Path(root).rglob(name)}
    return sorted(homes)


def check_export(path: str) -> Checkup:
    """Every byte of an export."""
    folder = Folder(path)
    found = Checkup(folder.path, fix=EXPORT_AGAIN)
    try:
        mark = ExportMark.read_from(folder.get(EXPORT_MARK) or b"")
    except ValueError as e:
        found.problems.append(f"{EXPORT_MARK} {e}")
        return found
    if not mark.files:
        found.unknown.append("an earlier version of the package wrote it without checksums")
    is_long = sum(file.nbytes for file in mark.files) > checkup.LONG_BYTES
    label = f"check {short(folder.path)}"
    looked = mark.damages(folder)
    for file, told in with_progress(looked, label, len(mark.files), "files", is_long=is_long):
        if told:
            found.problems.append(f"{file.name} {told}")
        found.files += 1
        found.bytes += file.nbytes
    return found


def check_search(folder: Path) -> Checkup:
    """Every byte of a search index of which it is known how it was."""
    looked = check_index(folder)
    return Checkup(
        str(folder),
        problems=looked.problems,
        unknown=looked.unknown,
        files=looked.files,
        bytes=looked.bytes,
        fix=BUILD_AGAIN,
    )
