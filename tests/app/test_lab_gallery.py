"""The gallery's notebook in a real JupyterLab: tables and pictures in cells, the live gallery, a decision kept."""

import nbformat
import numpy as np
import pytest
from browser import Page
from conftest import ROOT
from labs import GONE_WRONG, jupyterlab, run_all, texts, wait_for

from imgprep import tags
from imgprep.picture import codec

pytest.importorskip("anywidget")
pytestmark = [pytest.mark.browser, pytest.mark.notebooks, pytest.mark.slow]
NAME = "07_gallery.ipynb"
COLOURS = ("rosy", "grassy", "azure")
CELL = "[...document.querySelectorAll('.jp-OutputArea-output *')].map(e => e.shadowRoot).find(Boolean)"


class Colour:
    """Tags and vectors of the mean colour."""

    once, version, kind, name, model_version, has_words = True, 1, "colours", "colours", "1", False
    __name__ = "colour"

    def __call__(self, image):
        mean = image.reshape(-1, 3).mean(0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)


def colour_name(image):
    return [{"kind": "object", "name": COLOURS[int(image.reshape(-1, 3).mean(0).argmax())]}]


@pytest.fixture
def lab(project, tmp_path_factory, needs):
    """JupyterLab on the gallery's notebook, with nine tagged pictures, the gallery live; gives its address."""
    needs("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    (project.root / "in").mkdir()
    for n in range(9):
        image = np.full((60, 80, 3), 20, np.uint8)
        image[:, :, n % 3] = 120 + 10 * n
        (project.root / "in" / f"{n}.png").write_bytes(codec.encode(image, "PNG"))
    tags.find("in", "data/tagged/tags", taggers=["tone", colour_name], embedder=Colour())
    notebook = nbformat.read(ROOT / "notebooks" / NAME, 4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source = cell.source.replace("live: bool = False", "live: bool = True").replace("a cup of coffee", "azure")
    (project.root / "environment.yml").write_text("name: uses-imgprep\n")
    (project.root / "notebooks").mkdir()
    nbformat.write(notebook, project.root / "notebooks" / NAME)
    with jupyterlab(tmp_path_factory.mktemp("jupyter")) as address:
        yield f"{address}/lab/tree/notebooks/{NAME}?token=secret"


def test_run_all_shows_what_was_found_and_the_live_gallery_keeps_a_decision(lab, project):
    corrections = project.root / "data/tagged/corrections.json"
    with Page(width=1280, height=5000) as page:  # so high that no cell is out of sight
        cells = nbformat.read(project.root / "notebooks" / NAME, 4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        run_all(page, lab, len(code), project.root / "lab.png")
        assert texts(page, GONE_WRONG) == []
        assert len(texts(page, "table.dataframe")) == 2
        captions = texts(page, "figure figcaption")
        assert sorted(captions[:3]) == [f"{n}.png · by words" for n in (2, 5, 8)]
        assert sum("likeness" in text for text in captions) == 8
        wait_for("the gallery in the cell", lambda: page.run(f"!!{CELL}"))
        tiles = f"[...{CELL}.querySelectorAll('.tile img')].filter(i => i.naturalWidth).length"
        wait_for("its pictures", lambda: page.run(tiles) == 9)
        page.run(f"{CELL}.querySelector('.tile').click()")
        page.run(f"[...{CELL}.querySelectorAll('.tag .wrong')][0].click()")
        wait_for("the decision", corrections.exists)
        page.screenshot(project.root / "live.png")
        assert page.problems == []
    (one,) = tags.read_corrections(corrections)
    assert one["accepted"] is False
    tables = tags.apply("data/tagged/tags", corrections, "data/done").table("train", ["image_id", "tags"])
    (row,) = [row for row in tables.to_pylist() if row["image_id"] == one["image_id"]]
    assert {e["accepted"] for e in row["tags"] if e["name"] == one["name"]} == {False}
