"""The pipeline `products` with its real notebooks, on pictures made here."""

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import nbclient
import nbformat
import numpy as np
import pytest
from conftest import ROOT
from made import of_sample
from PIL import Image

from imgprep import dataset
from imgprep.app import runner

README = (ROOT / "README.md").read_text()
pytestmark = [pytest.mark.notebooks, pytest.mark.slow]
GIVEN = {"train_csv": "train.csv", "test_csv": "test.csv", "url_column": "picture", "out": "data/made",
         "engine": "local", "workers": 0}  # fmt: skip
DOWNLOAD = {**GIVEN, "allow_hosts": [], "limit": None}
OCR = {"source": "data/made/raw", "out": "data/made/ocr", "size_wh": [64, 48], "engine": "local", "workers": 0}


@pytest.fixture
def shop(project):
    """A project with the real notebooks and two tables of 7 pictures, one of which is missing."""
    (project.root / "environment.yml").write_text("name: uses-imgprep\n")
    shutil.copytree(ROOT / "notebooks", project.root / "notebooks")
    rng = np.random.default_rng(0)
    names = [f"{n}.png" for n in range(6)] + ["missing.png"]
    for n, name in enumerate(names[:-1]):
        Image.fromarray(rng.integers(0, 255, (40 + n, 60, 3), np.uint8)).save(project.root / name)
    rows = [f"{name},{n:03},item_weight,{n + 1} gram\n" for n, name in enumerate(names)]
    (project.root / "train.csv").write_text("picture,group_id,entity_name,entity_value\n" + "".join(rows[2:]))
    (project.root / "test.csv").write_text("picture,group_id\n0.png,a\n1.png,b\n")
    return project


def taken(root: Path) -> dict[str, bytes]:
    """All files below data/made but the logs of the runs; the folder is then gone, for the next way to make it."""
    made = root / "data" / "made"
    files = {str(p.relative_to(made)): p.read_bytes() for p in sorted(made.rglob("*")) if p.is_file()}
    shutil.rmtree(made)
    return {name: data for name, data in files.items() if "/.imgprep/runs/" not in name}


def by_run_all(root: Path, name: str, given: dict) -> None:
    """What JupyterLab does: a kernel in the notebook's folder runs all cells, the parameters typed into theirs."""
    notebook = nbformat.read(root / "notebooks" / f"{name}.ipynb", 4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source += "".join(f"\n{key} = {value!r}" for key, value in given.items())
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(root / "notebooks")}}).execute()


@pytest.mark.store
def test_tables_and_results_may_be_on_a_store(shop, s3):
    """As deploy/rayjob.yaml runs it."""
    bucket = f"products-{os.urandom(4).hex()}"
    s3.mkdir(bucket)
    tables = {}
    for split in ("train", "test"):
        s3.put(str(shop.root / f"{split}.csv"), f"{bucket}/{split}.csv")
        tables[f"{split}_csv"] = f"s3://{bucket}/{split}.csv"
    given = {**GIVEN, **tables, "out": f"s3://{bucket}/made", "root": str(shop.root), "size_wh": [64, 48]}
    result = runner.run_notebooks("products", given)
    assert (result.folder / "report.html").stat().st_size > 10_000
    counts = dataset.open(f"s3://{bucket}/made/ocr").counts()
    assert (counts["ok"], counts["reasons"]) == (6, {"missing_file": 1})


def test_the_runner_gives_the_bytes_of_run_all(shop, capfd):
    result = runner.run_notebooks("products", {**GIVEN, "size_wh": [64, 48]})
    assert (result.folder / "report.html").stat().st_size > 10_000
    out = capfd.readouterr().out
    assert "\n6 of 7 pictures ready; 1 placeholder: missing_file 1; \"there is no " in out
    for line in ("dataset  data/made/ocr", "table    data/made/train_labeled.csv", "report   reports/products/"):
        assert line in out
    assert dataset.open("data/made/ocr").counts()["rows"] == 7

    wanted = taken(shop.root)
    assert {"train_labeled.csv", "test_labeled.csv", "raw/README.md", "ocr/README.md"} <= wanted.keys()
    by_run_all(shop.root, "01_download", DOWNLOAD)
    by_run_all(shop.root, "02_ocr", OCR)
    assert taken(shop.root) == wanted


def test_a_dry_run_says_what_there_is_to_do_and_why(shop):
    assert runner.dry_run("products", GIVEN)[1] == "ocr: shows after download, which makes its input"
    assert not (shop.root / "data").exists() and not (shop.root / "reports").exists()

    runner.run_notebooks("products", GIVEN)
    logs = [len(dataset.open(f"data/made/{name}").runs()) for name in ("raw", "ocr")]
    before = {p: p.stat().st_mtime_ns for p in (shop.root / "data").rglob("*.parquet")}
    download, ocr = runner.dry_run("products", GIVEN)
    stays = "1 failure of an earlier run stays (missing_file 1)"
    assert download.startswith(f"download: 7 rows, nothing to compute; {stays}")
    assert ocr == "ocr, as things are now: 7 rows, nothing to compute"
    runner.run_notebooks("products", GIVEN)  # nothing to do: nothing is written again, nothing is logged
    assert {p: p.stat().st_mtime_ns for p in (shop.root / "data").rglob("*.parquet")} == before
    assert [len(dataset.open(f"data/made/{name}").runs()) for name in ("raw", "ocr")] == logs


@pytest.mark.ray
def test_the_demo_needs_no_clone_and_gives_what_the_sample_holds(unpacked_wheel, tmp_path):
    command = [sys.executable, "-m", "imgprep", "demo", "--engine", "ray"]
    environment = {**os.environ, "PYTHONPATH": str(unpacked_wheel)}
    first = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert first.returncode == 0 and "starting Ray" in first.stdout, first.stdout + first.stderr
    counts, expected = dataset.open(tmp_path / "data/products/ocr").counts(), of_sample(tmp_path / "data/sample")
    assert {k: counts[k] for k in ("rows", "ok", "reasons")} == expected
    assert counts["failed"] == 0
    # The commonest error follows, in its own words.
    assert f"\n{dataset.summary(counts)}; \"" in first.stdout and "\ndataset  data/products/ocr\n" in first.stdout
    (report,) = tmp_path.glob("reports/products/*/report.html")
    assert "imgprep demo" in report.read_text()

    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and "Ray" not in again.stdout
    assert again.stdout.splitlines()[-5] == first.stdout.splitlines()[-5]

    # What the README shows is what is printed: the end of the demo, and its first lines of Python.
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    printed = [text.splitlines() for kind, text in fenced if not kind]
    of_run = re.compile(r"[^/]+(?=/report.html$)")
    ending = [of_run.sub("RUN", said) for said in first.stdout.splitlines()[-6:]]
    assert ending in [[of_run.sub("RUN", said) for said in block] for block in printed]
    snippet = next(text for kind, text in fenced if kind == "python")
    said = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert said.stdout.splitlines() == printed[0], said.stderr


def test_pictures_as_files_are_a_folder_that_datasets_opens(shop):
    notebook = nbformat.read(shop.root / "notebooks" / "01_download.ipynb", 4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    # Here and not in a kernel: what a kernel adds is tested above, and takes ten times as long.
    space: dict = {}
    exec(cells[0], space)
    space |= {**DOWNLOAD, "pictures_as_files": True}
    for cell in cells[1:]:
        exec(cell, space)
    made = shop.root / "data/made"
    raw = dataset.open(str(made / "raw"))
    opened = datasets.load_dataset(str(made / "files"), cache_dir=str(shop.root / "cache"))
    for split in ("train", "test"):
        wanted = [row for row in raw.table(split).to_pylist() if row["status"] == "ok"]
        found = {row["image_id"]: row for row in opened[split]}
        assert found.keys() == {row["image_id"] for row in wanted}
        for row in wanted:
            assert found[row["image_id"]]["image"].size == (row["width"], row["height"])
            assert found[row["image_id"]]["group_id"] == row["group_id"]
        with open(made / f"{split}_labeled.csv", newline="") as file:
            labelled = list(csv.DictReader(file))
        named = {row["image_id"]: made / row["path"] for row in labelled if row["status"] == "ok"}
        assert named.keys() == found.keys()
        for row in wanted:
            data = named[row["image_id"]].read_bytes()
            assert hashlib.sha256(data).hexdigest() == row["sha256"]
