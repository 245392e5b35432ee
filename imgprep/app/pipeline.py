"""What a pipeline would run: its notebooks with a value for every parameter, checked.

papermill checks nothing, so an unknown name, a wrong type or value is found here, before any
notebook starts. Nothing in this module starts a kernel or writes a file.
"""

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgprep.app.parameters import Parameter, fitted_value, nearest
from imgprep.app.spec import Outline, outline
from imgprep.app.values import check_value
from imgprep.project import resolve

REFERENCE = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Step:
    """A notebook, what it is given, and all that it declares.

    inputs: the parameters that name a file or folder; columns: those that name a column of one.
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
    """A pipeline with a value for every parameter.

    known and values: its own parameters, and those of a step that were given. report: dataset
    folders, the last one being the result. tables: files to point at in the end. command: what
    makes the same run again.
    """

    name: str
    description: str
    known: dict[str, Parameter]
    values: dict[str, Any]
    steps: list[Step]
    report: list[str]
    tables: list[str]
    command: str


def load_pipeline(name: str | os.PathLike, given: dict[str, Any] | None = None) -> Pipeline:
    """A pipeline with these values for its parameters.

    given: {name: value} for the pipeline's own parameters, {"step.name": value} for one of a step;
    a text is read as on a command line. ValueError, in one sentence, for an unknown parameter, a
    wrong type or value, one that is wanting, and references that go round in a circle. Does not
    look whether the inputs exist: `inputs.check_inputs` does.
    """
    given = given or {}
    found = outline(name)
    values = _Values(found, given)
    shown = found.own | {key: values.declared[key] for key in given}
    steps = []
    for written in found.spec["steps"]:
        if "when" not in written or values.fill(written["when"]):
            steps.append(_step(written, found, values))
    return Pipeline(
        name=found.file.stem,
        description=found.spec["description"],
        known=shown,
        values={key: values.of(key) for key in shown},
        steps=steps,
        report=[resolve(values.fill(path)) for path in found.spec["report"]],
        tables=[resolve(values.fill(path)) for path in found.spec["tables"]],
        command=_command(name, given),
    )


def _step(written: dict[str, Any], found: Outline, values: "_Values") -> Step:
    name = written["name"]
    cell = found.cells[name]
    filled = {}
    for parameter in cell:
        full = f"{name}.{parameter}"
        if full in values.written or full in values.given:
            filled[parameter] = values.of(full)
    return Step(name, found.notebooks[name], filled, written["inputs"], written["columns"], cell)


def _command(name: str | os.PathLike, given: dict[str, Any]) -> str:
    words = ["imgprep", "run", os.fspath(name)]
    for key, value in given.items():
        text = value if isinstance(value, str) else json.dumps(value, default=os.fspath)
        words += ["-p", f"{key}={text}"]
    return shlex.join(words)


class _Values:
    """The value behind a name ("out", "ocr.size_wh"): given, else in the YAML, else the default."""

    def __init__(self, found: Outline, given: dict[str, Any]):
        self.given = given
        self.written: dict[str, Any] = {}
        self.declared = dict(found.own)
        for step in found.spec["steps"]:
            for name, value in step["parameters"].items():
                self.written[f"{step['name']}.{name}"] = value
        for name, cell in found.cells.items():
            self.declared |= {f"{name}.{key}": parameter for key, parameter in cell.items()}
        self._asking: list[str] = []
        for name in given:
            if name not in self.declared:
                raise ValueError(f"there is no parameter {name!r}{nearest(name, self.declared)}")
        for name in self.written:
            if name not in self.declared:
                sets = f"the pipeline sets {name}, which the notebook does not declare"
                raise ValueError(f"{sets}{nearest(name, self.declared)}")

    def of(self, name: str) -> Any:
        """ValueError for one that is wanting, of a wrong type or of no use."""
        raw = self._raw(name)
        parameter = self.declared[name]
        try:
            found = fitted_value(raw, parameter.kind)
        except ValueError as e:
            if raw is None and name not in self.given:
                fix = f"give it with -p {name}=..."
                raise ValueError(f"parameter {name} has no default: {fix}") from None
            raise ValueError(f"parameter {name}: {e}") from None
        check_value(parameter, found, name)
        if name.endswith("_env") and found not in (None, parameter.default, *os.environ):
            # Not repeated, and told before anything is written: it may be the secret itself.
            what = f"{name} is the NAME of an environment variable"
            raise ValueError(f"{what}, and there is none of that name")
        return found

    def _raw(self, name: str) -> Any:
        if name not in self.declared:
            where = self._asking[-1] if self._asking else "the pipeline"
            refers = f"{where} refers to ${{{name}}}, which is no parameter"
            raise ValueError(f"{refers}{nearest(name, self.declared)}")
        if name in self._asking:
            circle = " -> ".join([*self._asking, name])
            raise ValueError(f"parameters refer to one another in a circle: {circle}")
        if name in self.given:  # taken as it is: a path may hold "${"
            return self.given[name]
        self._asking.append(name)
        raw = self.fill(self.written.get(name, self.declared[name].default))
        self._asking.pop()
        return raw

    def fill(self, written: Any) -> Any:
        """References in a text, or in those of a list or dict, replaced.

        A text that is one reference gets its type.
        """
        if isinstance(written, list):
            return [self.fill(part) for part in written]
        if isinstance(written, dict):
            return {key: self.fill(part) for key, part in written.items()}
        if not isinstance(written, str):
            return written
        # A text that is nothing but a reference keeps the value's type: a list stays a list.
        whole = REFERENCE.fullmatch(written)
        if whole:
            return self.of(whole[1])
        return REFERENCE.sub(lambda match: str(self.of(match[1])), written)
