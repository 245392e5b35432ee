"""What a table or a dataset from somebody else may not name: what lies outside of its folder."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from imgprep.io.uris.places import SourceError, printable

LOOKED_AT_ALONE = (
    1000  # files of a folder that are looked at one by one; of more the folder is listed
)
DATA_FILES = re.compile(r"^(\.{1,2}/)*\.\./|/\.\.(/|$)|^/|^~|^[A-Za-z]:[\\/]|://|::|^\.\.$")


def links_out(paths: Iterable[str], root: str) -> set[str]:
    """Those of the paths under root that a link leads out of it."""
    home = os.path.realpath(root)
    by_folder: dict[str, list[str]] = defaultdict(list)
    # By folder: most pictures share one, and a realpath for each costs a look at every part of it.
    for path in paths:
        by_folder[os.path.dirname(path)].append(path)
    found: set[str] = set()
    for folder, some in by_folder.items():
        if not is_in(folder, home):
            found.update(some)
            continue
        links = _links_of(folder, some)
        found.update(path for path in some if path in links and not is_in(path, home))
    return found


def _links_of(folder: str, paths: list[str]) -> set[str]:
    """The links among the files of a folder, or more."""
    if len(paths) <= LOOKED_AT_ALONE:
        return {path for path in paths if os.path.islink(path)}
    try:
        with os.scandir(folder) as entries:
            return {f"{folder}/{entry.name}" for entry in entries if entry.is_symlink()}
    except OSError:
        return set()  # what is wrong with it is said when the files are read


def is_in(path: str, home: str) -> bool:
    """Whether a path lies in a folder (which is a real path), all links followed."""
    real = os.path.realpath(path)
    return real == home or real.startswith(home.rstrip(os.sep) + os.sep)


def homes_of(where: str) -> list[str]:
    """The folders whose files a dataset's rows may name: its own; of the Hub's, their caches."""
    if os.path.exists(where):
        folder = os.path.realpath(where if os.path.isdir(where) else os.path.dirname(where))
        # In a cache of the Hub's a snapshot is links to its neighbours, the blobs.
        holder = os.path.dirname(folder)
        return [folder] if os.path.basename(holder) != "snapshots" else [os.path.dirname(holder)]
    import datasets
    import huggingface_hub

    caches = (datasets.config.HF_DATASETS_CACHE, huggingface_hub.constants.HF_HUB_CACHE)
    return [os.path.realpath(cache) for cache in caches]


def checked_path(path: str, where: str) -> str:
    """The path of a picture that a row of a dataset names. SourceError where it is not its own.

    A path that is none of its own folder, a URL and another store are not.
    """
    homes = homes_of(where)
    if "://" not in path:
        start = homes[0] if os.path.exists(where) else ""
        full = os.path.join(start, path)
        if any(is_in(full, home) for home in homes):
            return full
    told = f"{printable(path)!r} is outside of the dataset that names it"
    raise SourceError("no_permission", told)


def check_card(folder: str) -> None:
    """ValueError where the README.md of a dataset's folder names data files outside of it."""
    import yaml

    try:
        with open(os.path.join(folder, "README.md"), "rb") as file:
            text = file.read().decode("utf-8-sig", "replace")
    except OSError:
        return
    # Three dashes on lines of their own, as `datasets` finds them.
    head = re.match(r"---\s*\n(.*?)\n---", text.replace("\r\n", "\n"), re.DOTALL)
    try:
        said = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return  # `datasets` says what is wrong with it
    configs = said.get("configs") if isinstance(said, dict) else None
    for pattern in _texts({"configs": configs}):
        if DATA_FILES.search(pattern):
            told = "its own files only may be named"
            raise ValueError(f"README.md of {folder} names data files outside of it: {told}")


def _texts(value: object) -> list[str]:
    """What `data_files`, `data_dir` and `path` say, however deep."""
    found: list[str] = []
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        name, one = waiting.pop()
        if isinstance(one, dict):
            waiting += [(str(key) if name != "data_files" else name, v) for key, v in one.items()]
        elif isinstance(one, list):
            waiting += [(name, v) for v in one]
        elif isinstance(one, str) and name in ("data_files", "data_dir", "path"):
            found.append(one)
    return found


def dataset_of(source: str) -> str:
    """The folder, file or name that an `hf+row://` source is of."""
    parts = urlsplit(source.partition("#")[0])
    return unquote(parts.netloc + parts.path)
