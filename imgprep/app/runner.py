"""Runs a pipeline: its notebooks in order, then a report of their datasets.

Nothing is cached here: a stage keeps what it has finished, so running a pipeline again resumes it.
"""

import contextlib
import itertools
import json
import os
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imgprep.app import finished, pipeline
from imgprep.app.kernel import StepFailed, execute
from imgprep.app.pipeline import Pipeline
from imgprep.project import project_root, resolve, short
from imgprep.words import clock

__all__ = ["RunResult", "StepFailed", "dry_run", "run_notebooks"]


@dataclass(frozen=True)
class RunResult:
    """What a run left behind: its folder with the executed notebooks, and its report."""

    folder: Path
    report: Path | None


def run_notebooks(
    name: str | os.PathLike,
    given: dict[str, Any] | None = None,
    *,
    command: str = "",
    again: bool = False,
) -> RunResult:
    """Run a pipeline into reports/NAME/<time>-<hash>/ of the project, with one Ray for all.

    given: as in `pipeline.load_pipeline`, which checks everything first (ValueError). StepFailed when a
    notebook stops. command: what the report says makes it again, where that is not `imgprep run`.
    Where nothing has changed since the last run no kernel starts; again: run it all the same.
    """
    plan = pipeline.load_pipeline(name, given)
    # Before the inputs are looked at: a finished run needs none of them any more.
    found = None if again else finished.find_finished(plan, _runs(plan))
    if found:
        said = f"{plan.name}: nothing to compute since {short(found.folder)}"
        print(f"{said} (--again runs its notebooks all the same)", *found.lines, sep="\n")
        return RunResult(found.folder, found.folder / "report.html" if plan.report else None)
    _check_inputs(plan)
    before = finished.stamps(plan)
    folder = _run_folder(plan)
    print(f"{plan.name}: {', '.join(s.name for s in plan.steps)} -> {short(folder)}", flush=True)
    steps = _run_steps(plan, folder)
    result = RunResult(folder, folder / "report.html" if plan.report else None)
    if result.report:
        _write_report(plan, result.report, steps, command or plan.command)
    # After the report: `latest` leads to a run that is whole.
    _point_to(folder)
    lines = _step_results(plan, result)
    print(*lines, sep="\n")
    shown = [str(result.report)] if result.report else []
    finished.write_finished(plan, folder, before, lines, shown)
    return result


def _point_to(folder: Path) -> None:
    from imgprep.dataset.files import Folder

    Folder(folder.parent).put("latest", f"{folder.name}\n".encode())


def _check_inputs(plan: Pipeline) -> None:
    from imgprep.app import inputs

    inputs.check_inputs(plan)


def _runs(plan: Pipeline) -> Path:
    return project_root() / "reports" / plan.name


def _run_steps(plan: Pipeline, folder: Path) -> list[dict[str, Any]]:
    """Each notebook in turn; its facts for the report."""
    from imgprep.app.relay import Relay
    from imgprep.app.sharing import shared_ray

    steps = []
    with shared_ray() as environment:
        for number, step in enumerate(plan.steps, 1):
            notebook = folder / f"{number:02}_{step.name}.ipynb"
            print(f"[{number}/{len(plan.steps)}] {step.name}", flush=True)
            began = time.monotonic()
            with Relay() as relay:
                execute(step, notebook, {**environment, "IMGPREP_PROGRESS": relay.file})
            seconds = time.monotonic() - began
            print(f"      done in {clock(seconds)}", flush=True)
            facts = {"notebook": notebook.name, "seconds": round(seconds, 1)}
            steps.append({**facts, "status": "completed"})
    return steps


def dry_run(name: str | os.PathLike, given: dict[str, Any] | None = None) -> list[str]:
    """What a run would compute and why: a sentence per stage. Writes only a temporary folder.

    Each stage works this out from what is there now, not from what an earlier one would add.
    """
    plan = pipeline.load_pipeline(name, given)
    found = finished.find_finished(plan, _runs(plan))
    if found:
        return found.sentences
    _check_inputs(plan)
    sentences = []
    with tempfile.TemporaryDirectory(prefix="imgprep-dry-") as folder:
        for number in range(len(plan.steps)):
            sentences += _foretold(plan, number, Path(folder))
    return sentences


def _foretold(plan: Pipeline, number: int, folder: Path) -> list[str]:
    """What a step's stages say that they would do."""
    from imgprep.app import inputs

    step = plan.steps[number]
    later = f"{step.name}: shows after {plan.steps[number - 1].name}, which makes its input"
    if any(inputs.is_missing(step.value(name)) for name in step.inputs):
        return [later]
    told = folder / f"{step.name}.jsonl"
    told.touch()
    asked = {"IMGPREP_DRY_RUN": "1", "IMGPREP_PLAN": str(told)}
    try:
        execute(step, folder / f"{step.name}.ipynb", asked)
    except StepFailed as e:
        # Once the plan is told, the cells that show results have nothing to show. A later step
        # fails where what an earlier one left is not whole.
        if not told.stat().st_size and not (number and step.inputs):
            raise StepFailed(str(e).splitlines()[0], e.exit_code) from None  # its notebook is gone
    plans = [json.loads(line)["plan"] for line in told.read_text("utf-8").splitlines()]
    now = ", as things are now" if number else ""
    return [f"{step.name}{now}: {text}" for text in plans] or [later]


def _run_folder(plan: Pipeline) -> Path:
    """A new folder; its name sorts by time."""
    # UTC and without a colon: it sorts in every time zone, and is a name on every system.
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{finished.digest_of(plan)}"
    for again in itertools.count(1):  # the same run twice in a second
        last = name if again == 1 else f"{name}-{again}"
        folder = _runs(plan) / last
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError("counting has no end")


def _write_report(plan: Pipeline, path: Path, steps: list[dict[str, Any]], command: str) -> None:
    from imgprep.display import report

    min_score = plan.values.get("min_score")
    report.write(
        path,
        plan.report,
        title=plan.description or plan.name,
        parameters=plan.values,
        defaults={name: parameter.default for name, parameter in plan.known.items()},
        command=command,
        steps=steps,
        # As the notebooks draw them.
        min_score=min_score if isinstance(min_score, int | float) else 0.0,
    )


def _step_results(plan: Pipeline, result: RunResult) -> list[str]:
    """The last lines: what came out, and where it is."""
    from imgprep import dataset
    from imgprep.app import inputs, staying

    places = [("dataset", path) for path in plan.report[-1:]]
    places += [("table", path) for path in plan.tables if not inputs.is_missing(path)]
    places += [("report", str(result.report))] if result.report else []
    lines = ["", repr(dataset.open(plan.report[-1]))] if plan.report else []
    if stays := staying.staying_line(plan):
        lines.append(stays)
    lines += [f"{what:<8} {short(path)}" for what, path in places]
    return lines + [f"hub      {url}" for url in _published(plan)]


def _published(plan: Pipeline) -> list[str]:
    sources = [step.given["source"] for step in plan.steps if step.given.get("repo_id")]
    if not sources:
        return []
    from imgprep import dataset
    from imgprep.display import findings

    found = findings.published([dataset.open(resolve(source)) for source in sources])
    return [place["url"] for place in found]
