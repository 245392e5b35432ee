"""The pipeline `detect` as a person runs it: boxes, annotations, pictures to train with, and the report."""

import json
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

from imgprep import dataset

pytestmark = [pytest.mark.notebooks, pytest.mark.slow]
GIVEN = ("limit=3", "min_score=0.6", "size_wh=[96, 64]", "engine=local", "workers=0")


def run() -> str:
    given = [word for one in GIVEN for word in ("-p", one)]
    command = [sys.executable, "-m", "imgprep", "run", "detect", *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_detect_gives_boxes_annotations_and_a_report_that_agree(project):
    (project.root / "environment.yml").write_text("name: uses-imgprep\n")
    shutil.copytree(ROOT / "notebooks", project.root / "notebooks")
    shutil.copytree(ROOT / "pipelines", project.root / "pipelines")
    told = run()
    assert "3 of 3 pictures ready" in told

    found = dataset.open("data/detected/objects").table("train").to_pylist()
    boxes = [one for row in found for one in row["objects"]]
    sure = [one for one in boxes if one["score"] >= 0.6]
    assert 3 < len(sure) < len(boxes)
    ready = dataset.open("data/detected/ready").table("train").to_pylist()
    assert {(row["width"], row["height"]) for row in ready} == {(96, 64)}
    assert [len(row["objects"]) for row in ready] == [len(row["objects"]) for row in found]
    written = json.loads((project.root / "data/detected/annotations.json").read_text())
    assert len(written["annotations"]) == len(boxes)
    assert {image["file_name"] for image in written["images"]} == {row["file_name"] for row in found}

    (notebook,) = project.root.glob("reports/detect/*/01_detect.ipynb")
    outputs = [cell.outputs for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]
    assert str(project.root) not in json.dumps(outputs), "no path of this machine"
    (page,) = project.root.glob("reports/detect/*/report.html")
    facts = page.read_text("utf-8")
    assert "with a score of 0.6 or more" in facts
    for label in {one["label"] for one in sure}:
        assert f" {label} × " in facts
