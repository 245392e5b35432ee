"""requirements.lock: what pyproject.toml needs, directly or not, at the versions installed here.

`python tests/lock.py > requirements.lock` writes it, in an environment where `pip install -e .[test]` was run with
Python 3.11. It holds names, versions and markers only, so it works with any package index.
"""

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")


def declared() -> list[Requirement]:
    """What pyproject.toml asks for: the dependencies and the extra `test`, which `make` installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [Requirement(r) for r in project["dependencies"] + project["optional-dependencies"]["test"]]


def closure(python: str) -> dict[str, str]:
    """{name: installed version} of all that `declared` needs on Linux with this Python. Reads installed metadata."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    todo, seen, found = declared(), set(), {}
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found[name] = distribution(name).version
            for text in distribution(name).requires or ():
                needed = Requirement(text)
                # With extra="" only what is needed in any case is left.
                if needed.marker is None or needed.marker.evaluate({**environment, "extra": extra}):
                    todo.append(needed)
    return found


def lock() -> str:
    """The text of requirements.lock. What only an older Python needs carries a marker."""
    needed = {python: closure(python) for python in PYTHONS}
    lines = []
    for name, version in sorted({n: v for found in needed.values() for n, v in found.items()}.items()):
        pythons = [p for p in PYTHONS if name in needed[p]]
        if tuple(pythons) != PYTHONS[: len(pythons)]:
            raise ValueError(f"{name} is needed on {pythons} only: this file knows no marker for that")
        marker = "" if len(pythons) == len(PYTHONS) else f' ; python_version < "{PYTHONS[len(pythons)]}"'
        lines.append(f"{name}=={version}{marker}\n")
    return "# Made by tests/lock.py, which says how.\n" + "".join(lines)


if __name__ == "__main__":
    print(lock(), end="")
