"""Where relative paths start: JupyterLab,
papermill and nbval each run a notebook in another folder.
"""

import os
import platform
import re
import subprocess
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from imgprep import __version__

MARKS = ("pyproject.toml", "environment.yml")
PACKAGES = ["ray", "datasets", "pyarrow", "numpy", "pillow", "opencv-python-headless", "simplejpeg"]


def project_root() -> Path:
    """The nearest folder, from the working directory upwards,
    whose pyproject.toml or environment.yml names imgprep.

    Without one (an installed wheel, no clone) it is the working directory, or what holds it if that
    is `notebooks`: JupyterLab runs a notebook there, `imgprep run` beside it, and both mean the
    same data. Reads nothing else.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        for mark in MARKS:
            if (folder / mark).is_file() and "imgprep" in (folder / mark).read_text(
                "utf-8", "replace"
            ):
                return folder
    return here.parent if here.name == "notebooks" else here


def resolve(path: str | Path) -> str:
    """`path` counted from the project root.

    Absolute paths and URIs come back unchanged; nothing has to exist.

    >>> resolve("s3://bucket/train.csv"), resolve("/data/train.csv")
    ('s3://bucket/train.csv', '/data/train.csv')
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(path)):
        return str(path)
    return str(project_root() / path)


def resolve_input(path: str | Path) -> str:
    """`resolve` for what is read: a Hugging Face name ("owner/name") stays,
    where there is no folder `owner` here.

    >>> resolve_input("some-owner/some-dataset")
    'some-owner/some-dataset'
    """
    hub = re.fullmatch(r"[\w.-]+/[\w-]+", str(path)) and not Path(resolve(path)).parent.is_dir()
    return str(path) if hub else resolve(path)


def short(path: str | Path) -> str:
    """A path as one would type it here."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)


def from_root(path: str | Path) -> str:
    """A path in the project from its root on, any other as it is: for what others read, too."""
    inside = Path(path).is_relative_to(project_root())
    return os.path.relpath(path, project_root()) if inside else str(path)


def made_with() -> dict[str, Any]:
    """{"versions": of Python, imgprep and what it computes with,
    "commit": the project's in git, or ""}.

    The commit ends in `-dirty` where something is not committed.
    """
    words = [
        "git",
        "-C",
        str(project_root()),
        "describe",
        "--always",
        "--dirty",
        "--exclude=*",
        "--abbrev=12",
    ]
    commit = ""
    with suppress(OSError):  # no git on this machine
        commit = subprocess.run(words, capture_output=True, text=True).stdout.strip()
    return {"versions": dict(_versions()), "commit": commit}


@cache
def _versions() -> dict[str, str]:
    """Read once: what has been imported stays as it is until the process ends."""
    versions = {"python": platform.python_version(), "imgprep": __version__}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):  # conda has another name for OpenCV
            versions[package] = metadata.version(package)
    return versions


def absolute(folder: str | os.PathLike) -> str:
    """A folder as an absolute path, or as the URI it is,
    without a slash at its end (but "/" stays).
    """
    text = os.fspath(folder)
    return text.rstrip("/") if "://" in text else os.path.abspath(os.path.expanduser(text))
