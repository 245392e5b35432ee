"""A pipeline as it is written: pipelines/NAME.yaml, and what its notebooks declare.

A file may come from somebody else: YAML is read safely, and nothing of a notebook is run.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from imgprep.app.parameters import Parameter, cell_of, declared, nearest
from imgprep.project import project_root, resolve

KEYS = ["description", "parameters", "steps", "report", "tables"]
STEP_KEYS = ["name", "notebook", "when", "inputs", "columns", "parameters"]
EMPTY = {"description": "", "parameters": {}, "steps": [], "report": [], "tables": []}
STEP_EMPTY: dict[str, Any] = {"inputs": [], "columns": [], "parameters": {}}


@dataclass(frozen=True)
class Outline:
    """own: the pipeline's parameters; cells: those that each step's notebook declares."""

    file: Path
    spec: dict[str, Any]
    notebooks: dict[str, Path]
    cells: dict[str, dict[str, Parameter]]
    own: dict[str, Parameter]


def homes() -> list[Path]:
    """Folders that hold pipelines/ and notebooks/: the project's own first, then the package's."""
    package = Path(__file__).parents[1]
    carried = package / "_assets"  # in a wheel; in a clone they stand beside the package
    return [project_root(), carried if carried.is_dir() else package.parent]


def names() -> list[str]:
    """The pipelines there are."""
    files = [file for home in homes() for file in home.glob("pipelines/*.yaml")]
    return sorted({file.stem for file in files})


def outline(name: str | os.PathLike) -> Outline:
    """A pipeline, by name or by the path of its YAML file.

    ValueError, in one sentence, for what is wrong in it.
    """
    file = find_pipeline(os.fspath(name))
    spec = _checked_spec(file)
    notebooks = {step["name"]: _notebook(step["notebook"], file) for step in spec["steps"]}
    cells = {step: _declared_by(notebook) for step, notebook in notebooks.items()}
    return Outline(file, spec, notebooks, cells, _own_parameters(spec, cells))


def find_pipeline(name: str) -> Path:
    """The YAML file of a pipeline. ValueError, with the near match, where there is none."""
    if name.endswith((".yaml", ".yml")):
        if Path(resolve(name)).is_file():
            return Path(resolve(name))
        raise ValueError(f"there is no pipeline file {name}")
    for home in homes():
        if (home / "pipelines" / f"{name}.yaml").is_file():
            return home / "pipelines" / f"{name}.yaml"
    raise ValueError(f"there is no pipeline {name!r}{nearest(name, names())}")


def _checked_spec(file: Path) -> dict[str, Any]:
    """The YAML file with every key present. ValueError when it is not a pipeline."""
    try:
        written = yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as e:
        raise ValueError(f"{file.name} is not YAML: {' '.join(str(e).split())}") from None
    known = _only_known(written, KEYS, file.name)
    spec = EMPTY | {key: value for key, value in known.items() if value is not None}
    for number, step in enumerate(spec["steps"], 1):
        _only_known(step, STEP_KEYS, f"{file.name}, step {number},")
        if not {"name", "notebook"} <= step.keys():
            raise ValueError(f"{file.name}, step {number}, needs a `name` and a `notebook`")
        step |= {key: step.get(key) or empty for key, empty in STEP_EMPTY.items()}
    steps = [step["name"] for step in spec["steps"]]
    if not steps or len(set(steps)) < len(steps):
        found = ", ".join(steps) or "none"
        raise ValueError(f"{file.name} needs `steps`, each with a name of its own; it has {found}")
    return spec


def _only_known(written: Any, keys: list[str], where: str) -> dict[str, Any]:
    if not isinstance(written, dict):
        raise ValueError(f"{where} is not a mapping with {', '.join(keys)}")
    for key in written:
        if key not in keys:
            raise ValueError(f"{where} has an unknown key {key!r}{nearest(str(key), keys)}")
    return written


def _notebook(name: str, pipeline: Path) -> Path:
    for home in (*homes(), pipeline.parent):
        if (home / name).is_file():
            return home / name
    raise ValueError(f"{pipeline.name} names the notebook {name}, which does not exist")


def _declared_by(notebook: Path) -> dict[str, Parameter]:
    try:
        cells = json.loads(notebook.read_text("utf-8"))
    except ValueError:
        raise ValueError(f"{notebook.name} is no notebook: it is not JSON") from None
    return declared(cell_of(cells, notebook.name), notebook.name)


def _own_parameters(
    spec: dict[str, Any], cells: dict[str, dict[str, Parameter]]
) -> dict[str, Parameter]:
    """Type and help are those of the notebook parameter that takes the value whole."""
    own = {}
    for name, default in spec["parameters"].items():
        taker = _taker(name, spec, cells)
        # A parameter that only occurs inside texts ("${out}/ocr") is a text.
        kind = taker.kind if taker else str
        own[name] = Parameter(name, kind, default, taker.help if taker else "")
    return own


def _taker(
    name: str, spec: dict[str, Any], cells: dict[str, dict[str, Parameter]]
) -> Parameter | None:
    for step in spec["steps"]:
        for target, value in step["parameters"].items():
            if value == f"${{{name}}}" and target in cells[step["name"]]:
                return cells[step["name"]][target]
    return None
