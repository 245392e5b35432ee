"""Facts about the notebooks as people run them: by papermill, by Run All, cell by cell, and stopped.

That all of them run as they are shows `.ci/run`, by nbval and with Ray.
"""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, missing
from jupyter_client.manager import start_new_kernel
from made import folder, of_sample, tree
from test_products import by_run_all

import imgprep
from imgprep import dataset, sample
from imgprep.picture import codec

pytestmark = [pytest.mark.notebooks, pytest.mark.slow]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def python_m(*words: str, cwd: Path) -> str:
    """What a module's command says; it must succeed."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_notebooks(root: Path) -> None:
    (root / "environment.yml").write_text("name: uses-imgprep\n")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")


# One dataset, whoever runs the notebook, from wherever, on whatever -------------------------------------------------

SHOP = {"train_csv": "shop/train.csv", "test_csv": "shop/test.csv", "out": "data/made", "timeout_s": 2}
DOWNLOAD = {**SHOP, "attempts": 2, "limit": None}
OCR = {"source": "data/made/raw", "out": "data/made/ocr", "size_wh": [64, 48]}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A project with the notebooks, a sample whose server misbehaves in every way, and what Run All made of it."""
    root = tmp_path_factory.mktemp("shop")
    copy_notebooks(root)
    sample.make(root / "shop", rows=60, port=free_port())
    with sample.serve(root / "shop"):
        for name, given in {"01_download": DOWNLOAD, "02_ocr": OCR}.items():
            by_run_all(root, name, {**given, "engine": "local", "workers": 0})
        counts, expected = dataset.open(str(root / "data/made/ocr")).counts(), of_sample(root / "shop")
        assert {name: counts[name] for name in expected} == expected
        (root / "data/made").rename(root / "data/wanted")
        yield root


def taken(root: Path) -> dict[str, str]:
    """What stands in data/made, which is then gone."""
    found = tree(root / "data/made")
    shutil.rmtree(root / "data/made")
    return found


def test_papermill_in_another_folder_and_on_a_pool_gives_what_run_all_gives(shop):
    (shop / "reports/by/hand").mkdir(parents=True)
    for name, given in {"01_download": DOWNLOAD, "02_ocr": OCR}.items():
        values = json.dumps({**given, "engine": "local", "workers": 2})
        python_m("papermill", str(shop / f"notebooks/{name}.ipynb"), f"{name}.ipynb", "-y", values,
                 cwd=shop / "reports/by/hand")  # fmt: skip
        saved = nbformat.read(shop / f"reports/by/hand/{name}.ipynb", 4)
        outputs = [o for cell in saved.cells if cell.cell_type == "code" for o in cell.outputs]
        assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
        texts = "".join(o.get("text", "") + str(o.get("data", "")) for o in outputs)
        assert str(shop) not in texts and "widget-view" not in texts
        assert len(re.findall(r"'text/plain': '(?:download|prepare): \d+/\d+ rows, ", texts)) == 1, "one line is saved"
    assert taken(shop) == tree(shop / "data/wanted")


# Take it with you ----------------------------------------------------------------------------------------------------


def first_of(name: str, word: str, given: dict) -> object:
    """Run a notebook's cells but the last, which ends the session, and then the block of its text with this word in it.

    Returns what that block calls `first`.
    """
    notebook, space = nbformat.read(f"notebooks/{name}.ipynb", 4), {}
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    exec(cells[0], space)
    space |= given
    for cell in cells[1:-1]:
        exec(cell, space)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.S) if word in b]
    exec(block, space)
    return space["first"]


@pytest.fixture
def here(shop, monkeypatch):
    monkeypatch.chdir(shop)
    yield {"engine": "local", "workers": 0}
    imgprep.close()


def test_the_pictures_go_into_a_torch_data_loader(here):
    if not find_spec("torch"):
        missing("torch")
    raw = first_of("01_download", "torch", {**DOWNLOAD, **here, "out": "data/wanted"})
    assert len(raw) == 8 and all(row["image"].size > (64, 48) for row in raw)
    ready = first_of("02_ocr", "torch", {**OCR, **here, "source": "data/wanted/raw", "out": "data/wanted/ocr"})
    assert tuple(ready["image"].shape) == (8, 3, 48, 64) and str(ready["image"].dtype) == "torch.uint8"
    assert len(set(ready["image_id"])) == 8


@pytest.mark.ray
def test_on_ray_the_bytes_are_the_same_and_the_pictures_go_into_ray_data(here):
    given = {"engine": "ray", "workers": 2}
    raw = first_of("01_download", "ray.data", {**DOWNLOAD, **given})
    assert [codec.probe(row["image"]["bytes"]).format for row in raw] == ["JPEG"] * 3
    ready = first_of("02_ocr", "ray.data", {**OCR, **given})
    assert [codec.decode(row["image"]).shape for row in ready] == [(48, 64, 3)] * 3
    assert [row["image_id"] for row in raw] == [row["image_id"] for row in ready]
    assert taken(Path.cwd()) == tree("data/wanted")


# Cell by cell --------------------------------------------------------------------------------------------------------


class Kernel:
    """A kernel as JupyterLab starts one. `run` gives a cell's outputs as a page would show them when it is done."""

    def __init__(self, where: Path):
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(where))

    def run(self, source: str, *, stop_after: int | None = None) -> list[dict]:
        """stop_after: so many pictures of the progress line, after which the stop button is pressed."""
        self.outputs, self.drawn, self.stopped_at = [], [], 0.0

        def show(message: dict) -> None:
            kind, content = message["msg_type"], message["content"]
            if kind in ("display_data", "update_display_data"):
                self.drawn.append(content["data"])
                if len(self.drawn) == stop_after:
                    self.stopped_at = time.monotonic()
                    self.manager.interrupt_kernel()
            if kind in ("stream", "error", "execute_result"):
                self.outputs.append(content)

        self.client.execute_interactive(source, output_hook=show, timeout=120)
        return self.outputs


@pytest.fixture
def kernel(tmp_path):
    folder(tmp_path / "in", 200)
    one = Kernel(tmp_path)
    one.run("import time, imgprep; from imgprep import images; imgprep.session('local', 2)")
    yield one
    one.client.stop_channels()
    one.manager.shutdown_kernel(now=True)


SLOW = """def invert(image):
    time.sleep(0.04)
    return 255 - image
images.transform('in', 'out', invert)"""


def test_progress_moves_the_stop_button_leaves_one_line_and_the_next_run_goes_on(kernel):
    (said, error) = kernel.run(SLOW, stop_after=5)
    assert time.monotonic() - kernel.stopped_at < 3
    assert said["text"] == "invert: 200 of 200 rows to compute: the first run\n"
    done = [int(re.search(r"value='(\d+)'", data["text/html"])[1]) for data in kernel.drawn[:5]]
    assert done[0] == 0 and done == sorted(set(done)), "the bar moves"
    assert "<progress" not in kernel.drawn[-1]["text/html"] and "left" not in kernel.drawn[-1]["text/plain"]
    (line,) = error["traceback"]
    kept = int(re.fullmatch(r"Interrupted: (\d+) of 200 rows done and kept: run it again to go on", line)[1])
    assert kept >= done[-1]

    said, result = kernel.run(SLOW)
    left = re.fullmatch(r"invert: (\d+) of 200 rows to compute: an earlier run was not finished\n", said["text"])
    assert 0 < int(left[1]) <= 200 - kept
    assert result["data"]["text/plain"] == "200 of 200 pictures ready"


def test_an_edited_function_is_run_again_an_edited_comment_is_not(kernel):
    cell = SLOW.replace("time.sleep(0.04)", "# pass")
    says = [kernel.run(source)[0]["text"].strip() for source in (
        cell, cell.replace("# pass", "# a better comment"), cell.replace("255", "254")
    )]  # fmt: skip
    assert says == ["invert: 200 of 200 rows to compute: the first run", "invert: 200 rows, nothing to compute",
                    "invert: 200 of 200 rows to compute: function changed"]  # fmt: skip


def test_a_mistake_ends_with_a_sentence_and_begins_with_the_cell(kernel):
    (error,) = kernel.run("from imgprep import sources\nsources.read({'train': 'in'}, stratify='lable')")
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error["traceback"])).strip().splitlines()
    assert len(text) < 25 and text[-1].startswith("ValueError: no column 'lable'") and "Cell" in text[2]
