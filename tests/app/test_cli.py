import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import imgprep
from imgprep.app.cli import main


@pytest.fixture
def tiny(project):
    project.notebook("show", "out: str = 'o'  # a folder\nsizes: list[int] = [1, 2]  # two numbers", "print(out)")
    project.pipeline(
        "tiny",
        "description: A tiny one\n"
        "parameters: {out: data/x}\n"
        "steps: [{name: show, notebook: notebooks/show.ipynb, parameters: {out: '${out}'}}]\n",
    )
    return project


def test_help_is_short_and_names_the_commands(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert all(word in out for word in ("run", "demo", "lab", "-p", "--dry-run", "Exit code"))
    assert len(out.splitlines()) < 35


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"imgprep {imgprep.__version__}\n"


def test_the_help_of_a_pipeline_lists_its_parameters(tiny, capsys):
    assert main(["run", "tiny", "--help"]) == 0
    out = capsys.readouterr().out
    assert "tiny: A tiny one" in out
    assert "  out: str = 'data/x'" in out and "a folder" in out
    assert "  show.sizes: list[int] = [1, 2]" in out and "two numbers" in out


def test_the_help_of_run_lists_the_pipelines(tiny, capsys):
    assert main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    assert "NAME=VALUE" in out and "pipelines: " in out and "tiny" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "which pipeline? There is: "),
        (["run", "tinny"], "there is no pipeline 'tinny'; did you mean 'tiny'?"),
        (["run", "tiny", "-p", "outt=x"], "there is no parameter 'outt'; did you mean 'out'?"),
        (["run", "tiny", "-p", "show.sizes=[1, a]"], "parameter show.sizes: 'a' is not int"),
        (["run", "tiny", "-p", "show.sizes=[1, a]", "--dry-run"], "parameter show.sizes: 'a' is not int"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(tiny, capsys, arguments, says):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"imgprep: {says}") and err.count("\n") == 1 and out == ""
    assert not (tiny.root / "reports").exists()


def test_a_parameter_without_a_value_is_refused(tiny, capsys):
    with pytest.raises(SystemExit) as end:
        main(["run", "tiny", "-p", "out"])
    assert end.value.code == 2
    assert "'out' is not NAME=VALUE" in capsys.readouterr().err


@pytest.mark.notebooks
def test_a_step_that_stops_gives_the_command_its_code(tiny, capsys):
    tiny.notebook("show", "out: str = 'o'", "class RunStopped(Exception): pass\nraise RunStopped('all hosts are down')")
    assert main(["run", "tiny", "-p", "out=a=b"]) == 3
    assert "all hosts are down" in capsys.readouterr().err


def test_the_command_line_answers_without_the_heavy_imports():
    heavy = {"ray", "cv2", "pandas", "datasets", "papermill", "albumentations", "jupyter_client"}
    code = "import sys; from imgprep.app.cli import parser; parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)


@pytest.mark.notebooks
@pytest.mark.slow
def test_lab_opens_on_the_notebooks_and_keeps_the_users_own(project, tmp_path_factory):
    package = Path(imgprep.__file__).parents[1]
    names = {p.name for p in (package / "notebooks").glob("*.ipynb")}
    mine = project.root / "notebooks" / min(names)

    def contents() -> dict:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {"JUPYTER_TOKEN": "secret", "JUPYTER_CONFIG_DIR": str(tmp_path_factory.mktemp("config"))}
        server = subprocess.Popen(
            [sys.executable, "-m", "imgprep", "lab", "--no-browser", f"--port={port}"],
            env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            for _ in range(240):
                time.sleep(0.25)
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    at = f"http://127.0.0.1:{port}"
                    page = urllib.request.urlopen(f"{at}/?token=secret").url
                    assert page.partition("?")[0] == f"{at}/lab/tree/notebooks"
                    return json.load(urllib.request.urlopen(f"{at}/api/contents/notebooks?token=secret"))
            raise AssertionError("JupyterLab did not answer in 60 s")
        finally:
            server.terminate()
            server.wait(20)

    assert {entry["name"] for entry in contents()["content"]} == names
    mine.write_text("mine")
    contents()
    assert mine.read_text() == "mine"
