"""`imgprep check`: is every file of a dataset folder, and all that its rows name, what was written?"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from imgprep.app import things_named
from imgprep.app.inventory import find_datasets
from imgprep.dataset import Dataset, card
from imgprep.dataset.files import PRIVATE, Folder
from imgprep.dataset.manifest import MANIFEST, DamagedManifest, has_checksum
from imgprep.dataset.whole import Inspection
from imgprep.display.pictures import public_text
from imgprep.engine.progress import Progress
from imgprep.project import short
from imgprep.resume.files_named import damage_of_named
from imgprep.words import bytes_text, line, number_of

RUN_AGAIN = "run the stage that made it again: it computes what is lost, and nothing else"
ASK_AGAIN = "run the upload again with refresh=True: it puts back what is missing, and nothing else"
# Of less there is an answer within seconds, and no line before it.
LONG_BYTES = 1 << 30
LONG_OBJECTS = 2_000
Thing = TypeVar("Thing")
TIMES = 3  # a run may replace files while they are looked at


@dataclass
class Checkup:
    """What was found of one dataset folder: problems, and what could not be looked at."""

    folder: str
    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    objects: int = 0

    def lines(self) -> Iterator[str]:
        """As they are printed."""
        name = short(self.folder)
        for problem in self.problems:
            yield f"{name}: {problem}"
        if self.problems:
            yield f"{name}: {ASK_AGAIN if self.objects else RUN_AGAIN}"
        else:
            objects = f", {number_of(self.objects, 'object')}" if self.objects else ""
            yield f"{name}: whole, {self.files:,} files, {bytes_text(self.bytes)}{objects}"
        for one in self.unknown:
            yield f"{name}: not checked: {one}"


def check_folders(roots: Sequence[str], credentials_env: str | None = None) -> list[Checkup]:
    """Look at every byte of the dataset folders at and below these, at the masks that their rows
    name, at results that are kept, and ask stores for uploaded objects.

    credentials_env: as `upload` was given. ValueError where there is no dataset folder.
    """
    folders = [folder for root in roots for folder in _folders(root)]
    if not folders:
        raise ValueError(f"no dataset folder in {', '.join(map(short, roots))}")
    return [_settled(folder, credentials_env) for folder in folders]


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
    is_long = sum(file["bytes"] for file in ds.files) > LONG_BYTES
    label = f"check {short(folder.path)}"
    for file in _with_progress(ds.files, label, len(ds.files), "files", is_long=is_long):
        problems = [f"{name} {told}" for name, told in look.damages([file])]
        found.problems += problems
        found.files += 1
        found.bytes += file["bytes"]


def _with_progress(
    things: Iterable[Thing], label: str, total: int, unit: str, *, is_long: bool
) -> Iterator[Thing]:
    """The same things, and a line of progress where they take long."""
    if not is_long:
        yield from things
        return
    progress = Progress(label, total, unit)
    try:
        for one in things:
            yield one
            progress.update(1, {}, 0)
    finally:
        progress.close()


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
        for uri, told in _with_progress(answers, label, total, "objects", is_long=is_long):
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
