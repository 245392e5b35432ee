"""The second notebook in a real JupyterLab, in a real browser."""

import nbformat
import pytest
from browser import Page
from conftest import ROOT
from labs import GONE_WRONG, jupyterlab, run_all, texts, wait_for
from made import folder, table

import imgprep
from imgprep import dataset
from imgprep.stages import images

pytestmark = [pytest.mark.browser, pytest.mark.notebooks, pytest.mark.slow]
NAME = "02_ocr.ipynb"


@pytest.fixture
def lab(project, tmp_path_factory, needs):
    """JupyterLab on the second notebook and four pictures to prepare; gives the notebook's address."""
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
    with jupyterlab(tmp_path_factory.mktemp("jupyter")) as address:
        yield f"{address}/lab/tree/notebooks/{NAME}?token=secret"


def test_run_all_in_jupyterlab_shows_the_pictures(lab, project):
    with Page(width=1280, height=6000) as page:  # so high that no cell is out of sight
        cells = nbformat.read(project.root / "notebooks" / NAME, 4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        run_all(page, lab, len(code), project.root / "lab.png")  # pytest keeps it
        assert texts(page, GONE_WRONG) == []
        assert texts(page, "figure figcaption")[2:] == ["a · 128 × 128", "b · 128 × 128"] * 2
        pictures = "[...document.querySelectorAll('figure img')]"
        wait_for("the pictures", lambda: page.run(f"{pictures}.every(e => e.complete)"))
        assert page.run(f"{pictures}.map(e => e.checkVisibility() && e.naturalWidth)")[2:] == [128] * 4
        (line,) = [text for text in texts(page, ".jp-RenderedHTMLCommon > div") if "rows," in text]
        assert line.startswith("prepare: 4/4 rows, ") and not page.run("document.querySelector('progress')")
    assert dataset.open(str(project.root / "data/notebook/ocr")).counts()["ok"] == 4
