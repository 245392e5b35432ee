"""`imgprep check`: is every file of a dataset folder, and all that its rows name, what was written?"""

from collections.abc import Iterator, Sequence

from imgprep.app import checkup, things_named
from imgprep.app.checkup import Checkup, with_progress
from imgprep.app.derived import check_export, check_search, exports_in, indexes_in
from imgprep.app.inventory import find_datasets
from imgprep.dataset import Dataset, card
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.dataset.manifest import MANIFEST, DamagedManifest, has_checksum
from imgprep.dataset.whole import Inspection
from imgprep.display.pictures import public_text
from imgprep.project import short
from imgprep.resume.files_named import damage_of_named
from imgprep.words import line

LONG_OBJECTS = 2_000  # of less there is an answer within seconds, and no line before it
TIMES = 3  # a run may replace files while they are looked at


def check_folders(roots: Sequence[str], credentials_env: str | None = None) -> list[Checkup]:
    """Look at every byte of the dataset folders at and below these, at the masks that their rows
    name, at results that are kept, at exports and search indexes, and ask stores for uploaded
    objects.

    credentials_env: as `upload` was given. ValueError where there is none of all this.
    """
    found = list(_all_checked(roots, credentials_env))
    if not found:
        raise ValueError(f"no dataset folder in {', '.join(map(short, roots))}")
    return found


def _all_checked(roots: Sequence[str], credentials_env: str | None) -> Iterator[Checkup]:
    for root in roots:
        for folder in _folders(root):
            yield _settled(folder, credentials_env)
        yield from map(check_export, exports_in(root))
        yield from map(check_search, indexes_in(root))


def _folders(root: str) -> list[str]:
    found = find_datasets(root)
    here = Folder(root)
    # A manifest that is lost leaves the index: then there was a dataset.
    has_lost_its_list = here.path not in found and bool(here.list(f"{PRIVATE}/index"))
    return [here.path, *found] if has_lost_its_list else found


def _settled(folder: str, credentials_env: str | None) -> Checkup:
    """A look at a folder in which no run changed anything meanwhile, or the last of some."""
    place = Folder(folder)
    for _ in range(TIMES):
        before = place.get(MANIFEST)
        found = _checked(place, credentials_env)
        # The list changed meanwhile: what looked damaged may be a file that a run had replaced.
        if not found.problems or place.get(MANIFEST) == before:
            break
    return found


def _checked(folder: Folder, credentials_env: str | None) -> Checkup:
    found = Checkup(folder.path)
    if folder.size(MANIFEST) is None:
        found.problems.append(f"{MANIFEST} is missing")
        return found
    try:
        ds = Dataset(folder)
    except DamagedManifest:
        found.problems.append(f"{MANIFEST} is damaged")
        return found
    if not has_checksum(folder):
        found.unknown.append(f"{MANIFEST}, which an earlier version wrote without a checksum")
    _check_files(ds, folder, found)
    _check_named(ds, folder, found)
    _check_objects(ds, credentials_env, found)
    _check_card(ds, folder, found)
    return found


def _check_files(ds: Dataset, folder: Folder, found: Checkup) -> None:
    look = Inspection(folder)
    is_long = sum(file["bytes"] for file in ds.files) > checkup.LONG_BYTES
    label = f"check {short(folder.path)}"
    for file in with_progress(ds.files, label, len(ds.files), "files", is_long=is_long):
        problems = [f"{name} {told}" for name, told in look.damages([file])]
        found.problems += problems
        found.files += 1
        found.bytes += file["bytes"]


def _check_named(ds: Dataset, folder: Folder, found: Checkup) -> None:
    """Masks, labels and objects of rows; and the results that are kept of rows that left."""
    if any(problem.endswith("is missing") for problem in found.problems):
        return  # the rows cannot be read
    look = Inspection(folder)
    try:
        names = things_named.files_of_rows(ds) + things_named.kept_files(ds, folder)
    except (ValueError, OSError) as e:
        found.problems.append(line(e))
        return
    for name in names:
        if told := damage_of_named(look, name):
            found.problems.append(f"{name} {told}")
        found.files += 1
        found.bytes += folder.size(name) or 0


def _check_objects(ds: Dataset, credentials_env: str | None, found: Checkup) -> None:
    if found.problems or not things_named.is_uploaded(ds):
        return
    label = f"check {short(ds.folder)}: objects"
    total = ds.counts()["ok"]
    is_long = total > LONG_OBJECTS
    answers = things_named.damaged_objects(ds, credentials_env)
    try:
        for uri, told in with_progress(answers, label, total, "objects", is_long=is_long):
            if told:
                found.problems.append(f"{public_text(uri)} {told}")
            found.objects += 1
    except things_named.CANNOT_ASK as e:
        found.unknown.append(f"the uploaded objects: {e}")


def _check_card(ds: Dataset, folder: Folder, found: Checkup) -> None:
    text = (folder.get("README.md") or b"").decode("utf-8", "replace")
    try:
        told = card.damage(text, ds.files)
    except ValueError as e:
        told = f"cannot be read ({e})"
    if told:
        found.problems.append(f"README.md {told}")
