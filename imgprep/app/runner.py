"""Runs a pipeline: papermill executes its notebooks in order, and a report of their datasets is written.

Nothing is cached here: a stage keeps what it has finished, so running a pipeline again is resuming it.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imgprep import dataset
from imgprep.app import pipeline
from imgprep.app.pipeline import Pipeline, Step
from imgprep.dataset.files import Folder
from imgprep.project import project_root, resolve, short
from imgprep.words import clock

EXIT_CODES = {"RunStopped": 3, **dict.fromkeys(("ValueError", "StoreError", "FileNotFoundError"), 2)}
EXIT_CODES |= {"KeyboardInterrupt": 130, "Interrupted": 130}


class StepFailed(RuntimeError):
    """A notebook stopped. str() says where, why and how to go on; `exit_code` is what the command ends with."""

    def __init__(self, text: str, exit_code: int):
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True)
class RunResult:
    """What a run left behind: its folder with the executed notebooks, and its report."""

    folder: Path
    report: Path | None


def run(name: str | os.PathLike, given: dict[str, Any] | None = None, *, command: str = "") -> RunResult:
    """Run a pipeline into reports/NAME/<time>-<hash>/ of the project, with one Ray for all its notebooks.

    given: as in `pipeline.load`, which checks everything first (ValueError). StepFailed when a notebook stops.
    command: what the report says makes it again, where that is not `imgprep run`.
    """
    plan = pipeline.load(name, given)
    pipeline.check_inputs(plan)
    folder = _run_folder(plan)
    print(f"{plan.name}: {', '.join(s.name for s in plan.steps)} -> {short(folder)}", flush=True)
    steps = []
    with _shared_ray() as environment:
        for number, step in enumerate(plan.steps, 1):
            notebook = folder / f"{number:02}_{step.name}.ipynb"
            print(f"[{number}/{len(plan.steps)}] {step.name}", flush=True)
            began = time.monotonic()
            with _Relay() as relay:
                _execute(step, notebook, {**environment, "IMGPREP_PROGRESS": relay.file})
            seconds = time.monotonic() - began
            print(f"      done in {clock(seconds)}", flush=True)
            steps.append({"notebook": notebook.name, "seconds": round(seconds, 1), "status": "completed"})
    result = RunResult(folder, folder / "report.html" if plan.report else None)
    if result.report:
        _write_report(plan, result.report, steps, command or plan.command)
    Folder(folder.parent).put("latest", f"{folder.name}\n".encode())
    _say_results(plan, result)
    return result


def dry_run(name: str | os.PathLike, given: dict[str, Any] | None = None) -> list[str]:
    """What a run would compute and why: a sentence per stage. Writes nothing but a temporary folder.

    Each stage works this out from what is there now (IMGPREP_DRY_RUN), not from what an earlier one would add.
    """
    plan = pipeline.load(name, given)
    pipeline.check_inputs(plan)
    sentences = []
    with tempfile.TemporaryDirectory(prefix="imgprep-dry-") as folder:
        for number, step in enumerate(plan.steps):
            later = f"{step.name}: shows after {plan.steps[number - 1].name}, which makes its input"
            if any(pipeline.missing(step.value(n)) for n in step.inputs):
                sentences.append(later)
                continue
            told = Path(folder, f"{step.name}.jsonl")
            told.touch()
            try:
                _execute(step, Path(folder, f"{step.name}.ipynb"), {"IMGPREP_DRY_RUN": "1", "IMGPREP_PLAN": str(told)})
            except StepFailed as e:
                # Once the plan is told, the cells that show results have nothing to show. A later step fails where what
                # an earlier one left is not whole.
                if not told.stat().st_size and not (number and step.inputs):
                    raise StepFailed(str(e).splitlines()[0], e.exit_code) from None  # its notebook is gone
            plans = [json.loads(line)["plan"] for line in told.read_text("utf-8").splitlines()]
            now = ", as things are now" if number else ""
            sentences += [f"{step.name}{now}: {text}" for text in plans] or [later]
    return sentences


def _run_folder(plan: Pipeline) -> Path:
    """A new folder; its name sorts by time."""
    about = json.dumps([plan.name, plan.values, [s.given for s in plan.steps]], sort_keys=True)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{hashlib.sha256(about.encode()).hexdigest()[:6]}"
    for again in itertools.count(1):  # the same run twice in a second
        folder = project_root() / "reports" / plan.name / (name if again == 1 else f"{name}-{again}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder


def _execute(step: Step, output: Path, environment: dict[str, str]) -> None:
    """One notebook in a kernel of this Python. StepFailed when a cell raises or the kernel dies."""
    import papermill  # slow to import, and not needed to refuse a wrong parameter
    from nbclient.exceptions import DeadKernelError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    saved = f"The notebook as far as it ran: {short(output)}"
    go_on = "Run the same command again to go on: finished work is kept."
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (step.notebook, output)]  # it formats them
    try:
        papermill.execute_notebook(
            *paths,
            parameters=step.given,
            kernel_name="python3",  # this Python, whatever the notebook was last opened with
            language="python",
            kernel_manager_class=_kernel_manager(environment),
            extra_arguments=["--log-level=CRITICAL"],
            start_timeout=180,
            progress_bar=False,
            cwd=project_root(),
        )
    except papermill.PapermillExecutionError as e:
        code = EXIT_CODES.get(e.ename, 1)
        # A mistake of the user's is a sentence; for anything else the kind of error helps.
        why = ([line for line in e.evalue.splitlines() if line.strip()] or [""])[-1].strip()
        why = why if code in (2, 3) and why else f"{e.ename}: {why}"
        go_on = go_on.replace("Run the same command", "Correct that and run") if code == 2 else go_on
        where = f"{step.name} stopped in cell [{e.exec_count}] of {step.notebook.name}"
        raise StepFailed(f"{where}: {why}\n{saved}\n{go_on}", code) from None
    except DeadKernelError:
        why = "its kernel died, perhaps for want of memory."
        raise StepFailed(f"{step.name} stopped: {why}\n{saved}\n{go_on}", 1) from None


def _kernel_manager(environment: dict[str, str]) -> type:
    """A kernel manager that adds `environment`, and keeps the terminal free of what a kernel says past its notebook."""
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        async def _async_pre_start_kernel(self, **options: Any) -> Any:
            # After half of it a kernel is cut down. 2.5 s are too few for a busy Ray; one kernel in a hundred hangs.
            self.shutdown_wait_time = 12.0
            # The debugger would warn of frozen modules, in every notebook.
            extra = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", **environment}
            options |= {"stderr": subprocess.DEVNULL, "env": {**os.environ, **extra}}
            return await super()._async_pre_start_kernel(**options)

    return Manager


@contextlib.contextmanager
def _shared_ray() -> Iterator[dict[str, str]]:
    """One Ray for all kernels, started in this process when the first of them asks; stopped in the end.

    Yields the environment in which `imgprep.engine` asks for its address: a socket that only this user can open.
    """
    from multiprocessing.connection import Client, Listener

    key, over = secrets.token_hex(16), threading.Event()

    def answer() -> None:
        from imgprep import engine

        while not over.is_set():
            with contextlib.suppress(OSError, EOFError), listener.accept() as line:
                if not over.is_set():
                    try:
                        line.send(engine.start_ray())
                    except Exception:  # a second try follows in the kernel, whose notebook then shows the error
                        line.send(None)
        # Here, because Ray's processes die with the thread that started them, and a stop after that takes 5 s.
        engine.close()

    # The path of a socket holds 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="imgprep-", dir="/tmp" if len(tempfile.gettempdir()) > 70 else None) as at:
        with Listener(os.path.join(at, "ray"), "AF_UNIX", authkey=key.encode()) as listener:
            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            try:
                asking = {"IMGPREP_RAY": listener.address, "IMGPREP_RAY_KEY": key}
                if "RAY_ADDRESS" not in os.environ:
                    # A Ray started here wants its token; who joins by an address is not told so by Ray itself.
                    asking["RAY_AUTH_MODE"] = os.environ.get("RAY_AUTH_MODE", "token")
                yield asking
            finally:
                over.set()
                with contextlib.suppress(OSError, EOFError):
                    Client(listener.address, authkey=key.encode()).close()  # wakes the thread
                thread.join()


class _Relay:
    """Shows the progress that a kernel appends to `file`: a line redrawn in a terminal, one every 10 s in a log."""

    def __enter__(self) -> "_Relay":
        self._folder = tempfile.TemporaryDirectory(prefix="imgprep-progress-")
        self.file = os.path.join(self._folder.name, "progress.jsonl")
        Path(self.file).touch()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._folder.cleanup()

    def _follow(self) -> None:
        tty, shown = sys.stdout.isatty(), ""
        with open(self.file, encoding="utf-8") as lines:
            while True:
                over = self._over.wait(0.3 if tty else 10)
                latest = {record["stage"]: record for record in map(json.loads, lines)}
                for stage, record in latest.items():
                    text = f"      {record['line']}"
                    if tty:
                        text = text[: shutil.get_terminal_size().columns - 1]
                        text = ("\n" if shown and shown != stage else "\r\x1b[2K") + text
                    print(text, end="" if tty else "\n", flush=True)
                    shown = stage
                if over:
                    print("\n" if tty and shown else "", end="", flush=True)
                    return


# What came out -------------------------------------------------------------------------------------------------------


def _write_report(plan: Pipeline, path: Path, steps: list[dict[str, Any]], command: str) -> None:
    from imgprep.display import report

    report.write(
        path,
        plan.report,
        title=plan.description or plan.name,
        parameters=plan.values,
        defaults={name: parameter.default for name, parameter in plan.known.items()},
        command=command,
        steps=steps,
    )


def _say_results(plan: Pipeline, result: RunResult) -> None:
    """The last lines: what came out, and where it is."""
    places = [("dataset", path) for path in plan.report[-1:]]
    places += [("table", path) for path in plan.tables if not pipeline.missing(path)]
    places += [("report", result.report)] if result.report else []
    if plan.report:
        print(f"\n{dataset.open(plan.report[-1])!r}")
    for what, path in places:
        print(f"{what:<8} {short(path)}")
    if sources := [step.given["source"] for step in plan.steps if step.given.get("repo_id")]:
        from imgprep.display import findings

        for place in findings.published([dataset.open(resolve(source)) for source in sources]):
            print(f"hub      {place['url']}")
