"""One notebook of a pipeline in a kernel, by papermill; and how it ends in a sentence."""

import json
import logging
import os
import subprocess
from pathlib import Path
from typing import Any

from imgprep.app.pipeline import Step
from imgprep.dataset.files import Folder
from imgprep.project import project_root, short
from imgprep.redaction import redact, redact_values

# What a command exits with: 2 for something to correct in it, 3 where too much failed.
EXIT_CODES = {
    # By the name of the class alone: the error happened in the kernel, and arrives as text.
    "ValueError": 2,
    "StoreError": 2,
    "FileNotFoundError": 2,
    "RunStopped": 3,
    "KeyboardInterrupt": 130,
    "Interrupted": 130,
}
START_TIMEOUT_S = 180
SHUTDOWN_S = 12.0  # after half of it a kernel is cut down; 2.5 s are too few for a busy Ray
GO_ON = "Run the same command again to go on: finished work is kept."


class StepFailed(RuntimeError):
    """A notebook stopped. str() says where, why and how to go on.

    exit_code: what the command ends with.
    """

    def __init__(self, text: str, exit_code: int):
        super().__init__(text)
        self.exit_code = exit_code


def execute(step: Step, output: Path, environment: dict[str, str]) -> None:
    """Run a step's notebook. StepFailed when a cell raises or the kernel dies."""
    import papermill  # slow to import, and not needed to refuse a wrong parameter
    from nbclient.exceptions import DeadKernelError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        papermill.execute_notebook(
            _as_template(step.notebook),
            _as_template(output),
            parameters=step.given,
            kernel_name="python3",  # this Python, whatever the notebook was last opened with
            language="python",
            kernel_manager_class=_kernel_manager(environment),
            extra_arguments=["--log-level=CRITICAL"],
            start_timeout=START_TIMEOUT_S,
            progress_bar=False,
            # The project's root: in JupyterLab a notebook has
            # its own folder, and paths must mean the same.
            cwd=project_root(),
        )
    except papermill.PapermillExecutionError as e:
        raise _stopped(step, e, output) from None
    except DeadKernelError:
        why = "its kernel died, perhaps for want of memory."
        raise StepFailed(f"{step.name} stopped: {why}\n{_saved(output)}\n{GO_ON}", 1) from None
    finally:
        # Also after a failure: a traceback shows the arguments of every call.
        redact_notebook(output)


def redact_notebook(path: Path) -> None:
    """Take secrets out of what an executed notebook was given and what its cells show."""
    if not path.exists():
        return
    before = path.read_text("utf-8")
    notebook = json.loads(before)
    notebook["metadata"] = redact_values(notebook["metadata"])
    for cell in notebook["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["source"] = _redacted_lines(cell["source"])
        for output in cell.get("outputs", []):
            if "traceback" in output:
                # Its entries do not end in a new line.
                output["traceback"] = redact("\n".join(output["traceback"])).split("\n")
            for name in ("text", "evalue"):
                if name in output:
                    output[name] = _redacted_lines(output[name])
            pictures = {k: v for k, v in output.get("data", {}).items() if k.startswith("image/")}
            if "data" in output:
                shown = {kind: _redacted_lines(value) for kind, value in output["data"].items()}
                output["data"] = shown | pictures
    after = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    # Compared as JSON: papermill's own layout is kept where there was nothing to hide.
    if json.loads(before) != notebook:
        Folder(path.parent).put(path.name, after.encode())


def _redacted_lines(value: Any) -> Any:
    """A text that a notebook keeps line by line, redacted as a whole: a key may have many lines."""
    is_lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
    if not is_lines:
        return redact_values(value)
    whole = "".join(value)
    shown = redact(whole)
    return value if shown == whole else shown.splitlines(keepends=True)


def _stopped(step: Step, error: Any, output: Path) -> StepFailed:
    code = EXIT_CODES.get(error.ename, 1)
    # The last line: a traceback's text may go on for pages before it.
    lines = [line for line in error.evalue.splitlines() if line.strip()] or [""]
    why = lines[-1].strip()
    # A mistake of the user's is a sentence; for anything else the kind of error helps.
    if code not in (2, 3) or not why:
        why = f"{error.ename}: {why}"
    go_on = GO_ON.replace("Run the same command", "Correct that and run") if code == 2 else GO_ON
    where = f"{step.name} stopped in cell [{error.exec_count}] of {step.notebook.name}"
    return StepFailed(f"{where}: {redact(why)}\n{_saved(output)}\n{go_on}", code)


def _saved(output: Path) -> str:
    return f"The notebook as far as it ran: {short(output)}"


def _as_template(path: Path) -> str:
    """papermill formats paths, so braces are doubled."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _kernel_manager(environment: dict[str, str]) -> type:
    """A kernel manager that adds `environment`.

    It keeps the terminal free of what a kernel says past its notebook.
    """
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        async def _async_pre_start_kernel(self, **options: Any) -> Any:
            self.shutdown_wait_time = SHUTDOWN_S
            # The debugger would warn of frozen modules, in every notebook.
            extra = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", **environment}
            options |= {"stderr": subprocess.DEVNULL, "env": {**os.environ, **extra}}
            return await super()._async_pre_start_kernel(**options)

    return Manager
