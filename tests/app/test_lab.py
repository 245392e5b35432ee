"""The second notebook in a real JupyterLab, in a real browser."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from browser import Page
from conftest import ROOT
from made import folder, table

import imgprep
from imgprep import dataset
from imgprep.stages import images

pytestmark = [pytest.mark.browser, pytest.mark.notebooks, pytest.mark.slow]
NAME = "02_ocr.ipynb"


def wait_for(what: str, true, seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.25)


@pytest.fixture
def lab(project, tmp_path_factory, needs):
    """JupyterLab as `imgprep lab` opens it, on the second notebook and four pictures to prepare; gives its address."""
    needs("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    paths = folder(project.root / "in", 4)
    with imgprep.session("local", workers=0):
        images.download({"train": table(paths, label=["a", "b"] * 2)}, str(project.root / "data/notebook/raw"))
    notebook = nbformat.read(ROOT / "notebooks" / NAME, 4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source = cell.source.replace('"auto"  #', '"local"  #')
    (project.root / "environment.yml").write_text("name: uses-imgprep\n")
    (project.root / "notebooks").mkdir()
    nbformat.write(notebook, project.root / "notebooks" / NAME)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = tmp_path_factory.mktemp("jupyter")  # nobody's own settings and running servers
    settings = {f"JUPYTER_{name}_DIR": str(own / name) for name in ("CONFIG", "RUNTIME")}
    settings |= {f"JUPYTERLAB_{name}_DIR": str(own / name) for name in ("SETTINGS", "WORKSPACES")}
    server = subprocess.Popen(
        [sys.executable, "-m", "imgprep", "lab", "--no-browser", f"--port={port}"],
        env={**os.environ, **settings, "JUPYTER_TOKEN": "secret"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/api"))["version"] != ""
        return False

    try:
        wait_for("JupyterLab", answers)
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/{NAME}?token=secret"
    finally:
        server.terminate()  # takes its kernels along
        server.wait(20)


def texts(page: Page, selector: str) -> list[str]:
    return page.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")


def choose(page: Page, selector: str, text: str) -> None:
    """Click on the element with this text, when it is there."""
    wait_for(text, lambda: text in texts(page, selector))
    mark = f"[...document.querySelectorAll({json.dumps(selector)})].find(e => e.textContent == {json.dumps(text)})"
    page.run(f"{mark}.setAttribute('data-chosen', {json.dumps(text)})")
    page.click(f"[data-chosen={json.dumps(text)}]")


def test_run_all_in_jupyterlab_shows_the_pictures(lab, project):
    with Page(width=1280, height=6000) as page:  # so high that no cell is out of sight
        page.open(lab)
        wait_for("the kernel", lambda: "Python 3 (ipykernel) | Idle" in texts(page, ".jp-StatusBar-TextItem"))
        choose(page, ".lm-MenuBar-itemLabel", "Run")
        choose(page, ".lm-Menu-itemLabel", "Run All Cells")
        cells = nbformat.read(project.root / "notebooks" / NAME, 4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        ran = [f"[{n}]:" for n in range(1, len(code) + 1)]
        try:
            wait_for("all cells", lambda: texts(page, ".jp-CodeCell .jp-InputArea .jp-InputPrompt") == ran)
        finally:
            page.screenshot(project.root / "lab.png")  # pytest keeps it
        assert texts(page, ".jp-OutputArea-output[data-mime-type*=error], [data-mime-type*=stderr]") == []
        assert texts(page, "figure figcaption")[2:] == ["a · 128 × 128", "b · 128 × 128"] * 2
        pictures = "[...document.querySelectorAll('figure img')]"
        wait_for("the pictures", lambda: page.run(f"{pictures}.every(e => e.complete)"))
        assert page.run(f"{pictures}.map(e => e.checkVisibility() && e.naturalWidth)")[2:] == [128] * 4
        (line,) = [text for text in texts(page, ".jp-RenderedHTMLCommon > div") if "rows," in text]
        assert line.startswith("prepare: 4/4 rows, ") and not page.run("document.querySelector('progress')")
    assert dataset.open(str(project.root / "data/notebook/ocr")).counts()["ok"] == 4
