"""What a pipeline would run: pipelines/NAME.yaml and the parameter cells of its notebooks, read and checked.

papermill checks nothing, so an unknown name, a wrong type or a missing file is found here, before any notebook starts.
Nothing in this module starts a kernel or writes a file.
"""

import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from imgprep import words
from imgprep.app.parameters import Parameter, cell_of, fit, nearest, read
from imgprep.project import project_root, resolve, resolve_input, short
from imgprep.rows import tables

KEYS = ["description", "parameters", "steps", "report", "tables"]
STEP_KEYS = ["name", "notebook", "when", "inputs", "columns", "parameters"]
REFERENCE = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Outline:
    """A pipeline as it is written: `own` are its parameters, `cells` those that each step's notebook declares."""

    file: Path
    spec: dict[str, Any]
    notebooks: dict[str, Path]
    cells: dict[str, dict[str, Parameter]]
    own: dict[str, Parameter]


@dataclass(frozen=True)
class Step:
    """A notebook, what it is given, and all that it declares.

    inputs: the parameters that name a file or folder; columns: those that name a column of one of these.
    """

    name: str
    notebook: Path
    given: dict[str, Any]
    inputs: list[str]
    columns: list[str]
    known: dict[str, Parameter]

    def value(self, name: str) -> Any:
        return self.given[name] if name in self.given else self.known[name].default


@dataclass(frozen=True)
class Pipeline:
    """A pipeline with a value for every parameter, names and types checked.

    known and values: its own parameters, and those of a step that were given. report: dataset folders, the last one
    being the result. tables: files to point at in the end. command: what makes the same run again.
    """

    name: str
    description: str
    known: dict[str, Parameter]
    values: dict[str, Any]
    steps: list[Step]
    report: list[str]
    tables: list[str]
    command: str


def homes() -> list[Path]:
    """Folders that hold pipelines/ and notebooks/: the project's own first, then those that came with the package."""
    package = Path(__file__).parents[1]
    carried = package / "_assets"  # in a wheel; in a clone they stand beside the package
    return [project_root(), carried if carried.is_dir() else package.parent]


def names() -> list[str]:
    """The pipelines there are."""
    return sorted({file.stem for home in homes() for file in home.glob("pipelines/*.yaml")})


def outline(name: str | os.PathLike) -> Outline:
    """A pipeline, by name or by the path of its YAML file. ValueError, in one sentence, for what is wrong in it."""
    file = _find(os.fspath(name))
    spec = _read(file)
    notebooks = {step["name"]: _notebook(step["notebook"], file) for step in spec["steps"]}
    cells = {step: _declared(notebook) for step, notebook in notebooks.items()}
    return Outline(file, spec, notebooks, cells, _own(spec, cells))


def load(name: str | os.PathLike, given: dict[str, Any] | None = None) -> Pipeline:
    """A pipeline with these values for its parameters.

    given: {name: value} for the pipeline's own parameters, {"step.name": value} for one of a step; a text is read as
    on a command line. ValueError, in one sentence, for an unknown parameter, a wrong type, a value that is wanting, and
    references that go round in a circle. Does not look whether the inputs exist: `check_inputs` does.
    """
    given = given or {}
    found = outline(name)
    spec = found.spec
    written = {f"{s['name']}.{n}": v for s in spec["steps"] for n, v in s["parameters"].items()}
    every = found.own | {f"{step}.{n}": p for step, cell in found.cells.items() for n, p in cell.items()}
    value = _values(every, written, given)
    shown = found.own | {n: every[n] for n in given}

    steps = []
    for step in spec["steps"]:
        if "when" in step and not _fill(step["when"], value):
            continue
        cell = found.cells[step["name"]]
        full = {n: f"{step['name']}.{n}" for n in cell}
        filled = {n: value(f) for n, f in full.items() if f in written or f in given}
        steps.append(Step(step["name"], found.notebooks[step["name"]], filled, step["inputs"], step["columns"], cell))
    command = ["imgprep", "run", os.fspath(name)]
    for key, text in given.items():
        command += ["-p", f"{key}={text if isinstance(text, str) else json.dumps(text, default=os.fspath)}"]
    return Pipeline(
        name=found.file.stem,
        description=spec["description"],
        known=shown,
        values={n: value(n) for n in shown},
        steps=steps,
        report=[resolve(_fill(path, value)) for path in spec["report"]],
        tables=[resolve(_fill(path, value)) for path in spec["tables"]],
        command=shlex.join(command),
    )


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if Path(resolve(name)).is_file():
            return Path(resolve(name))
        raise ValueError(f"there is no pipeline file {name}")
    for home in homes():
        if (home / "pipelines" / f"{name}.yaml").is_file():
            return home / "pipelines" / f"{name}.yaml"
    raise ValueError(f"there is no pipeline {name!r}{nearest(name, names())}")


def _read(file: Path) -> dict[str, Any]:
    """The YAML file with every key present. ValueError when it is not a pipeline."""
    try:
        spec = yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as e:
        raise ValueError(f"{file.name} is not YAML: {' '.join(str(e).split())}") from None
    empty = {"description": "", "parameters": {}, "steps": [], "report": [], "tables": []}
    spec = empty | {k: v for k, v in _only(spec, KEYS, file.name).items() if v is not None}
    for number, step in enumerate(spec["steps"], 1):
        _only(step, STEP_KEYS, f"{file.name}, step {number},")
        if not {"name", "notebook"} <= step.keys():
            raise ValueError(f"{file.name}, step {number}, needs a `name` and a `notebook`")
        step |= {k: step.get(k) or empty for k, empty in (("inputs", []), ("columns", []), ("parameters", {}))}
    steps = [step["name"] for step in spec["steps"]]
    if not steps or len(set(steps)) < len(steps):
        raise ValueError(f"{file.name} needs `steps`, each with a name of its own; it has {', '.join(steps) or 'none'}")
    return spec


def _only(spec: Any, keys: list[str], where: str) -> dict[str, Any]:
    if not isinstance(spec, dict):
        raise ValueError(f"{where} is not a mapping with {', '.join(keys)}")
    for key in spec:
        if key not in keys:
            raise ValueError(f"{where} has an unknown key {key!r}{nearest(str(key), keys)}")
    return spec


def _notebook(name: str, pipeline: Path) -> Path:
    for home in (*homes(), pipeline.parent):
        if (home / name).is_file():
            return home / name
    raise ValueError(f"{pipeline.name} names the notebook {name}, which does not exist")


def _declared(notebook: Path) -> dict[str, Parameter]:
    return read(cell_of(json.loads(notebook.read_text("utf-8")), notebook.name), notebook.name)


def _own(spec: dict, known: dict[str, dict[str, Parameter]]) -> dict[str, Parameter]:
    """The pipeline's own parameters. Type and help are those of the notebook parameter that takes the value whole."""
    own = {}
    for name, default in spec["parameters"].items():
        takers = [
            known[step["name"]][target]
            for step in spec["steps"]
            for target, value in step["parameters"].items()
            if value == f"${{{name}}}" and target in known[step["name"]]
        ]
        # A parameter that only occurs inside texts ("${out}/ocr") is a text.
        kind, text = (takers[0].kind, takers[0].help) if takers else (str, "")
        own[name] = Parameter(name, kind, default, text)
    return own


def _values(declared: dict[str, Parameter], written: dict[str, Any], given: dict[str, Any]) -> Callable[[str], Any]:
    """The value behind a name ("out", "ocr.size_wh") as a function: given, else in the YAML, else the default."""
    for name in given:
        if name not in declared:
            raise ValueError(f"there is no parameter {name!r}{nearest(name, declared)}")
    for name in written:
        if name not in declared:
            raise ValueError(f"the pipeline sets {name}, which the notebook does not declare{nearest(name, declared)}")
    asking: list[str] = []

    def value(name: str) -> Any:
        if name not in declared:
            where = asking[-1] if asking else "the pipeline"
            raise ValueError(f"{where} refers to ${{{name}}}, which is no parameter{nearest(name, declared)}")
        if name in asking:
            raise ValueError(f"parameters refer to one another in a circle: {' -> '.join([*asking, name])}")
        asking.append(name)
        # What the user gives is taken as it is: a path may hold "${".
        raw = given[name] if name in given else _fill(written.get(name, declared[name].default), value)
        asking.pop()
        try:
            found = fit(raw, declared[name].kind)
        except ValueError as e:
            if raw is None and name not in given:
                raise ValueError(f"parameter {name} has no default: give it with -p {name}=...") from None
            raise ValueError(f"parameter {name}: {e}") from None
        if name.endswith("_env") and found not in (None, declared[name].default, *os.environ):
            # Not repeated, and told before anything is written: it may be the secret itself.
            raise ValueError(f"{name} is the NAME of an environment variable, and there is none of that name")
        return found

    return value


def _fill(text: Any, value: Callable[[str], Any]) -> Any:
    """References in a text, or in those of a list or dict, replaced. A text that is one reference gets its type."""
    if isinstance(text, list):
        return [_fill(t, value) for t in text]
    if isinstance(text, dict):
        return {k: _fill(t, value) for k, t in text.items()}
    if not isinstance(text, str):
        return text
    whole = REFERENCE.fullmatch(text)
    return value(whole[1]) if whole else REFERENCE.sub(lambda m: str(value(m[1])), text)


def check_inputs(plan: Pipeline) -> None:
    """ValueError unless each input is there, or lies in the folder that an earlier step fills (its parameter `out`)."""
    filled: list[Path] = []
    for step in plan.steps:
        for name in step.inputs:
            path = step.value(name)
            if missing(path) and not any(Path(resolve(path)).is_relative_to(out) for out in filled):
                raise ValueError(f"{name}: {words.missing(resolve(path))}")
        _check_columns(step)
        if "out" in step.known:
            filled.append(Path(resolve(step.value("out"))))


def _check_columns(step: Step) -> None:
    """ValueError for a column that no input has, where all are tables on this machine with their names at the top."""
    paths = [resolve_input(step.value(name)) for name in step.inputs if step.value(name)]
    heads = [tables.known_columns(path) for path in paths]
    if all(heads):
        new = step.value("rename") if "rename" in step.known else {}
        names = [new.get(name, name) for name in dict.fromkeys(n for head in heads for n in head)]
        for name in step.columns:
            if step.value(name) not in (None, *names):
                raise ValueError(f"{name}: {words.no_column(step.value(name), names, ', '.join(map(short, paths)))}")


def missing(path: str | None) -> bool:
    """Does this path name nothing on this machine? None, URIs and names on the Hub are left to the stage."""
    if path is None or "://" in path:
        return False
    found = resolve_input(path)  # stays relative where it is a name on the Hub
    return Path(found).is_absolute() and not Path(found).exists()
