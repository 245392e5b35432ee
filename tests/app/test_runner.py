"""Real kernels (3 to 5 s each), on notebooks made here."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from imgprep.app import runner

pytestmark = pytest.mark.notebooks

WRITE = """
import json, os, pathlib
pathlib.Path(out).mkdir(parents=True, exist_ok=True)
told = {"out": out, "label": label, "size_wh": size_wh, "limit": limit, "cwd": os.getcwd()}
pathlib.Path(out, "told.json").write_text(json.dumps(told))
"""
PROGRESS = """
record = {"stage": "write", "line": "write: 1,100/1,200 rows, 52/s, 1:15 left; http_404 9"}
with open(os.environ["IMGPREP_PROGRESS"], "a") as file:
    file.write(json.dumps(record) + "\\n")
"""
READ = """
import json, pathlib
print(json.loads(pathlib.Path(source, "told.json").read_text())["label"])
"""


@pytest.fixture
def two(project):
    typed = "out: str = 'o'\nlabel: str = ''\nsize_wh: list[int] = [128, 128]\nlimit: int | None = None"
    project.notebook("write", typed, WRITE, PROGRESS)
    project.notebook("read", "source: str = 's'", READ)
    project.pipeline(
        "two",
        """
        parameters: {out: "data/{made}", label: "", limit: null}
        steps:
          - name: write
            notebook: notebooks/write.ipynb
            parameters: {out: "${out}", label: "${label}", limit: "${limit}"}
          - {name: read, notebook: notebooks/read.ipynb, inputs: [source], parameters: {source: "${out}"}}
        tables: ["${out}/told.json", "${out}/absent.csv"]
        """,
    )
    return project


def failing(project, *cells):
    """A pipeline `one` whose notebook has these cells."""
    project.notebook("fail", "out: str = 'o'", *cells)
    project.pipeline("one", "steps: [{name: fail, notebook: notebooks/fail.ipynb}]")


def test_the_notebooks_run_in_order_with_their_parameters(two, capfd, monkeypatch):
    (two.root / "deeper").mkdir()
    (two.root / "pyproject.toml").write_text("[project]\nname = 'uses-imgprep'\n")
    monkeypatch.chdir(two.root / "deeper")  # kernels start at the project's root all the same
    result = runner.run_notebooks("two", {"label": "007", "write.size_wh": "[256, 64]"})

    told = json.loads((two.root / "deeper" / ".." / "data" / "{made}" / "told.json").read_text())
    assert told == {"out": "data/{made}", "label": "007", "size_wh": [256, 64], "limit": None, "cwd": str(two.root)}
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", result.folder.name)
    assert sorted(p.name for p in result.folder.iterdir()) == ["01_write.ipynb", "02_read.ipynb"]
    assert (two.root / "reports" / "two" / "latest").read_text() == f"{result.folder.name}\n"
    assert nbformat.read(result.folder / "02_read.ipynb", 4).cells[-1].outputs[0].text == "007\n"
    assert "injected-parameters" not in (two.root / "notebooks" / "write.ipynb").read_text()

    out, err = capfd.readouterr()
    assert "      write: 1,100/1,200 rows, 52/s, 1:15 left; http_404 9\n" in out
    assert re.search(r"\[2/2\] read\n      done in \d+ s\n", out)
    assert out.splitlines()[-1] == f"table    {two.root / 'data' / '{made}' / 'told.json'}"
    assert "Ray" not in out  # no step asked for it
    assert err == ""  # nothing of papermill's, the kernels' or the debugger's


def test_a_dry_run_writes_nothing_and_says_what_each_stage_would_do(two):
    plan = "import os, json\nopen(os.environ['IMGPREP_PLAN'], 'a').write(json.dumps({'plan': '3 of 9 rows'}) + '\\n')"
    two.notebook("write", "out: str = 'o'\nlabel: str = ''\nlimit: int | None = None", plan, "None.counts()")
    later = "read: shows after write, which makes its input"
    for _ in range(2):
        before = sorted(two.root.rglob("*"))
        assert runner.dry_run("two") == ["write: 3 of 9 rows", later]
        assert sorted(two.root.rglob("*")) == before
        (two.root / "data" / "{made}").mkdir(parents=True, exist_ok=True)  # as a run that was stopped early leaves it


def test_a_dry_run_does_not_hide_a_mistake(project):
    failing(project, "raise ValueError('no column url')")
    with pytest.raises(runner.StepFailed, match="no column url$"):
        runner.dry_run("one")


@pytest.mark.parametrize(
    ("cell", "code", "why"),
    [
        ("import imgprep\nraise imgprep.RunStopped('every host is down')", 3, ": every host is down\n"),
        ("raise ValueError('no column url; there is: a')", 2, ": no column url; there is: a\n"),
        ("raise KeyError('first\\nlast')", 1, "KeyError: "),
        ("import os\nos._exit(9)", 1, "fail stopped: its kernel died, perhaps for want of memory.\n"),
    ],
)
def test_a_step_that_fails_says_where_why_and_how_to_go_on(project, cell, code, why):
    failing(project, "1 + 1", cell, "print('never')")
    with pytest.raises(runner.StepFailed) as error:
        runner.run_notebooks("one")
    assert error.value.exit_code == code
    first, second, third = str(error.value).splitlines()
    assert why in first + "\n"
    if "died" not in why:
        assert first.startswith("fail stopped in cell [3] of fail.ipynb")
    saved = Path(second.removeprefix("The notebook as far as it ran: "))
    assert saved.name == "01_fail.ipynb" and "never" not in str(nbformat.read(saved, 4).cells[-1].get("outputs"))
    wanted = "Correct that and run again" if code == 2 else "Run the same command again"
    assert third == f"{wanted} to go on: finished work is kept."
    assert not (project.root / "reports" / "one" / "latest").exists()


def test_wrong_parameters_end_it_before_anything_runs(two):
    with pytest.raises(ValueError, match="parameter limit: 'many' is not int | None"):
        runner.run_notebooks("two", {"limit": "many"})
    assert not (two.root / "reports").exists()


def test_an_interrupt_ends_the_kernel_and_keeps_the_notebook(project):
    failing(project, "open('started', 'w').close()\nimport time\ntime.sleep(600)")
    process = subprocess.Popen(
        [sys.executable, "-m", "imgprep", "run", "one"],
        cwd=project.root,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (project.root / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        kernels = psutil.Process(process.pid).children(recursive=True)
        assert kernels
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == "imgprep: interrupted. Run the same command again to go on: finished work is kept.\n"
    assert time.monotonic() - began < 5
    assert not psutil.wait_procs(kernels, timeout=3)[1]
    (saved,) = project.root.glob("reports/one/*/01_fail.ipynb")
    assert "started" in saved.read_text()


@pytest.mark.ray
@pytest.mark.slow
def test_the_notebooks_share_one_ray_that_starts_when_it_is_asked_for(project, capfd):
    ask = "from imgprep import engine\nprint(engine.start_ray())\nimport imgprep\nimgprep.close()"
    project.notebook("ask", "out: str = 'o'", ask)
    project.pipeline(
        "share",
        "steps: [{name: one, notebook: notebooks/ask.ipynb}, {name: two, notebook: notebooks/ask.ipynb}]",
    )
    result = runner.run_notebooks("share")
    told = [nbformat.read(f, 4).cells[-1].outputs[0].text for f in sorted(result.folder.glob("*.ipynb"))]
    assert told[0] == told[1] and re.fullmatch(r"[\d.]+:\d+\n", told[0])
    assert capfd.readouterr().out.count("starting Ray") == 1
    assert not [p for p in psutil.Process().children(recursive=True) if "raylet" in p.name()]


def test_an_executed_notebook_holds_no_secret(project):
    url = "https://me:hunter2@example.org/t.csv?token=TOKEN1"
    cell = "import pandas as pd\nprint(out)\npd.DataFrame({'url': [out]})"
    project.notebook("fail", "out: str = 'o'", cell, "raise ValueError(f'cannot read {out}')")
    project.pipeline("one", "steps: [{name: fail, notebook: notebooks/fail.ipynb, parameters: {out: '" + url + "'}}]")
    with pytest.raises(runner.StepFailed) as caught:
        runner.run_notebooks("one")
    assert "hunter2" not in str(caught.value) and "TOKEN1" not in str(caught.value)
    (saved,) = project.root.glob("reports/one/*/01_fail.ipynb")
    text = saved.read_text()
    assert "hunter2" not in text and "TOKEN1" not in text and "example.org/t.csv?token=***" in text
    nbformat.validate(nbformat.read(saved, 4))
